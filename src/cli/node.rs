//! `shard-cache node`: what an operator does with one node.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use shard_cache_client::cluster::{
    ConfigChange, DrainProgress, ReloadResponse, SafeToStopResponse, SetLogLevelResponse,
};

use super::{
    connection::{ConnectionArguments, WaitArguments, block_on},
    exit::{Exit, Failure},
    hints::{self, HintsCommand},
    output::{self, Format, OutputArguments},
};
/// One node: may it stop, have it leave, what it owes, what it logs, and its configuration.
#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    SafeToStop(SafeToStopArguments),
    Drain(DrainArguments),
    #[command(subcommand)]
    Hints(HintsCommand),
    LogLevel(LogLevelArguments),
    Reload(ReloadArguments),
}

/// Have the asked node log more or less, until it is restarted or reads its configuration again. For callers on the node's
/// own machine.
#[derive(Debug, Args)]
pub(super) struct LogLevelArguments {
    /// off, error, warn, info, debug or trace, or directives such as info,shard_cache::handoff=debug.
    level: String,
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Have the asked node read its configuration again, as SIGHUP does: what may change while it runs does so, all of it or,
/// where anything is wrong, nothing. For callers on the node's own machine.
#[derive(Debug, Args)]
pub(super) struct ReloadArguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Say whether the asked node may stop, or be lost, without the loss of anything acknowledged: exits with 0 if so, with 3
/// and the reasons if not.
#[derive(Debug, Args)]
pub(super) struct SafeToStopArguments {
    #[command(flatten)]
    wait: WaitArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Have the asked node leave in order and end, as SIGTERM does, and wait for that: exits with 0 if everything was handed
/// over, with 3 if not. For callers on the node's own machine.
#[derive(Debug, Args)]
pub(super) struct DrainArguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl NodeCommand {
    pub(super) const fn format(&self) -> Format {
        match self {
            Self::SafeToStop(arguments) => arguments.output.format,
            Self::Drain(arguments) => arguments.output.format,
            Self::Hints(command) => command.format(),
            Self::LogLevel(arguments) => arguments.output.format,
            Self::Reload(arguments) => arguments.output.format,
        }
    }
}

pub(super) fn run(command: &NodeCommand) -> Result<Exit, Failure> {
    match command {
        NodeCommand::SafeToStop(arguments) => safe_to_stop(arguments),
        NodeCommand::Drain(arguments) => drain(arguments),
        NodeCommand::Hints(command) => hints::run(command),
        NodeCommand::LogLevel(arguments) => log_level(arguments),
        NodeCommand::Reload(arguments) => reload(arguments),
    }
}

fn log_level(arguments: &LogLevelArguments) -> Result<Exit, Failure> {
    let level = &arguments.level;
    let answer = block_on(async {
        let client = arguments.connection.connect().await?;
        Ok(client.set_log_level(level).await?)
    })?;
    let SetLogLevelResponse { node, before } = answer;
    match arguments.output.format {
        Format::Table => {
            let line = format!("{node} logs by {level} now, and did by {before}");
            output::write_line(&output::printable(&line))?;
        }
        format @ (Format::Json | Format::Jsonl) => {
            let document = json!({ "node": node, "before": before, "after": level });
            output::write_json(format, &document)?;
        }
    }
    Ok(Exit::Ok)
}

fn reload(arguments: &ReloadArguments) -> Result<Exit, Failure> {
    let answer = block_on(async {
        let client = arguments.connection.connect().await?;
        Ok(client.reload().await?)
    })?;
    match arguments.output.format {
        Format::Table => output::write_line(&render_reload(&answer))?,
        format @ (Format::Json | Format::Jsonl) => {
            let list = |changes: &[ConfigChange]| -> Vec<Value> {
                let document = |change: &ConfigChange| json!({ "path": change.path, "before": change.before, "after": change.after });
                changes.iter().map(document).collect()
            };
            let document = json!({
                "node": answer.node,
                "changed": list(&answer.changed),
                "restart_needed": list(&answer.restart_needed),
            });
            output::write_json(format, &document)?;
        }
    }
    Ok(Exit::Ok)
}

fn render_reload(answer: &ReloadResponse) -> String {
    let ReloadResponse {
        node,
        changed,
        restart_needed,
    } = answer;
    if changed.is_empty() && restart_needed.is_empty() {
        return output::printable(&format!("{node} goes by this configuration already"));
    }
    let mut text = format!("{node} has read its configuration again");
    for (changes, then) in [(changed, ""), (restart_needed, ", once it is restarted")] {
        for ConfigChange {
            path,
            before,
            after,
        } in changes
        {
            text.push_str(&format!("\n  {path}: {after} instead of {before}{then}"));
        }
    }
    output::printable(&text)
}

fn safe_to_stop(arguments: &SafeToStopArguments) -> Result<Exit, Failure> {
    let answer = block_on(async {
        let client = arguments.connection.connect().await?;
        let ask = async || Ok(client.safe_to_stop().await?);
        let is_over = |answer: &Result<SafeToStopResponse, Failure>| {
            answer.as_ref().map_or(true, |answer| answer.safe)
        };
        arguments.wait.ask(ask, is_over).await
    })?;
    match arguments.output.format {
        Format::Table => output::write_line(&render(&answer))?,
        format @ (Format::Json | Format::Jsonl) => {
            let document = json!({
                "node": answer.node,
                "safe": answer.safe,
                "reasons": answer.reasons,
            });
            output::write_json(format, &document)?;
        }
    }
    Ok(if answer.safe { Exit::Ok } else { Exit::UNSAFE })
}

fn render(answer: &SafeToStopResponse) -> String {
    if answer.safe {
        return output::printable(&format!("{} is safe to stop", answer.node));
    }
    let mut text = format!("{} is not safe to stop:", answer.node);
    for reason in &answer.reasons {
        text.push_str("\n  ");
        text.push_str(reason);
    }
    output::printable(&text)
}

fn drain(arguments: &DrainArguments) -> Result<Exit, Failure> {
    let last = block_on(async {
        let client = arguments.connection.connect().await?;
        let mut told = client.drain().await?;
        let mut last = DrainProgress::default();
        while let Some(progress) = told.next().await? {
            if !progress.done {
                output::progress(&words(&progress));
            }
            let is_over = progress.done;
            last = progress;
            if is_over {
                break;
            }
        }
        Ok(last)
    })?;
    if !last.done {
        return Err(Failure::new(
            Exit::Unreachable,
            "INTERRUPTED",
            "the node went on leaving, but the connection ended before it told how that ended",
        ));
    }
    let is_safe = last.reason.is_empty();
    match arguments.output.format {
        Format::Table if is_safe => output::write_line("drained: everything was handed over")?,
        Format::Table => output::write_line(&output::printable(&format!(
            "drained, and not safely: {}",
            last.reason
        )))?,
        format @ (Format::Json | Format::Jsonl) => {
            let document = json!({ "safe": is_safe, "reason": last.reason });
            output::write_json(format, &document)?;
        }
    }
    Ok(if is_safe { Exit::Ok } else { Exit::UNSAFE })
}

fn words(progress: &DrainProgress) -> String {
    let DrainProgress {
        requests,
        exchanges,
        hints,
        slots,
        ..
    } = progress;
    format!(
        "draining: {requests} requests, {exchanges} exchanges, {hints} hints, {slots} slots to go"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsafe_answer_lists_every_reason_and_nothing_that_a_terminal_would_obey() {
        let answer = SafeToStopResponse {
            node: "n1".to_owned(),
            safe: false,
            reasons: vec![
                "n2\x1b[2J is joining".to_owned(),
                "this node owes 2 hints".to_owned(),
            ],
        };
        assert_eq!(
            render(&answer),
            "n1 is not safe to stop:\n  n2\\x1b[2J is joining\n  this node owes 2 hints"
        );
    }
}
