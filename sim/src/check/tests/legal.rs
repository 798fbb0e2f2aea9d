//! Legal histories of every kind are never flagged.

use std::collections::BTreeMap;

use super::twin::{Plan, legal_history};
use crate::{
    check::{Excuse, check},
    history::Promises,
};

const SEEDS: u64 = 60;

pub(super) const PLAN: Plan = Plan {
    operations: 300,
    keys: 5,
    loss: 10,
    mortal: 20,
    evictions: 0,
    restarts: 0,
    in_pairs: false,
    uncertainty_ns: 0,
    bug: None,
};

/// Judges histories of many seeds; returns what was judged and excused.
#[track_caller]
fn are_legal(plan: Plan) -> (u64, BTreeMap<Excuse, u64>) {
    are_legal_by(&Promises::full(), plan)
}

#[track_caller]
fn are_legal_by(promises: &Promises, plan: Plan) -> (u64, BTreeMap<Excuse, u64>) {
    let (mut judged, mut excused) = (0, BTreeMap::new());
    for seed in 0..SEEDS {
        let history = legal_history(seed, plan);
        let verdict = check(&history, promises);
        assert_eq!(verdict.violations, [], "seed {seed}, {plan:?}");
        assert_eq!(
            verdict.counts.unknown + verdict.counts.ok + verdict.counts.failed,
            verdict.counts.operations
        );
        judged += verdict.counts.judged_reads;
        for (excuse, count) in verdict.counts.excused {
            *excused.entry(excuse).or_default() += count;
        }
    }
    (judged, excused)
}

#[test]
fn histories_with_lost_messages_and_expiry_are_legal() {
    for loss in [0, 10, 30] {
        let (judged, excused) = are_legal(Plan { loss, ..PLAN });
        assert!(judged > SEEDS * 40, "{judged} {excused:?}");
        assert!(excused.contains_key(&Excuse::Expired));
        assert!(!excused.contains_key(&Excuse::Evicted));
    }
}

#[test]
fn histories_of_one_hot_key_are_legal() {
    are_legal(Plan {
        keys: 1,
        mortal: 0,
        ..PLAN
    });
}

#[test]
fn histories_with_evictions_are_legal() {
    let evictions = 40;
    let (_, excused) = are_legal(Plan { evictions, ..PLAN });
    assert!(excused.contains_key(&Excuse::Evicted));
}

#[test]
fn histories_with_restarts_one_at_a_time_are_legal_without_any_excuse() {
    let restarts = 4;
    let (judged, excused) = are_legal(Plan {
        restarts,
        mortal: 0,
        ..PLAN
    });
    assert!(judged > SEEDS * 40);
    assert!(!excused.contains_key(&Excuse::Lost), "{excused:?}");
}

#[test]
fn histories_that_lost_two_nodes_at_a_time_are_excused_until_they_have_settled() {
    let plan = Plan {
        restarts: 3,
        in_pairs: true,
        mortal: 0,
        keys: 20,
        loss: 40,
        ..PLAN
    };
    // The twin goes on with what the third node had.
    let mut promises = Promises::full();
    promises.lost_slot_starts_afresh = false;
    let (judged, excused) = are_legal_by(&promises, plan);
    assert!(excused.get(&Excuse::Lost) >= Some(&10), "{excused:?}");
    assert!(judged > SEEDS * 20, "{judged}");
    // Without the marks there is no excuse.
    let is_flagged = |seed: &u64| {
        let mut history = legal_history(*seed, plan);
        history.marks.clear();
        check(&history, &promises).is_violated()
    };
    assert!((0..SEEDS).filter(is_flagged).count() >= 5);
}

#[test]
fn histories_with_uncertain_times_are_legal() {
    let uncertainty_ns = 5 * super::story::MILLI;
    are_legal(Plan {
        uncertainty_ns,
        ..PLAN
    });
}

#[test]
fn a_verdict_depends_on_the_history_alone_not_on_its_order() {
    let mut history = legal_history(1, PLAN);
    let verdict = check(&history, &Promises::full());
    history.operations.reverse();
    history.marks.reverse();
    history.copies.reverse();
    // Marks of one moment keep their order.
    history.marks.sort_by_key(|mark| mark.at_ns);
    assert_eq!(check(&history, &Promises::full()), verdict);
}
