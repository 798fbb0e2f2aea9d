//! `shard-cache local status`.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use shard_cache_client::{Client, ClientError, ClientOptions, HealthResponse};

use super::{
    DirectoryArguments, Output,
    cluster::{LocalCluster, LocalNode},
    process::{ProcessId, ProcessState},
};
use crate::cli::{
    connection::block_on,
    exit::{Exit, Failure},
    output::{self, Column, Format},
};

/// How long a node may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// Show the nodes of the local cluster. Exits with 6 when one of them is not running and well.
#[derive(Debug, Args)]
pub(in crate::cli) struct StatusArguments {
    #[command(flatten)]
    directory: DirectoryArguments,
    #[command(flatten)]
    output: Output,
}

impl StatusArguments {
    pub(super) const fn format(&self) -> Format {
        self.output.format
    }
}

/// A node as found.
struct Found<'a> {
    node: &'a LocalNode,
    process: Option<ProcessId>,
    state: ProcessState,
    /// `None` when it is not running.
    health: Option<Result<HealthResponse, ClientError>>,
}

pub(super) fn run(arguments: &StatusArguments) -> Result<Exit, Failure> {
    let cluster = LocalCluster::open(&arguments.directory.directory)?;
    let found = block_on(async {
        let mut found = Vec::with_capacity(cluster.nodes.len());
        for node in &cluster.nodes {
            let state = cluster.state(node);
            let health = match state {
                ProcessState::Running => Some(health(node).await),
                ProcessState::Paused | ProcessState::Gone => None,
            };
            found.push(Found {
                node,
                process: cluster.process(node),
                state,
                health,
            });
        }
        Ok(found)
    })?;
    match arguments.format() {
        Format::Table => output::write_line(&render(&found))?,
        format @ (Format::Json | Format::Jsonl) => {
            let nodes: Vec<_> = found.iter().map(document).collect();
            output::write_json_list(format, &nodes)?;
        }
    }
    let well = found.iter().all(|found| found.word() == "ok");
    Ok(if well { Exit::Ok } else { Exit::Degraded })
}

async fn health(node: &LocalNode) -> Result<HealthResponse, ClientError> {
    let options = ClientOptions {
        connect_timeout: ASK_TIMEOUT,
        timeout: ASK_TIMEOUT,
        ..ClientOptions::default()
    };
    Client::connect(&node.endpoint(), options)
        .await?
        .health()
        .await
}

impl Found<'_> {
    /// The node's own word for its health.
    fn word(&self) -> &str {
        match &self.health {
            Some(Ok(health)) => &health.status,
            Some(Err(_)) => "no answer",
            None => "-",
        }
    }

    fn members(&self) -> Option<(u32, u32)> {
        let health = self.health.as_ref()?.as_ref().ok()?;
        Some((health.members_alive, health.members_known))
    }
}

fn render(found: &[Found<'_>]) -> String {
    let columns = [
        Column::Left("NODE"),
        Column::Right("PID"),
        Column::Left("PROCESS"),
        Column::Left("HEALTH"),
        Column::Left("ALIVE"),
        Column::Right("GRPC"),
        Column::Right("HTTP"),
        Column::Right("GOSSIP"),
    ];
    let rows: Vec<_> = found
        .iter()
        .map(|found| {
            let dash = || "-".to_owned();
            vec![
                found.node.name.clone(),
                found
                    .process
                    .map_or_else(dash, |process| process.number().to_string()),
                found.state.as_str().to_owned(),
                found.word().to_owned(),
                found
                    .members()
                    .map_or_else(dash, |(alive, known)| format!("{alive} of {known}")),
                found.node.ports.grpc.to_string(),
                found.node.ports.http.to_string(),
                found.node.ports.gossip.to_string(),
            ]
        })
        .collect();
    output::table(&columns, &rows)
}

fn document(found: &Found<'_>) -> Value {
    json!({
        "name": found.node.name,
        "pid": found.process.map(ProcessId::number),
        "process": found.state.as_str(),
        "health": found.word(),
        "members_alive": found.members().map(|(alive, _)| alive),
        "members_known": found.members().map(|(_, known)| known),
        "grpc_port": found.node.ports.grpc,
        "http_port": found.node.ports.http,
        "gossip_port": found.node.ports.gossip,
    })
}
