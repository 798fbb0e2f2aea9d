//! `scenario FILE` and `replay`: runs of a file.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    check::Exit,
    pace::{Pace, speed},
    report_file::{ReportArguments, RunReport, trace_name, words},
    run::{self, Shape, exit_of, judge},
};
use crate::{
    options::Options,
    report::Summary,
    run::{self as runs, Outcome},
    scenario::{Scenario, read_file},
};

/// Arguments of `scenario`.
#[derive(Args, Clone, Debug)]
pub struct ScenarioArguments {
    /// The scenario: YAML.
    pub file: PathBuf,
    /// Prints every event.
    #[arg(long)]
    pub trace: bool,
    /// Fails with 8 if simulated time is not so many times the processor time.
    #[arg(long, value_name = "TIMES")]
    pub speed_min: Option<f64>,
    /// Where the report goes.
    #[command(flatten)]
    pub report: ReportArguments,
}

/// Arguments of `replay`.
#[derive(Args, Clone, Debug)]
pub struct ReplayArguments {
    /// The scenario; the trace in it has to come out again.
    #[arg(required_unless_present = "seed", conflicts_with = "seed")]
    pub file: Option<PathBuf>,
    /// A seed instead.
    #[arg(long)]
    pub seed: Option<u64>,
    /// The rest of a seed.
    #[command(flatten)]
    pub shape: Shape,
    /// The trace that has to come out; without one, and without one in the file, there are two runs.
    #[arg(long, value_name = "HASH")]
    pub expect_trace: Option<String>,
}

/// A scenario with the options of a run of it. Says what is wrong with the file if something is.
///
/// # Errors
/// What to exit with.
pub fn open(file: &Path) -> Result<(Scenario, Options), Exit> {
    let scenario = read_file(file).map_err(|error| {
        eprintln!("{error}");
        Exit::Unreadable
    })?;
    let options = scenario.options(format!("shard-cache-sim scenario {}", file.display()));
    Ok((scenario, options))
}

/// Runs a scenario.
#[must_use]
pub fn run(arguments: &ScenarioArguments) -> Exit {
    let (scenario, options) = match open(&arguments.file) {
        Ok(opened) => opened,
        Err(exit) => return exit,
    };
    let pace = Pace::begin();
    let outcome = runs::run(&options, arguments.trace);
    let took = pace.took();
    let speed = speed(outcome.simulated, took);
    let report = judge(&outcome);
    let said = words(&options, &outcome, &report);
    println!("{said}");
    let full = RunReport::new(&options, &outcome, &report);
    if let Some(expected) = scenario.expect
        && expected != full.report.verdict
    {
        println!("expected {}", name_of(expected));
    }
    if let Err(error) = arguments.report.write(&full, &said) {
        eprintln!("cannot write the report: {error}");
        return Exit::Failed;
    }
    // Not part of what a scenario says: it is another one each time.
    let simulated = outcome.simulated;
    eprintln!("{simulated:.1?} simulated in {took:.2?} of a core: {speed:.0}x real time");
    match (exit_of(&outcome, &report), arguments.speed_min) {
        (Exit::Kept, Some(least)) if speed < least => {
            eprintln!("{least:.0}x is expected");
            Exit::Untaken
        }
        (exit, _) => exit,
    }
}

const fn name_of(summary: Summary) -> &'static str {
    match summary {
        Summary::Kept => "kept",
        Summary::Violated => "violated",
        Summary::Vacuous => "vacuous",
    }
}

/// Runs something again.
#[must_use]
pub fn replay(arguments: &ReplayArguments) -> Exit {
    let (recorded, options) = match (&arguments.file, arguments.seed) {
        (Some(file), _) => match open(file) {
            Ok((scenario, options)) => (scenario.trace, options),
            Err(exit) => return exit,
        },
        (None, seed) => (None, arguments.shape.options(seed.unwrap_or_default())),
    };
    let recorded = arguments.expect_trace.clone().or(recorded);
    let (outcome, exit) = say(&options);
    let trace = trace_name(outcome.trace);
    let (expected, whose) = match recorded {
        Some(recorded) => (recorded, "the recorded one"),
        None => (
            trace_name(runs::run(&options, false).trace),
            "that of a second run",
        ),
    };
    if trace == expected {
        println!("the trace is {whose}");
        exit
    } else {
        println!("the trace is {trace}, not {whose}, {expected}");
        Exit::Violated
    }
}

fn say(options: &Options) -> (Outcome, Exit) {
    let outcome = runs::run(options, false);
    let report = run::judge(&outcome);
    println!("{}", words(options, &outcome, &report));
    let exit = exit_of(&outcome, &report);
    (outcome, exit)
}
