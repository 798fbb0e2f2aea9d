//! A node that starts again empty counts as an owner once it has copied what a cover of them holds.

use std::time::Duration;

use shard_cache_client::{CallOptions, Ttl, Value};

use crate::harness::{Cluster, Options, PATIENCE, Room, holds, until};

const KEYS: usize = 200;

async fn set_keys(cluster: &Cluster) {
    let client = cluster.client(0).await;
    for index in 0..KEYS {
        let value = Value::Text(format!("value {index}"));
        client
            .set(
                &format!("key {index}"),
                value,
                Ttl::Never,
                &CallOptions::default(),
            )
            .await
            .expect("all owners are there");
    }
}

async fn assert_keys(cluster: &Cluster, nodes: &[usize]) {
    for &node in nodes {
        let client = cluster.client(node).await;
        for index in 0..KEYS {
            let key = format!("key {index}");
            let read = until(&format!("an answer about {key}"), PATIENCE, async || {
                let read = client.get(&key, &CallOptions::default()).await;
                read.map_err(|error| error.to_string())
            })
            .await;
            let hit = read
                .hit
                .unwrap_or_else(|| panic!("{key} is lost, says node {node}"));
            assert_eq!(hit.value, Value::Text(format!("value {index}")));
        }
    }
}

/// With few slots a node learns of the ring a moment before it knows the other members.
#[tokio::test]
async fn restarting_one_node_after_another_keeps_every_key() {
    let options = Options::default()
        .setting("cluster.slots", 64)
        .setting("server.threads", 2);
    let mut cluster = Cluster::start(3, options, Room::alone().await).await;
    set_keys(&cluster).await;
    for node in [1, 2, 0, 1, 2] {
        cluster[node].kill9();
        cluster[node].restart().await;
        cluster.wait_until_safe().await;
    }
    // What the last restarts copied is all that is left of the keys without this node.
    cluster[0].kill9();
    assert_keys(&cluster, &[1, 2]).await;
}

#[tokio::test]
async fn without_an_owner_that_is_merely_down_a_restarted_one_makes_no_quorum() {
    let mut cluster = Cluster::start(3, Options::default(), Room::alone().await).await;
    set_keys(&cluster).await;
    cluster[2].freeze();
    let frozen = cluster[2].name().to_owned();
    cluster.wait_until_down(&[0, 1], &frozen).await;
    cluster[1].kill9();
    cluster[1].restart().await;
    until(
        "the restarted node is an owner, and has no full copy",
        PATIENCE,
        async || {
            let health = cluster[1].health().await?;
            let reason = health["reason"].as_str().unwrap_or_default();
            if reason.contains("no full copy") {
                Ok(())
            } else {
                Err(health.to_string())
            }
        },
    )
    .await;
    let clients = [cluster.client(0).await, cluster.client(1).await];
    holds(
        "two of three do not answer while one of them is empty",
        Duration::from_secs(2),
        async || {
            for client in &clients {
                let read = client.get("key 7", &CallOptions::default()).await;
                if let Ok(read) = read {
                    return Err(format!("{read:?}"));
                }
            }
            Ok(())
        },
    )
    .await;
    cluster[2].thaw();
    cluster.wait_until_safe().await;
    cluster[0].kill9();
    assert_keys(&cluster, &[1, 2]).await;
}

/// A node that coordinates while it joins owes hints to itself.
#[tokio::test]
async fn what_a_joining_node_owes_itself_does_not_hold_its_drain_up() {
    let mut cluster = Cluster::start(3, Options::default(), Room::alone().await).await;
    set_keys(&cluster).await;
    cluster[1].kill9();
    cluster[1].restart().await;
    let client = cluster[1].client().await;
    until("a write through the joining node", PATIENCE, async || {
        let value = Value::Text("joining".to_owned());
        let written = client
            .set("key", value, Ttl::Never, &CallOptions::default())
            .await;
        written
            .map(|_written| ())
            .map_err(|error| error.to_string())
    })
    .await;
    cluster.wait_until_ready().await;
    cluster[1].terminate();
    let status = cluster[1].ended(Duration::from_secs(9)).await;
    assert_eq!(status.code(), Some(0), "the drain was clean");
}
