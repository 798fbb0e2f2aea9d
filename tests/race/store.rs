//! The store under concurrent use: limits hold at every moment, and at the end the totals and
//! digests are exactly those of what is held.

use crate::{
    key::{Key, Slot},
    store::{
        Applied, Body, ENTRY_OVERHEAD_BYTES, Form, Inventory, Limits, Lookup, Record, SlotSet,
        Store, TOMBSTONE_OVERHEAD_BYTES, Value,
    },
    version::{Stamp, Version},
};
use bytes::Bytes;
use shuttle::{sync::Arc, thread};

const ITERATIONS: usize = 300;
/// How many preemptions the probabilistic scheduler places.
const DEPTH: usize = 3;
const SLOTS: u16 = 4;
const NOW: u64 = 1000;
const KEY_BYTES: usize = 2;
const VALUE_BYTES: usize = 8;
const ENTRY_BYTES: usize = KEY_BYTES + VALUE_BYTES + ENTRY_OVERHEAD_BYTES;
const TOMBSTONE_BYTES: usize = KEY_BYTES + TOMBSTONE_OVERHEAD_BYTES;

/// One shard.
const SMALL: Limits = Limits {
    capacity_entries: 2,
    memory_bytes: 1 << 20,
    tombstone_bytes: 1 << 20,
    tombstone_life_millis: 1 << 40,
    ghosts: 100,
    slots: SLOTS,
};

/// A shard per slot; room for two entries over all of them.
const SHARDED: Limits = Limits {
    capacity_entries: 1 << 20,
    memory_bytes: 2 * ENTRY_BYTES,
    ..SMALL
};

fn check(model: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(model.clone(), ITERATIONS);
    shuttle::check_pct(model, ITERATIONS, DEPTH);
}

/// What one thread does.
type Operation = Box<dyn FnOnce(&Store) + Send>;

/// Runs the operations, one thread each, and waits for all.
fn concurrently(store: &Arc<Store>, operations: Vec<Operation>) {
    let start = |operation: Operation| {
        let store = Arc::clone(store);
        thread::spawn(move || operation(&store))
    };
    let threads: Vec<_> = operations.into_iter().map(start).collect();
    for thread in threads {
        thread.join().expect("an operation panicked");
    }
}

fn key(number: usize) -> Key {
    Key::new(Bytes::from(format!("{number:02}")))
}

fn version(millis: u64) -> Version {
    Version::new(Stamp::new(millis, 0), 1)
}

/// A value that tells its version.
fn value(millis: u64) -> Record {
    let bytes = Bytes::copy_from_slice(&millis.to_le_bytes());
    let body = Body::Value(Value {
        bytes,
        form: Form::Bytes,
    });
    Record {
        version: version(millis),
        expires_at: None,
        body,
    }
}

fn tombstone(millis: u64) -> Record {
    Record {
        version: version(millis),
        expires_at: None,
        body: Body::Tombstone,
    }
}

fn contents(store: &Store) -> Vec<(Key, Record)> {
    let nothing = Inventory::nothing();
    let page = store.scan(&SlotSet::all(SLOTS), 0, usize::MAX, &nothing, 0);
    page.records
}

/// Nothing is in flight: the totals and digests are those of the contents.
fn assert_settled(store: &Store, limits: Limits) {
    let records = contents(store);
    let is_tombstone = |(_, record): &&(Key, Record)| record.body == Body::Tombstone;
    let tombstones = records.iter().filter(is_tombstone).count();
    let entries = records.len() - tombstones;
    let stats = store.stats();
    assert_eq!(
        (stats.entries, stats.memory_bytes),
        (entries, entries * ENTRY_BYTES)
    );
    assert_eq!(
        (stats.tombstones, stats.tombstone_bytes),
        (tombstones, tombstones * TOMBSTONE_BYTES)
    );
    assert!(stats.entries <= limits.capacity_entries);
    assert!(stats.memory_bytes <= limits.memory_bytes);
    assert!(stats.tombstone_bytes <= limits.tombstone_bytes);

    let ample = Limits {
        memory_bytes: 1 << 20,
        tombstone_bytes: 1 << 20,
        ..limits
    };
    let copy = Store::new(ample);
    for (key, record) in records {
        copy.merge(&key, record, NOW);
    }
    for slot in (0..SLOTS).map(Slot) {
        assert_eq!(store.slot_digest(slot), copy.slot_digest(slot));
    }
}

