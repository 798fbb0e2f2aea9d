//! Slot reconfiguration: production's state machine and tallies play the scenarios of the model (`sim/model/scenarios`), and
//! have to go as each of them says.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod production;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use slot_model::{
    rules::Bug,
    scenario::{Scenario, play},
};

use self::production::Production;

/// Bugs that can only be planted inside of `SlotState` or `Quorums`. Production passes the scenarios that find them in the
/// model, which a production with such a bug would not, as far as it goes like the model.
const INSIDE: [Bug; 6] = [
    Bug::OlderPredsForgotten,
    Bug::Unnumbered,
    Bug::SmallCover,
    Bug::EveryMentionCovered,
    Bug::OwnPredsSalvage,
    Bug::NoBaseInNewRoot,
];

fn scenarios() -> Vec<(PathBuf, Scenario)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("model/scenarios");
    let files = fs::read_dir(folder).unwrap();
    files
        .map(|entry| {
            let path = entry.unwrap().path();
            let scenario = Scenario::parse(&fs::read_to_string(&path).unwrap()).unwrap();
            (path, scenario)
        })
        .collect()
}

#[test]
fn production_goes_as_every_scenario_of_the_model_says() {
    let scenarios = scenarios();
    let mut failures = Vec::new();
    for (path, scenario) in &scenarios {
        if let Err(failure) = play(scenario, &mut Production::new(scenario.nodes, None)) {
            failures.push(format!("{}: {failure}", path.display()));
        }
    }
    assert!(scenarios.len() >= 30, "{}", scenarios.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn production_with_a_bug_of_the_model_fails_the_scenario_that_catches_it() {
    let mut planted = BTreeSet::new();
    let mut missed = Vec::new();
    for (path, scenario) in scenarios() {
        for bug in scenario.catches.iter().filter(|bug| !INSIDE.contains(bug)) {
            let mut subject = Production::new(scenario.nodes, Some(*bug));
            let played = play(&scenario, &mut subject);
            if played.is_ok() {
                missed.push(format!("{} does not catch {bug}", path.display()));
            }
            planted.insert(*bug);
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    let all = Bug::ALL.iter().filter(|bug| !INSIDE.contains(bug));
    assert_eq!(planted, all.copied().collect());
}
