//! `shard-cache version`.

use clap::Args;
use serde_json::json;

use super::{
    exit::{Exit, Failure},
    output::{self, Format, OutputArguments},
};

/// Features that this build was compiled with. A shipped binary has none.
const FEATURES: &[&str] = &[
    #[cfg(feature = "planted-bugs")]
    "planted-bugs",
    #[cfg(feature = "race")]
    "race",
];

/// Show the version and the features that the program was compiled with.
#[derive(Debug, Args)]
pub(super) struct VersionArguments {
    #[command(flatten)]
    output: OutputArguments,
}

impl VersionArguments {
    pub(super) const fn format(&self) -> Format {
        self.output.format
    }
}

pub(super) fn run(arguments: &VersionArguments) -> Result<Exit, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    match arguments.format() {
        Format::Table => {
            let features = if FEATURES.is_empty() {
                "none".to_owned()
            } else {
                FEATURES.join(", ")
            };
            output::write_line(&format!("shard-cache {version}\nfeatures: {features}"))?;
        }
        format @ (Format::Json | Format::Jsonl) => {
            let document =
                json!({ "name": "shard-cache", "version": version, "features": FEATURES });
            output::write_json(format, &document)?;
        }
    }
    Ok(Exit::Ok)
}
