//! `shrink`: leaves out faults of a failing run while the same promise is broken, and writes what is left as a scenario.

use std::{fs, path::PathBuf};

use clap::Args;

use super::{
    check::Exit,
    report_file::{trace_name, words},
    run::{Shape, judge},
    scenario::open,
};
use crate::{
    history::Invariant,
    options::Options,
    plan::{self, Fault},
    report::{Report, Summary},
    run::{self, Outcome},
    scenario::Scenario,
    shrink::shrink,
};

/// Arguments of `shrink`.
#[derive(Args, Clone, Debug)]
pub struct ShrinkArguments {
    /// The scenario that fails.
    #[arg(required_unless_present = "seed", conflicts_with = "seed")]
    pub file: Option<PathBuf>,
    /// The seed that fails instead.
    #[arg(long)]
    pub seed: Option<u64>,
    /// The rest of the seed.
    #[command(flatten)]
    pub shape: Shape,
    /// Most runs.
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub runs: usize,
    /// Where the smaller scenario goes; shrunk-SEED.yaml if absent.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// What was broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Symptom {
    /// A promise.
    Broken(Invariant),
    /// Not everything came right after everything had healed.
    Liveness,
}

impl std::fmt::Display for Symptom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken(invariant) => invariant.fmt(f),
            Self::Liveness => f.write_str("liveness"),
        }
    }
}

impl Symptom {
    /// What was broken first.
    fn of(outcome: &Outcome, report: &Report) -> Option<Self> {
        let first = report
            .violations
            .iter()
            .min_by_key(|it| it.violation.at_ns)
            .map(|it| Self::Broken(it.violation.invariant));
        first.or((!outcome.failures.is_empty()).then_some(Self::Liveness))
    }

    fn is_in(self, outcome: &Outcome, report: &Report) -> bool {
        match self {
            Self::Broken(invariant) => report.violated.contains_key(&invariant),
            Self::Liveness => !outcome.failures.is_empty(),
        }
    }
}

/// Runs the command.
#[must_use]
pub fn run(arguments: &ShrinkArguments) -> Exit {
    let options = match (&arguments.file, arguments.seed) {
        (Some(file), _) => match open(file) {
            Ok((_, options)) => options,
            Err(exit) => return exit,
        },
        (None, seed) => arguments.shape.options(seed.unwrap_or_default()),
    };
    println!("{options}");
    let outcome = run::run(&options, false);
    let report = judge(&outcome);
    let Some(symptom) = Symptom::of(&outcome, &report) else {
        println!("nothing to shrink: no promise was broken");
        return Exit::Kept;
    };
    let file = arguments
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("shrunk-{}.yaml", options.seed)));
    let replay = format!("shard-cache-sim replay {}", file.display());
    let all = plan::of(&options);
    println!("broken: {symptom}, with {} faults", all.len());
    let mut asked = 0;
    let shrunk = shrink(&all, arguments.runs, |faults| {
        let (outcome, report) = again(&options, faults, &replay).1;
        let fails = symptom.is_in(&outcome, &report);
        asked += 1;
        let word = if fails { "still broken" } else { "kept" };
        eprintln!(
            "run {asked}: {} of {} faults, {word}",
            faults.len(),
            all.len()
        );
        fails
    });
    let (smaller, (outcome, report)) = again(&options, &shrunk.events, &replay);
    println!("{}", words(&smaller, &outcome, &report));
    let minimal = if shrunk.is_minimal {
        "none of them can be left out"
    } else {
        "more runs may find fewer"
    };
    println!(
        "\n{} of {} faults are enough for {symptom}, found in {} runs; {minimal}",
        shrunk.events.len(),
        all.len(),
        shrunk.runs
    );
    for fault in &shrunk.events {
        println!("{fault}");
    }
    let mut scenario = Scenario::of(&smaller);
    scenario.expect = Some(Summary::Violated);
    scenario.trace = Some(trace_name(outcome.trace));
    let written = scenario
        .to_yaml()
        .and_then(|yaml| Ok(fs::write(&file, yaml)?));
    if let Err(error) = written {
        eprintln!("cannot write {}: {error}", file.display());
        return Exit::Failed;
    }
    println!("replay: {replay}");
    Exit::Violated
}

/// The same run with a part of its faults.
fn again(options: &Options, faults: &[Fault], replay: &str) -> (Options, (Outcome, Report)) {
    let scenario = Scenario {
        faults: faults.to_vec(),
        ..Scenario::of(options)
    };
    let options = scenario.options(replay.to_owned());
    let outcome = run::run(&options, false);
    let report = judge(&outcome);
    (options, (outcome, report))
}
