//! Expiry, tombstones and floors.

use super::*;

/// Before tombstones of the first versions have outlived their use.
const EARLY: u64 = 100;

#[test]
fn an_expired_value_is_never_served() {
    let store = Store::new(AMPLE);
    store.write(&key("a"), expiring(1, 50), 10);
    assert_eq!(store.read(&key("a"), 49), Lookup::Hit(expiring(1, 50)));
    assert_eq!(store.read(&key("a"), 50), missed(1));
    assert_eq!(store.write(&key("a"), value(1), 50), Applied::Same);
    assert_eq!(
        store.write(&key("a"), expiring(2, 60), 50),
        Applied::Stored { replaced: false }
    );
    // What comes too late is told apart from what never came.
    assert_eq!(
        store.write(&key("late"), expiring(7, 60), 60),
        Applied::Stored { replaced: false }
    );
    assert_eq!(store.read(&key("late"), 60), haunted(7));
    assert_eq!(
        store.write(&key("late"), value(6), 60),
        Applied::Newer {
            version: version(7)
        }
    );
    assert_eq!(store.expire(60, usize::MAX), 1);
    assert_eq!((store.stats().entries, store.stats().expired), (0, 1));
    assert_eq!(store.read(&key("a"), 60), haunted(2));
    store.audit();
}

#[test]
fn a_new_expiry_takes_the_place_of_the_old_one() {
    let store = Store::new(AMPLE);
    store.write(&key("a"), expiring(1, 50), 0);
    store.write(&key("a"), expiring(2, 50), 0);
    store.write(&key("b"), expiring(1, 50), 0);
    store.write(&key("b"), value(2), 0);
    store.audit();
    assert_eq!(store.expire(50, usize::MAX), 1);
    assert_eq!(store.read(&key("b"), 50), Lookup::Hit(value(2)));
}

#[test]
fn expiry_keeps_to_its_budget_and_reaches_every_shard() {
    let store = sharded(1000);
    for id in 0..100 {
        store.write(&padded(id), expiring(1, 50), 0);
    }
    let mut left = 100;
    while left > 0 {
        assert_eq!(store.expire(50, 7), left.min(7));
        left -= left.min(7);
    }
    assert_eq!(store.expire(50, 7), 0);
    store.audit();
}

#[test]
fn a_tombstone_past_its_life_goes_without_a_floor() {
    let store = Store::new(AMPLE);
    store.write(&key("a"), tombstone(10), 10);
    assert_eq!(store.expire(10 + LIFE_MILLIS - 1, usize::MAX), 0);
    assert_eq!(store.expire(10 + LIFE_MILLIS, usize::MAX), 1);
    assert_eq!(store.read(&key("a"), NOW), haunted(10));
    assert_eq!(
        (store.stats().tombstones, store.stats().floors_raised),
        (0, 0)
    );
}

#[test]
fn a_tombstone_that_is_held_stays_and_travels_however_old_it_is() {
    let store = Store::new(AMPLE);
    store.hold_tombstones(10 + LIFE_MILLIS - 1);
    store.write(&key("a"), tombstone(10), 10);
    let late = 10 + 3 * LIFE_MILLIS;
    assert_eq!(store.expire(late, usize::MAX), 0);
    assert_eq!(store.read(&key("a"), late), missed(10));
    // It is told to others, and taken as what it is where it is held as well.
    let told = store.scan(
        &SlotSet::all(AMPLE.slots),
        0,
        1 << 20,
        &Inventory::nothing(),
        late,
    );
    assert_eq!(told.records, [(key("a"), tombstone(10))]);
    store.merge(&key("b"), tombstone(11), late);
    assert_eq!(store.read(&key("b"), late), missed(11));
    store.hold_tombstones(10 + LIFE_MILLIS);
    assert_eq!(store.expire(late, usize::MAX), 1);
    assert_eq!(store.read(&key("a"), late), haunted(10));
    assert_eq!(store.read(&key("b"), late), missed(11));
    store.audit();
}

#[test]
fn a_floor_stands_in_for_the_tombstones_that_the_cap_pushed_out() {
    let one = TOMBSTONE_OVERHEAD_BYTES + 8;
    let store = Store::new(Limits {
        tombstone_bytes: one,
        slots: 1,
        ..AMPLE
    });
    store.write(&key("old"), value(3), EARLY);
    store.write(&key("new"), value(9), EARLY);
    store.write(&key("first"), tombstone(5), EARLY);
    store.write(&key("second"), tombstone(6), EARLY);
    assert_eq!(
        (store.stats().tombstones, store.stats().floors_raised),
        (1, 1)
    );
    assert_eq!(store.read(&key("first"), EARLY), missed(5));
    assert_eq!(store.read(&key("old"), EARLY), missed(5));
    assert_eq!(store.read(&key("new"), EARLY), Lookup::Hit(value(9)));
    assert_eq!(store.read(&key("second"), EARLY), missed(6));
    assert_eq!(
        store.write(&key("x"), value(5), EARLY),
        Applied::Newer {
            version: version(5)
        }
    );
    assert_eq!(
        store.write(&key("new"), value(4), EARLY),
        Applied::Newer {
            version: version(9)
        }
    );
    assert_eq!(store.merge(&key("x"), value(4), EARLY), Applied::Refused);
    assert_eq!(
        store.write(&key("x"), value(7), EARLY),
        Applied::Stored { replaced: false }
    );
    assert_eq!(store.stats().entries, 3);
    assert_eq!(store.expire(0, usize::MAX), 1);
    assert_eq!((store.stats().entries, store.stats().expired), (2, 0));
    store.audit();
}

#[test]
fn the_newest_tombstone_stays_while_another_shard_has_one() {
    let one = TOMBSTONE_OVERHEAD_BYTES + 8;
    let limits = Limits {
        capacity_entries: 1 << 20,
        tombstone_bytes: one,
        slots: 1024,
        ..AMPLE
    };
    let store = Store::new(limits);
    for id in 0..50 {
        store.write(&padded(id), tombstone(id as u64), 0);
        assert_eq!(store.peek(&padded(id), 0), missed(id as u64));
        assert_eq!(store.stats().tombstones, 1);
    }
    assert_eq!(store.stats().floors_raised, 49);
    store.audit();
}
