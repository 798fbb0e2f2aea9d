//! A node that is told to stop leaves in order.

use std::time::{Duration, Instant};

use shard_cache_client::{CallOptions, ClientError, Consistency, Ttl, Value};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{
    Cluster, NodeProcess, Options, PATIENCE, Room,
    load::{Load, LoadOptions, read_back, some},
    relay::{Cable, relayed_pair},
    until,
};

const ACKED_PER_PHASE: usize = 300;
const LOAD: LoadOptions = LoadOptions {
    writers: 3,
    pause: Duration::from_millis(10),
};
/// As the product documents it.
const UNSAFE_DRAIN: i32 = 3;
/// Writes that are owed to a node that is cut off.
const OWED: usize = 100;
/// A node that did not wait for what it owes would be gone by then: it gives notice for 1 s and lingers for 2 s.
const IMPATIENT: Duration = Duration::from_secs(5);
/// The default of `node.drain_timeout`.
const BOUND: Duration = Duration::from_secs(60);

#[tokio::test]
async fn sigterm_under_load_costs_at_most_one_retry_and_nothing_acknowledged() {
    let mut cluster = Cluster::start(3, Options::default(), Room::alone().await).await;
    // The one that leaves is asked, too.
    let clients = cluster.clients().await;
    let load = Load::start_retrying(&clients, LOAD);
    load.wait_for_more(ACKED_PER_PHASE).await;
    cluster[2].terminate();
    let begun = Instant::now();
    let status = cluster[2].ended(BOUND).await;
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
    cluster[2].restart().await;
    cluster.wait_until_ready().await;
    load.wait_for_more(ACKED_PER_PHASE).await;
    let report = load.finish().await;
    cluster.wait_until_safe().await;
    let lost = read_back(&clients, &report.acked).await;
    let (ok, failed) = report.tally(|_| true);
    let all = ok + failed.len();
    let (at_first, _) = report.tally(|attempt| !attempt.retried);
    println!(
        "SIGTERM to one of three, asked like the others: ended after {took:.1?} with {status}; of {all} requests \
         {at_first} OK at the first try ({:.2} %), {ok} with one retry ({:.3} %); {} writes acknowledged, {} lost",
        100.0 * at_first as f64 / all as f64,
        100.0 * ok as f64 / all as f64,
        report.acked.len(),
        lost.len(),
    );
    assert_eq!(status.code(), Some(0));
    assert!(lost.is_empty(), "{}", some(&lost));
    assert!(report.wrong().is_empty(), "{}", some(&report.wrong()));
    assert!(failed.is_empty(), "{}", some(&failed));

    // One after the other, so that in the end every copy has gone through the one that left, or came back after it.
    for (killed, name) in [(1, "n2"), (0, "n1")] {
        cluster[killed].kill9();
        let others: Vec<usize> = (0..3).filter(|node| *node != killed).collect();
        cluster.wait_until_down(&others, name).await;
        let left: Vec<_> = others.iter().map(|node| clients[*node].clone()).collect();
        let lost = read_back(&left, &report.acked).await;
        println!(
            "once it was back, kill -9 of {name}: {} of {} acknowledged lost",
            lost.len(),
            report.acked.len()
        );
        assert!(lost.is_empty(), "{}", some(&lost));
        cluster[killed].restart().await;
        cluster.wait_until_safe().await;
    }
}

