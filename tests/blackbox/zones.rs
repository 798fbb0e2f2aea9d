//! The owners of a key lie in different zones, so that the loss of a zone costs each key one copy.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::harness::{
    Cluster, Launch, NodeProcess, PATIENCE, Room,
    load::{Load, LoadOptions, read_back, some},
    until,
};

const ZONES: [&str; 3] = ["east", "north", "west"];
const NODES: usize = 6;
/// The nodes of the last zone.
const LOST: [usize; 2] = [2, 5];
const SURVIVORS: [usize; 4] = [0, 1, 3, 4];
/// Keys whose owners are asked for.
const KEYS: usize = 100;
const ACKED_BEFORE: usize = 400;
const ACKED_AFTER: usize = 600;
/// Longer than the default, so that a machine that stands still for a moment fails nothing.
const DEADLINE: Duration = Duration::from_secs(2);
/// Of requests to nodes that live, client retries off, the least share that succeeds from the loss of the zone on.
const OK_MIN: f64 = 0.99;
const LOAD: LoadOptions = LoadOptions {
    writers: 6,
    pause: Duration::from_millis(5),
};

/// Six nodes: the first three are in one zone each, and the others again.
async fn start_in_zones(room: Room) -> Cluster {
    let mut nodes: Vec<NodeProcess> = Vec::with_capacity(NODES);
    for (index, zone) in ZONES.iter().cycle().take(NODES).enumerate() {
        let mut launch = Launch::new(&format!("n{}", index + 1), 2).setting("node.zone", zone);
        if let Some(first) = nodes.first() {
            launch = launch.seed(first.addresses().peer);
        }
        nodes.push(launch.start().await);
    }
    let cluster = Cluster::of(nodes, room);
    cluster.wait_until_ready().await;
    until("all slots are taken over", PATIENCE, async || {
        for node in cluster.nodes() {
            let unsettled = node.metric("shardcache_slots_unsettled", &[]).await?;
            if unsettled > 0 {
                return Err(format!("{} has {unsettled} unsettled", node.name()));
            }
        }
        Ok(())
    })
    .await;
    cluster
}

/// All zones have an owner of each key, and every node says the same.
async fn assert_owners_are_spread(cluster: &Cluster) {
    let clients = cluster.clients().await;
    for number in 0..KEYS {
        let key = format!("key-{number}");
        let mut answers = BTreeSet::new();
        for client in &clients {
            let answer = client.owners(&key).await.expect("the owners");
            let owners = answer.owners.into_iter().filter_map(|owner| owner.member);
            let owners: Vec<_> = owners.map(|owner| (owner.zone, owner.name)).collect();
            answers.insert((answer.ring_hash, owners));
        }
        assert_eq!(answers.len(), 1, "nodes differ about {key}: {answers:?}");
        let (_, owners) = answers.first().expect("an answer");
        let zones: Vec<&str> = owners.iter().map(|(zone, _)| zone.as_str()).collect();
        let different: BTreeSet<&str> = zones.iter().copied().collect();
        assert_eq!(different, BTreeSet::from(ZONES), "{key}: {owners:?}");
        assert_eq!(zones.len(), ZONES.len(), "{key}: {owners:?}");
    }
}

#[tokio::test]
async fn the_loss_of_a_zone_loses_nothing_and_stops_nothing() {
    let mut cluster = start_in_zones(Room::alone().await).await;
    assert_owners_are_spread(&cluster).await;

    let mut clients = Vec::new();
    for node in SURVIVORS {
        clients.push(cluster[node].client_with(DEADLINE).await);
    }
    let load = Load::start(&clients, LOAD);
    load.wait_for(ACKED_BEFORE).await;
    for node in LOST {
        cluster[node].kill9();
    }
    let killed_at = Instant::now();
    for name in ["n3", "n6"] {
        cluster.wait_until_down(&SURVIVORS, name).await;
    }
    load.wait_for_more(ACKED_AFTER).await;
    let report = load.finish().await;

    let (ok, failed) = report.tally(|attempt| attempt.begun > killed_at);
    let served = ok as f64 / (ok + failed.len()) as f64;
    let lost = read_back(&clients, &report.acked).await;
    println!(
        "kill -9 of both nodes of one of three zones: {} writes acknowledged, lost {}; from then on {ok} of {} requests OK",
        report.acked.len(),
        lost.len(),
        ok + failed.len(),
    );
    assert!(report.wrong().is_empty(), "{}", some(&report.wrong()));
    assert!(lost.is_empty(), "{}", some(&lost));
    let few = report.acked_with_fewer_than(2);
    assert!(few.is_empty(), "{}", some(&few));
    assert!(served >= OK_MIN, "{}", some(&failed));
}
