//! Why a key has no value, as people are told.

use super::*;

fn cause(store: &Store, name: &str, now_millis: u64) -> Option<MissCause> {
    store.miss_cause(&key(name), now_millis)
}

#[test]
fn what_was_evicted_is_told_apart_from_what_was_never_there() {
    let store = Store::new(Limits {
        capacity_entries: 1,
        ..AMPLE
    });
    store.write(&key("a"), value(100), NOW);
    assert_eq!(cause(&store, "a", NOW), None);
    store.write(&key("b"), value(101), NOW);
    assert_eq!(cause(&store, "a", NOW), Some(MissCause::Evicted));
    assert_eq!(cause(&store, "c", NOW), Some(MissCause::NotSeen));
}

#[test]
fn an_evicted_value_whose_ghost_is_forgotten_has_lost_its_trace() {
    let store = Store::new(Limits {
        capacity_entries: 1,
        ghosts: 0,
        ..AMPLE
    });
    store.write(&key("a"), value(100), NOW);
    store.write(&key("b"), value(101), NOW);
    assert_eq!(cause(&store, "a", NOW), Some(MissCause::TraceLost));
}

#[test]
fn what_has_expired_is_told_before_it_is_removed_and_after() {
    let store = Store::new(AMPLE);
    store.write(&key("a"), expiring(100, 200), 150);
    assert_eq!(cause(&store, "a", 199), None);
    assert_eq!(cause(&store, "a", 200), Some(MissCause::Expired));
    assert_eq!(store.expire(200, 10), 1);
    assert_eq!(cause(&store, "a", 200), Some(MissCause::Expired));
    // It came too late.
    store.write(&key("b"), expiring(100, 150), 200);
    assert_eq!(cause(&store, "b", 200), Some(MissCause::Expired));
}

#[test]
fn what_was_deleted_is_told_for_longer_than_its_tombstone_lives() {
    let store = Store::new(AMPLE);
    store.write(&key("a"), tombstone(300), 300);
    assert_eq!(cause(&store, "a", 300), Some(MissCause::Deleted));
    let later = 300 + LIFE_MILLIS;
    assert_eq!(store.expire(later, 10), 1);
    assert_eq!(cause(&store, "a", later), Some(MissCause::Deleted));
}

#[test]
fn what_went_elsewhere_is_known_by_hearsay() {
    let store = Store::new(AMPLE);
    store.write(&key("a"), value(100), NOW);
    store.merge(&key("a"), Record::ghost(version(200)), NOW);
    assert_eq!(cause(&store, "a", NOW), Some(MissCause::GoneElsewhere));
}
