//! Slot reconfiguration: production's state machine and tallies play the scenarios of the model (`sim/model/scenarios`), and
//! have to go as each of them says.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod production;

use std::{fs, path::Path};

use slot_model::scenario::{Scenario, play};

use self::production::Production;

#[test]
fn production_goes_as_every_scenario_of_the_model_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("model/scenarios");
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let scenario = Scenario::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        if let Err(failure) = play(&scenario, &mut Production::new(scenario.nodes)) {
            failures.push(format!("{}: {failure}", path.display()));
        }
        count += 1;
    }
    assert!(count >= 30, "{count}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
