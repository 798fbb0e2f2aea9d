//! A node that is told to stop leaves in order.

use std::time::{Duration, Instant};

use crate::harness::{
    Cluster, Options, PATIENCE, Room,
    load::{Load, LoadOptions, read_back, some},
    until,
};

const ACKED_PER_PHASE: usize = 300;
const LOAD: LoadOptions = LoadOptions {
    writers: 3,
    pause: Duration::from_millis(10),
};

#[tokio::test]
async fn sigterm_under_load_ends_with_zero_and_loses_nothing() {
    let mut cluster = Cluster::start(3, Options::default(), Room::alone().await).await;
    let clients = [cluster.client(0).await, cluster.client(1).await];
    let load = Load::start(&clients, LOAD);
    load.wait_for_more(ACKED_PER_PHASE).await;
    cluster[2].terminate();
    let begun = Instant::now();
    let status = cluster[2].ended(PATIENCE).await;
    let took = begun.elapsed();
    until("the others go on without it", PATIENCE, async || {
        for node in [&cluster[0], &cluster[1]] {
            let health = node.health().await?;
            if health["status"] != "ok" || health["members_alive"] != 2 {
                return Err(format!("{}: {health}", node.name()));
            }
        }
        Ok(())
    })
    .await;
    load.wait_for_more(ACKED_PER_PHASE).await;
    let report = load.finish().await;
    let lost = read_back(&clients, &report.acked).await;
    let (ok, failed) = report.tally(|_| true);
    println!(
        "SIGTERM to one of three: ended after {took:.1?} with {status}; {ok} of {} requests at the \
         others OK at the first try, {} writes acknowledged, {} lost",
        ok + failed.len(),
        report.acked.len(),
        lost.len(),
    );
    assert_eq!(status.code(), Some(0));
    assert!(lost.is_empty(), "{}", some(&lost));
    assert!(report.wrong().is_empty(), "{}", some(&report.wrong()));
    assert!(
        ok as f64 >= 0.999 * (ok + failed.len()) as f64,
        "{}",
        some(&failed)
    );
}
