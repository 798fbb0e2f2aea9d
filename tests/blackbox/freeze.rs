//! A peer that stands still without being dead: its sockets are open, and nothing answers.

use std::time::{Duration, Instant};

use crate::harness::{
    Cluster, Options, Room,
    load::{Attempt, Load, LoadOptions, Op, quantile, some},
    until,
};

const LOAD: LoadOptions = LoadOptions {
    writers: 8,
    pause: Duration::from_millis(5),
};
const ACKED_BEFORE: usize = 300;
/// Longer than the default of 500 ms, so that a machine that stands still for a moment fails nothing; what a frozen peer
/// may cost is bounded by `P99_MAX`.
const DEADLINE: Duration = Duration::from_secs(2);
/// The requests that begin so soon after the freeze are looked at.
const WINDOW: Duration = Duration::from_secs(1);
const P99_MAX: Duration = Duration::from_millis(400);
/// One quick round is proof; a slow one may be the machine's.
const ROUNDS_MAX: usize = 3;

#[tokio::test]
async fn a_frozen_peer_costs_the_others_little_and_fails_nothing() {
    let cluster = Cluster::start(3, Options::default(), Room::alone().await).await;
    let mut slowness = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let p99 = freeze_once(&cluster).await;
        if p99 < P99_MAX {
            return;
        }
        slowness.push(p99);
    }
    panic!("p99 of {ROUNDS_MAX} rounds: {slowness:?}");
}

/// Freezes the third node under load at the others; nothing may fail. Returns the p99 of the requests in the window.
async fn freeze_once(cluster: &Cluster) -> Duration {
    let mut clients = Vec::new();
    for node in &cluster.nodes()[..2] {
        clients.push(node.client_with(DEADLINE).await);
    }
    let load = Load::start(&clients, LOAD);
    load.wait_for(ACKED_BEFORE).await;
    cluster[2].freeze();
    let frozen_at = Instant::now();
    until(
        "the window is over",
        10 * WINDOW,
        async || match frozen_at.elapsed() {
            elapsed if elapsed > WINDOW => Ok(()),
            elapsed => Err(format!("{elapsed:?}")),
        },
    )
    .await;
    let report = load.finish().await;
    cluster[2].thaw();
    cluster.wait_until_ready().await;
    cluster.wait_until_nothing_is_owed(&[0, 1, 2]).await;

    let (_, failed) = report.tally(|_| true);
    let within = |op: Option<Op>| -> Vec<&Attempt> {
        let until = frozen_at + WINDOW;
        let attempts = report.attempts.iter();
        attempts
            .filter(|attempt| attempt.begun >= frozen_at && attempt.begun < until)
            .filter(|attempt| op.is_none_or(|op| attempt.op == op))
            .collect()
    };
    let (all, reads, writes) = (within(None), within(Some(Op::Get)), within(Some(Op::Set)));
    println!(
        "frozen peer: within {WINDOW:?} {} reads (p50 {:.1?}, p99 {:.1?}) and {} writes (p50 \
         {:.1?}, p99 {:.1?}), {} failed",
        reads.len(),
        quantile(&reads, 0.5),
        quantile(&reads, 0.99),
        writes.len(),
        quantile(&writes, 0.5),
        quantile(&writes, 0.99),
        failed.len(),
    );
    assert!(failed.is_empty(), "{}", some(&failed));
    assert!(all.len() >= 50, "only {} requests", all.len());
    quantile(&all, 0.99)
}
