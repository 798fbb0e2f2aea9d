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
/// The requests that begin so soon after the freeze are looked at.
const WINDOW: Duration = Duration::from_secs(1);
const P99_MAX: Duration = Duration::from_millis(400);

#[tokio::test]
async fn a_frozen_peer_costs_the_others_little_and_fails_nothing() {
    let cluster = Cluster::start(3, Options::default(), Room::alone().await).await;
    let mut clients = Vec::new();
    for node in &cluster.nodes()[..2] {
        clients.push(node.client_with(Duration::from_millis(500)).await);
    }
    let load = Load::start(&clients, LOAD);
    load.wait_for(ACKED_BEFORE).await;
    cluster[2].freeze();
    let frozen_at = Instant::now();
    until("the window is over", 2 * WINDOW, async || {
        match frozen_at.elapsed() {
            elapsed if elapsed > WINDOW => Ok(()),
            elapsed => Err(format!("{elapsed:?}")),
        }
    })
    .await;
    let report = load.finish().await;
    cluster[2].thaw();
    cluster.wait_until_ready().await;
    cluster.wait_until_nothing_is_owed(&[0, 1, 2]).await;

    let within =
        |attempt: &&Attempt| attempt.begun >= frozen_at && attempt.begun < frozen_at + WINDOW;
    let in_window: Vec<&Attempt> = report.attempts.iter().filter(within).collect();
    let failed: Vec<_> = report
        .attempts
        .iter()
        .filter(|one| one.failure.is_some())
        .collect();
    let of = |op: Op| -> Vec<&Attempt> {
        in_window
            .iter()
            .copied()
            .filter(|attempt| attempt.op == op)
            .collect()
    };
    let (reads, writes) = (of(Op::Get), of(Op::Set));
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
    assert!(in_window.len() >= 50, "only {} requests", in_window.len());
    assert!(quantile(&in_window, 0.99) < P99_MAX);
}
