//! Waiting until the nodes of a local cluster agree on the ring.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use shard_cache_client::{
    Client, ClientOptions,
    cluster::{NodeStatus, StatusResponse},
};

use super::{
    cluster::{LocalCluster, LocalNode},
    process::ProcessState,
};
use crate::{
    cli::exit::{Exit, Failure},
    clock::{Clock as _, SystemClock},
};

/// Between two looks at the nodes.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long one node may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Waits until every node in `expected` reports the same ring with all of them in it. Progress is shown on a terminal.
/// Dropping the future changes nothing.
pub(super) async fn wait(
    cluster: &LocalCluster,
    expected: &[&LocalNode],
    timeout: Duration,
) -> Result<(), Failure> {
    let clock = SystemClock::new();
    let progress = Progress::new();
    loop {
        for node in expected {
            if cluster.state(node) == ProcessState::Gone {
                return Err(Failure::failed(format!("{} ended", node.name)));
            }
        }
        let missing = missing(expected).await;
        if missing.is_empty() {
            return Ok(());
        }
        if clock.monotonic() >= timeout {
            let message = format!(
                "the nodes did not agree within {}: {}",
                humantime::format_duration(timeout),
                missing.join("; ")
            );
            return Err(Failure::new(Exit::Unreachable, "NO_AGREEMENT", message));
        }
        progress.show(&missing);
        clock.sleep(POLL_INTERVAL).await;
    }
}

/// What each node lacks; empty when all agree.
async fn missing(expected: &[&LocalNode]) -> Vec<String> {
    let mut missing = Vec::new();
    for node in expected {
        let lack = match ask(node).await {
            Ok(status) => lack(&status, expected.len()),
            Err(_) => Some("does not answer yet".to_owned()),
        };
        missing.extend(lack.map(|lack| format!("{} {lack}", node.name)));
    }
    missing
}

async fn ask(node: &LocalNode) -> Result<StatusResponse, shard_cache_client::ClientError> {
    let options = ClientOptions {
        connect_timeout: ASK_TIMEOUT,
        timeout: ASK_TIMEOUT,
        ..ClientOptions::default()
    };
    Client::connect(&node.endpoint(), options)
        .await?
        .cluster_status()
        .await
}

/// What the cluster that a node sees lacks to be `expected` members on one ring.
fn lack(status: &StatusResponse, expected: usize) -> Option<String> {
    let reports: Vec<_> = status
        .nodes
        .iter()
        .filter_map(|node| node.report.as_ref())
        .collect();
    let see_all = |alive: u32| usize::try_from(alive).is_ok_and(|alive| alive == expected);
    if reports.len() != expected {
        return Some(format!(
            "has reports of {} of {expected} nodes",
            reports.len()
        ));
    }
    if !reports.iter().all(|report| see_all(report.members_alive)) {
        return Some("waits until all nodes see each other".to_owned());
    }
    let in_ring = |node: &&NodeStatus| {
        node.report.is_some() && node.member.as_ref().is_some_and(|member| member.in_ring)
    };
    let members = status.nodes.iter().filter(in_ring).count();
    if members != expected {
        return Some(format!("has {members} of {expected} nodes in its ring"));
    }
    let first = reports.first().map_or("", |report| &report.ring_hash);
    let same = !first.is_empty() && reports.iter().all(|report| report.ring_hash == first);
    if !(same && status.rings_agree) {
        return Some("waits until all rings are the same".to_owned());
    }
    if reports.iter().any(|report| report.status == "joining") {
        return Some("waits for a node that is joining".to_owned());
    }
    // While an owner is away its slots cannot settle: that is not waited for.
    let is_away = |node: &NodeStatus| {
        node.report.is_none() && node.member.as_ref().is_some_and(|member| member.in_ring)
    };
    let unsettled: u64 = reports.iter().map(|report| report.slots_unsettled).sum();
    let waits = unsettled > 0 && !status.nodes.iter().any(is_away);
    waits.then(|| "waits until all slots are settled".to_owned())
}

/// One line on a terminal that is written over, and cleared at the end.
struct Progress {
    terminal: bool,
}

impl Progress {
    fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
        }
    }

    fn show(&self, missing: &[String]) {
        if let (true, Some(first)) = (self.terminal, missing.first()) {
            // With stderr closed there is nobody to tell.
            let _ = write!(io::stderr(), "\r\x1b[Kwaiting: {first}");
            let _ = io::stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            // With stderr closed there is nobody to tell.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use shard_cache_client::cluster::{Member, NodeReport};

    use super::*;

    fn status(nodes: usize, change: impl Fn(usize, &mut NodeStatus)) -> StatusResponse {
        let node = |index| {
            let mut node = NodeStatus {
                member: Some(Member {
                    in_ring: true,
                    ..Member::default()
                }),
                report: Some(NodeReport {
                    status: "ok".to_owned(),
                    members_alive: 3,
                    ring_hash: "r".to_owned(),
                    ..NodeReport::default()
                }),
                error: String::new(),
            };
            change(index, &mut node);
            node
        };
        StatusResponse {
            nodes: (0..nodes).map(node).collect(),
            rings_agree: true,
            ..StatusResponse::default()
        }
    }

    fn with_report(change: impl Fn(usize, &mut NodeReport)) -> StatusResponse {
        status(3, |index, node| {
            change(index, node.report.as_mut().unwrap())
        })
    }

    #[test]
    fn all_nodes_on_one_ring_lack_nothing() {
        assert_eq!(lack(&status(3, |_, _| {}), 3), None);
        // A dead member that is still known, and in the ring, does not matter.
        let with_dead = status(4, |index, node| {
            if index == 3 {
                node.report = None;
            }
        });
        assert_eq!(lack(&with_dead, 3), None);
    }

    #[test]
    fn anything_less_is_named() {
        let lacks = |status: StatusResponse, what: &str| {
            let lack = lack(&status, 3).unwrap_or_default();
            assert!(lack.contains(what), "{lack}");
        };
        lacks(status(2, |_, _| {}), "2 of 3");
        lacks(
            with_report(|index, report| report.members_alive = 2 + u32::from(index > 0)),
            "see",
        );
        let outside = |index, node: &mut NodeStatus| {
            node.member.as_mut().unwrap().in_ring = index > 0;
        };
        lacks(status(3, outside), "2 of 3 nodes in its ring");
        lacks(
            with_report(|index, report| report.ring_hash = index.to_string()),
            "rings",
        );
        lacks(with_report(|_, report| report.ring_hash.clear()), "rings");
        lacks(
            with_report(|_, report| report.slots_unsettled = 1),
            "settled",
        );
        lacks(
            with_report(|_, report| report.status = "joining".to_owned()),
            "joining",
        );
    }
}
