//! A hundred production agents in virtual time: joining, dying, splitting and healing, and that all
//! of it is repeatable.

mod network;

use std::time::Duration;

use network::Network;
use shard_cache_membership::config::{AgentConfig, Profile};

const COUNT: usize = 100;

fn config() -> AgentConfig {
    AgentConfig {
        down_memory: Duration::from_secs(60),
        ..AgentConfig::of_profile(Profile::Lan, "test")
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn joined(seed: u64) -> (Network, Duration) {
    let mut network = Network::new(seed, COUNT);
    network.start_all(&config());
    let took = network.run_until(seconds(60), |network| network.all_see(COUNT));
    let took = took.expect("everyone knows everyone") + seconds(1);
    (network, took)
}

#[test]
fn everyone_knows_everyone_soon_after_a_mass_join() {
    let (network, took) = joined(1);
    println!(
        "{COUNT} agents, one seed: everyone knows everyone, records included, {took:?} after the first start ({} events)",
        network.events
    );
    assert!(took <= seconds(15), "{took:?}");
}

#[test]
fn a_killed_node_is_known_to_be_down_within_seconds() {
    let (mut network, _) = joined(2);
    let mut delays = Vec::new();
    for victim in [17, 42, 0] {
        network.run_for(seconds(2));
        let known = network.count_down(victim);
        assert_eq!(known, 0);
        network.kill(victim);
        let others = network.views().count();
        let mut taken = Duration::ZERO;
        for needed in 1..=others {
            taken += network
                .run_until(seconds(30), |network| network.count_down(victim) >= needed)
                .expect("all know");
            delays.push(taken);
        }
    }
    delays.sort();
    let (p50, max) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    println!("kill -> a node knows: p50 {p50:?}, max {max:?}");
    assert!(p50 <= Duration::from_millis(4_500), "{p50:?}");
    assert!(max <= seconds(10), "{max:?}");
}

#[test]
fn a_split_longer_than_the_down_memory_heals() {
    let (mut network, _) = joined(3);
    for index in COUNT / 2..COUNT {
        network.set_group(index, 1);
    }
    let split = network.run_until(seconds(60), |network| network.all_see(COUNT / 2));
    println!("split -> each half sees only itself: {split:?}");
    network.run_for(seconds(63));
    assert!(
        network.views().all(|view| view.members.len() == COUNT / 2),
        "all is forgotten"
    );
    for index in 0..COUNT {
        network.set_group(index, 0);
    }
    let healed = network.run_until(seconds(60), |network| network.all_see(COUNT));
    println!(
        "heal -> everyone sees everyone: {healed:?} ({} events)",
        network.events
    );
    let healed = healed.expect("the halves find each other");
    assert!(healed <= seconds(15), "{healed:?}");
}

#[test]
fn the_same_seed_gives_the_same_events() {
    let run = |seed| {
        let mut network = Network::new(seed, COUNT);
        network.loss = 0.02;
        network.start_all(&config());
        network.run_for(seconds(1));
        network.kill(5);
        network.run_for(seconds(2));
        (network.trace, network.events)
    };
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first.0, run(8).0);
}
