//! A full node evicts what was used least recently, and never holds more than it may.

use shard_cache_client::{CallOptions, Client, Ttl, Value};

use crate::harness::{Cluster, NodeProcess, Options, Room};

const CAPACITY: usize = 100;
const MEMORY_BYTES: usize = 1024 * 1024;
const VALUE_BYTES: usize = 32 * 1024;

#[tokio::test]
async fn the_least_recently_used_entries_go_first() {
    let options = Options::default().setting("server.cache.capacity", CAPACITY);
    let cluster = Cluster::start(1, options, Room::shared().await).await;
    let (node, client) = (&cluster[0], cluster.client(0).await);
    for number in 0..CAPACITY {
        set(&client, number, "v".into()).await;
    }
    assert_eq!(node.figure("shardcache_entries", &[]).await, 100);
    assert_eq!(evicted(node, "capacity").await, 0);
    for number in 0..20 {
        assert!(is_hit(&client, number).await, "nothing is evicted yet");
    }
    for number in CAPACITY..CAPACITY + 50 {
        set(&client, number, "v".into()).await;
        assert!(node.figure("shardcache_entries", &[]).await <= 100);
    }
    assert_eq!(evicted(node, "capacity").await, 50);
    // 0 to 19 were read recently; 20 to 69 were the coldest.
    for number in 0..CAPACITY + 50 {
        let expected = !(20..70).contains(&number);
        assert_eq!(is_hit(&client, number).await, expected, "key {number}");
    }
}

#[tokio::test]
async fn memory_stays_below_its_limit() {
    let options = Options::default()
        .setting("server.cache.max_value_size", "64KiB")
        .setting("server.cache.max_memory", MEMORY_BYTES);
    let cluster = Cluster::start(1, options, Room::shared().await).await;
    let (node, client) = (&cluster[0], cluster.client(0).await);
    let limit = node.figure("shardcache_memory_limit_bytes", &[]).await;
    assert_eq!(usize::try_from(limit), Ok(MEMORY_BYTES));
    let mut most = 0;
    for number in 0..100 {
        set(&client, number, vec![7; VALUE_BYTES].into()).await;
        let used = node.figure("shardcache_memory_used_bytes", &[]).await;
        assert!(used <= limit, "{used} bytes are used of {limit}");
        most = most.max(used);
        assert!(
            is_hit(&client, number).await,
            "what was just written is there"
        );
    }
    assert!(
        most > limit / 2,
        "only {most} bytes of {limit} were ever used"
    );
    let evicted = evicted(node, "memory").await;
    let entries = node.figure("shardcache_entries", &[]).await;
    assert!(
        evicted > 0 && evicted + entries == 100,
        "{evicted} evicted, {entries} left"
    );
}

async fn set(client: &Client, number: usize, value: Value) {
    let key = format!("key-{number}");
    client
        .set(&key, value, Ttl::Never, &CallOptions::default())
        .await
        .expect("a full node evicts");
}

async fn is_hit(client: &Client, number: usize) -> bool {
    let read = client
        .get(&format!("key-{number}"), &CallOptions::default())
        .await;
    read.expect("an answer").hit.is_some()
}

async fn evicted(node: &NodeProcess, reason: &str) -> u64 {
    node.figure("shardcache_evictions_total", &[("reason", reason)])
        .await
}
