//! One of three nodes is killed under load: the others hardly notice, and nothing acknowledged is lost.

use std::time::{Duration, Instant};

use crate::harness::{
    Cluster, Options, Room,
    load::{Load, LoadOptions, quantile, read_back, some},
};

const ACKED_BEFORE: usize = 2_600;
const ACKED_AFTER: usize = 2_600;
/// Client retries are off; this share of requests has to succeed at the first try.
const FIRST_TRY_MIN: f64 = 0.999;
/// Longer than the default of 500 ms, so that a machine that stands still for a moment fails nothing; what the death of
/// a peer may cost is bounded by `P99_MAX`.
const DEADLINE: Duration = Duration::from_secs(2);
const P99_MAX: Duration = Duration::from_millis(400);
const LOAD: LoadOptions = LoadOptions {
    writers: 8,
    pause: Duration::from_millis(4),
};

#[tokio::test]
async fn killing_one_of_three_under_load_loses_nothing_and_fails_next_to_nothing() {
    let mut cluster = Cluster::start(3, Options::default(), Room::alone().await).await;
    let survivors = [0, 1];
    let mut clients = Vec::new();
    for node in survivors {
        clients.push(cluster[node].client_with(DEADLINE).await);
    }
    let load = Load::start(&clients, LOAD);
    load.wait_for(ACKED_BEFORE).await;
    let killed_at = Instant::now();
    cluster[2].kill9();
    let acked_at_kill = load.acked();
    // The event is not over before both have heard of it.
    cluster.wait_until_down(&survivors, "n3").await;
    let known_after = killed_at.elapsed();
    load.wait_for(acked_at_kill + ACKED_AFTER).await;
    let report = load.finish().await;

    let (ok, failed) = report.tally(|_| true);
    let after = report
        .acked
        .iter()
        .filter(|acked| acked.at > killed_at)
        .count();
    let all: Vec<_> = report.attempts.iter().collect();
    let (p99, slowest) = (quantile(&all, 0.99), quantile(&all, 1.0));
    let evictions = cluster
        .sum(&survivors, "shardcache_evictions_total", &[])
        .await;
    let first_try = ok as f64 / (ok + failed.len()) as f64;
    let retry_clients = cluster_clients(&cluster, &survivors).await;
    let lost = read_back(&retry_clients, &report.acked).await;
    let times: Vec<String> = failed
        .iter()
        .map(|attempt| since(killed_at, attempt.begun))
        .collect();
    println!(
        "kill -9 of one of three: {ok} of {} requests OK at the first try ({:.3} %), {} writes \
         acknowledged, {after} of them after the kill; known down after {known_after:.1?}; p99 \
         {p99:.0?}, slowest {slowest:.0?}; evictions {evictions}; lost {}; failed requests began at {times:?} s",
        ok + failed.len(),
        first_try * 100.0,
        report.acked.len(),
        lost.len(),
    );
    assert!(report.wrong().is_empty(), "{}", some(&report.wrong()));
    assert!(lost.is_empty(), "{}", some(&lost));
    assert!(first_try >= FIRST_TRY_MIN, "{}", some(&failed));
    assert!(p99 < P99_MAX, "{p99:?}");
    assert!(report.acked.len() >= 5_000 && after * 10 >= report.acked.len() * 3);
    let few = report.acked_with_fewer_than(2);
    assert!(few.is_empty(), "{}", some(&few));
    assert_eq!(evictions, 0);
}

/// Seconds from the kill; negative before it.
fn since(killed_at: Instant, at: Instant) -> String {
    let after = at.saturating_duration_since(killed_at).as_secs_f64();
    let before = killed_at.saturating_duration_since(at).as_secs_f64();
    format!("{:+.2}", after - before)
}

async fn cluster_clients(cluster: &Cluster, nodes: &[usize]) -> Vec<shard_cache_client::Client> {
    let mut clients = Vec::with_capacity(nodes.len());
    for &node in nodes {
        clients.push(cluster.client(node).await);
    }
    clients
}
