//! The command line: one file per subcommand.
//!
//! Conventions: results on stdout, diagnostics and progress on stderr; `-o table|json|jsonl`; every flag has an
//! environment twin; exit codes as in [`exit::Exit`]. Commands return what to exit with or a [`exit::Failure`]; only
//! [`run`] prints failures.

mod arguments;
mod bench;
mod cluster;
mod cluster_status;
mod config;
mod connection;
mod del;
mod exit;
mod explain;
mod get;
mod give_way;
mod healthcheck;
mod hints;
mod lanes;
mod local;
mod metrics;
mod node;
mod orders;
mod output;
mod ring;
mod serve;
mod set;
mod version;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand, error::ErrorKind};

use exit::{Exit, Failure};
use output::Format;

use crate::telemetry::AllocatorReader;

/// What `--help` says at its end.
const EXIT_CODES: &str = "\
Exit codes: 0 ok, 1 failed, 2 usage, 3 key absent (serve, node: not safe), 4 unreachable or deadline, \
5 quorum not met, 6 degraded, 7 configuration invalid, 8 bench threshold broken.

Without a command a node is run: `shard-cache -grpc-port=8080 -http-port=8081` is `shard-cache serve ...`.";

/// A peer-to-peer, in-memory cache: any node serves any key, with quorum replication.
#[derive(Debug, Parser)]
#[command(name = "shard-cache", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::ServeArguments>),
    #[command(subcommand)]
    Local(local::LocalCommand),
    Get(get::GetArguments),
    Set(set::SetArguments),
    Del(del::DelArguments),
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    #[command(subcommand)]
    Node(node::NodeCommand),
    #[command(subcommand)]
    Ring(ring::RingCommand),
    #[command(subcommand)]
    Config(config::ConfigCommand),
    Bench(Box<bench::BenchArguments>),
    Healthcheck(healthcheck::HealthcheckArguments),
    Metrics(metrics::MetricsArguments),
    Version(version::VersionArguments),
}

/// Runs the command that `argv` names (its first element is the program) and returns the process's exit code. A node
/// tells of its allocator what `allocator` reads.
#[must_use]
pub fn run(
    argv: impl IntoIterator<Item = OsString>,
    allocator: Option<AllocatorReader>,
) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments::normalize(argv)) {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let format = arguments.command.format();
    match arguments.command.run(allocator) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::print_failure(&failure, format);
            failure.exit.into()
        }
    }
}

/// Help and version are no errors; the rest is wrong usage.
fn refuse(error: &clap::Error) -> ExitCode {
    // With stdout and stderr closed there is nobody to tell.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok.into(),
        _ => Exit::Usage.into(),
    }
}

impl Command {
    fn run(self, allocator: Option<AllocatorReader>) -> Result<Exit, Failure> {
        match self {
            Self::Serve(arguments) => serve::run(*arguments, allocator),
            Self::Local(command) => local::run(command),
            Self::Get(arguments) => get::run(&arguments),
            Self::Set(arguments) => set::run(&arguments),
            Self::Del(arguments) => del::run(&arguments),
            Self::Cluster(command) => cluster::run(&command),
            Self::Node(command) => node::run(&command),
            Self::Ring(command) => ring::run(&command),
            Self::Config(command) => config::run(command),
            Self::Bench(arguments) => bench::run(&arguments),
            Self::Healthcheck(arguments) => healthcheck::run(&arguments),
            Self::Metrics(arguments) => metrics::run(&arguments),
            Self::Version(arguments) => version::run(&arguments),
        }
    }

    /// The form in which failures are told.
    fn format(&self) -> Format {
        match self {
            Self::Serve(_) | Self::Healthcheck(_) => Format::Table,
            Self::Local(command) => command.format(),
            Self::Get(arguments) => arguments.format(),
            Self::Set(arguments) => arguments.format(),
            Self::Del(arguments) => arguments.format(),
            Self::Cluster(command) => command.format(),
            Self::Node(command) => command.format(),
            Self::Ring(command) => command.format(),
            Self::Config(command) => command.format(),
            Self::Bench(arguments) => arguments.format(),
            Self::Metrics(arguments) => arguments.format(),
            Self::Version(arguments) => arguments.format(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_flag_of_a_field_names_its_environment_twin_in_the_help() {
        let mut command = Arguments::command();
        let help = command
            .find_subcommand_mut("serve")
            .unwrap()
            .render_long_help()
            .to_string();
        for flag in crate::config::twin_flags() {
            assert!(help.contains(&format!("--{}", flag.flag)), "{}", flag.flag);
            assert!(help.contains(flag.variable), "{}", flag.variable);
        }
    }
}