#[test]
fn concurrent_writes_of_one_key_end_with_the_highest_version() {
    check(|| {
        let store = Arc::new(Store::new(SMALL));
        let write = |record: Record| -> Operation {
            Box::new(move |store| {
                let is_highest = record.version == version(4);
                let applied = store.write(&key(1), record, NOW);
                assert!(!is_highest || matches!(applied, Applied::Stored { .. }));
            })
        };
        let records = [value(4), value(2), tombstone(3)];
        concurrently(&store, records.into_iter().map(write).collect());
        assert_eq!(store.peek(&key(1), NOW), Lookup::Hit(value(4)));
        assert_settled(&store, SMALL);
    });
}

#[test]
fn totals_never_exceed_the_limits_and_end_as_the_contents() {
    for limits in [SMALL, SHARDED] {
        check(move || {
            let store = Arc::new(Store::new(limits));
            let mut operations: Vec<Operation> = Vec::new();
            for thread in 0..3 {
                operations.push(Box::new(move |store| {
                    for number in [thread, thread + 3, 1] {
                        let millis = (10 * thread + number + 1) as u64;
                        store.write(&key(number), value(millis), NOW);
                        let stats = store.stats();
                        assert!(stats.entries <= limits.capacity_entries);
                        assert!(stats.memory_bytes <= limits.memory_bytes);
                    }
                }));
            }
            operations.push(Box::new(|store| {
                store.merge(&key(7), value(1), NOW);
                store.merge(&key(1), value(90), NOW);
            }));
            concurrently(&store, operations);
            assert_settled(&store, limits);
        });
    }
}

#[test]
fn a_store_below_its_limits_evicts_nothing_however_writes_interleave() {
    check(|| {
        let store = Arc::new(Store::new(SHARDED));
        let write = |number: usize| -> Operation {
            Box::new(move |store| {
                let stored = Applied::Stored { replaced: false };
                assert_eq!(store.write(&key(number), value(1), NOW), stored);
                let stored = Applied::Stored { replaced: true };
                assert_eq!(store.write(&key(number), value(2), NOW), stored);
            })
        };
        concurrently(&store, vec![write(1), write(2)]);
        assert_eq!(
            (store.stats().entries, store.stats().evictions_memory),
            (2, 0)
        );
        assert_settled(&store, SHARDED);
    });
}

#[test]
fn a_read_during_eviction_finds_the_value_or_nothing() {
    check(|| {
        let store = Arc::new(Store::new(SMALL));
        store.write(&key(1), value(1), NOW);
        store.write(&key(2), value(2), NOW);
        concurrently(
            &store,
            vec![
                Box::new(|store| {
                    for _ in 0..3 {
                        match store.read(&key(1), NOW) {
                            Lookup::Hit(record) => assert_eq!(record, value(1)),
                            Lookup::Miss(absence) => {
                                assert_eq!(absence.version(), Some(version(1)));
                            }
                        }
                    }
                }),
                Box::new(|store| {
                    for number in 3..6 {
                        store.write(&key(number), value(number as u64), NOW);
                    }
                }),
            ],
        );
        assert_settled(&store, SMALL);
    });
}

