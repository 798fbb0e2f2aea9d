//! A cluster whose working set is twice its room, with repair on: it serves as much as one cache of the same room would, and
//! repair does not fight eviction.

use std::num::NonZeroUsize;

use lru::LruCache;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use shard_cache_client::{CallOptions, Ttl, Value};

use crate::harness::{Cluster, Options, Room};

/// Entries of a node. Three nodes and three owners: each has every key.
const CAPACITY: usize = 1_000;
const KEYS: usize = 2 * CAPACITY;
const VALUE_BYTES: usize = 200;
/// Before anything counts, and what counts.
const WARM: usize = 4_000;
const OPERATIONS: usize = 12_000;
/// How much worse than one least-recently-used cache of the same capacity, of all reads.
const WORSE_MAX: f64 = 0.02;
/// What repair may copy, of what clients read and write.
const REPAIR_SHARE_MAX: f64 = 0.05;

#[tokio::test]
async fn repair_does_not_fight_eviction() {
    let options = Options::default()
        .setting("server.cache.capacity", CAPACITY)
        // Thirty times as often as usual.
        .setting("repair.interval", "2s");
    let cluster = Cluster::start(3, options, Room::shared().await).await;
    let clients = cluster.clients().await;
    let mut twin = LruCache::new(NonZeroUsize::new(CAPACITY).expect("more than none"));
    let mut rng = StdRng::seed_from_u64(1);
    let (mut hits, mut twin_hits, mut bytes) = (0, 0, 0);
    for number in 0..WARM + OPERATIONS {
        // The square makes some keys far more popular than others.
        let place = rng.random_range(0.0..1.0_f64);
        let key = (place * place * KEYS as f64) as usize;
        let is_twin_hit = twin.get(&key).is_some();
        twin.put(key, ());
        let (client, name) = (&clients[number % clients.len()], format!("key-{key}"));
        let call = CallOptions::default();
        let read = client.get(&name, &call).await.expect("an answer");
        bytes += name.len() + VALUE_BYTES;
        if read.hit.is_none() {
            let value = Value::from("v".repeat(VALUE_BYTES).as_str());
            let set = client.set(&name, value, Ttl::Never, &call).await;
            set.expect("an answer");
            bytes += name.len() + VALUE_BYTES;
        }
        if number >= WARM {
            hits += usize::from(read.hit.is_some());
            twin_hits += usize::from(is_twin_hit);
        }
    }
    let nodes = [0, 1, 2];
    let evicted = cluster.sum(&nodes, "shardcache_evictions_total", &[]).await;
    assert!(evicted > 1_000, "only {evicted} evictions");
    let compared = cluster
        .sum(&nodes, "shardcache_repair_slots_compared_total", &[])
        .await;
    assert!(compared > 0, "repair was on");
    let share = |count: usize| count as f64 / OPERATIONS as f64;
    let repaired = cluster
        .sum(&nodes, "shardcache_repair_bytes_total", &[])
        .await;
    let repair_share = repaired as f64 / bytes as f64;
    println!(
        "hits {:.4}, one cache of {CAPACITY} entries {:.4}; {evicted} evictions; {repaired} bytes repaired, {:.4} of {bytes}",
        share(hits),
        share(twin_hits),
        repair_share
    );
    assert!(
        share(hits) >= share(twin_hits) - WORSE_MAX,
        "{} hits, {} in one cache",
        share(hits),
        share(twin_hits)
    );
    assert!(repair_share <= REPAIR_SHARE_MAX, "{repair_share}");
}
