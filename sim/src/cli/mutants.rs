//! `mutants`: plants known bugs, one at a time, and looks for the first seed by which each is found.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;

use super::{
    check::Exit,
    run::{Shape, exit_of, judge},
};
use crate::{check::Invariant, options::Options, plant::Plant, run};

/// Arguments of `mutants`.
#[derive(Args, Clone, Debug)]
pub struct MutantsArguments {
    /// How many seeds are tried for a bug at most.
    #[arg(long, default_value_t = 200)]
    pub seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    pub first: u64,
    /// Runs at a time, one thread each.
    #[arg(long, default_value_t = 1)]
    pub jobs: usize,
    /// Only these bugs, by name.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub plant: Vec<Plant>,
    /// The rest.
    #[command(flatten)]
    pub shape: Shape,
}

/// What a seed shows of a bug.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shown {
    /// The invariant that names it was violated, and nothing is wrong without it; with all that was violated.
    Caught(BTreeSet<Invariant>),
    /// The invariant was violated, but something is wrong without the bug as well.
    Unclean,
    /// Only other invariants were violated.
    Other(BTreeSet<Invariant>),
    /// Nothing was.
    Nothing,
}

/// What was shown of a bug by all its seeds.
#[derive(Default)]
struct Sum {
    caught: Option<(u64, BTreeSet<Invariant>)>,
    unclean: BTreeSet<u64>,
    other: BTreeSet<Invariant>,
}

/// Runs the command.
#[must_use]
pub fn run(arguments: &MutantsArguments) -> Exit {
    let plants = if arguments.plant.is_empty() {
        Plant::ALL.to_vec()
    } else {
        arguments.plant.clone()
    };
    println!("| bug | invariant | seed | seeds tried | also violated | time |");
    println!("|---|---|---|---|---|---|");
    let mut missed = Vec::new();
    for plant in plants {
        let started = now();
        let sum = search(arguments, plant);
        let took = now() - started;
        if sum.caught.is_none() {
            missed.push(plant.name());
        }
        sum.tell(arguments, plant, took);
    }
    if missed.is_empty() {
        Exit::Kept
    } else {
        println!("\nnot caught: {}", missed.join(", "));
        Exit::Violated
    }
}

/// Tries seeds until the first that catches the bug is known.
fn search(arguments: &MutantsArguments, plant: Plant) -> Sum {
    let next = AtomicU64::new(arguments.first);
    let end = AtomicU64::new(arguments.first + arguments.seeds);
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    let options = arguments.shape.options(seed);
                    let shown = show(&options, plant);
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    sum.add(seed, shown);
                    if let Some((caught, _)) = sum.caught {
                        end.fetch_min(caught, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs options with a bug, and without it if the bug shows.
#[must_use]
pub fn show(options: &Options, plant: Plant) -> Shown {
    let without = Options {
        plant: None,
        ..options.clone()
    };
    let with = Options {
        plant: Some(plant),
        ..options.clone()
    };
    let violated: BTreeSet<Invariant> = judge(&run::run(&with, false))
        .violated
        .into_keys()
        .collect();
    if !violated.contains(&plant.invariant()) {
        return if violated.is_empty() {
            Shown::Nothing
        } else {
            Shown::Other(violated)
        };
    }
    let outcome = run::run(&without, false);
    if exit_of(&outcome, &judge(&outcome)) == Exit::Kept {
        Shown::Caught(violated)
    } else {
        Shown::Unclean
    }
}

impl Sum {
    fn add(&mut self, seed: u64, shown: Shown) {
        match shown {
            Shown::Caught(violated) => {
                let is_first = self.caught.as_ref().is_none_or(|(first, _)| seed < *first);
                if is_first {
                    self.caught = Some((seed, violated));
                }
            }
            Shown::Unclean => {
                self.unclean.insert(seed);
            }
            Shown::Other(violated) => self.other.extend(violated),
            Shown::Nothing => {}
        }
    }

    fn tell(&self, arguments: &MutantsArguments, plant: Plant, took: Duration) {
        let invariant = plant.invariant();
        let names = |violated: &BTreeSet<Invariant>| {
            let others = violated.iter().filter(|other| **other != invariant);
            let names: Vec<_> = others.map(|other| other.name()).collect();
            names.join(", ")
        };
        let (seed, tried, also) = match &self.caught {
            Some((seed, violated)) => (
                seed.to_string(),
                seed - arguments.first + 1,
                names(violated),
            ),
            None => ("none".to_owned(), arguments.seeds, names(&self.other)),
        };
        println!("| `{plant}` | `{invariant}` | {seed} | {tried} | {also} | {took:.1?} |");
        let up_to = self.caught.as_ref().map_or(u64::MAX, |(seed, _)| *seed);
        let unclean: Vec<_> = self.unclean.range(..up_to).collect();
        if !unclean.is_empty() {
            eprintln!("{plant}: not clean without the bug: seeds {unclean:?}");
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the search is timed on the machine's clock; nothing in a run depends on it"
)]
fn now() -> Instant {
    Instant::now()
}
