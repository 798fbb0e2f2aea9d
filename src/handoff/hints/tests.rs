use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    store::{Body, Form, Value},
    version::Stamp,
};

const TARGET: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);
const LIMITS: HintLimits = HintLimits {
    target_bytes_max: 4096,
    total_bytes_max: 6144,
    window_millis: 100,
};

fn key(name: u8) -> Key {
    Key::new(Bytes::from(vec![name]))
}

fn record(version: u64, length: usize) -> Record {
    let bytes = Bytes::from(vec![0; length]);
    Record {
        version: Version::new(Stamp::from_raw(version), 0),
        expires_at: None,
        body: Body::Value(Value {
            bytes,
            form: Form::Bytes,
        }),
    }
}

fn version(version: u64) -> Version {
    Version::new(Stamp::from_raw(version), 0)
}

/// Keys and versions that a batch would deliver that was not refused before.
fn owed(store: &HintStore, target: NodeId, now_millis: u64) -> Vec<(u8, u64)> {
    owed_in(store, target, Lane::Fresh, now_millis)
}

fn owed_in(store: &HintStore, target: NodeId, lane: Lane, now_millis: u64) -> Vec<(u8, u64)> {
    let batch = store.take_batch(target, lane, usize::MAX, now_millis);
    batch
        .iter()
        .map(|(key, record)| (key.bytes()[0], record.version.stamp.raw()))
        .collect()
}

fn lost(dropped: &[DroppedHint]) -> Vec<(u64, u8)> {
    dropped
        .iter()
        .map(|lost| (lost.target.0, lost.key.bytes()[0]))
        .collect()
}

#[test]
fn only_the_newest_record_of_a_key_is_owed() {
    let mut store = HintStore::new(LIMITS);
    let fates = [
        (2, Fate::Added),
        (1, Fate::Superseded),
        (2, Fate::Superseded),
        (3, Fate::Replaced),
    ];
    for (version, fate) in fates {
        assert_eq!(store.add(TARGET, key(7), record(version, 10), 0).fate, fate);
    }
    assert_eq!(owed(&store, TARGET, 0), [(7, 3)]);
    assert_eq!(store.stats(0).dropped.superseded, 3);
}

#[test]
fn a_batch_is_bounded_but_never_empty_while_something_is_owed() {
    let mut store = HintStore::new(LIMITS);
    for (name, length) in [(1, 900), (2, 99), (3, 99), (4, 99)] {
        store.add(TARGET, key(name), record(1, length), 0);
    }
    let sizes = [(0, 1), (1_000, 1), (1_001, 2), (1_200, 3), (1_201, 4)];
    for (bytes_max, count) in sizes {
        assert_eq!(
            store.take_batch(TARGET, Lane::Fresh, bytes_max, 0).len(),
            count.min(4),
            "{bytes_max}"
        );
    }
    assert!(store.take_batch(OTHER, Lane::Fresh, 1_000, 0).is_empty());
}

#[test]
fn what_was_taken_stays_owed_until_it_is_confirmed() {
    let mut store = HintStore::new(LIMITS);
    store.add(TARGET, key(1), record(1, 10), 0);
    store.add(TARGET, key(2), record(1, 10), 0);
    assert_eq!(owed(&store, TARGET, 0), [(1, 1), (2, 1)]);
    assert_eq!(owed(&store, TARGET, 0), [(1, 1), (2, 1)]);
    store.delivered(TARGET, &[(key(1), version(1)), (key(9), version(1))]);
    assert_eq!(owed(&store, TARGET, 0), [(2, 1)]);
    store.delivered(TARGET, &[(key(2), version(5))]);
    assert_eq!(store.targets(), []);
    assert_eq!((store.stats(0).delivered, store.stats(0).bytes), (2, 0));
}

#[test]
fn an_older_confirmation_does_not_remove_a_newer_hint() {
    let mut store = HintStore::new(LIMITS);
    store.add(TARGET, key(1), record(1, 10), 0);
    store.add(TARGET, key(1), record(2, 10), 60);
    store.delivered(TARGET, &[(key(1), version(1))]);
    assert_eq!(owed(&store, TARGET, 60), [(1, 2)]);
    // Nothing undelivered is older than the second write any more.
    assert_eq!(store.expire(160), []);
    assert_eq!(lost(&store.expire(161)), [(1, 1)]);
}

