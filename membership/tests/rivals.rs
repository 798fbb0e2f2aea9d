//! Two processes with one name, or one address, in virtual time: who is told to ask, and who is not.

mod network;

use std::time::Duration;

use network::Network;
use shard_cache_membership::{
    agent::Input,
    config::{AgentConfig, Profile},
};

fn config() -> AgentConfig {
    AgentConfig::of_profile(Profile::Lan, "test")
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Node 0 is the seed; 1 and 2 have the same name, and 2 started later.
fn namesakes(seed: u64) -> Network {
    let mut network = Network::new(seed, 3);
    network.start(0, &config());
    network.start(1, &config());
    network.run_for(seconds(1));
    network.start_as(2, 1, &config());
    network.run_for(seconds(10));
    network
}

#[test]
fn of_two_with_one_name_the_older_one_is_told_where_the_other_is() {
    for seed in 0..20 {
        let network = namesakes(seed);
        assert_eq!(network.rivals_of(0), []);
        assert_eq!(network.rivals_of(2), []);
        let told = network.rivals_of(1);
        assert!(told.iter().all(|rival| *rival == network.peer_addr(2)));
        // At once, and again after five seconds.
        assert!((2..=3).contains(&told.len()), "{told:?}");
    }
}

#[test]
fn the_older_one_is_told_so_only_when_it_can_hear_of_the_other() {
    let mut network = Network::new(1, 3);
    network.start_all_named(&[0, 1], &config());
    network.set_group(1, 1);
    network.run_for(seconds(10));
    network.start_as(2, 1, &config());
    network.run_for(seconds(30));
    assert_eq!(network.rivals_of(1), []);
    assert_eq!(network.rivals_of(2), []);
    network.set_group(1, 0);
    let found = network.run_until(seconds(30), |it| !it.rivals_of(1).is_empty());
    assert!(
        found.is_some(),
        "it hears of its namesake after the partition"
    );
    assert_eq!(network.rivals_of(2), []);
}

#[test]
fn a_former_life_at_the_same_address_is_worth_a_question_to_that_address_alone() {
    for seed in 0..20 {
        let mut network = Network::new(seed, 3);
        network.start_all(&config());
        network.run_for(seconds(5));
        network.kill(2);
        network.start(2, &config());
        network.run_for(seconds(30));
        assert!(network.all_see(3));
        let own = network.peer_addr(2);
        assert!(network.rivals_of(2).iter().all(|asked| *asked == own));
        assert_eq!(network.rivals_of(0), []);
        assert_eq!(network.rivals_of(1), []);
    }
}

#[test]
fn a_former_life_at_another_address_is_none_that_outranks_the_present_one() {
    for seed in 0..20 {
        let mut network = Network::new(seed, 4);
        network.start_all_named(&[0, 1, 2], &config());
        network.run_for(seconds(5));
        network.kill(2);
        network.start_as(3, 2, &config());
        network.run_for(seconds(30));
        assert_eq!(network.rivals_of(3), []);
        let views: Vec<_> = network.views().collect();
        assert_eq!(views.len(), 3);
        for view in views {
            let moved = view.member(network::node_id(2)).expect("it is known");
            assert_eq!(moved.gossip_addr, network.peer_addr(3));
            assert!(moved.liveness.is_present());
        }
    }
}

#[test]
fn who_claims_our_address_with_another_boot_makes_us_ask_who_is_there() {
    let mut network = Network::new(1, 2);
    network.start_all(&config());
    network.run_for(seconds(5));
    // What node 1 would say if it were told to be where node 0 is.
    let stranger = network.state_of_stranger_at(0, &config());
    network.input(1, Input::MergeState(&stranger));
    assert_eq!(network.rivals_of(1), []);
    network.input(0, Input::MergeState(&stranger));
    assert_eq!(network.rivals_of(0), [network.peer_addr(0)]);
}
