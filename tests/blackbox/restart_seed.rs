//! The seed node is killed and started again, empty, under load.

use std::time::{Duration, Instant};

use crate::harness::{
    Cluster, Options, PATIENCE, Room,
    load::{Attempt, Load, LoadOptions, read_back, some},
};

const ACKED_PER_PHASE: usize = 600;
const LOAD: LoadOptions = LoadOptions {
    writers: 6,
    pause: Duration::from_millis(5),
};
const SEED: usize = 0;

#[tokio::test]
async fn the_seed_comes_back_empty_and_every_acknowledged_write_has_two_copies() {
    let mut cluster = Cluster::start(3, Options::default(), Room::alone().await).await;
    let mut clients = Vec::new();
    for node in cluster.nodes() {
        clients.push(node.client().await);
    }
    let load = Load::start(&clients, LOAD);
    load.wait_for_more(ACKED_PER_PHASE).await;
    let killed_at = Instant::now();
    cluster[SEED].kill9();
    load.wait_for_more(ACKED_PER_PHASE).await;
    cluster[SEED].restart().await;
    let restarted_at = Instant::now();
    load.wait_for_more(ACKED_PER_PHASE).await;
    cluster.wait_until_ready().await;
    let healed_after = restarted_at.elapsed();
    load.wait_for_more(ACKED_PER_PHASE).await;
    let report = load.finish().await;
    cluster.wait_until_nothing_is_owed(&[0, 1, 2]).await;
    let replayed = cluster
        .sum(&[1, 2], "shardcache_hints_replayed_total", &[])
        .await;
    let written = cluster
        .sum(&[1, 2], "shardcache_hints_written_total", &[])
        .await;
    cluster.wait_until_safe().await;

    // Two copies: the loss of yet another node costs nothing. Read before anything is read at all, because reading
    // repairs.
    cluster[1].kill9();
    let living = [cluster.client(0).await, cluster.client(2).await];
    let lost = read_back(&living, &report.acked).await;
    assert!(lost.is_empty(), "with another node lost: {}", some(&lost));
    cluster[1].restart().await;
    cluster.wait_until_ready().await;
    let lost = read_back(&cluster.clients().await, &report.acked).await;
    assert!(lost.is_empty(), "{}", some(&lost));

    let is_away =
        |attempt: &Attempt| attempt.target == SEED && attempt.begun + attempt.took > killed_at;
    let (ok, failed) = report.tally(|attempt| !is_away(attempt));
    let (seed_ok, seed_failed) = report.tally(is_away);
    println!(
        "kill -9 and restart of the seed: {} writes acknowledged; at nodes that lived {ok} requests \
         OK and {} not; at the seed from the kill on {seed_ok} OK and {} not; whole again \
         {healed_after:.1?} after the restart; {written} hints written and {replayed} delivered",
        report.acked.len(),
        failed.len(),
        seed_failed.len(),
    );
    assert!(report.wrong().is_empty(), "{}", some(&report.wrong()));
    let few = report.acked_with_fewer_than(2);
    assert!(
        few.is_empty(),
        "acknowledged with fewer than two copies: {}",
        some(&few)
    );
    assert!(
        written > 0 && replayed > 0,
        "{written} hints written, {replayed} delivered"
    );
    assert!(
        ok as f64 >= 0.99 * (ok + failed.len()) as f64,
        "{}",
        some(&failed)
    );
    for node in cluster.nodes() {
        assert_eq!(node.figure("shardcache_evictions_total", &[]).await, 0);
    }
}

#[tokio::test]
async fn a_restarted_seed_does_not_acknowledge_alone() {
    let mut cluster = Cluster::start(2, Options::default(), Room::shared().await).await;
    cluster[1].kill9();
    cluster[SEED].kill9();
    cluster[SEED].restart().await;
    let client = cluster.client(SEED).await;
    let end = Instant::now() + Duration::from_secs(3);
    let call = shard_cache_client::CallOptions::default();
    while Instant::now() < end {
        let set = client
            .set("k", "v".into(), shard_cache_client::Ttl::Default, &call)
            .await;
        assert!(set.is_err(), "{set:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster[1].restart().await;
    cluster.wait_until_ready_within(PATIENCE).await;
    let written = client
        .set("k", "v".into(), shard_cache_client::Ttl::Default, &call)
        .await;
    assert_eq!(written.expect("two nodes are a quorum").stored, 2);
}