#[test]
fn the_window_counts_from_the_first_undelivered_write_of_a_key() {
    let mut store = HintStore::new(LIMITS);
    store.add(TARGET, key(1), record(1, 10), 0);
    store.add(TARGET, key(2), record(1, 10), 50);
    store.add(TARGET, key(1), record(2, 10), 90);
    assert_eq!(owed(&store, TARGET, 100), [(1, 2), (2, 1)]);
    // Past the window it is not delivered, also before it is dropped.
    assert_eq!(owed(&store, TARGET, 101), [(2, 1)]);
    assert_eq!(lost(&store.expire(101)), [(1, 1)]);
    assert_eq!(store.stats(101).dropped.expired, 1);
    assert_eq!(store.stats(101).targets[0].oldest_age_millis, 51);
}

#[test]
fn a_wall_clock_that_is_set_back_does_not_prolong_the_window() {
    let mut store = HintStore::new(LIMITS);
    store.add(TARGET, key(1), record(1, 10), 1_000_000);
    store.add(OTHER, key(2), record(1, 10), 500);
    assert_eq!(store.expire(600), []);
    assert_eq!(lost(&store.expire(601)), [(1, 1), (2, 2)]);
}

#[test]
fn a_full_target_loses_its_oldest_and_nobody_elses() {
    let mut store = HintStore::new(LIMITS);
    store.add(OTHER, key(9), record(1, 10), 0);
    for name in 0..4 {
        let outcome = store.add(TARGET, key(name), record(1, 700), 0);
        assert_eq!((outcome.fate, outcome.dropped), (Fate::Added, vec![]));
    }
    let outcome = store.add(TARGET, key(4), record(1, 700), 0);
    assert_eq!(
        (outcome.fate, lost(&outcome.dropped)),
        (Fate::Added, vec![(1, 0)])
    );
    assert_eq!(owed(&store, OTHER, 0).len(), 1);
    assert_eq!(store.stats(0).dropped.overflow, 1);
}

#[test]
fn a_cap_may_be_reached_exactly() {
    let mut store = HintStore::new(LIMITS);
    let half = LIMITS.target_bytes_max / 2 - HINT_OVERHEAD_BYTES - 1;
    for name in [1, 2] {
        assert_eq!(store.add(TARGET, key(name), record(1, half), 0).dropped, []);
    }
    assert_eq!(store.stats(0).bytes, LIMITS.target_bytes_max);
    assert_eq!(
        lost(&store.add(TARGET, key(3), record(1, 0), 0).dropped),
        [(1, 1)]
    );
}

#[test]
fn a_full_store_loses_the_oldest_of_all_targets() {
    let mut store = HintStore::new(LIMITS);
    store.add(OTHER, key(1), record(1, 3_000), 0);
    store.add(TARGET, key(2), record(1, 2_000), 1);
    let outcome = store.add(TARGET, key(3), record(1, 1_000), 2);
    assert_eq!(
        (outcome.fate, lost(&outcome.dropped)),
        (Fate::Added, vec![(2, 1)])
    );
    assert_eq!(store.targets(), [TARGET]);
}

#[test]
fn a_record_beyond_a_cap_is_not_kept_and_costs_nobody_a_hint() {
    let mut store = HintStore::new(LIMITS);
    store.add(TARGET, key(1), record(1, 10), 0);
    let outcome = store.add(TARGET, key(1), record(2, 4_096), 0);
    assert_eq!(
        (outcome.fate, lost(&outcome.dropped)),
        (Fate::Overflowed, vec![(1, 1)])
    );
    assert_eq!(owed(&store, TARGET, 0), [(1, 1)]);
}

#[test]
fn a_key_that_grows_beyond_the_room_goes_as_the_oldest() {
    let mut store = HintStore::new(LIMITS);
    store.add(TARGET, key(1), record(1, 10), 0);
    store.add(TARGET, key(2), record(1, 3_000), 0);
    let outcome = store.add(TARGET, key(1), record(2, 3_000), 0);
    assert_eq!(
        (outcome.fate, lost(&outcome.dropped)),
        (Fate::Overflowed, vec![(1, 1)])
    );
    assert_eq!(owed(&store, TARGET, 0), [(2, 1)]);
}

