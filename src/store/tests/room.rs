//! Limits, recency and eviction.

use super::*;

#[test]
fn a_store_below_its_capacity_evicts_nothing() {
    let store = Store::new(Limits {
        capacity_entries: 10_000,
        memory_bytes: 1 << 30,
        ..AMPLE
    });
    assert!(store.shards.len() > 1);
    for id in 0..10_000 {
        assert_eq!(
            store.write(&numbered(id), value(1), NOW),
            Applied::Stored { replaced: false }
        );
    }
    assert_eq!(
        (store.stats().entries, store.stats().evictions_capacity),
        (10_000, 0)
    );
    for id in 10_000..11_000 {
        store.write(&numbered(id), value(1), NOW);
    }
    assert_eq!(
        (store.stats().entries, store.stats().evictions_capacity),
        (10_000, 1000)
    );
    store.audit();
}

#[test]
fn room_comes_from_other_shards_when_the_own_one_is_empty() {
    let store = sharded(3);
    assert_eq!(store.shards.len(), SHARDS_MAX);
    for id in 0..200 {
        assert_eq!(
            store.write(&padded(id), value(1), NOW),
            Applied::Stored { replaced: false }
        );
        assert!(matches!(store.peek(&padded(id), NOW), Lookup::Hit(_)));
    }
    assert_eq!(
        (store.stats().entries, store.stats().evictions_memory),
        (3, 197)
    );
    store.audit();
}

#[test]
fn a_value_larger_than_the_store_is_refused_and_evicts_only_what_it_supersedes() {
    let store = Store::new(Limits {
        memory_bytes: 1000,
        ..AMPLE
    });
    store.write(&key("a"), value(1), NOW);
    store.write(&key("b"), value(1), NOW);
    assert_eq!(store.write(&key("a"), sized(2, 2000), NOW), Applied::Full);
    assert_eq!(store.peek(&key("a"), NOW), NOTHING);
    assert_eq!(store.peek(&key("b"), NOW), Lookup::Hit(value(1)));
    store.audit();
}

#[test]
fn a_store_without_capacity_holds_nothing_and_says_so() {
    let store = Store::new(Limits {
        capacity_entries: 0,
        ..AMPLE
    });
    assert_eq!(store.write(&key("a"), value(1), NOW), Applied::Full);
    assert_eq!(store.merge(&key("a"), value(2), NOW), Applied::Full);
    store.audit();
}

#[test]
fn reads_keep_a_value_and_peeks_do_not() {
    for (is_read, survivor) in [(true, "a"), (false, "b")] {
        let store = Store::new(Limits {
            capacity_entries: 2,
            ..AMPLE
        });
        store.write(&key("a"), value(1), NOW);
        store.write(&key("b"), value(1), NOW);
        let lookup = if is_read {
            store.read(&key("a"), NOW)
        } else {
            store.peek(&key("a"), NOW)
        };
        assert_eq!(lookup, Lookup::Hit(value(1)));
        store.write(&key("c"), value(1), NOW);
        assert_eq!(store.peek(&key(survivor), NOW), Lookup::Hit(value(1)));
        assert_eq!(store.stats().entries, 2);
    }
}

#[test]
fn a_merged_value_is_the_first_to_go() {
    let store = Store::new(Limits {
        capacity_entries: 2,
        ..AMPLE
    });
    store.write(&key("client"), value(1), NOW);
    store.merge(&key("merged"), value(1), NOW);
    store.write(&key("next"), value(1), NOW);
    assert_eq!(store.peek(&key("merged"), NOW), NOTHING);
    assert_eq!(store.peek(&key("client"), NOW), Lookup::Hit(value(1)));
}

#[test]
fn a_merge_into_a_full_store_evicts_nothing() {
    let store = Store::new(Limits {
        capacity_entries: 1,
        ..AMPLE
    });
    store.write(&key("a"), value(1), NOW);
    assert_eq!(store.merge(&key("b"), value(9), NOW), Applied::Full);
    assert_eq!(store.peek(&key("a"), NOW), Lookup::Hit(value(1)));
    assert_eq!(
        store.merge(&key("a"), value(2), NOW),
        Applied::Stored { replaced: true }
    );
}

#[test]
fn a_merge_that_does_not_fit_leaves_no_superseded_value_behind() {
    let memory_bytes = 2 * (1 + 5 + ENTRY_OVERHEAD_BYTES);
    let store = Store::new(Limits {
        memory_bytes,
        ..AMPLE
    });
    store.write(&key("a"), value(1), NOW);
    store.write(&key("b"), value(1), NOW);
    assert_eq!(store.merge(&key("a"), sized(2, 50), NOW), Applied::Full);
    assert_eq!(store.peek(&key("a"), NOW), NOTHING);
    assert_eq!(store.peek(&key("b"), NOW), Lookup::Hit(value(1)));
}
