//! `shard-cache local down`.

use std::{io, time::Duration};

use clap::Args;
use rustix::process::Signal;

use super::{
    DirectoryArguments,
    cluster::{LocalCluster, LocalNode},
    process::{ProcessId, ProcessState},
};
use crate::{
    cli::{
        connection::block_on,
        exit::{Exit, Failure},
        output,
    },
    clock::{Clock as _, SystemClock},
    config::parse_duration,
};

/// Between two looks at the processes.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a process may take to disappear after SIGKILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// End all nodes of the local cluster and remove its directory.
#[derive(Debug, Args)]
pub(in crate::cli) struct DownArguments {
    /// How long nodes may take to leave in order before they are killed.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    directory: DirectoryArguments,
}

pub(super) fn run(arguments: &DownArguments) -> Result<Exit, Failure> {
    let directory = &arguments.directory.directory;
    let Some(cluster) = LocalCluster::find(directory)? else {
        output::note(&format!("no local cluster in {}", directory.display()));
        return Ok(Exit::Ok);
    };
    end(&cluster, arguments.timeout)?;
    let plural = if cluster.nodes.len() == 1 { "" } else { "s" };
    output::write_line(&format!(
        "{} node{plural} ended, nothing is left behind",
        cluster.nodes.len()
    ))?;
    Ok(Exit::Ok)
}

/// Ends all nodes, in order within `timeout` and by force after it, and removes the directory. Ctrl-C cuts the waiting
/// short.
pub(super) fn end(cluster: &LocalCluster, timeout: Duration) -> Result<(), Failure> {
    signal_all(cluster, Signal::TERM)?;
    // A paused process gets the signal when it goes on.
    signal_all(cluster, Signal::CONT)?;
    let left = block_on(async {
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => Ok(living(cluster)),
            left = until_gone(cluster, timeout) => Ok(left),
        }
    })?;
    if !left.is_empty() {
        if !timeout.is_zero() {
            output::note(&format!("killing {}: not ended in time", left.join(", ")));
        }
        signal_all(cluster, Signal::KILL)?;
        let left = block_on(async { Ok(until_gone(cluster, KILL_TIMEOUT).await) })?;
        if !left.is_empty() {
            return Err(Failure::failed(format!(
                "{} cannot be ended",
                left.join(", ")
            )));
        }
    }
    cluster.remove()
}

/// Sends a signal to every node that lives.
fn signal_all(cluster: &LocalCluster, signal: Signal) -> Result<(), Failure> {
    cluster.nodes.iter().try_for_each(|node| {
        let process = cluster.process(node);
        process.map_or(Ok(()), |process| send(node, process, signal))
    })
}

/// Sends a signal to one node.
pub(super) fn send(node: &LocalNode, process: ProcessId, signal: Signal) -> Result<(), Failure> {
    process.signal(signal).map_err(|error: io::Error| {
        Failure::system(&format!("cannot signal {} ({process})", node.name), &error)
    })
}

/// Waits until no node lives; the names of those that still do at the end.
async fn until_gone(cluster: &LocalCluster, timeout: Duration) -> Vec<String> {
    let clock = SystemClock::new();
    loop {
        let left = living(cluster);
        if left.is_empty() || clock.monotonic() >= timeout {
            return left;
        }
        clock.sleep(POLL_INTERVAL).await;
    }
}

fn living(cluster: &LocalCluster) -> Vec<String> {
    let lives = |node: &&LocalNode| cluster.state(node) != ProcessState::Gone;
    cluster
        .nodes
        .iter()
        .filter(lives)
        .map(|node| node.name.clone())
        .collect()
}
