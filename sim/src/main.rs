//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shard_cache_sim::cli::{
    check::{self, CheckArguments},
    mutants::{self, MutantsArguments},
    run::{self, RunArguments},
    scale::{self, ScaleArguments},
    scenario::{self, ReplayArguments, ScenarioArguments},
    shrink::{self, ShrinkArguments},
    sweep::{self, SweepArguments},
};

/// Simulated nodes allocate small pieces all the time; this allocator is good at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs whole clusters of shard-cache on virtual time, and judges their histories.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One run of one seed.
    Run(RunArguments),
    /// Runs of many seeds.
    Sweep(SweepArguments),
    /// Membership with many nodes, beside foca with its plain defaults.
    Scale(ScaleArguments),
    /// Does the checker find known bugs?
    Mutants(MutantsArguments),
    /// A run of a cluster, load and faults that a file describes.
    Scenario(ScenarioArguments),
    /// Runs a scenario or a seed again: does the same happen?
    Replay(ReplayArguments),
    /// Finds the few faults of a failing run that matter.
    Shrink(ShrinkArguments),
    /// Judges a recorded history: which promises were broken?
    Check(CheckArguments),
}

fn main() -> ExitCode {
    // Clap exits with 2 by itself when the usage is wrong.
    match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments).into(),
        Command::Sweep(arguments) => sweep::run(&arguments).into(),
        Command::Scale(arguments) => scale::run(&arguments).into(),
        Command::Mutants(arguments) => mutants::run(&arguments).into(),
        Command::Scenario(arguments) => scenario::run(&arguments).into(),
        Command::Replay(arguments) => scenario::replay(&arguments).into(),
        Command::Shrink(arguments) => shrink::run(&arguments).into(),
        Command::Check(arguments) => check::run(&arguments).into(),
    }
}
