//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shard_cache_sim::cli::check::{self, CheckArguments};

/// Judges histories of a shard-cache cluster.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Judges a recorded history: which promises were broken?
    Check(CheckArguments),
}

fn main() -> ExitCode {
    // Clap exits with 2 by itself when the usage is wrong.
    match Arguments::parse().command {
        Command::Check(arguments) => check::run(&arguments).into(),
    }
}
