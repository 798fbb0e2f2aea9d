//! `run --seed N`: one run and what it showed.

use std::{fs, path::PathBuf, time::Duration};

use clap::Args;

use super::{
    check::Exit,
    report_file::{ReportArguments, RunReport, words},
};
use crate::{
    check::check,
    history::{Event as Happened, Mark, Writer},
    logs,
    options::{FaultKind, Options},
    plant::Plant,
    report::{Report, Summary},
    run::{self, Outcome},
};

/// What a run is made of, beside its seed.
#[derive(Args, Clone, Debug)]
pub struct Shape {
    /// Simulated minutes during which faults happen.
    #[arg(long, default_value_t = 5)]
    pub minutes: u64,
    /// Simulated seconds instead.
    #[arg(long, conflicts_with = "minutes")]
    pub seconds: Option<u64>,
    /// The only kinds of faults, by name; all that the seed turns on if absent.
    #[arg(long, value_delimiter = ',', value_name = "KIND,...")]
    pub faults: Option<Vec<FaultKind>>,
}

impl Shape {
    /// The options of a seed.
    #[must_use]
    pub fn options(&self, seed: u64) -> Options {
        let seconds = self.seconds.unwrap_or(self.minutes * 60);
        let mut options = Options::of_seed(seed, Duration::from_secs(seconds));
        if let Some(only) = &self.faults {
            options.faults = only.iter().copied().collect();
        }
        options
    }
}

/// Arguments of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArguments {
    /// What everything in the run follows from.
    #[arg(long)]
    pub seed: u64,
    /// The rest.
    #[command(flatten)]
    pub shape: Shape,
    /// Plants a known bug in every node, by name.
    #[arg(long, value_name = "NAME")]
    pub plant: Option<Plant>,
    /// Prints every event.
    #[arg(long)]
    pub trace: bool,
    /// Prints what nodes log, from this level on: info, debug.
    #[arg(long, value_name = "LEVEL")]
    pub logs: Option<String>,
    /// Writes the history to this file, as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Where the report goes.
    #[command(flatten)]
    pub report: ReportArguments,
}

/// Runs the command.
#[must_use]
pub fn run(arguments: &RunArguments) -> Exit {
    let mut options = arguments.shape.options(arguments.seed);
    options.plant = arguments.plant;
    println!("{options}");
    if let Some(Err(error)) = arguments.logs.as_deref().map(logs::print) {
        eprintln!("{error}");
        return Exit::Failed;
    }
    let outcome = run::run(&options, arguments.trace);
    let report = judge(&outcome);
    println!("{}", Finding::of(&outcome, &report));
    let kept = arguments.history.as_ref().map_or(Ok(()), |file| {
        let sink = std::io::BufWriter::new(fs::File::create(file)?);
        Writer::write_all(sink, &outcome.history)
    });
    let full = RunReport::new(&options, &outcome, &report);
    let reported = arguments
        .report
        .write(&full, &words(&options, &outcome, &report));
    if let Err(error) = kept.and(reported) {
        eprintln!("cannot write: {error}");
        return Exit::Failed;
    }
    exit_of(&outcome, &report)
}

/// The verdict on what a run came to.
#[must_use]
pub fn judge(outcome: &Outcome) -> Report {
    let promises = outcome.history.header.promises.clone().unwrap_or_default();
    Report::new(&outcome.history, &check(&outcome.history, &promises))
}

/// What a run exits with.
#[must_use]
pub fn exit_of(outcome: &Outcome, report: &Report) -> Exit {
    match (report.verdict, outcome.failures.is_empty()) {
        (Summary::Violated, _) | (_, false) => Exit::Violated,
        (Summary::Vacuous, true) => Exit::Vacuous,
        (Summary::Kept, true) => Exit::Kept,
    }
}

/// What people read about a run.
pub struct Finding<'a> {
    outcome: &'a Outcome,
    report: &'a Report,
}

impl<'a> Finding<'a> {
    /// Of a run and the verdict on it.
    #[must_use]
    pub const fn of(outcome: &'a Outcome, report: &'a Report) -> Self {
        Self { outcome, report }
    }
}

impl std::fmt::Display for Finding<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { outcome, report } = self;
        write!(f, "{report}")?;
        if exit_of(outcome, report) == Exit::Violated {
            self.fmt_marks(f)?;
        }
        for failure in &outcome.failures {
            writeln!(f, "liveness: {failure}")?;
        }
        if !outcome.failures.is_empty()
            && let Some(replay) = &outcome.history.header.replay
        {
            writeln!(f, "replay: {replay}")?;
        }
        let paths: Vec<String> = outcome
            .paths
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        writeln!(f, "rare paths: {}", paths.join(", "))?;
        let (trace, events) = (outcome.trace, outcome.events);
        let simulated = outcome.simulated;
        write!(
            f,
            "trace {trace:016x}, {events} events, {simulated:.1?} simulated"
        )
    }
}

/// What was done to the cluster that is said of a failure.
const MARKS_MAX: usize = 16;

impl Finding<'_> {
    /// What had been done to the cluster when the first promise was broken.
    fn fmt_marks(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let violations = self.report.violations.iter();
        let first = violations.map(|report| report.violation.at_ns).min();
        let by_ns = first.unwrap_or(u64::MAX);
        let marks = self.outcome.history.marks.iter();
        let telling: Vec<&Mark> = marks
            .filter(|mark| mark.at_ns <= by_ns && is_telling(&mark.event))
            .collect();
        let skipped = telling.len().saturating_sub(MARKS_MAX);
        writeln!(f, "before it:")?;
        for mark in &telling[skipped..] {
            writeln!(f, "  {:>10.3} s  {:?}", mark.at_ns as f64 / 1e9, mark.event)?;
        }
        Ok(())
    }
}

/// Whether an event changed something, rather than noting a figure.
const fn is_telling(event: &Happened) -> bool {
    match event {
        Happened::FaultBegin { .. }
        | Happened::FaultEnd { .. }
        | Happened::Crash { .. }
        | Happened::Boot { .. }
        | Happened::Join { .. }
        | Happened::Leave { .. }
        | Happened::Drained { .. }
        | Happened::Clock { .. }
        | Happened::Settled
        | Happened::Unsettled { .. }
        | Happened::Healed { .. }
        | Happened::Broken { .. } => true,
        Happened::Owners { .. }
        | Happened::Evictions { .. }
        | Happened::Membership { .. }
        | Happened::Usage { .. } => false,
    }
}
