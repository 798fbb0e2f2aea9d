//! `shard-cache del`.

use clap::Args;
use serde_json::json;

use super::{
    connection::{ConnectionArguments, TermsArguments, block_on},
    exit::{Exit, Failure},
    explain::{self, ExplainArguments},
    get::version,
    output::{self, Format, OutputArguments},
};

/// Delete a key. Exits with 3 when it was absent; it is deleted then too.
#[derive(Debug, Args)]
pub(super) struct DelArguments {
    /// The key.
    key: String,
    #[command(flatten)]
    terms: TermsArguments,
    #[command(flatten)]
    explain: ExplainArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl DelArguments {
    pub(super) const fn format(&self) -> Format {
        self.output.format
    }
}

pub(super) fn run(arguments: &DelArguments) -> Result<Exit, Failure> {
    let (key, options) = (&arguments.key, arguments.terms.options());
    let (deleted, explain) = block_on(async {
        let client = arguments.connection.connect().await?;
        if arguments.explain.explain {
            let explained = client.delete_explained(key, &options).await;
            return explain::told(arguments.format(), key, explained);
        }
        Ok((client.delete(key, &options).await?, None))
    })?;
    match arguments.format() {
        Format::Table => {
            let what = if deleted.found {
                "deleted"
            } else {
                "was absent"
            };
            let degraded = if deleted.degraded { ", degraded" } else { "" };
            output::write_line(&format!(
                "OK, {what}, tombstone on {} owners{degraded}",
                deleted.stored
            ))?;
            if let Some(explain) = &explain {
                output::write_line(&explain::render(key, explain))?;
            }
        }
        format @ (Format::Json | Format::Jsonl) => {
            let mut document = json!({
                "key": key,
                "found": deleted.found,
                "stored": deleted.stored,
                "degraded": deleted.degraded,
                "version": version(&deleted.version),
            });
            if let Some(explain) = &explain {
                document["explain"] = explain::document(explain);
            }
            output::write_json(format, &document)?;
        }
    }
    Ok(if deleted.found {
        Exit::Ok
    } else {
        Exit::Absent
    })
}
