//! Small clusters of production agents under single faults, in virtual time.

mod network;

use std::time::Duration;

use network::{Network, name};
use shard_cache_membership::{
    agent::Input,
    config::{AgentConfig, Profile},
    identity::{BootId, NodeId},
    record::Phase,
};

fn config() -> AgentConfig {
    AgentConfig {
        down_memory: Duration::from_secs(60),
        ..AgentConfig::of_profile(Profile::Lan, "test")
    }
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

fn all_see_boot(network: &Network, index: usize, boot_id: BootId) -> bool {
    let node_id = NodeId::of_name(&name(index));
    network.views().all(|view| {
        view.member(node_id).is_some_and(|member| {
            member.boot_id == boot_id && member.liveness.is_present() && member.record.is_some()
        })
    })
}

#[test]
fn a_two_node_split_longer_than_suspicion_heals() {
    for (seed, split) in [(1, 10), (2, 30), (3, 200)] {
        let mut network = joined(seed, 2);
        network.set_group(1, 1);
        network
            .run_until(seconds(10), |network| network.all_see(1))
            .expect("both are alone");
        network.run_for(seconds(split));
        network.set_group(1, 0);
        let healed = network.run_until(seconds(15), |network| network.all_see(2));
        println!("two nodes, split for {split} s: healed after {healed:?}");
        assert!(healed.is_some());
    }
}

#[test]
fn a_death_is_counted_by_its_probes_and_by_what_the_member_becomes() {
    let mut network = joined(9, 3);
    network.run_for(seconds(10));
    let well = network.agent(0).counters().snapshot();
    assert_eq!((well.members_alive, well.members_down), (2, 0));
    assert_eq!((well.probes_unanswered, well.probes_failed), (0, 0));
    let answered = well.probe_times.counts.iter().sum::<u64>();
    assert!(answered > 2 && well.probe_times.sum_micros > 0, "{well:?}");
    network.kill(2);
    network
        .run_until(seconds(20), |network| network.all_see(2))
        .expect("the others see it");
    network.run_for(seconds(10));
    let counters = network.agent(0).counters().snapshot();
    let members = (counters.members_suspect, counters.members_down);
    assert_eq!(members, (1, 1), "{counters:?}");
    let (direct, indirect) = (counters.probes_unanswered, counters.probes_failed);
    assert!(direct >= indirect, "{counters:?}");
}

#[test]
fn a_restart_shows_its_new_boot_id_everywhere() {
    let mut network = joined(4, 5);
    network.kill(2);
    network.run_for(Duration::from_millis(300));
    let boot_id = network.start(2, &config());
    let shown = network.run_until(seconds(10), |network| all_see_boot(network, 2, boot_id));
    println!("restart within the suspicion time: new boot id everywhere after {shown:?}");
    assert!(shown.is_some());
    assert!(network.views().all(|view| view.present().count() == 5));
}

#[test]
fn a_restart_with_its_clock_an_hour_behind_is_back_within_seconds() {
    let cases = [
        (5, 300, true),
        (6, 10_000, true),
        (7, 300, false),
        (8, 10_000, false),
    ];
    for (seed, away, push_pull) in cases {
        let mut network = joined(seed, 5);
        network.push_pull = push_pull;
        network.kill(3);
        network.run_for(Duration::from_millis(away));
        network.set_wall_offset(3, -3_600_000);
        let boot_id = network.start(3, &config());
        let back = network.run_until(seconds(10), |network| all_see_boot(network, 3, boot_id));
        let rejoins = network.agent(3).counters().snapshot().rejoins;
        println!(
            "an hour behind, away {away} ms, push-pull {push_pull}: {back:?}, {rejoins} rejoins"
        );
        assert!(back.is_some_and(|back| back <= seconds(5)));
        assert!(rejoins <= 25);
        network.run_for(seconds(10));
        assert!(all_see_boot(&network, 3, boot_id), "and it stays");
    }
}

#[test]
fn a_restart_of_the_seed_finds_its_cluster_through_the_others() {
    let mut network = joined(8, 3);
    network.kill(0);
    network.run_for(seconds(10));
    // Node 0 is everybody's only seed, its own included: it has no one to announce to.
    let boot_id = network.start(0, &config());
    let back = network.run_until(seconds(10), |network| all_see_boot(network, 0, boot_id));
    assert!(back.is_some());
}

#[test]
fn the_same_process_gets_a_new_boot_id_everywhere() {
    let mut network = joined(10, 5);
    network.input(1, Input::ChangeBoot(BootId(77)));
    let shown = network.run_until(seconds(3), |network| all_see_boot(network, 1, BootId(77)));
    println!("store discard: new boot id everywhere after {shown:?}");
    assert!(shown.is_some());
    network.run_for(seconds(10));
    assert!(network.all_see(5), "nobody was lost over it");
}

#[test]
fn a_record_update_reaches_everyone_despite_loss() {
    let mut network = joined(11, 10);
    network.loss = 0.2;
    network.input(
        6,
        Input::UpdateRecord {
            phase: Phase::Joining,
            attachment: vec![1, 2, 3],
        },
    );
    let node_id = NodeId::of_name(&name(6));
    let spread = network.run_until(seconds(10), |network| {
        network.views().all(|view| {
            let record = view
                .member(node_id)
                .and_then(|member| member.record.as_ref());
            record.is_some_and(|it| it.phase == Phase::Joining && it.attachment == [1, 2, 3])
        })
    });
    println!("record update at 20 % loss: everywhere after {spread:?}");
    assert!(spread.is_some());
}

#[test]
fn moderate_loss_takes_no_one_down_and_renews_no_one() {
    let mut refutations = 0;
    for seed in 12..20 {
        let mut network = joined(seed, 5);
        network.loss = 0.1;
        network.run_for(seconds(120));
        for index in 0..5 {
            let counters = network.agent(index).counters().snapshot();
            assert_eq!(
                (network.count_down(index), counters.rejoins),
                (0, 0),
                "seed {seed}"
            );
            refutations += counters.refutations;
        }
    }
    println!("10 % loss, 16 minutes of 5 nodes: {refutations} suspicions refuted, none down");
    assert!(refutations > 0, "the loss must be enough to be suspected");
}

#[test]
fn a_stalled_agent_does_not_accuse_its_peers_when_it_wakes() {
    let mut network = joined(13, 3);
    network.stall(1, seconds(20));
    network.run_for(seconds(25));
    let views: Vec<_> = network.views().collect();
    assert!(views.iter().all(|view| view.present().count() == 3));
    assert_eq!(network.agent(1).counters().snapshot().stalls, 1);
    for index in [0, 2] {
        assert_eq!(network.agent(index).counters().snapshot().rejoins, 0);
    }
}

#[test]
fn a_suspicion_does_not_run_out_while_its_holder_stands_still() {
    let mut network = joined(14, 2);
    network.stall(0, seconds(12));
    network.run_for(seconds(2));
    network.stall(1, seconds(10));
    network.run_for(seconds(30));
    assert!(network.views().all(|view| view.present().count() == 2));
    for index in [0, 1] {
        let counters = network.agent(index).counters().snapshot();
        assert_eq!((counters.stalls, counters.rejoins), (1, 0), "node {index}");
    }
}