#[test]
fn hints_of_a_target_that_is_gone_are_dropped_or_moved_with_their_age() {
    let mut store = HintStore::new(LIMITS);
    for target in [TARGET, OTHER] {
        store.add(target, key(1), record(1, 10), 0);
        store.add(target, key(2), record(2, 10), 60);
    }
    assert_eq!(store.drop_target(TARGET), 2);
    assert_eq!(store.drop_target(TARGET), 0);
    for hint in store.drain_target(OTHER, usize::MAX) {
        assert_eq!(store.add_since(NodeId(3), hint, 90).fate, Fate::Added);
    }
    let stats = store.stats(90);
    assert_eq!((stats.dropped.target_gone, stats.moved), (2, 2));
    assert_eq!(stats.targets[0].oldest_age_millis, 90);
    assert_eq!(lost(&store.expire(101)), [(3, 1)]);
}

#[test]
fn a_target_that_is_gone_can_be_drained_in_parts_oldest_first() {
    let mut store = HintStore::new(LIMITS);
    for name in 1..=5 {
        store.add(TARGET, key(name), record(1, 10), u64::from(name));
    }
    store.refused(TARGET, &[key(2), key(4)]);
    let drained = |hints: Vec<MovedHint>| -> Vec<(u8, u64)> {
        let hints = hints.iter();
        hints
            .map(|hint| (hint.key.bytes()[0], hint.since_millis))
            .collect()
    };
    assert_eq!(
        drained(store.drain_target(TARGET, 3)),
        [(1, 1), (2, 2), (3, 3)]
    );
    assert_eq!(drained(store.drain_target(TARGET, 3)), [(4, 4), (5, 5)]);
    assert_eq!((store.targets(), store.stats(5).bytes), (vec![], 0));
}

#[test]
fn refused_hints_wait_apart_and_stay_owed() {
    let mut store = HintStore::new(LIMITS);
    for name in 1..=3 {
        store.add(TARGET, key(name), record(1, 10), 0);
    }
    store.refused(TARGET, &[key(1), key(3), key(9)]);
    store.refused(OTHER, &[key(1)]);
    assert_eq!(owed(&store, TARGET, 0), [(2, 1)]);
    assert_eq!(owed_in(&store, TARGET, Lane::Refused, 0), [(1, 1), (3, 1)]);
    assert_eq!(store.stats(0).targets[0].pending, 3);
    // A newer record of a key that was refused waits as well.
    assert_eq!(
        store.add(TARGET, key(1), record(2, 10), 60).fate,
        Fate::Replaced
    );
    assert_eq!(owed_in(&store, TARGET, Lane::Refused, 60), [(1, 2), (3, 1)]);
    // Until an older one is taken.
    store.delivered(TARGET, &[(key(1), version(1)), (key(3), version(1))]);
    assert_eq!(owed(&store, TARGET, 60), [(2, 1), (1, 2)]);
    assert_eq!(owed_in(&store, TARGET, Lane::Refused, 60), []);
}

#[test]
fn hints_that_are_refused_again_let_the_others_go_first() {
    let mut store = HintStore::new(LIMITS);
    let keys = [1, 2, 3, 4].map(key);
    for key in &keys {
        store.add(TARGET, key.clone(), record(1, 10), 0);
    }
    store.refused(TARGET, &keys);
    let first_two = |store: &HintStore| -> Vec<Key> {
        let batch = store.take_batch(TARGET, Lane::Refused, 22, 0).into_iter();
        batch.map(|(key, _)| key).collect()
    };
    for expected in [[1, 2], [3, 4], [1, 2]] {
        let batch = first_two(&store);
        assert_eq!(batch, expected.map(key));
        store.refused(TARGET, &batch);
    }
    // One that is refused for the first time changes nothing about the order.
    store.add(TARGET, key(5), record(1, 10), 0);
    store.refused(TARGET, &[key(5)]);
    assert_eq!(first_two(&store), [3, 4].map(key));
}

#[test]
fn refused_hints_age_and_go_for_lack_of_room_like_others() {
    let mut store = HintStore::new(LIMITS);
    for name in 0..4 {
        store.add(TARGET, key(name), record(1, 700), u64::from(name));
    }
    store.refused(TARGET, &[key(0), key(1)]);
    let outcome = store.add(TARGET, key(4), record(1, 700), 4);
    assert_eq!(lost(&outcome.dropped), [(1, 0)]);
    assert_eq!(owed_in(&store, TARGET, Lane::Refused, 101), [(1, 1)]);
    assert_eq!(owed_in(&store, TARGET, Lane::Refused, 102), []);
    assert_eq!(lost(&store.expire(102)), [(1, 1)]);
    // Set back, the clock makes them no younger.
    store.refused(TARGET, &[key(2)]);
    store.add(TARGET, key(6), record(1, 10), 0);
    assert_eq!(lost(&store.expire(101)), [(1, 2), (1, 3), (1, 4), (1, 6)]);
}

