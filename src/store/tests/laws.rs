//! Laws that hold over all inputs, and what callers of any thread may rely on.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn versions() -> impl Strategy<Value = Vec<(usize, Version)>> {
    let version = (1000u64..1100, 1u64..3)
        .prop_map(|(millis, writer)| Version::new(Stamp::new(millis, 0), writer));
    prop::collection::vec((0usize..8, version), 1..40)
}

/// Everything observable, shard count aside.
fn contents(store: &Store) -> (BTreeMap<Vec<u8>, Record>, Vec<u64>, Stats) {
    let records = by_name(store.scan_all(&SlotSet::all(SLOTS), 1000, 0));
    (
        records,
        (0..SLOTS)
            .map(|slot| store.slot_digest(Slot(slot)))
            .collect(),
        store.stats(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_order_and_repetition_of_merges_do_not_matter(
        (merges, again) in versions().prop_flat_map(|merges| {
            let repeated = [merges.clone(), merges.clone()].concat();
            (Just(merges), Just(repeated).prop_shuffle())
        })
    ) {
        let many_shards = Limits { capacity_entries: 1 << 20, ..AMPLE };
        let (one, other) = (Store::new(AMPLE), Store::new(many_shards));
        for (store, merges) in [(&one, merges), (&other, again)] {
            for (id, version) in merges {
                store.merge(&numbered(id), drawn(&numbered(id), version), NOW);
            }
            store.audit();
        }
        prop_assert_eq!(contents(&one), contents(&other));
    }

    #[test]
    fn a_scan_returns_every_record_that_stays(
        stay in prop::collection::btree_set(0usize..200, 0..60),
        churn in prop::collection::vec((200usize..260, any::<bool>()), 0..60),
        bytes_max in 0usize..1500,
        asked in prop::collection::btree_set(0u16..64, 0..40),
    ) {
        let store = Store::new(Limits { capacity_entries: 1 << 20, slots: 64, ..AMPLE });
        let slots: SlotSet = asked.iter().copied().map(Slot).collect();
        for id in &stay {
            store.write(&numbered(*id), if id % 4 == 0 { tombstone(NOW) } else { value(NOW) }, NOW);
        }
        let (mut seen, mut cursor, mut churn) = (BTreeSet::new(), Some(0), churn.into_iter());
        let mut millis = NOW;
        while let Some(from) = cursor {
            let page = store.scan(&slots, from, bytes_max, &Inventory::nothing(), NOW);
            for (key, record) in &page.records {
                prop_assert!(asked.contains(&key.slot(64).0));
                let held = store.peek(key, NOW);
                let expected = match &record.body {
                    Body::Value(_) => Lookup::Hit(record.clone()),
                    Body::Tombstone => Lookup::Miss(Absence::Gone(record.version)),
                };
                prop_assert_eq!(held, expected);
                seen.insert(key.bytes().clone());
            }
            for (id, deleted) in churn.by_ref().take(5) {
                millis += 1;
                let record = if deleted { tombstone(millis) } else { value(millis) };
                store.write(&numbered(id), record, NOW);
            }
            cursor = page.next_cursor;
        }
        for id in stay.into_iter().filter(|id| slots.contains(numbered(*id).slot(64))) {
            prop_assert!(seen.contains(numbered(id).bytes()));
        }
    }

    #[test]
    fn a_copy_of_what_another_store_lacks_makes_both_equal(
        ours in prop::collection::vec((0usize..40, 1u64..5, any::<bool>()), 0..60),
        theirs in prop::collection::vec((0usize..40, 1u64..5, any::<bool>()), 0..60),
        bytes_max in 0usize..1500,
    ) {
        let limits = Limits { capacity_entries: 1 << 20, slots: 8, ..AMPLE };
        let filled = |records: &[(usize, u64, bool)]| {
            let store = Store::new(limits);
            for (id, millis, deleted) in records {
                let record = if *deleted { tombstone(NOW + millis) } else { value(NOW + millis) };
                store.merge(&numbered(*id), record, NOW);
            }
            store
        };
        let (store, source) = (filled(&ours), filled(&theirs));
        let slots = SlotSet::all(8);
        let held = store.held(&slots, usize::MAX).expect("not too many");
        let (mut cursor, mut sent) = (Some(0), 0);
        while let Some(from) = cursor {
            let page = source.scan(&slots, from, bytes_max, &held, NOW);
            for (key, record) in page.records {
                // What is the same on both sides is not sent.
                let same = matches!(store.merge(&key, record, NOW), Applied::Same);
                prop_assert!(!same);
                sent += 1;
            }
            cursor = page.next_cursor;
        }
        prop_assert!(sent <= 40);
        let full = source.scan(&slots, 0, usize::MAX, &Inventory::nothing(), NOW);
        for (key, record) in full.records {
            let again = store.merge(&key, record, NOW);
            prop_assert!(!matches!(again, Applied::Stored { .. }), "{key:?} was left out");
        }
        prop_assert_eq!(store.held(&slots, 0).unwrap_or_default().terms().len(), 0);
    }

    #[test]
    fn limits_hold_over_many_shards(
        ops in prop::collection::vec((0usize..60, 0usize..400, any::<bool>()), 1..150)
    ) {
        let store = sharded(5);
        for (millis, (id, bytes, by_client)) in ops.into_iter().enumerate() {
            let millis = millis as u64;
            let record = if bytes < 40 { tombstone(millis) } else { sized(millis, bytes) };
            if by_client {
                store.write(&padded(id), record, NOW);
            } else {
                store.merge(&padded(id), record, NOW);
            }
            store.audit();
        }
    }
}

#[test]
fn the_higher_version_wins_and_a_resend_changes_nothing() {
    let store = Store::new(AMPLE);
    assert_eq!(
        store.write(&key("a"), value(5), NOW),
        Applied::Stored { replaced: false }
    );
    assert_eq!(store.write(&key("a"), value(5), NOW), Applied::Same);
    assert_eq!(
        store.write(&key("a"), value(4), NOW),
        Applied::Newer {
            version: version(5)
        }
    );
    assert_eq!(
        store.write(&key("a"), value(6), NOW),
        Applied::Stored { replaced: true }
    );
    assert_eq!(store.read(&key("a"), NOW), Lookup::Hit(value(6)));
}

#[test]
fn a_tombstone_refuses_an_older_merge() {
    let store = Store::new(AMPLE);
    store.write(&key("a"), value(1), 10);
    assert_eq!(
        store.write(&key("a"), tombstone(3), 10),
        Applied::Stored { replaced: true }
    );
    assert_eq!(
        store.merge(&key("a"), value(2), 10),
        Applied::Newer {
            version: version(3)
        }
    );
    assert_eq!(store.read(&key("a"), 10), missed(3));
    assert_eq!(
        store.write(&key("a"), tombstone(4), 10),
        Applied::Stored { replaced: false }
    );
    assert_eq!(
        store.write(&key("a"), value(5), 10),
        Applied::Stored { replaced: false }
    );
    assert_eq!(store.stats().tombstones, 0);
}

#[test]
fn clearing_leaves_nothing() {
    let one = TOMBSTONE_OVERHEAD_BYTES + 8;
    let limits = Limits {
        capacity_entries: 1 << 20,
        tombstone_bytes: one,
        slots: 2,
        ..AMPLE
    };
    let store = Store::new(limits);
    for id in 0..20 {
        store.write(&padded(id), expiring(5, 2000), NOW);
        store.write(&padded(id + 100), tombstone(6 + id as u64), NOW);
    }
    store.clear();
    store.audit();
    let Stats {
        entries,
        memory_bytes,
        tombstones,
        tombstone_bytes,
        ..
    } = store.stats();
    assert_eq!(
        (entries, memory_bytes, tombstones, tombstone_bytes),
        (0, 0, 0, 0)
    );
    assert_eq!([0, 1].map(|slot| store.slot_digest(Slot(slot))), [0, 0]);
    assert!(store.scan_all(&SlotSet::all(2), 1000, 0).is_empty());
    assert_eq!(store.expire(u64::MAX, usize::MAX), 0);
    assert_eq!(
        store.write(&padded(0), value(1), NOW),
        Applied::Stored { replaced: false }
    );
}

#[test]
fn looking_ahead_changes_nothing_and_waits_for_nobody() {
    let many_shards = Limits {
        capacity_entries: 1 << 20,
        ..AMPLE
    };
    let store = Store::new(many_shards);
    for id in 0..50 {
        store.write(&numbered(id), value(id as u64 + 1), NOW);
    }
    let before = contents(&store);
    let keys: Vec<Key> = (0..100).map(numbered).collect();
    let held = lock(&store.shards[0]);
    store.look_ahead(keys.iter());
    drop(held);
    store.look_ahead(keys.iter());
    assert_eq!(contents(&store), before);
}

#[test]
fn the_store_does_not_pin_the_buffers_that_records_arrived_in() {
    let store = Store::new(AMPLE);
    let (name, bytes) = (Bytes::from(vec![b'k'; 9]), Bytes::from(vec![b'v'; 9]));
    let record = Record {
        version: version(1),
        expires_at: Some(5000),
        body: Body::Value(Value {
            bytes: bytes.clone(),
            form: Form::Bytes,
        }),
    };
    store.write(&Key::new(name.clone()), record, NOW);
    store.write(&Key::new(name.slice(1..)), tombstone(1), NOW);
    assert!(name.is_unique() && bytes.is_unique());
}

#[test]
fn slots_that_do_not_exist_are_empty() {
    let store = Store::new(AMPLE);
    store.write(&key("a"), value(1), NOW);
    assert_eq!(store.slot_digest(Slot(SLOTS)), 0);
    let unknown: SlotSet = [SLOTS, u16::MAX].into_iter().map(Slot).collect();
    assert_eq!(
        store.scan(&unknown, 0, 1000, &Inventory::nothing(), NOW),
        ScanPage {
            records: vec![],
            traces: Traces::default(),
            next_cursor: None
        }
    );
    assert_eq!(
        store
            .scan(
                &SlotSet::all(SLOTS),
                u64::MAX,
                1000,
                &Inventory::nothing(),
                NOW
            )
            .next_cursor,
        None
    );
}

#[test]
fn a_store_is_shared_between_threads() {
    const fn shared<T: Send + Sync>() {}
    shared::<Store>();
}
