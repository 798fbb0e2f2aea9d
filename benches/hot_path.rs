//! The parts on the way of a request, one by one: store, ring, version, codec; and a quorum Set over the links of three
//! nodes in this process. `make bench` runs them; a name behind it runs those that contain it.

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use futures_util::future::join_all;
use prost::Message as _;
use shard_cache::{
    coordinator::{Consistency, Degrade, Detail, SetRequest, Terms, Ttl},
    key::Key,
    ring::{Bootstrap, Ring, RingMember, Shape, zone::ZonedMember},
    store::{Body, Form, Limits, Record, Store, Value},
    version::{HybridClock, Stamp, Version},
};
use shard_cache_membership::identity::{BootId, NodeId};
use shard_cache_proto::peer;

#[allow(
    dead_code,
    reason = "its caller is for what is measured through the client port"
)]
#[path = "../tests/inproc/mod.rs"]
mod inproc;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const KEYS: u64 = 100_000;
/// Requests under way at once.
const TOGETHER: u64 = 16;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    store(&mut criterion);
    ring(&mut criterion);
    version(&mut criterion);
    codec(&mut criterion);
    link(&mut criterion);
    criterion.final_summary();
}

fn key(number: u64) -> Key {
    Key::new(Bytes::from(format!("key-{number:028}")))
}

fn value() -> Value {
    Value {
        bytes: Bytes::from_static(&[7; 100]),
        form: Form::Bytes,
    }
}

fn record(stamp: u64, expires_at: Option<u64>) -> Record {
    Record {
        version: Version::new(Stamp::from_raw(stamp), 1),
        expires_at,
        body: Body::Value(value()),
    }
}

/// A key of many, other than the one before.
fn scattered(number: &mut u64) -> usize {
    *number = number
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    usize::try_from((*number >> 33) % KEYS).unwrap_or_default()
}

fn store(criterion: &mut Criterion) {
    let keys: Vec<Key> = (0..KEYS).map(key).collect();
    let limits = Limits {
        capacity_entries: 1 << 20,
        memory_bytes: 1 << 30,
        tombstone_bytes: 1 << 20,
        tombstone_life_millis: 1 << 40,
        ghosts: 1 << 16,
        slots: 16384,
    };
    for (name, expires) in [("lasting", false), ("expiring", true)] {
        let store = Store::new(limits);
        let (mut stamp, mut number) = (0, 1);
        let mut write = |key: &Key| {
            stamp += 1;
            store.write(key, record(stamp, expires.then_some((1 << 40) + stamp)), 0)
        };
        for key in &keys {
            write(key);
        }
        criterion.bench_function(&format!("store: overwrite, {name}"), |bencher| {
            bencher.iter(|| write(&keys[scattered(&mut number)]));
        });
        criterion.bench_function(&format!("store: read, {name}"), |bencher| {
            bencher.iter(|| store.read(&keys[scattered(&mut number)], 0));
        });
    }
    let small = Store::new(Limits {
        capacity_entries: 50_000,
        ..limits
    });
    let (mut stamp, mut number) = (0, 0);
    criterion.bench_function("store: insert and evict", |bencher| {
        bencher.iter_batched(
            || {
                number += 1;
                key(number)
            },
            |key| {
                stamp += 1;
                small.write(&key, record(stamp, Some((1 << 40) + stamp)), 0)
            },
            BatchSize::SmallInput,
        );
    });
}

fn ring(criterion: &mut Criterion) {
    let keys: Vec<Key> = (0..1024).map(key).collect();
    for members in [3u64, 100, 1000] {
        let zoned = (1..=members).map(|number| ZonedMember {
            member: RingMember {
                node_id: NodeId(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                boot_id: BootId(number),
            },
            zone: None,
        });
        let shape = Shape {
            slots: 16384,
            replication_factor: 3,
        };
        let bootstrap = Bootstrap {
            formed_millis: 1,
            former: BootId(1),
        };
        let ring = Ring::build(shape, bootstrap, zoned.collect());
        let mut next = 0;
        criterion.bench_function(&format!("ring: owners among {members}"), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % keys.len();
                let owners = ring.owners(ring.slot(&keys[next]));
                owners
                    .iter()
                    .map(|owner| owner.node_id.0)
                    .fold(0, u64::wrapping_add)
            });
        });
    }
}

fn version(criterion: &mut Criterion) {
    let clock = HybridClock::new();
    criterion.bench_function("version: stamp", |bencher| {
        bencher.iter(|| clock.stamp(black_box(1_800_000_000_000)));
    });
    criterion.bench_function("version: observe", |bencher| {
        bencher.iter(|| {
            clock.observe(
                black_box(Stamp::new(1_700_000_000_000, 1)),
                1_800_000_000_000,
            )
        });
    });
}

fn codec(criterion: &mut Criterion) {
    let batch = peer::Batch {
        sender: 1,
        receiver: 2,
        clock: 3,
        operations: (0..TOGETHER).map(operation).collect(),
    };
    let encoded = Bytes::from(batch.encode_to_vec());
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(TOGETHER));
    group.bench_function("encode a batch", |bencher| {
        bencher.iter(|| batch.encode_to_vec());
    });
    group.bench_function("decode a batch", |bencher| {
        bencher.iter(|| peer::Batch::decode(encoded.clone()));
    });
    group.finish();
}

fn operation(number: u64) -> peer::Operation {
    let write = peer::Write {
        key: key(number).bytes().clone(),
        record: Some(peer::Record {
            stamp: number,
            writer: 1,
            expires_at: 1 << 41,
            kind: peer::record::Kind::Bytes.into(),
            value: value().bytes,
        }),
        write_back: false,
    };
    peer::Operation {
        token: number,
        slot: 1,
        configuration: Some(peer::Configuration {
            root: 1,
            number: 1,
            owners: 1,
        }),
        budget_micros: 500_000,
        trace_context: Bytes::new(),
        kind: Some(peer::operation::Kind::Write(write)),
    }
}

/// Set at a coordinator, without its front: its links, two replicas, and its own.
fn link(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    let mut group = criterion.benchmark_group("peer link");
    for kind in ["frames", "stream", "unary"] {
        let link = ("SHARD_CACHE__SERVER__PEER__LINK", kind);
        let nodes = runtime.block_on(inproc::start(&[link]));
        let coordinator = nodes[0].coordinator();
        let set = |number| {
            coordinator.set(SetRequest {
                key: key(number),
                value: value(),
                ttl: Ttl::Default,
                terms: Terms {
                    consistency: Consistency::Quorum,
                    degrade: Degrade::Refuse,
                    arrived: Duration::ZERO,
                    deadline: Duration::from_secs(1 << 30),
                    detail: Detail::Answer,
                },
                trace: None,
            })
        };
        for together in [1, TOGETHER] {
            group.throughput(Throughput::Elements(together));
            group.bench_function(format!("{kind}, {together} Sets at once"), |bencher| {
                bencher.iter(|| {
                    for written in runtime.block_on(join_all((0..together).map(set))) {
                        written.expect("a quorum stored it");
                    }
                });
            });
        }
    }
    group.finish();
}