#[tokio::test]
async fn a_node_that_leaves_waits_until_what_it_owes_is_handed_over() {
    let cable = Cable::new();
    // With this profile a node that is cut off stays a member for long enough.
    let settings = [("server.gossip.profile", "wan")];
    let room = Room::shared().await;
    let (mut cluster, _relays) = relayed_pair(room, &cable, &settings).await;
    let client = cluster.client(0).await;
    cable.cut();
    until("the link is given up", PATIENCE, async || {
        let labels = [("to", "open")];
        match cluster[0]
            .metric("shardcache_breaker_transitions_total", &labels)
            .await?
        {
            0 => Err("it is not".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    let one = CallOptions {
        consistency: Consistency::One,
        ..CallOptions::default()
    };
    for number in 0..OWED {
        let (key, value) = (format!("owed-{number}"), Value::from("v"));
        let written = client.set(&key, value, Ttl::Default, &one).await;
        written.expect("one owner is enough");
    }
    let owed = cluster[0].figure("shardcache_hints_pending", &[]).await;
    assert_eq!(owed, OWED as u64);
    assert_eq!(cluster[1].figure("shardcache_entries", &[]).await, 0);

    cluster[0].terminate();
    let told_at = Instant::now();
    until("it has waited", 2 * IMPATIENT, async || {
        match told_at.elapsed() {
            elapsed if elapsed > IMPATIENT => Ok(()),
            elapsed => Err(format!("{elapsed:?}")),
        }
    })
    .await;
    assert!(cluster[0].runs(), "it left without handing over");
    cable.heal();
    let status = cluster[0].ended(BOUND).await;
    println!(
        "{owed} hints owed at SIGTERM: ended after {:.1?} with {status}",
        told_at.elapsed()
    );
    assert_eq!(status.code(), Some(0));
    // Nobody else had them.
    let entries = cluster[1].figure("shardcache_entries", &[]).await;
    assert_eq!(entries, OWED as u64);
}

/// A `PUT` whose body has begun to arrive: it stays in flight for as long as the rest does not come.
async fn begin_put(node: &NodeProcess) -> TcpStream {
    let mut request = TcpStream::connect(node.addresses().http)
        .await
        .expect("a connection");
    request
        .write_all(
            b"PUT /v1/keys/slow HTTP/1.1\r\nhost: n\r\nconnection: close\r\ncontent-length: 2\r\n\r\nv",
        )
        .await
        .expect("it can be sent");
    until("the request is in flight", PATIENCE, async || {
        let labels = [("api", "http")];
        match node
            .metric("shardcache_requests_in_flight", &labels)
            .await?
        {
            1 => Ok(()),
            count => Err(format!("{count} in flight")),
        }
    })
    .await;
    request
}

#[tokio::test]
async fn a_request_in_flight_at_sigterm_is_finished_and_new_ones_are_refused() {
    let mut cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    let client = cluster.client(0).await;
    let mut slow = begin_put(&cluster[0]).await;
    cluster[0].terminate();
    until("new requests are refused", PATIENCE, async || {
        let over_grpc = client.get("another", &CallOptions::default()).await;
        let over_http = cluster[0].http("/v1/keys/another").await?;
        let refused = matches!(
            over_grpc,
            Err(ClientError::Unavailable { .. } | ClientError::Unreachable { .. })
        );
        if refused && over_http.status == 503 && over_http.text().contains("draining") {
            Ok(())
        } else {
            Err(format!("{over_grpc:?}, {}", over_http.text()))
        }
    })
    .await;
    slow.write_all(b"2").await.expect("the rest can be sent");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    let status = cluster[0].ended(PATIENCE).await;
    assert_eq!(status.code(), Some(0));
    let read = cluster[1].http("/v1/keys/slow").await.expect("an answer");
    assert_eq!((read.status, read.body.as_slice()), (200, b"v2".as_slice()));
}

#[tokio::test]
async fn a_drain_ends_at_its_bound_and_says_what_was_left() {
    let bound = Duration::from_secs(5);
    let options = Options::default().setting("node.drain_timeout", "5s");
    let mut cluster = Cluster::start(2, options, Room::shared().await).await;
    let slow = begin_put(&cluster[0]).await;
    let begun = Instant::now();
    cluster[0].terminate();
    let status = cluster[0].ended(PATIENCE).await;
    let took = begun.elapsed();
    println!("a drain that cannot finish: ended after {took:.1?} with {status}");
    assert_eq!(status.code(), Some(UNSAFE_DRAIN));
    assert!(took < bound + Duration::from_secs(2), "{took:?}");
    let log = cluster[0].log();
    assert!(log.contains("1 requests in flight"), "{log}");
    drop(slow);
}

#[tokio::test]
async fn a_node_that_nobody_hears_leaving_ends_at_its_bound_and_says_so() {
    let bound = Duration::from_secs(6);
    let cable = Cable::new();
    let settings = [("node.drain_timeout", "6s")];
    let (mut cluster, _relays) = relayed_pair(Room::shared().await, &cable, &settings).await;
    cable.cut();
    let begun = Instant::now();
    cluster[0].terminate();
    let status = cluster[0].ended(PATIENCE).await;
    let took = begun.elapsed();
    println!("cut off at SIGTERM: ended after {took:.1?} with {status}");
    assert_eq!(status.code(), Some(UNSAFE_DRAIN));
    assert!(took < bound + Duration::from_secs(2), "{took:?}");
    let log = cluster[0].log();
    assert!(log.contains("none of 1 other members has shown"), "{log}");
}

#[tokio::test]
async fn a_second_signal_ends_the_node_at_once() {
    let mut cluster = Cluster::start(2, Options::default(), Room::alone().await).await;
    cluster[0].terminate();
    until("it drains", PATIENCE, async || {
        let health = cluster[0].health().await?;
        match health["status"] == "draining" {
            true => Ok(()),
            false => Err(health.to_string()),
        }
    })
    .await;
    let begun = Instant::now();
    cluster[0].terminate();
    let status = cluster[0].ended(PATIENCE).await;
    let took = begun.elapsed();
    println!("second signal: ended after {took:.1?} with {status}");
    assert_eq!(status.code(), Some(UNSAFE_DRAIN));
    // In order it takes 3 s at least.
    assert!(took < Duration::from_secs(1), "{took:?}");
}
