//! `shard-cache node hints`: what a node owes to others because they did not answer.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use shard_cache_client::{HintTarget, cluster::TargetHints};

use super::{
    cluster_status::{bytes, uptime},
    connection::{ConnectionArguments, block_on},
    exit::{Exit, Failure},
    output::{self, Column, Format, OutputArguments},
};

/// What the asked node owes to others because they did not answer.
#[derive(Debug, Subcommand)]
pub(super) enum HintsCommand {
    List(ListArguments),
    Drop(DropArguments),
}

/// Show what is owed to whom.
#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Drop what is owed to a member, or to all: they lack these records until they are repaired. For callers on the node's
/// own machine.
#[derive(Debug, Args)]
pub(super) struct DropArguments {
    /// Name or id of the member, as `node hints list` shows it.
    #[arg(value_name = "NODE", required_unless_present = "all")]
    node: Option<String>,
    /// What is owed to all members.
    #[arg(long, conflicts_with = "node")]
    all: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl HintsCommand {
    pub(super) const fn format(&self) -> Format {
        match self {
            Self::List(arguments) => arguments.output.format,
            Self::Drop(arguments) => arguments.output.format,
        }
    }
}

pub(super) fn run(command: &HintsCommand) -> Result<Exit, Failure> {
    match command {
        HintsCommand::List(arguments) => list(arguments),
        HintsCommand::Drop(arguments) => discard(arguments),
    }
}

fn list(arguments: &ListArguments) -> Result<Exit, Failure> {
    let answer = block_on(async {
        let client = arguments.connection.connect().await?;
        Ok(client.list_hints().await?)
    })?;
    let nothing = format!("{} owes nothing", answer.node);
    show(arguments.output.format, &answer.targets, &nothing)
}

fn discard(arguments: &DropArguments) -> Result<Exit, Failure> {
    let target = arguments
        .node
        .as_deref()
        .map_or(HintTarget::All, HintTarget::Node);
    let answer = block_on(async {
        let client = arguments.connection.connect().await?;
        Ok(client.drop_hints(target).await?)
    })?;
    show(
        arguments.output.format,
        &answer.dropped,
        "nothing was owed, nothing is dropped",
    )
}

fn show(format: Format, targets: &[TargetHints], nothing: &str) -> Result<Exit, Failure> {
    match format {
        Format::Table if targets.is_empty() => output::write_line(&output::printable(nothing))?,
        Format::Table => output::write_line(&render(targets))?,
        format @ (Format::Json | Format::Jsonl) => {
            let documents: Vec<_> = targets.iter().map(document).collect();
            output::write_json_list(format, &documents)?;
        }
    }
    Ok(Exit::Ok)
}

fn render(targets: &[TargetHints]) -> String {
    let columns = [
        Column::Left("TARGET"),
        Column::Right("PENDING"),
        Column::Right("REFUSED"),
        Column::Right("BYTES"),
        Column::Right("OLDEST"),
    ];
    let rows: Vec<_> = targets
        .iter()
        .map(|target| {
            vec![
                target.node.clone(),
                target.pending.to_string(),
                target.refused.to_string(),
                bytes(target.bytes),
                uptime(target.oldest_age_millis / 1000),
            ]
        })
        .collect();
    output::table(&columns, &rows)
}

fn document(target: &TargetHints) -> Value {
    json!({
        "node": target.node,
        "node_id": format!("{:016x}", target.node_id),
        "pending": target.pending,
        "refused": target.refused,
        "bytes": target.bytes,
        "oldest_age_seconds": target.oldest_age_millis as f64 / 1000.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_shown_by_target() {
        let target = TargetHints {
            node: "n3\x1b[2J".to_owned(),
            node_id: 0xab,
            pending: 12,
            refused: 2,
            bytes: 4096,
            oldest_age_millis: 61_500,
        };
        assert_eq!(
            render(std::slice::from_ref(&target)),
            "TARGET     PENDING  REFUSED    BYTES  OLDEST\nn3\\x1b[2J       12        2  4.0 KiB    1m1s"
        );
        let document = document(&target);
        assert_eq!(document["node_id"], "00000000000000ab");
        assert_eq!(document["oldest_age_seconds"], 61.5);
    }
}
