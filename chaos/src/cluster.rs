//! What the nodes say of themselves: whether they agree and owe nothing, and how much they evicted.

use std::{sync::Arc, time::Duration};

use shard_cache_client::{
    Client, ClientOptions,
    cluster::{NodeStatus, StatusResponse},
};
use tokio::time::{Instant, sleep};

use crate::{
    history::{Evictions, Record},
    recorder::Recorder,
};

const ASK_TIMEOUT: Duration = Duration::from_secs(3);
const ASK_PAUSE: Duration = Duration::from_millis(250);
/// How often in a row the nodes must agree: the two sides of a healed cut need a moment to notice each other.
const AGREEMENTS: u32 = 3;

/// The nodes, asked for their state.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<String>,
    recorder: Arc<Recorder>,
}

impl Cluster {
    /// Connects to nothing yet.
    #[must_use]
    pub(crate) const fn new(nodes: Vec<String>, recorder: Arc<Recorder>) -> Self {
        Self { nodes, recorder }
    }

    /// Waits until every node, whoever is asked, reports itself well, owes no hints and knows all slots to be settled, and
    /// all agree.
    ///
    /// # Errors
    /// What was still missing when the time was over.
    pub(crate) async fn settled(&self, longest: Duration) -> Result<(), String> {
        let until = Instant::now() + longest;
        let mut agreements = 0;
        loop {
            match self.survey().await {
                Ok(()) => agreements += 1,
                Err(missing) if Instant::now() >= until => return Err(missing),
                Err(_) => agreements = 0,
            }
            if agreements == AGREEMENTS {
                return Ok(());
            }
            sleep(ASK_PAUSE).await;
        }
    }

    /// Asks every node once, and notes what was evicted.
    ///
    /// # Errors
    /// The first thing that is missing.
    pub(crate) async fn survey(&self) -> Result<(), String> {
        let mut missing = Ok(());
        for node in &self.nodes {
            let seen = match ask(node).await {
                Ok(status) => {
                    self.note_evictions(&status);
                    complete(&status, self.nodes.len()).map_err(|what| format!("{node}: {what}"))
                }
                Err(error) => Err(error),
            };
            missing = missing.and(seen);
        }
        missing
    }

    fn note_evictions(&self, status: &StatusResponse) {
        for NodeStatus { member, report, .. } in &status.nodes {
            if let (Some(member), Some(report)) = (member, report) {
                self.recorder.push(Record::Evictions(Evictions {
                    at_us: self.recorder.now_us(),
                    node: member.name.clone(),
                    boot_id: member.boot_id,
                    total: report.evictions_total,
                }));
            }
        }
    }
}

async fn ask(node: &str) -> Result<StatusResponse, String> {
    let options = ClientOptions {
        timeout: ASK_TIMEOUT,
        ..ClientOptions::default()
    };
    let client = Client::connect(node, options).await;
    let status = match client {
        Ok(client) => client.cluster_status().await,
        Err(error) => Err(error),
    };
    status.map_err(|error| format!("{node}: {error}"))
}

fn has_left(node: &NodeStatus) -> bool {
    let member = node.member.as_ref();
    member.is_some_and(|member| {
        member.liveness == "down" && member.phase == "leaving" && !member.in_ring
    })
}

fn complete(status: &StatusResponse, nodes: usize) -> Result<(), String> {
    // Who has left in order is listed for a while.
    let there: Vec<&NodeStatus> = status.nodes.iter().filter(|node| !has_left(node)).collect();
    if there.len() != nodes {
        return Err(format!("sees {} nodes of {nodes}", there.len()));
    }
    if !status.rings_agree || !status.views_agree {
        return Err("rings or views disagree".to_owned());
    }
    for NodeStatus {
        member,
        report,
        error,
    } in there
    {
        let Some(member) = member else {
            return Err("a node without a name".to_owned());
        };
        let name = &member.name;
        let Some(report) = report else {
            return Err(format!("{name} does not answer it: {error}"));
        };
        if member.liveness != "alive" || member.phase != "active" || !member.in_ring {
            return Err(format!(
                "{name} is {} and {}",
                member.liveness, member.phase
            ));
        }
        if report.status != "ok" {
            return Err(format!("{name} says {}", report.status));
        }
        if report.hints_pending > 0 {
            return Err(format!("{name} owes {} hints", report.hints_pending));
        }
        if report.slots_unsettled > 0 {
            let slots = report.slots_unsettled;
            return Err(format!("{name} has {slots} slots that are not settled"));
        }
    }
    Ok(())
}
