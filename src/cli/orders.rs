//! `shard-cache cluster forget` and `accept-losses`: what an operator orders about the whole cluster.

use clap::Args;
use serde_json::json;

use super::{
    connection::{ConnectionArguments, block_on},
    exit::{Exit, Failure},
    output::{self, Format, OutputArguments},
};

/// Declare a member that is down gone for good: it leaves the ring at once, nobody waits for its memory any more, and it
/// comes back only as an empty node. For callers on the asked node's own machine.
#[derive(Debug, Args)]
pub(super) struct ForgetArguments {
    /// Name or id of the member, as `cluster members` shows it.
    #[arg(value_name = "NODE")]
    node: String,
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Where `cluster.on_loss` is manual: let slots start afresh, empty, that have lost their data now or lose it within a
/// minute. For callers on the asked node's own machine.
#[derive(Debug, Args)]
pub(super) struct AcceptLossesArguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl ForgetArguments {
    pub(super) const fn format(&self) -> Format {
        self.output.format
    }
}

impl AcceptLossesArguments {
    pub(super) const fn format(&self) -> Format {
        self.output.format
    }
}

pub(super) fn forget(arguments: &ForgetArguments) -> Result<Exit, Failure> {
    let answer = block_on(async {
        let client = arguments.connection.connect().await?;
        Ok(client.forget(&arguments.node).await?)
    })?;
    let name = answer.member.map(|member| member.name).unwrap_or_default();
    tell(
        arguments.format(),
        &format!("{name} is forgotten"),
        &answer.told,
        &answer.untold,
    )
}

pub(super) fn accept_losses(arguments: &AcceptLossesArguments) -> Result<Exit, Failure> {
    let answer = block_on(async {
        let client = arguments.connection.connect().await?;
        Ok(client.accept_losses().await?)
    })?;
    tell(
        arguments.format(),
        "losses are accepted",
        &answer.told,
        &answer.untold,
    )
}

fn tell(format: Format, done: &str, told: &[String], untold: &[String]) -> Result<Exit, Failure> {
    match format {
        Format::Table => {
            output::write_line(&output::printable(&format!(
                "{done}; told: {}",
                told.join(", ")
            )))?;
            if !untold.is_empty() {
                output::note(&output::printable(&format!(
                    "not told yet, they learn of it when they exchange states: {}",
                    untold.join(", ")
                )));
            }
        }
        format @ (Format::Json | Format::Jsonl) => {
            output::write_json(format, &json!({ "told": told, "untold": untold }))?;
        }
    }
    Ok(Exit::Ok)
}
