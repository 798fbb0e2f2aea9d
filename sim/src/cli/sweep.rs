//! `sweep --seeds N`: many runs, on several threads, with progress.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;

use super::{
    check::Exit,
    pace::{Pace, speed},
    report_file::{ReportArguments, RunReport},
    run::{Finding, Shape, exit_of, judge},
};
use crate::{
    history::{Event, History},
    options::FaultKind,
    paths,
    report::Summary,
    run,
};

/// Between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Of so many seeds one may show too little: faults that left its quorum no chance say nothing, but the others do.
const SEEDS_PER_VACUOUS: u64 = 200;

/// Arguments of `sweep`.
#[derive(Args, Clone, Debug)]
pub struct SweepArguments {
    /// How many seeds.
    #[arg(long)]
    pub seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    pub first: u64,
    /// Runs at a time, one thread each.
    #[arg(long, default_value_t = 1)]
    pub jobs: usize,
    /// Every so many seeds one is run twice: both runs must have the same trace. 0 for none.
    #[arg(long, default_value_t = 10)]
    pub twice_every: u64,
    /// Goes on after a failure.
    #[arg(long)]
    pub keep_going: bool,
    /// Fails with 8 if a rare path that must be exercised was taken fewer than 100 times.
    #[arg(long)]
    pub gate: bool,
    /// The rest.
    #[command(flatten)]
    pub shape: Shape,
    /// Where the report goes.
    #[command(flatten)]
    pub report: ReportArguments,
}

impl SweepArguments {
    const fn vacuous_max(&self) -> usize {
        (self.seeds / SEEDS_PER_VACUOUS) as usize
    }
}

/// What the runs came to together.
#[derive(Default)]
struct Sum {
    runs: u64,
    failed: Vec<u64>,
    vacuous: Vec<u64>,
    unrepeatable: Vec<u64>,
    operations: u64,
    during_faults: u64,
    faults: u64,
    /// How often each kind of fault happened.
    kinds: BTreeMap<&'static str, u64>,
    simulated: Duration,
    /// Processor time of runs, apart from judging.
    busy: Duration,
    paths: BTreeMap<&'static str, u64>,
    /// The runs that were not good, in full.
    bad: Vec<RunReport>,
    told: Option<Instant>,
}

/// Runs the command.
#[must_use]
pub fn run(arguments: &SweepArguments) -> Exit {
    let started = now();
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    if place >= arguments.seeds {
                        return;
                    }
                    let goes_on = one(arguments, arguments.first + place, started, &sum);
                    if !goes_on && !arguments.keep_going {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.sort();
    let took = now() - started;
    let said = sum.words(arguments, took);
    print!("{said}");
    if let Err(error) = arguments.report.write(&sum.report(arguments, took), &said) {
        eprintln!("cannot write the report: {error}");
        return Exit::Failed;
    }
    if !sum.failed.is_empty() || !sum.unrepeatable.is_empty() {
        Exit::Violated
    } else if sum.vacuous.len() > arguments.vacuous_max() {
        Exit::Vacuous
    } else if arguments.gate {
        gate(&sum.paths)
    } else {
        Exit::Kept
    }
}

/// Whether the rare paths were taken often enough; says which were not.
fn gate(taken: &BTreeMap<&'static str, u64>) -> Exit {
    let seldom = paths::seldom(taken);
    for (name, count) in &seldom {
        println!(
            "gate: {name} fired {count} times, fewer than {}: these seeds say little about it",
            paths::FLOOR
        );
    }
    if seldom.is_empty() {
        Exit::Kept
    } else {
        Exit::Untaken
    }
}

/// One seed. Returns whether the sweep may go on.
fn one(arguments: &SweepArguments, seed: u64, started: Instant, sum: &Mutex<Sum>) -> bool {
    let options = arguments.shape.options(seed);
    let pace = Pace::begin();
    let outcome = run::run(&options, false);
    let busy = pace.took();
    let again = arguments.twice_every > 0 && seed.is_multiple_of(arguments.twice_every);
    let is_repeatable = !again || run::run(&options, false).trace == outcome.trace;
    let report = judge(&outcome);
    let exit = exit_of(&outcome, &report);
    let is_good = exit == Exit::Kept && is_repeatable;
    if !is_good {
        println!(
            "\nseed {seed}: {options}\n{}",
            Finding::of(&outcome, &report)
        );
        if !is_repeatable {
            println!("seed {seed} run twice has two traces");
        }
    }
    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
    sum.runs += 1;
    if !is_good {
        sum.bad.push(RunReport::new(&options, &outcome, &report));
    }
    match exit {
        Exit::Kept => {}
        Exit::Vacuous => sum.vacuous.push(seed),
        Exit::Violated | Exit::Failed | Exit::Unreadable | Exit::Untaken => {
            sum.failed.push(seed);
        }
    }
    if !is_repeatable {
        sum.unrepeatable.push(seed);
    }
    sum.operations += report.counts.operations;
    sum.during_faults += report.counts.during_faults;
    sum.faults += report.counts.faults;
    sum.simulated += outcome.simulated;
    sum.busy += busy;
    for (name, count) in outcome.paths {
        *sum.paths.entry(name).or_default() += count;
    }
    for kind in kinds_of(&outcome.history) {
        *sum.kinds.entry(kind.name()).or_default() += 1;
    }
    let time = now();
    if sum.told.is_none_or(|told| time - told >= PROGRESS_INTERVAL) {
        sum.told = Some(time);
        let (runs, all) = (sum.runs, arguments.seeds);
        let pace = runs as f64 / (time - started).as_secs_f64().max(0.001);
        let failed = sum.failed.len();
        eprintln!("{runs} of {all} seeds, {pace:.1} per second, {failed} failed");
    }
    let is_excused = exit == Exit::Vacuous && sum.vacuous.len() <= arguments.vacuous_max();
    is_good || (is_excused && is_repeatable)
}

/// The faults that happened, by kind.
fn kinds_of(history: &History) -> impl Iterator<Item = FaultKind> {
    history.marks.iter().filter_map(|mark| match &mark.event {
        // Named by its kind and its place in the plan.
        Event::FaultBegin { fault, .. } => fault.rsplit_once('-')?.0.parse().ok(),
        _ => None,
    })
}

/// What the runs of a sweep came to, for programs.
#[derive(Serialize)]
struct SweepReport<'a> {
    verdict: Summary,
    replay: String,
    first: u64,
    seeds: u64,
    runs: u64,
    failed: &'a [u64],
    vacuous: &'a [u64],
    unrepeatable: &'a [u64],
    operations: u64,
    during_faults: u64,
    faults: u64,
    kinds: &'a BTreeMap<&'static str, u64>,
    simulated_seconds: f64,
    took_seconds: f64,
    rare_paths: &'a BTreeMap<&'static str, u64>,
    bad: &'a [RunReport],
}

