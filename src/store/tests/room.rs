//! Limits, recency and eviction.

use std::collections::BTreeSet;

use super::*;

#[test]
fn a_store_below_its_capacity_evicts_nothing() {
    let store = Store::new(Limits {
        capacity_entries: 10_000,
        memory_bytes: 1 << 30,
        ghosts: 10_000,
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
    assert_eq!(store.peek(&key("a"), NOW), haunted(2));
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
    assert_eq!(store.peek(&key("merged"), NOW), haunted(1));
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
    assert_eq!(store.peek(&key("a"), NOW), haunted(2));
    assert_eq!(store.peek(&key("b"), NOW), Lookup::Hit(value(1)));
}

#[test]
fn what_was_evicted_comes_back_for_a_client_and_for_nobody_else() {
    let store = Store::new(Limits {
        capacity_entries: 1,
        ..AMPLE
    });
    store.write(&key("a"), value(5), NOW);
    store.write(&key("b"), value(6), NOW);
    assert_eq!(store.peek(&key("a"), NOW), haunted(5));
    assert_eq!(store.merge(&key("a"), value(5), NOW), Applied::Refused);
    let older = Applied::Newer {
        version: version(5),
    };
    assert_eq!(store.merge(&key("a"), value(4), NOW), older);
    assert_eq!(store.write(&key("a"), value(4), NOW), older);
    assert_eq!(
        store.write(&key("a"), value(5), NOW),
        Applied::Stored { replaced: false }
    );
    assert_eq!(store.peek(&key("a"), NOW), Lookup::Hit(value(5)));
    assert_eq!(store.peek(&key("b"), NOW), haunted(6));
    assert_eq!(store.ghosts(), 1);
}

#[test]
fn beyond_the_limit_a_key_without_a_trace_may_have_had_any_older_value() {
    let store = Store::new(Limits {
        capacity_entries: 1,
        ghosts: 1,
        slots: 1,
        ..AMPLE
    });
    for (name, millis) in [("a", 5), ("b", 6), ("c", 7)] {
        store.write(&key(name), value(millis), NOW);
    }
    let unsure = Lookup::Miss(Absence::Unsure(version(5)));
    assert_eq!(store.peek(&key("a"), NOW), unsure);
    assert_eq!(store.peek(&key("never"), NOW), unsure);
    assert_eq!(store.peek(&key("b"), NOW), haunted(6));
    assert_eq!(store.merge(&key("never"), value(5), NOW), Applied::Refused);
    assert_eq!(store.stats().ghosts_forgotten, 1);
    let newer = Applied::Newer {
        version: version(5),
    };
    assert_eq!(store.write(&key("never"), value(5), NOW), newer);
}

#[test]
fn what_another_store_knows_to_be_gone_is_gone_here_and_what_it_gave_up_may_stay() {
    let (store, other) = (
        Store::new(AMPLE),
        Store::new(Limits {
            capacity_entries: 2,
            ..AMPLE
        }),
    );
    for (name, theirs, ours) in [("stale", 5, 4), ("same", 6, 6), ("newer", 7, 8)] {
        other.write(&key(name), value(theirs), NOW);
        store.write(&key(name), value(ours), NOW);
    }
    for name in ["filler", "more", "most"] {
        other.write(&key(name), value(9), NOW);
    }
    let page = other.scan(&SlotSet::all(SLOTS), 0, 1 << 20, &Inventory::nothing(), NOW);
    assert!(page.traces.ghosts.len() >= 3);
    store.take_traces(&page.traces, |_slot, _version| true);
    assert_eq!(store.peek(&key("stale"), NOW), haunted(5));
    assert_eq!(store.peek(&key("same"), NOW), Lookup::Hit(value(6)));
    assert_eq!(store.peek(&key("newer"), NOW), Lookup::Hit(value(8)));
    // Another owner's copy of what it gave up is as good as any.
    assert_eq!(
        store.merge(&key("stale"), value(5), NOW),
        Applied::Stored { replaced: false }
    );
    store.audit();
    // What is held here, ghosts included, is not sent again.
    let held = store
        .held(&SlotSet::all(SLOTS), usize::MAX)
        .expect("not too many");
    let page = other.scan(&SlotSet::all(SLOTS), 0, 1 << 20, &held, NOW);
    let sent = page.traces.ghosts.iter().map(|(_, version)| *version);
    assert!(!sent.into_iter().any(|sent| sent == version(6)));
}

#[test]
fn what_has_expired_and_was_not_removed_yet_travels_as_a_ghost() {
    let (store, other) = (Store::new(AMPLE), Store::new(AMPLE));
    other.write(&key("a"), expiring(6, NOW + 1), NOW);
    let page = other.scan(
        &SlotSet::all(SLOTS),
        0,
        1 << 20,
        &Inventory::nothing(),
        NOW + 1,
    );
    assert_eq!(page.records, []);
    store.take_traces(&page.traces, |_slot, _version| true);
    // A third owner has missed it.
    store.take_over(&key("a"), value(5), NOW + 1);
    assert_eq!(store.peek(&key("a"), NOW + 1), haunted(6));
}

#[test]
fn a_page_of_nothing_but_what_has_expired_is_bounded_and_moves_on() {
    let store = Store::new(AMPLE);
    for id in 0..100 {
        store.write(&numbered(id), expiring(6, NOW + 1), NOW);
    }
    let (mut cursor, mut pages, mut ghosts) = (Some(0), 0, 0);
    while let Some(from) = cursor {
        let held = Inventory::nothing();
        let page = store.scan(&SlotSet::all(SLOTS), from, 240, &held, NOW + 1);
        assert!(page.traces.ghosts.len() <= 10, "24 bytes each");
        ghosts += page.traces.ghosts.len();
        pages += 1;
        cursor = page.next_cursor;
    }
    assert_eq!(ghosts, 100);
    assert!(pages >= 10, "{pages}");
}

#[test]
fn a_slot_without_records_is_not_like_an_empty_one_if_it_has_traces() {
    let summary = |store: &Store| store.slot_summary(key("a").slot(SLOTS));
    let store = Store::new(AMPLE);
    assert_eq!(summary(&store), 0);
    store.write(&key("a"), expiring(6, NOW + 1), NOW);
    let held = summary(&store);
    assert_eq!(store.expire(NOW + 1, usize::MAX), 1);
    let ghost = summary(&store);
    let forgetful = Store::new(Limits { ghosts: 0, ..AMPLE });
    forgetful.write(&key("a"), expiring(6, NOW + 1), NOW);
    assert_eq!(forgetful.expire(NOW + 1, usize::MAX), 1);
    let mark = summary(&forgetful);
    let all = [0, held, ghost, mark];
    assert_eq!(BTreeSet::from(all).len(), all.len(), "{all:?}");
    assert_eq!(store.slot_digest(key("a").slot(SLOTS)), 0);
}

#[test]
fn floors_and_marks_travel() {
    let (store, other) = (
        Store::new(AMPLE),
        Store::new(Limits {
            tombstone_bytes: TOMBSTONE_OVERHEAD_BYTES + 8,
            ..AMPLE
        }),
    );
    for millis in 801..830 {
        other.write(&numbered(millis as usize), tombstone(millis), NOW);
    }
    store.write(&key("old"), value(3), NOW);
    let page = other.scan(&SlotSet::all(SLOTS), 0, 1 << 20, &Inventory::nothing(), NOW);
    assert!(page.traces.floors.len() > 1);
    store.take_traces(&page.traces, |slot, _version| {
        slot != key("old").slot(SLOTS)
    });
    assert_eq!(store.peek(&key("old"), NOW), Lookup::Hit(value(3)));
    store.take_traces(&page.traces, |_slot, _version| true);
    assert!(matches!(store.peek(&key("old"), NOW), Lookup::Miss(_)));
    store.audit();
}

#[test]
fn a_store_that_is_allowed_less_shrinks_in_steps_by_its_coldest_values() {
    let store = sharded(400);
    for id in 0..400 {
        store.write(&padded(id), value(1), NOW);
    }
    let limit = store.allowed_bytes();
    store.allow_bytes(limit / 2);
    assert_eq!(store.stats().entries, 400, "nothing goes by itself");
    assert_eq!(store.shrink(150), 150);
    assert_eq!(store.stats().entries, 250);
    assert_eq!(store.shrink(150), 50, "no more than needed");
    assert_eq!(store.shrink(150), 0);
    let stats = store.stats();
    assert_eq!((stats.entries, stats.evictions_memory), (200, 200));
    assert!(stats.memory_bytes <= limit / 2);
    assert_eq!(store.ghosts(), 200, "what went left its version");
    store.audit();
    store.allow_bytes(usize::MAX);
    assert_eq!(store.allowed_bytes(), limit, "never more than the limit");
    for id in 400..600 {
        store.write(&padded(id), value(1), NOW);
    }
    assert_eq!(store.stats().entries, 400);
    store.audit();
}

#[test]
fn writes_to_a_store_above_what_it_is_allowed_bring_it_down_and_do_not_make_it_grow() {
    let store = sharded(100);
    for id in 0..100 {
        store.write(&padded(id), value(1), NOW);
    }
    let limit = store.allowed_bytes();
    store.allow_bytes(limit / 2);
    for id in 100..300 {
        assert_eq!(
            store.write(&padded(id), value(1), NOW),
            Applied::Stored { replaced: false }
        );
        assert!(store.stats().memory_bytes <= limit);
    }
    assert_eq!(store.merge(&padded(300), value(1), NOW), Applied::Full);
    // The rest is the last of its shard, which is spared.
    let entries = store.stats().entries;
    assert!((50..=64).contains(&entries), "{entries}");
    store.allow_bytes(0);
    while store.shrink(7) == 7 {}
    assert_eq!(store.stats().entries, 0);
    assert_eq!(store.write(&padded(1), value(2), NOW), Applied::Full);
    store.audit();
}

#[test]
fn a_write_to_a_store_above_what_it_is_allowed_evicts_a_bounded_number_of_others() {
    let store = Store::new(Limits {
        memory_bytes: 1 << 20,
        slots: 1,
        ..AMPLE
    });
    for id in 0..1000 {
        store.write(&padded(id), value(1), NOW);
    }
    store.allow_bytes(1000);
    store.write(&padded(1000), value(1), NOW);
    // One for its own room, then as many as it costs 32 times.
    assert_eq!(store.stats().entries, 1000 + 1 - 33);
    store.write(&padded(1001), sized(1, 500), NOW);
    let evicted = store.stats().evictions_memory - 33;
    assert!((33..=256).contains(&evicted), "{evicted}");
    assert!(matches!(store.peek(&padded(1001), NOW), Lookup::Hit(_)));
    store.audit();
}
