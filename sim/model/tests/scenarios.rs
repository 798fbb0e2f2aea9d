//! The scenarios: the model agrees with each, and the planted bugs that a file names do not.

use std::{collections::BTreeSet, fs, path::PathBuf};

use slot_model::{
    modelled::Modelled,
    rules::{Bug, Rules},
    scenario::{Failure, Scenario, Unmet, play},
};

/// The worked examples of the rule's page.
const WORKED_EXAMPLES: [&str; 15] = [
    "blip",
    "disagreement",
    "flap",
    "flap-with-writes",
    "graceful-leave",
    "grow-from-one",
    "one-dead-of-three",
    "replace-one-owner",
    "restart-empty",
    "rolling-restart",
    "split-across",
    "split-after",
    "split-before",
    "total-restart",
    "two-nodes-one-restarts",
];
/// Bugs that break no promise of reads and writes: a node is stuck, or moves where it must not, or a loss is declared without
/// need.
const SEEN_BY_EXPECTATIONS: [Bug; 6] = [
    Bug::CoveredForgotten,
    Bug::EveryMentionCovered,
    Bug::NoBaseInNewRoot,
    Bug::OlderBootAdopted,
    Bug::OnlyFullSources,
    Bug::UnseenStaysCount,
];

fn files() -> Vec<(String, Scenario)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = fs::read_dir(folder).expect("the folder of scenarios");
    let mut files: Vec<(String, Scenario)> = entries
        .map(|entry| {
            let path = entry.expect("a scenario").path();
            let name = path.file_stem().expect("a name");
            let name = name.to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("a scenario as text");
            let scenario = Scenario::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, scenario)
        })
        .collect();
    files.sort_by(|one, other| one.0.cmp(&other.0));
    files
}

fn played(scenario: &Scenario, rules: Rules) -> Result<(), Failure> {
    play(scenario, &mut Modelled::new(scenario, rules))
}

#[test]
fn the_model_agrees_with_every_scenario() {
    for (name, scenario) in files() {
        if let Err(failure) = played(&scenario, Rules::sound()) {
            panic!("{name}: {failure}");
        }
    }
}

#[test]
fn every_worked_example_has_a_scenario() {
    let names: BTreeSet<String> = files().into_iter().map(|(name, _)| name).collect();
    for example in WORKED_EXAMPLES {
        assert!(names.contains(example), "{example}");
    }
}

#[test]
fn a_scenario_fails_with_the_bugs_that_it_catches() {
    for (name, scenario) in files() {
        for bug in &scenario.catches {
            let failure =
                played(&scenario, bug.rules()).expect_err(&format!("{name} does not catch {bug}"));
            let broke_a_promise = matches!(failure.unmet, Unmet::Promise { .. });
            assert_ne!(
                broke_a_promise,
                SEEN_BY_EXPECTATIONS.contains(bug),
                "{name}, {bug}: {failure}"
            );
        }
    }
}

#[test]
fn every_planted_bug_has_a_scenario() {
    let caught: BTreeSet<Bug> = files()
        .into_iter()
        .flat_map(|(_, scenario)| scenario.catches)
        .collect();
    let missed: Vec<Bug> = Bug::ALL
        .into_iter()
        .filter(|bug| !caught.contains(bug))
        .collect();
    assert_eq!(missed, []);
}
