//! `shard-cache cluster`.

use clap::{Args, Subcommand};
use shard_cache_client::cluster::Member;

use super::{
    cluster_status,
    connection::{ConnectionArguments, block_on},
    exit::{Exit, Failure},
    orders,
    output::{self, Column, Format, OutputArguments},
};
use crate::documents::member_document;

/// The cluster as one node, or all of them, see it.
#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    Status(cluster_status::StatusArguments),
    Health(cluster_status::HealthArguments),
    Members(MembersArguments),
    Forget(orders::ForgetArguments),
    AcceptLosses(orders::AcceptLossesArguments),
}

/// Show the members as the asked node sees them.
#[derive(Debug, Args)]
pub(super) struct MembersArguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl ClusterCommand {
    pub(super) const fn format(&self) -> Format {
        match self {
            Self::Status(arguments) => arguments.format(),
            Self::Health(arguments) => arguments.format(),
            Self::Members(arguments) => arguments.output.format,
            Self::Forget(arguments) => arguments.format(),
            Self::AcceptLosses(arguments) => arguments.format(),
        }
    }
}

pub(super) fn run(command: &ClusterCommand) -> Result<Exit, Failure> {
    match command {
        ClusterCommand::Status(arguments) => cluster_status::run(arguments),
        ClusterCommand::Health(arguments) => cluster_status::health(arguments),
        ClusterCommand::Members(arguments) => members(arguments),
        ClusterCommand::Forget(arguments) => orders::forget(arguments),
        ClusterCommand::AcceptLosses(arguments) => orders::accept_losses(arguments),
    }
}

fn members(arguments: &MembersArguments) -> Result<Exit, Failure> {
    let mut answer = block_on(async {
        let client = arguments.connection.connect().await?;
        Ok(client.cluster_members().await?)
    })?;
    answer
        .members
        .sort_by(|a, b| (&a.zone, &a.name).cmp(&(&b.zone, &b.name)));
    match arguments.output.format {
        Format::Table => {
            let table = render_members(&answer.members);
            output::write_line(&format!("{table}\nview {}", answer.view_version))?;
        }
        format @ (Format::Json | Format::Jsonl) => {
            let members: Vec<_> = answer.members.iter().map(member_document).collect();
            output::write_json_list(format, &members)?;
        }
    }
    Ok(Exit::Ok)
}

fn render_members(members: &[Member]) -> String {
    let columns = [
        Column::Left("NODE"),
        Column::Left("LIVENESS"),
        Column::Left("PHASE"),
        Column::Left("RING"),
        Column::Left("PEER"),
        Column::Left("GRPC"),
        Column::Left("HTTP"),
        Column::Left("ZONE"),
        Column::Left("BOOT"),
    ];
    let rows: Vec<_> = members
        .iter()
        .map(|member| {
            vec![
                dash(&member.name),
                dash(&member.liveness),
                dash(&member.phase),
                if member.in_ring { "yes" } else { "no" }.to_owned(),
                dash(&member.peer_address),
                dash(&member.grpc_address),
                dash(&member.http_address),
                dash(&member.zone),
                format!("{:016x}", member.boot_id),
            ]
        })
        .collect();
    output::table(&columns, &rows)
}

/// The text, or a dash for none.
pub(super) fn dash(text: &str) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text.to_owned()
    }
}

/// The two letters of a member: liveness and phase; `?` for words of a later release.
pub(super) fn state(member: &Member) -> String {
    let liveness = match member.liveness.as_str() {
        "alive" => 'U',
        "suspect" => 'S',
        "down" => 'D',
        _ => '?',
    };
    let phase = match member.phase.as_str() {
        "active" => 'N',
        "joining" => 'J',
        "leaving" => 'L',
        _ => '?',
    };
    format!("{liveness}{phase}")
}
