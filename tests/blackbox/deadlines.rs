//! Deadlines of callers hold on the whole way.

use std::time::{Duration, Instant};

use shard_cache_client::{CallOptions, ClientError, Ttl, Value};

use crate::harness::{Cluster, Options, Room, http};

const DEADLINE: Duration = Duration::from_millis(400);
/// The node's own deadline, when the caller gives none.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_request_that_has_expired_is_refused_before_any_work() {
    let cluster = Cluster::start(2, Options::default(), Room::shared().await).await;
    let figures = async || {
        let node = &cluster[0];
        let operations = node
            .figure("shardcache_coordinator_operations_total", &[])
            .await;
        (
            operations,
            node.figure("shardcache_replica_requests_total", &[]).await,
        )
    };
    let before = figures().await;
    for method in ["GET", "PUT", "DELETE"] {
        let target = "/v1/keys/key?timeout=0s";
        let answer = http::request(cluster[0].addresses().http, method, target, &[], b"v").await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 504, "{method}");
        assert!(
            answer.text().contains("nothing was done"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(figures().await, before);
    let missing = cluster[1].http("/v1/keys/key").await.expect("an answer");
    assert_eq!(missing.status, 404);
}

#[tokio::test]
async fn the_callers_deadline_holds_when_the_owners_do_not_answer() {
    let options = Options::default()
        .setting(
            "server.limits.request_timeout",
            format!("{}s", REQUEST_TIMEOUT.as_secs()),
        )
        .setting("server.peer.stall_timeout", "30s")
        .setting("server.gossip.profile", "wan");
    let cluster = Cluster::start(3, options, Room::alone().await).await;
    let client = cluster.client(0).await;
    cluster.wait_until_safe().await;
    cluster[1].freeze();
    cluster[2].freeze();
    let call = CallOptions {
        timeout: Some(DEADLINE),
        ..CallOptions::default()
    };
    let begun = Instant::now();
    let read = client.get("key", &call).await;
    let written = client
        .set("key", Value::from("v"), Ttl::Default, &call)
        .await;
    let took = begun.elapsed();
    cluster[1].thaw();
    cluster[2].thaw();
    let told = |error: Option<ClientError>| match error {
        Some(ClientError::DeadlineExceeded { message }) => message,
        other => panic!("{other:?}"),
    };
    // The node's own words: its deadline comes before the caller's library gives up.
    let (read, written) = (told(read.err()), told(written.err()));
    assert!(read.contains("1 of 2 owners had answered"), "{read}");
    assert!(written.contains("1 of 2 owners had stored it"), "{written}");
    println!("two requests with a deadline of {DEADLINE:?} each ended after {took:.1?}");
    assert!(took >= DEADLINE && took < 5 * DEADLINE, "{took:?}");
    // Under way no longer than their callers wait: nothing of them is left.
    cluster.wait_until_ready().await;
}
