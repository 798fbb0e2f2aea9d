//! Many schedules, on all processors.

use crate::{
    explore::{self, Log, Mode},
    rules::{Bug, Rules},
    world::Violation,
};

/// Threads at most.
const THREADS_MAX: u64 = 8;
/// A thread stops when it has found more violations than this.
const VIOLATIONS_MAX: usize = 20;

/// Which schedules.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// The rule.
    pub rules: Rules,
    /// How memory is lost.
    pub mode: Mode,
    /// The first seed.
    pub from: u64,
    /// How many seeds.
    pub seeds: u64,
    /// When to stop.
    pub until: Until,
}

/// When a sweep ends before its last seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// At the first violation, of each thread.
    First,
    /// When there are so many that more would not help.
    Many,
}

/// What happened in them.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Schedules in which a loss was declared.
    pub losses: u64,
    /// Seeds with a broken promise, the lowest first.
    pub violations: Vec<(u64, Violation)>,
}

impl Sweep {
    /// The schedules of a planted bug, until it is caught.
    #[must_use]
    pub fn of_bug(bug: Bug, mode: Mode, seeds: u64) -> Self {
        Self {
            rules: bug.rules(),
            mode,
            from: 0,
            seeds,
            until: Until::First,
        }
    }

    /// Runs them.
    #[must_use]
    pub fn run(&self) -> Outcome {
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        let threads = threads.min(THREADS_MAX);
        let parts: Vec<Outcome> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|first| scope.spawn(move || self.run_part(first, threads)))
                .collect();
            let joined = workers.into_iter().map(|worker| worker.join());
            joined
                .map(|part| part.expect("no schedule panics"))
                .collect()
        });
        let mut outcome = Outcome::default();
        for part in parts {
            outcome.writes += part.writes;
            outcome.reads += part.reads;
            outcome.losses += part.losses;
            outcome.violations.extend(part.violations);
        }
        outcome.violations.sort_by_key(|(seed, _)| *seed);
        outcome
    }

    /// The seeds of one thread: every so many, from its own first on.
    fn run_part(&self, first: u64, threads: u64) -> Outcome {
        let mut outcome = Outcome::default();
        let enough = match self.until {
            Until::First => 1,
            Until::Many => VIOLATIONS_MAX + 1,
        };
        let seeds = (self.from + first..self.from + self.seeds).step_by(threads as usize);
        for seed in seeds {
            let world = explore::schedule(self.rules, self.mode, seed, Log::None);
            outcome.writes += u64::from(world.writes_done);
            outcome.reads += u64::from(world.reads_done);
            outcome.losses += u64::from(world.losses() > 0);
            outcome
                .violations
                .extend(world.violation.map(|violation| (seed, violation)));
            if outcome.violations.len() >= enough {
                break;
            }
        }
        outcome
    }
}
