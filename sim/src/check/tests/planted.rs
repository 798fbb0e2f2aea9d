//! The twin with one thing done wrong is found out by the invariant that names it, in at least so many of 20 histories
//! of 1000 operations each. The same seeds without the bug are clean (`legal`).

use super::{
    legal::PLAN,
    twin::{Bug, Plan, legal_history},
};
use crate::{
    check::check,
    history::{Invariant, Promises},
};

const SEEDS: u64 = 20;

/// In how many histories the invariant is violated.
fn caught(plan: Plan, invariant: Invariant) -> u64 {
    let is_caught = |seed: &u64| {
        let history = legal_history(*seed, plan);
        check(&history, &Promises::full()).count(invariant) > 0
    };
    (0..SEEDS).filter(is_caught).count() as u64
}

#[test]
fn each_planted_bug_is_caught_by_the_invariant_that_names_it() {
    let busy = Plan {
        operations: 1000,
        keys: 3,
        loss: 25,
        ..PLAN
    };
    let wide = Plan {
        operations: 1000,
        keys: 30,
        loss: 25,
        mortal: 50,
        ..PLAN
    };
    let evicting = Plan {
        evictions: 100,
        mortal: 0,
        ..busy
    };
    let restarting = Plan {
        restarts: 8,
        mortal: 0,
        ..wide
    };
    let cases = [
        (Bug::NoWriteBack, busy, Invariant::ReadYourWrites, 10),
        (Bug::AcknowledgesEarly, busy, Invariant::ReadYourWrites, 10),
        (Bug::NewerIgnored, busy, Invariant::WriteOrder, 10),
        (Bug::NoTombstone, busy, Invariant::NoResurrection, 20),
        (Bug::LifeBegunAnew, wide, Invariant::Expiry, 18),
        (Bug::NeverExpires, wide, Invariant::Expiry, 18),
        (
            Bug::EmptyNodeCounts,
            restarting,
            Invariant::ReadYourWrites,
            1,
        ),
        (Bug::EmptyNodeCounts, restarting, Invariant::Durability, 10),
        (Bug::FailedIsSent, busy, Invariant::FailedMeansFailed, 20),
        (Bug::DegradesSilently, busy, Invariant::NoSilentDegrade, 20),
        (Bug::NoRepair, wide, Invariant::Convergence, 20),
        (
            Bug::EvictsWithoutTrace,
            evicting,
            Invariant::ReadYourWrites,
            5,
        ),
    ];
    let mut missed = Vec::new();
    for (bug, plan, invariant, floor) in cases {
        let planted = Plan {
            bug: Some(bug),
            ..plan
        };
        let count = caught(planted, invariant);
        println!("{bug:?}: {invariant} in {count} of {SEEDS}");
        if count < floor {
            missed.push((bug, invariant, count, floor));
        }
    }
    assert_eq!(missed, []);
}
