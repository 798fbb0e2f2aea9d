//! `shard-cache local`: a cluster of several nodes on this machine, as processes of this program.
//!
//! - `cluster`: the directory that remembers the nodes: their ports, process ids and logs.
//! - `process`: starting, recognising and signalling a node's process.
//! - `agreement`: waiting until the nodes agree on the ring.
//! - `up`, `down`, `status`, `demo`, `nodes`: the commands.

mod agreement;
mod cluster;
mod demo;
mod down;
mod nodes;
mod ports;
mod process;
mod status;
mod up;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    exit::{Exit, Failure},
    output::{Format, OutputArguments},
};

/// Run several nodes on this machine.
#[derive(Debug, Subcommand)]
pub(super) enum LocalCommand {
    Up(up::UpArguments),
    Down(down::DownArguments),
    Status(status::StatusArguments),
    Demo(demo::DemoArguments),
    Logs(nodes::LogsArguments),
    /// End a node at once, as a crash would (SIGKILL).
    Kill(NodeArguments),
    /// Start a node again that has ended; its memory is empty.
    Start(NodeArguments),
    /// Stop a node where it is, without ending it (SIGSTOP).
    Pause(NodeArguments),
    /// Let a paused node go on (SIGCONT).
    Resume(NodeArguments),
}

/// Where the cluster's state is.
#[derive(Clone, Debug, Args)]
pub(super) struct DirectoryArguments {
    /// Directory of process ids and logs.
    #[arg(
        long = "dir",
        value_name = "DIR",
        default_value = ".local",
        env = "SHARD_CACHE_LOCAL_DIR"
    )]
    directory: PathBuf,
}

/// Which node.
#[derive(Debug, Args)]
pub(super) struct NodeArguments {
    /// Number of the node, from 1.
    #[arg(value_name = "N")]
    node: usize,
    #[command(flatten)]
    directory: DirectoryArguments,
}

/// `-o`, for the commands that have a result.
type Output = OutputArguments;

impl LocalCommand {
    pub(super) const fn format(&self) -> Format {
        match self {
            Self::Status(arguments) => arguments.format(),
            Self::Up(_)
            | Self::Down(_)
            | Self::Demo(_)
            | Self::Logs(_)
            | Self::Kill(_)
            | Self::Start(_)
            | Self::Pause(_)
            | Self::Resume(_) => Format::Table,
        }
    }
}

pub(super) fn run(command: LocalCommand) -> Result<Exit, Failure> {
    match command {
        LocalCommand::Up(arguments) => up::run(&arguments),
        LocalCommand::Down(arguments) => down::run(&arguments),
        LocalCommand::Status(arguments) => status::run(&arguments),
        LocalCommand::Demo(arguments) => demo::run(&arguments),
        LocalCommand::Logs(arguments) => nodes::logs(&arguments),
        LocalCommand::Kill(arguments) => nodes::kill(&arguments),
        LocalCommand::Start(arguments) => nodes::start(&arguments),
        LocalCommand::Pause(arguments) => nodes::pause(&arguments),
        LocalCommand::Resume(arguments) => nodes::resume(&arguments),
    }
}
