//! Nodes that leave in order, heard and unheard, in virtual time.

mod network;

use std::time::Duration;

use network::{Network, name};
use shard_cache_membership::{
    agent::{Input, Parting},
    config::{AgentConfig, Profile},
    identity::{BootId, NodeId},
    record::Phase,
    view::{Liveness, View},
};

const WITHIN: Duration = Duration::from_secs(30);

fn config() -> AgentConfig {
    AgentConfig::of_profile(Profile::Lan, "test")
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn joined(seed: u64, count: usize) -> Network {
    let mut network = Network::new(seed, count);
    network.start_all(&config());
    network
        .run_until(seconds(20), |network| network.all_see(count))
        .expect("all join");
    network
}

fn leave(network: &mut Network, index: usize) {
    network.input(index, Input::Leave { within: WITHIN });
}

/// How the node parted, and how long that took.
fn parted(network: &mut Network, index: usize) -> (Parting, Duration) {
    let took = network
        .run_until(2 * WITHIN, |it| it.agent(index).parting().is_some())
        .expect("it goes within the time that it was given");
    let parting = network.agent(index).parting();
    (parting.expect("it has just parted"), took)
}

fn knows_that_it_left(view: &View, index: usize) -> bool {
    let member = view.member(NodeId::of_name(&name(index)));
    let member = member.expect("it stays listed");
    let phase = member.record.as_ref().map(|record| record.phase);
    member.liveness == Liveness::Down && phase == Some(Phase::Leaving)
}

fn all_know_that_it_left(network: &Network, index: usize) -> bool {
    network.views().all(|view| knows_that_it_left(view, index))
}

#[test]
fn a_leaver_is_shown_as_down_and_leaving_at_once() {
    let mut network = joined(9, 5);
    leave(&mut network, 4);
    let left = network.run_until(seconds(3), |network| all_know_that_it_left(network, 4));
    println!("leave -> everyone knows, its reason included: {left:?}");
    assert!(left.is_some_and(|left| left <= seconds(1)));
    assert_eq!(network.agent(4).parting(), Some(Parting::Heard));
    network.run_for(seconds(5));
    assert!(network.agent(4).has_left());
    assert_eq!(network.count_down(4), 5, "it does not come back by itself");
}

#[test]
fn a_leaver_that_nobody_hears_waits_as_long_as_it_may_and_says_so() {
    for before in [0, 20] {
        let mut network = joined(1, 5);
        network.set_group(4, 1);
        // Still members, or held for down for long.
        network.run_for(seconds(before));
        leave(&mut network, 4);
        let (parting, took) = parted(&mut network, 4);
        assert_eq!(parting, Parting::Unheard { members: 4 });
        assert!(took >= WITHIN && took < WITHIN + seconds(1), "{took:?}");
        network.set_group(4, 0);
        network.run_for(seconds(10));
        let knowing = network.views().filter(|view| knows_that_it_left(view, 4));
        assert_eq!(knowing.count(), 1, "only itself");
    }
}

#[test]
fn a_leaver_goes_as_soon_as_it_is_heard_again() {
    for cut in [2, 20] {
        let mut network = joined(2, 5);
        network.set_group(4, 1);
        leave(&mut network, 4);
        network.run_for(seconds(cut));
        assert_eq!(network.agent(4).parting(), None);
        network.set_group(4, 0);
        let (parting, took) = parted(&mut network, 4);
        println!("cut off for {cut} s: gone {took:?} after the heal");
        assert_eq!(parting, Parting::Heard);
        assert!(took <= seconds(6), "{took:?}");
        let known = network.run_until(seconds(2), |network| all_know_that_it_left(network, 4));
        assert!(known.is_some());
    }
}

#[test]
fn gossip_that_nobody_answers_is_no_sign_of_being_heard() {
    let mut network = joined(3, 3);
    network.push_pull = false;
    leave(&mut network, 2);
    let (parting, _) = parted(&mut network, 2);
    assert_eq!(parting, Parting::Unheard { members: 2 });
}

#[test]
fn whoever_cannot_be_reached_hears_it_from_those_that_know() {
    let mut network = joined(4, 5);
    // It stands still for too short a time to be held for down before the others are enough.
    network.stall(3, seconds(20));
    leave(&mut network, 4);
    let (parting, took) = parted(&mut network, 4);
    println!("one of four stands still: gone after {took:?}");
    assert_eq!(parting, Parting::Heard);
    assert!(took >= seconds(3) && took <= seconds(6), "{took:?}");
    network.kill(4);
    network.run_for(seconds(20));
    assert!(all_know_that_it_left(&network, 4));
}

#[test]
fn a_record_that_says_so_is_the_word_already() {
    let mut network = joined(5, 3);
    let leaving = Input::UpdateRecord {
        phase: Phase::Leaving,
        attachment: Vec::new(),
    };
    network.input(2, leaving);
    network.run_for(seconds(1));
    assert_eq!(network.agent(2).parting(), None, "it was not told to go");
    leave(&mut network, 2);
    let (parting, took) = parted(&mut network, 2);
    assert_eq!((parting, took), (Parting::Heard, Duration::ZERO));
}

#[test]
fn who_heard_of_another_life_or_of_a_leave_that_was_called_off_does_not_count() {
    let phase = |phase| Input::UpdateRecord {
        phase,
        attachment: Vec::new(),
    };
    let mut network = joined(6, 3);
    network.input(2, phase(Phase::Leaving));
    network.run_for(seconds(1));
    network.set_group(2, 1);
    network.input(2, Input::ChangeBoot(BootId(77)));
    leave(&mut network, 2);
    assert_eq!(parted(&mut network, 2).0, Parting::Unheard { members: 2 });

    let mut network = joined(7, 3);
    network.input(2, phase(Phase::Leaving));
    network.run_for(seconds(1));
    network.input(2, phase(Phase::Active));
    network.run_for(seconds(1));
    network.set_group(2, 1);
    leave(&mut network, 2);
    assert_eq!(parted(&mut network, 2).0, Parting::Unheard { members: 2 });
}

#[test]
fn who_knew_and_lost_its_memory_does_not_count() {
    let mut network = joined(8, 2);
    let leaving = Input::UpdateRecord {
        phase: Phase::Leaving,
        attachment: Vec::new(),
    };
    network.input(1, leaving);
    network.run_for(seconds(1));
    network.kill(0);
    network.run_for(seconds(10));
    leave(&mut network, 1);
    assert_eq!(parted(&mut network, 1).0, Parting::Unheard { members: 1 });
}

#[test]
fn a_node_alone_goes_at_once_and_so_does_the_last_one() {
    let at_once = Duration::from_secs(1);
    let mut network = joined(10, 1);
    leave(&mut network, 0);
    let (parting, took) = parted(&mut network, 0);
    assert!(parting == Parting::Heard && took <= at_once, "{took:?}");

    let mut network = joined(11, 3);
    for index in [2, 1, 0] {
        leave(&mut network, index);
        let (parting, took) = parted(&mut network, index);
        assert!(parting == Parting::Heard && took <= at_once, "{took:?}");
        network.run_for(seconds(1));
        network.kill(index);
    }
}

#[test]
fn nodes_that_leave_together_are_enough_for_each_other() {
    let mut network = joined(12, 4);
    // Held for down by the time.
    network.kill(1);
    network.run_for(seconds(10));
    for index in [0, 2, 3] {
        leave(&mut network, index);
    }
    for index in [0, 2, 3] {
        let (parting, _) = parted(&mut network, index);
        assert_eq!(parting, Parting::Heard, "node {index}");
    }
    assert!(network.now < seconds(20), "{:?}", network.now);
}
