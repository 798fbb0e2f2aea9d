//! `shard-cache local logs|kill|start|pause|resume`: commands for single nodes.

use std::time::Duration;

use clap::Args;
use rustix::process::Signal;

use super::{
    DirectoryArguments, NodeArguments, agreement,
    cluster::{LocalCluster, LocalNode},
    down,
    process::{ProcessId, ProcessState},
};
use crate::{
    cli::{
        connection::block_on,
        exit::{Exit, Failure},
        output,
    },
    clock::{Clock as _, SystemClock},
};

/// How long a node that was started again may take to join.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a signal may take to have its effect.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks at a process.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Show the end of the logs.
#[derive(Debug, Args)]
pub(in crate::cli) struct LogsArguments {
    /// Number of the node, from 1; all nodes when not given.
    #[arg(value_name = "N")]
    node: Option<usize>,
    /// How many lines of each log.
    #[arg(long, value_name = "N", default_value_t = 50)]
    lines: usize,
    #[command(flatten)]
    directory: DirectoryArguments,
}

pub(super) fn logs(arguments: &LogsArguments) -> Result<Exit, Failure> {
    let cluster = LocalCluster::open(&arguments.directory.directory)?;
    let nodes = match arguments.node {
        Some(number) => vec![cluster.node(number)?],
        None => cluster.nodes.iter().collect(),
    };
    for node in &nodes {
        if nodes.len() > 1 {
            output::write_line(&format!("--- {} ---", node.name))?;
        }
        let tail = cluster.log_tail(node, arguments.lines);
        let tail = if output::stdout_is_terminal() {
            output::printable(&tail)
        } else {
            tail
        };
        output::write_line(&tail)?;
    }
    Ok(Exit::Ok)
}

pub(super) fn kill(arguments: &NodeArguments) -> Result<Exit, Failure> {
    signal(arguments, Signal::KILL, ProcessState::Gone, "killed")
}

pub(super) fn pause(arguments: &NodeArguments) -> Result<Exit, Failure> {
    signal(arguments, Signal::STOP, ProcessState::Paused, "paused")
}

pub(super) fn resume(arguments: &NodeArguments) -> Result<Exit, Failure> {
    signal(arguments, Signal::CONT, ProcessState::Running, "resumed")
}

pub(super) fn start(arguments: &NodeArguments) -> Result<Exit, Failure> {
    let cluster = LocalCluster::open(&arguments.directory.directory)?;
    let node = cluster.node(arguments.node)?;
    if cluster.state(node) != ProcessState::Gone {
        return Err(Failure::failed(format!("{} is running already", node.name)));
    }
    cluster.start(node)?;
    let running = |node: &&LocalNode| cluster.state(node) == ProcessState::Running;
    let expected: Vec<_> = cluster.nodes.iter().filter(running).collect();
    block_on(agreement::wait(&cluster, &expected, START_TIMEOUT))?;
    output::write_line(&format!("{} is up again and in the ring", node.name))?;
    Ok(Exit::Ok)
}

/// Sends a signal to a node and waits until it has had its effect.
fn signal(
    arguments: &NodeArguments,
    signal: Signal,
    wanted: ProcessState,
    done: &str,
) -> Result<Exit, Failure> {
    let cluster = LocalCluster::open(&arguments.directory.directory)?;
    let node = cluster.node(arguments.node)?;
    let living = cluster
        .process(node)
        .filter(|process| process.state() != ProcessState::Gone);
    let Some(process) = living else {
        return Err(
            Failure::failed(format!("{} is not running", node.name)).with_hint(format!(
                "start it again: shard-cache local start {}",
                arguments.node
            )),
        );
    };
    down::send(node, process, signal)?;
    let reached = block_on(async { Ok(until(process, wanted).await) })?;
    if !reached {
        let state = process.state().as_str();
        return Err(Failure::failed(format!("{} is still {state}", node.name)));
    }
    output::write_line(&format!("{} ({}) {done}", node.name, process.number()))?;
    Ok(Exit::Ok)
}

/// Waits until a process is in a state; whether it got there.
async fn until(process: ProcessId, wanted: ProcessState) -> bool {
    let clock = SystemClock::new();
    while process.state() != wanted {
        if clock.monotonic() >= SIGNAL_TIMEOUT {
            return false;
        }
        clock.sleep(POLL_INTERVAL).await;
    }
    true
}