#[test]
fn a_moved_hint_ages_a_key_that_is_owed_already() {
    let mut store = HintStore::new(LIMITS);
    store.add(TARGET, key(1), record(1, 10), 50);
    let moved = MovedHint {
        key: key(1),
        record: record(2, 10),
        since_millis: 0,
    };
    assert_eq!(store.add_since(TARGET, moved, 60).fate, Fate::Replaced);
    assert_eq!(lost(&store.expire(101)), [(1, 1)]);
}

#[test]
fn tombstones_are_owed_like_values() {
    let mut store = HintStore::new(LIMITS);
    store.add(TARGET, key(1), record(1, 100), 0);
    let tombstone = Record {
        body: Body::Tombstone,
        ..record(2, 0)
    };
    store.add(TARGET, key(1), tombstone.clone(), 0);
    assert_eq!(
        store.take_batch(TARGET, Lane::Fresh, 0, 0),
        [(key(1), tombstone)]
    );
    assert_eq!(store.stats(0).bytes, HINT_OVERHEAD_BYTES + 1);
}

/// The same rules over one list, with linear searches.
#[derive(Default)]
struct Model {
    hints: Vec<ModelHint>,
    changes: u64,
    drops: HintDrops,
    delivered: u64,
}

#[derive(Clone)]
struct ModelHint {
    target: u64,
    key: u8,
    record: Record,
    since: (u64, u64),
    changed: (u64, u64),
    is_refused: bool,
}

impl Model {
    fn bytes(&self, concerned: impl Fn(u64) -> bool) -> usize {
        let concerned = self.hints.iter().filter(|hint| concerned(hint.target));
        concerned
            .map(|hint| cost(&key(hint.key), &hint.record))
            .sum()
    }

    fn drop_oldest(&mut self, concerned: impl Fn(u64) -> bool) {
        let oldest = (0..self.hints.len())
            .filter(|&index| concerned(self.hints[index].target))
            .min_by_key(|&index| self.hints[index].since);
        self.hints.remove(oldest.expect("something to drop"));
        self.drops.overflow += 1;
    }

    fn add(&mut self, target: u64, name: u8, record: Record, now: u64) {
        let at = self
            .hints
            .iter()
            .position(|hint| (hint.target, hint.key) == (target, name));
        if at.is_some_and(|at| self.hints[at].record.version >= record.version) {
            self.drops.superseded += 1;
        } else if cost(&key(name), &record) > LIMITS.target_bytes_max {
            self.drops.overflow += 1;
        } else {
            self.changes += 1;
            let changed = (now, self.changes);
            if let Some(at) = at {
                self.drops.superseded += 1;
                let ModelHint {
                    since, is_refused, ..
                } = self.hints[at];
                self.hints[at] = ModelHint {
                    target,
                    key: name,
                    record,
                    since,
                    changed,
                    is_refused,
                };
            } else {
                self.hints.push(ModelHint {
                    target,
                    key: name,
                    record,
                    since: changed,
                    changed,
                    is_refused: false,
                });
            }
            while self.bytes(|other| other == target) > LIMITS.target_bytes_max {
                self.drop_oldest(|other| other == target);
            }
            while self.bytes(|_| true) > LIMITS.total_bytes_max {
                self.drop_oldest(|_| true);
            }
        }
    }

    fn confirm(&mut self, target: u64, name: u8, confirmed: u64) {
        for hint in &mut self.hints {
            if (hint.target, hint.key) == (target, name) && hint.record.version > version(confirmed)
            {
                hint.since = hint.changed;
                hint.is_refused = false;
            }
        }
        let before = self.hints.len();
        self.hints.retain(|hint| {
            (hint.target, hint.key) != (target, name) || hint.record.version > version(confirmed)
        });
        self.delivered += (before - self.hints.len()) as u64;
    }