#[test]
fn concurrent_deletes_above_the_tombstone_cap_forget_no_delete() {
    for limits in [SMALL, SHARDED] {
        let limits = Limits {
            tombstone_bytes: 2 * TOMBSTONE_BYTES,
            ..limits
        };
        check(move || {
            let store = Arc::new(Store::new(limits));
            let delete = |thread: usize| -> Operation {
                Box::new(move |store| {
                    for number in [thread, thread + 3] {
                        store.write(&key(number), value(1 + number as u64), NOW);
                        store.write(&key(number), tombstone(20 + number as u64), NOW);
                    }
                })
            };
            concurrently(&store, (0..3).map(delete).collect());
            for number in 0..6 {
                match store.peek(&key(number), NOW) {
                    Lookup::Hit(record) => panic!("a deleted value is served: {record:?}"),
                    Lookup::Miss(absence) => {
                        // A delete that came after its slot's floor had risen past it was refused
                        // as too old.
                        assert!(absence.version() >= Some(version(20 + number as u64)));
                    }
                }
            }
            while store.expire(0, usize::MAX) > 0 {}
            assert_settled(&store, limits);
        });
    }
}

#[test]
fn a_merge_without_room_takes_no_newer_write_with_it() {
    check(|| {
        let store = Arc::new(Store::new(SMALL));
        store.write(&key(1), value(1), NOW);
        store.write(&key(2), value(2), NOW);
        let merge: Operation = Box::new(|store| {
            store.merge(&key(3), value(3), NOW);
        });
        let write: Operation = Box::new(|store| {
            let applied = store.write(&key(3), value(4), NOW);
            assert!(matches!(applied, Applied::Stored { .. }));
        });
        concurrently(&store, vec![merge, write]);
        assert_eq!(store.peek(&key(3), NOW), Lookup::Hit(value(4)));
        assert_settled(&store, SMALL);
    });
}

#[test]
fn deletes_below_the_tombstone_cap_are_counted_and_raise_no_floor() {
    let limits = Limits {
        tombstone_bytes: 2 * TOMBSTONE_BYTES,
        ..SMALL
    };
    check(move || {
        let store = Arc::new(Store::new(limits));
        let apply = |number: usize, record: Record| -> Operation {
            Box::new(move |store| {
                store.write(&key(number), record, NOW);
                assert!(
                    store.stats().tombstones <= 2,
                    "no more than the keys deleted"
                );
            })
        };
        let operations = vec![
            apply(1, tombstone(1)),
            apply(1, value(2)),
            apply(2, tombstone(3)),
        ];
        concurrently(&store, operations);
        assert_eq!(store.stats().floors_raised, 0);
        assert_settled(&store, limits);
    });
}

#[test]
fn expiry_and_discard_beside_writes_leave_exact_totals() {
    check(|| {
        let store = Arc::new(Store::new(SHARDED));
        for number in 0..2 {
            let record = Record {
                expires_at: Some(500),
                ..value(1)
            };
            store.write(&key(number), record, 0);
        }
        concurrently(
            &store,
            vec![
                Box::new(|store| {
                    store.expire(NOW, 1);
                    store.expire(NOW, usize::MAX);
                }),
                Box::new(|store| {
                    for number in 0..3 {
                        store.write(&key(number), value(2), NOW);
                    }
                    store.write(&key(0), tombstone(3), NOW);
                }),
                Box::new(Store::clear),
            ],
        );
        store.expire(NOW, usize::MAX);
        assert_settled(&store, SHARDED);
        store.clear();
        assert_eq!((store.stats().entries, store.stats().memory_bytes), (0, 0));
        assert_eq!(
            (store.stats().tombstones, store.stats().tombstone_bytes),
            (0, 0)
        );
    });
}

#[test]
fn a_store_that_shrinks_while_it_is_written_to_ends_within_what_is_allowed() {
    check(|| {
        let store = Arc::new(Store::new(SHARDED));
        store.write(&key(1), value(1), NOW);
        store.write(&key(2), value(1), NOW);
        let write = |number: usize| -> Operation {
            Box::new(move |store| {
                store.write(&key(number), value(2), NOW);
                assert!(store.stats().memory_bytes <= SHARDED.memory_bytes);
            })
        };
        let shrink: Operation = Box::new(|store| {
            store.allow_bytes(ENTRY_BYTES);
            store.shrink(4);
        });
        concurrently(&store, vec![write(3), shrink, write(4)]);
        store.shrink(4);
        assert!(store.stats().memory_bytes <= ENTRY_BYTES);
        assert_settled(&store, SHARDED);
    });
}