impl Sum {
    /// In the order of seeds, whichever thread was faster.
    fn sort(&mut self) {
        self.failed.sort_unstable();
        self.vacuous.sort_unstable();
        self.unrepeatable.sort_unstable();
        self.bad.sort_by_key(|run| run.options.seed);
    }

    fn report<'a>(&'a self, arguments: &SweepArguments, took: Duration) -> SweepReport<'a> {
        let verdict = if !self.failed.is_empty() || !self.unrepeatable.is_empty() {
            Summary::Violated
        } else if self.vacuous.len() <= arguments.vacuous_max() {
            Summary::Kept
        } else {
            Summary::Vacuous
        };
        SweepReport {
            verdict,
            replay: replay(arguments),
            first: arguments.first,
            seeds: arguments.seeds,
            runs: self.runs,
            failed: &self.failed,
            vacuous: &self.vacuous,
            unrepeatable: &self.unrepeatable,
            operations: self.operations,
            during_faults: self.during_faults,
            faults: self.faults,
            kinds: &self.kinds,
            simulated_seconds: self.simulated.as_secs_f64(),
            took_seconds: took.as_secs_f64(),
            rare_paths: &self.paths,
            bad: &self.bad,
        }
    }

    fn words(&self, arguments: &SweepArguments, took: Duration) -> String {
        let hours = self.simulated.as_secs_f64() / 3600.0;
        let speed = speed(self.simulated, self.busy);
        let mut words = format!(
            "{} seeds from {}: {} failed {:?}, {} vacuous {:?}, {} unrepeatable {:?}\n",
            self.runs,
            arguments.first,
            self.failed.len(),
            self.failed,
            self.vacuous.len(),
            self.vacuous,
            self.unrepeatable.len(),
            self.unrepeatable
        );
        words.push_str(&format!(
            "{} operations, {} of them during {} faults\n",
            self.operations, self.during_faults, self.faults
        ));
        let kinds = self.kinds.iter();
        let kinds: Vec<_> = kinds
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        words.push_str(&format!("faults: {}\n", kinds.join(", ")));
        words.push_str(&format!(
            "{hours:.2} simulated hours in {took:.1?}, {:.2} seeds per second; {:.1?} of a core, {speed:.0}x real time per core\n",
            self.runs as f64 / took.as_secs_f64().max(0.001),
            self.busy
        ));
        for (name, count) in &self.paths {
            words.push_str(&format!("  {name}: {count}\n"));
        }
        for replay in self.bad.iter().filter_map(|run| run.report.replay.as_ref()) {
            words.push_str(&format!("replay: {replay}\n"));
        }
        words
    }
}

/// The command that does the sweep again.
fn replay(arguments: &SweepArguments) -> String {
    let (seeds, first, shape) = (arguments.seeds, arguments.first, &arguments.shape);
    let seconds = shape.seconds.unwrap_or(shape.minutes * 60);
    let mut command =
        format!("shard-cache-sim sweep --seeds {seeds} --first {first} --seconds {seconds}");
    if let Some(only) = &shape.faults {
        let names: Vec<_> = only.iter().map(|kind| kind.name()).collect();
        command.push_str(&format!(" --faults {}", names.join(",")));
    }
    command
}

#[allow(
    clippy::disallowed_methods,
    reason = "progress and speed are measured on the machine's clock; nothing in a run depends on it"
)]
fn now() -> Instant {
    Instant::now()
}