    fn expire(&mut self, now: u64) {
        let before = self.hints.len();
        self.hints
            .retain(|hint| now <= hint.since.0 + LIMITS.window_millis);
        self.drops.expired += (before - self.hints.len()) as u64;
    }

    fn refuse(&mut self, target: u64, name: u8) {
        let hints = self.hints.iter_mut();
        hints
            .filter(|hint| (hint.target, hint.key) == (target, name))
            .for_each(|hint| hint.is_refused = true);
    }

    fn owed(&self, target: u64) -> Vec<(u8, u64)> {
        self.owed_if(|hint| hint.target == target)
    }

    fn owed_if(&self, concerned: impl Fn(&ModelHint) -> bool) -> Vec<(u8, u64)> {
        let mut hints: Vec<_> = self.hints.iter().filter(|hint| concerned(hint)).collect();
        hints.sort_by_key(|hint| hint.since);
        hints
            .iter()
            .map(|hint| (hint.key, hint.record.version.stamp.raw()))
            .collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add {
        target: u64,
        name: u8,
        version: u64,
        length: usize,
    },
    Confirm {
        target: u64,
        name: u8,
        version: u64,
    },
    Refuse {
        target: u64,
        name: u8,
    },
    Expire,
    Gone {
        target: u64,
    },
    Moved {
        target: u64,
        count_max: usize,
    },
    Wait {
        millis: u64,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    let target = 1..4_u64;
    let name = 0..12_u8;
    let length = prop_oneof![8 => 0..1_500_usize, 1 => 1_500..5_000_usize];
    let add = (target.clone(), name.clone(), 0..50_u64, length).prop_map(
        |(target, name, version, length)| Step::Add {
            target,
            name,
            version,
            length,
        },
    );
    let refuse =
        (target.clone(), name.clone()).prop_map(|(target, name)| Step::Refuse { target, name });
    let confirm =
        (target.clone(), name, 0..50_u64).prop_map(|(target, name, version)| Step::Confirm {
            target,
            name,
            version,
        });
    prop_oneof![
        20 => add,
        5 => confirm,
        5 => refuse,
        2 => Just(Step::Expire),
        1 => target.clone().prop_map(|target| Step::Gone { target }),
        1 => (target, 0..8_usize).prop_map(|(target, count_max)| Step::Moved { target, count_max }),
        4 => (0..60_u64).prop_map(|millis| Step::Wait { millis }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_store_does_what_a_naive_model_does(steps in prop::collection::vec(any_step(), 1..150)) {
        let mut store = HintStore::new(LIMITS);
        let mut model = Model::default();
        let mut now = 0;
        let mut moved = 0;
        let mut written = 0;
        for step in steps {
            match step {
                Step::Add { target, name, version, length } => {
                    written += 1;
                    let record = record(version, length);
                    let outcome = store.add(NodeId(target), key(name), record.clone(), now);
                    model.add(target, name, record, now);
                    let kept = matches!(outcome.fate, Fate::Added | Fate::Replaced);
                    prop_assert!(!kept || model.owed(target).contains(&(name, version)));
                }
                Step::Confirm { target, name, version: confirmed } => {
                    store.delivered(NodeId(target), &[(key(name), version(confirmed))]);
                    model.confirm(target, name, confirmed);
                }
                Step::Refuse { target, name } => {
                    store.refused(NodeId(target), &[key(name)]);
                    model.refuse(target, name);
                }
                Step::Expire => {
                    let before = model.drops.expired;
                    model.expire(now);
                    let dropped = store.expire(now).len() as u64;
                    prop_assert_eq!(dropped, model.drops.expired - before);
                }
                Step::Gone { target } => {
                    let count = store.drop_target(NodeId(target));
                    prop_assert_eq!(count, model.owed(target).len());
                    model.hints.retain(|hint| hint.target != target);
                    model.drops.target_gone += count as u64;
                }
                Step::Moved { target, count_max } => {
                    let drained: Vec<_> = store.drain_target(NodeId(target), count_max).iter().map(|hint| {
                        (hint.key.bytes()[0], hint.record.version.stamp.raw())
                    }).collect();
                    let oldest: Vec<_> = model.owed(target).into_iter().take(count_max).collect();
                    prop_assert_eq!(&drained, &oldest);
                    model.hints.retain(|hint| {
                        let version = hint.record.version.stamp.raw();
                        hint.target != target || !drained.contains(&(hint.key, version))
                    });
                    moved += drained.len() as u64;
                }
                Step::Wait { millis } => now += millis,
            }
            // At time 0 nothing is past the window, so that a batch shows all.
            for target in 1..4 {
                let fresh = model.owed_if(|hint| hint.target == target && !hint.is_refused);
                prop_assert_eq!(owed(&store, NodeId(target), 0), fresh);
                // In what order they are tried depends on what was refused when.
                let mut refused = owed_in(&store, NodeId(target), Lane::Refused, 0);
                refused.sort_unstable();
                let mut expected = model.owed_if(|hint| hint.target == target && hint.is_refused);
                expected.sort_unstable();
                prop_assert_eq!(refused, expected);
            }
            let stats = store.stats(now);
            prop_assert_eq!(stats.bytes, model.bytes(|_| true));
            prop_assert_eq!(stats.dropped, model.drops);
            prop_assert_eq!((stats.delivered, stats.moved), (model.delivered, moved));
            prop_assert_eq!(stats.written, written);
            let pending: usize = stats.targets.iter().map(|target| target.pending).sum();
            let drops = stats.dropped;
            let gone = drops.overflow + drops.expired + drops.superseded + drops.target_gone;
            prop_assert_eq!(written, pending as u64 + stats.delivered + stats.moved + gone);
            prop_assert!(stats.bytes <= LIMITS.total_bytes_max);
            for target in stats.targets {
                prop_assert!(target.bytes <= LIMITS.target_bytes_max);
            }
        }
    }
}

#[test]
fn an_operator_drops_what_one_target_is_owed_and_nothing_else() {
    let mut store = HintStore::new(LIMITS);
    for name in [1, 2, 3] {
        store.add(TARGET, key(name), record(1, 10), 0);
    }
    store.refused(TARGET, &[key(2)]);
    store.add(OTHER, key(9), record(1, 10), 0);
    assert_eq!(store.stats(0).targets[0].refused, 1);
    assert_eq!(lost(&store.discard(TARGET)), [(1, 1), (1, 2), (1, 3)]);
    assert_eq!(store.discard(TARGET), []);
    let stats = store.stats(0);
    assert_eq!((stats.dropped.operator, stats.targets.len()), (3, 1));
    assert_eq!(owed(&store, OTHER, 0), [(9, 1)]);
}

#[test]
fn what_has_expired_is_owed_as_a_ghost_until_the_window_ends() {
    let window_millis = 10_000;
    let mut store = HintStore::new(HintLimits {
        window_millis,
        ..LIMITS
    });
    let (stamped, expires_at) = (1_000, 2_000);
    let expiring = Record {
        version: Version::new(Stamp::new(stamped, 3), 7),
        expires_at: Some(expires_at),
        ..record(0, 100)
    };
    store.add(TARGET, key(1), expiring.clone(), stamped);
    let only = |now_millis| {
        let batch = store.take_batch(TARGET, Lane::Fresh, usize::MAX, now_millis);
        assert_eq!(batch.len(), 1);
        batch[0].1.clone()
    };
    let last = expires_at + DRIFT_MAX_MILLIS;
    assert_eq!(only(last - 1), expiring, "some clock may be behind");
    for now_millis in [last, stamped + window_millis] {
        let ghost = only(now_millis);
        assert_eq!(ghost.version, expiring.version);
        assert_eq!(ghost.payload_bytes(), 0);
        assert!(matches!(ghost.body, Body::Value(_)));
        assert!(ghost.is_expired(ghost.version.stamp.millis()), "{ghost:?}");
    }
    assert_eq!(store.expire(stamped + window_millis), []);
    assert_eq!(lost(&store.expire(stamped + window_millis + 1)), [(1, 1)]);
}

#[test]
fn ghosts_and_tombstones_take_no_room_of_values_in_a_batch() {
    let mut store = HintStore::new(HintLimits {
        window_millis: 1 << 40,
        ..LIMITS
    });
    for name in 0..8 {
        let expiring = Record {
            expires_at: Some(1),
            ..record(1, 100)
        };
        store.add(TARGET, key(name), expiring, 0);
    }
    let count = |now_millis| store.take_batch(TARGET, Lane::Fresh, 101, now_millis).len();
    assert_eq!((count(0), count(1 + DRIFT_MAX_MILLIS)), (1, 8));
}
