//! `shard-cache get`.

use clap::Args;
use serde_json::{Value as Json, json};
use shard_cache_client::{Hit, Read, Value, Version};

use super::{
    connection::{ConnectionArguments, TermsArguments, block_on},
    exit::{Exit, Failure},
    explain::{self, ExplainArguments},
    output::{self, Format, OutputArguments},
};

/// Read a key. The value goes to a pipe as it is, and to a terminal, or before an explanation, with control characters
/// escaped.
#[derive(Debug, Args)]
pub(super) struct GetArguments {
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

impl GetArguments {
    pub(super) const fn format(&self) -> Format {
        self.output.format
    }
}

pub(super) fn run(arguments: &GetArguments) -> Result<Exit, Failure> {
    let (key, options) = (&arguments.key, arguments.terms.options());
    let (read, explain) = block_on(async {
        let client = arguments.connection.connect().await?;
        if arguments.explain.explain {
            let explained = client.get_explained(key, &options).await;
            return explain::told(arguments.format(), key, explained);
        }
        Ok((client.get(key, &options).await?, None))
    })?;
    match (arguments.format(), &explain) {
        (Format::Table, None) => print_value(&read, output::stdout_is_terminal())?,
        (Format::Table, Some(explain)) => {
            print_value(&read, true)?;
            output::write_line(&explain::render(key, explain))?;
        }
        (format @ (Format::Json | Format::Jsonl), explain) => {
            let mut document = document(key, &read);
            if let Some(explain) = explain {
                document["explain"] = explain::document(explain);
            }
            output::write_json(format, &document)?;
        }
    }
    if arguments.format() == Format::Table && read.degraded {
        output::note("degraded: fewer owners answered than the consistency level asks for");
    }
    Ok(if read.hit.is_some() {
        Exit::Ok
    } else {
        Exit::Absent
    })
}

fn print_value(read: &Read, is_for_people: bool) -> Result<(), Failure> {
    match &read.hit {
        None => {
            output::note("key absent");
            Ok(())
        }
        Some(hit) if is_for_people => {
            output::write_line(&output::printable_bytes(hit.value.as_bytes()))
        }
        Some(hit) => output::write(hit.value.as_bytes()),
    }
}

fn document(key: &str, read: &Read) -> Json {
    let mut document = json!({ "key": key, "found": read.hit.is_some() });
    if let Some(Hit { value, expires_in }) = &read.hit {
        match value {
            Value::Text(text) => document["value"] = text.as_str().into(),
            Value::Bytes(bytes) => document["value_base64"] = output::base64(bytes).into(),
        }
        document["ttl_seconds"] = (*expires_in).map(|ttl| ttl.as_secs_f64()).into();
    }
    document["version"] = read.version.as_ref().map_or(Json::Null, version);
    document["degraded"] = read.degraded.into();
    document
}

/// A version as JSON. Its writer has 64 bits, more than JSON readers keep: as text.
pub(super) fn version(version: &Version) -> Json {
    json!({
        "millis": version.millis,
        "counter": version.counter,
        "writer": format!("{:016x}", version.writer),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(value: Value) -> Read {
        let hit = Hit {
            value,
            expires_in: Some(Duration::from_millis(1500)),
        };
        Read {
            hit: Some(hit),
            version: Some(Version::default()),
            degraded: false,
        }
    }

    #[test]
    fn text_is_shown_as_text_and_bytes_as_base64() {
        let text = document("k", &read(Value::from("v")));
        assert_eq!(text["value"], "v");
        assert_eq!(text["ttl_seconds"], 1.5);
        assert_eq!(text["version"]["writer"], "0000000000000000");
        let bytes = document("k", &read(Value::from(vec![0xff])));
        assert_eq!(
            (&bytes["value"], &bytes["value_base64"]),
            (&Json::Null, &Json::from("/w=="))
        );
    }

    #[test]
    fn a_miss_says_found_false() {
        let miss = Read {
            hit: None,
            version: None,
            degraded: true,
        };
        let expected = json!({ "key": "k", "found": false, "version": null, "degraded": true });
        assert_eq!(document("k", &miss), expected);
    }
}
