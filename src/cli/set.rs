//! `shard-cache set`.

use std::{
    io::{self, Read as _},
    time::Duration,
};

use clap::Args;
use serde_json::json;
use shard_cache_client::{Ttl, Value};

use super::{
    connection::{ConnectionArguments, TermsArguments, block_on},
    exit::{Exit, Failure},
    explain::{self, ExplainArguments},
    get::version,
    output::{self, Format, OutputArguments},
};
use crate::config::parse_duration;

/// Largest value read from stdin, in bytes: more than any node can be configured to accept.
const STDIN_BYTES_MAX: u64 = 9 * 1024 * 1024;

/// Store a value.
#[derive(Debug, Args)]
pub(super) struct SetArguments {
    /// The key.
    key: String,
    /// The value, stored as text; `-` reads it from stdin and stores it as bytes.
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// How long it lives, such as 60s; 0 means for ever, and not given the node's default_ttl.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, env = "SHARD_CACHE_TTL")]
    ttl: Option<Duration>,
    #[command(flatten)]
    terms: TermsArguments,
    #[command(flatten)]
    explain: ExplainArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl SetArguments {
    pub(super) const fn format(&self) -> Format {
        self.output.format
    }

    fn ttl(&self) -> Ttl {
        match self.ttl {
            None => Ttl::Default,
            Some(Duration::ZERO) => Ttl::Never,
            Some(ttl) => Ttl::After(ttl),
        }
    }

    fn value(&self) -> Result<Value, Failure> {
        if self.value != "-" {
            return Ok(Value::from(self.value.as_str()));
        }
        let mut bytes = Vec::new();
        io::stdin()
            .lock()
            .take(STDIN_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::system("cannot read the value from stdin", &error))?;
        Ok(Value::from(bytes))
    }
}

pub(super) fn run(arguments: &SetArguments) -> Result<Exit, Failure> {
    let value = arguments.value()?;
    let (key, ttl) = (&arguments.key, arguments.ttl());
    let (written, explain) = block_on(async {
        let client = arguments.connection.connect().await?;
        let options = arguments.terms.options();
        if arguments.explain.explain {
            let explained = client.set_explained(key, value, ttl, &options).await;
            return explain::told(arguments.format(), key, explained);
        }
        Ok((client.set(key, value, ttl, &options).await?, None))
    })?;
    match arguments.format() {
        Format::Table => {
            let degraded = if written.degraded { ", degraded" } else { "" };
            output::write_line(&format!(
                "OK, stored on {} owners{degraded}",
                written.stored
            ))?;
            if let Some(explain) = &explain {
                output::write_line(&explain::render(key, explain))?;
            }
        }
        format @ (Format::Json | Format::Jsonl) => {
            let mut document = json!({
                "key": key,
                "stored": written.stored,
                "degraded": written.degraded,
                "version": version(&written.version),
            });
            if let Some(explain) = &explain {
                document["explain"] = explain::document(explain);
            }
            output::write_json(format, &document)?;
        }
    }
    Ok(Exit::Ok)
}
