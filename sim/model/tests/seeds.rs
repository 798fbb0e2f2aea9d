//! Random and exhaustive schedules: none breaks the rule, and every planted bug is caught by a known one.

use slot_model::{
    exhaustive::{INSTANCES, explore},
    explore::{Log, MODES, schedule},
    rules::{Bug, Rules},
    sweep::{Sweep, Until},
};

/// Seeds of each mode.
const SEEDS: u64 = 20_000;
/// Steps of every schedule of small instances.
const DEPTH: usize = 5;

/// A schedule that catches each planted bug: the mode and the seed. `slot-model --mutants` looks for them.
const CATCHING: [(Bug, usize, u64); 21] = [
    (Bug::Unsealed, 0, 124),
    (Bug::PredsOfAnswerersIgnored, 2, 999),
    (Bug::OlderPredsForgotten, 3, 1_165),
    (Bug::NoFullNeeded, 3, 2),
    (Bug::CarryIsFull, 0, 47),
    (Bug::CarryMixed, 1, 173_498),
    (Bug::BootsIgnored, 2, 32),
    (Bug::Unnumbered, 0, 345),
    (Bug::NoWriteBack, 1, 135),
    (Bug::NewerAcknowledged, 3, 0),
    (Bug::NoTombstones, 2, 5),
    (Bug::BlindDischarge, 1, 36),
    (Bug::DroppedEarly, 0, 70_789),
    (Bug::RootKeepsData, 3, 65_017),
    (Bug::ForeignWriteStored, 3, 100_313),
    (Bug::SmallCover, 3, 407),
    (Bug::TraceForgotten, 2, 999),
    (Bug::OnlyFullSources, 0, 2),
    (Bug::EveryMentionCovered, 2, 299_346),
    (Bug::OwnPredsSalvage, 3, 65_476),
    (Bug::CoveredForgotten, 1, 3_256),
];

#[test]
fn random_schedules_break_no_promise() {
    for mode in MODES {
        let sweep = Sweep {
            rules: Rules::sound(),
            mode,
            from: 0,
            seeds: SEEDS,
            until: Until::First,
        };
        let outcome = sweep.run();
        assert_eq!(outcome.violations, [], "{}", mode.name);
        assert!(outcome.writes > SEEDS, "{}: too little happened", mode.name);
        assert!(outcome.reads > SEEDS, "{}: too little happened", mode.name);
        let losses_happen = mode.declare && !mode.must_not_lose();
        assert_eq!(outcome.losses > 0, losses_happen, "{}", mode.name);
    }
}

#[test]
fn short_schedules_break_no_promise() {
    for instance in &INSTANCES {
        let explored = explore(Rules::sound(), instance, DEPTH);
        assert_eq!(explored.violation, None, "{:?}", explored.rings);
        assert!(explored.worlds > 100, "{:?}", explored.rings);
    }
}

#[test]
fn short_schedules_catch_a_bug() {
    let caught = |bug: Bug| {
        let mut instances = INSTANCES.iter();
        instances.any(|instance| explore(bug.rules(), instance, DEPTH).violation.is_some())
    };
    assert!(caught(Bug::NoFullNeeded));
    assert!(caught(Bug::CarryIsFull));
}

#[test]
fn known_schedules_catch_the_planted_bugs() {
    let known = CATCHING.map(|(bug, ..)| bug);
    let found = Bug::ALL.into_iter().filter(|bug| bug.is_found_at_random());
    assert_eq!(known.to_vec(), found.collect::<Vec<_>>());
    for (bug, mode, seed) in CATCHING {
        let with = schedule(bug.rules(), MODES[mode], seed, Log::None);
        assert!(with.violation.is_some(), "{bug}: {mode}:{seed}");
        let without = schedule(Rules::sound(), MODES[mode], seed, Log::None);
        assert_eq!(without.violation, None, "{bug}: {mode}:{seed}");
    }
}
