//! `shard-cache config`.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    exit::{Exit, Failure},
    output::{self, Format, OutputArguments},
};
use crate::config;

/// Check, show and write configurations.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    Check(CheckArguments),
    Print(PrintArguments),
    /// Write an example file: every field with its documentation and default.
    Example,
}

/// Check a configuration, with the environment applied as `serve` would. Exits with 7 when it is invalid.
#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// The file.
    #[arg(env = "SHARD_CACHE_CONFIG")]
    file: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArguments,
}

/// Show the effective configuration: defaults, file and environment.
#[derive(Debug, Args)]
pub(super) struct PrintArguments {
    /// The file.
    #[arg(long = "config", value_name = "FILE", env = "SHARD_CACHE_CONFIG")]
    file: Option<PathBuf>,
    /// Show where each value comes from.
    #[arg(long)]
    origin: bool,
    #[command(flatten)]
    output: OutputArguments,
}

impl ConfigCommand {
    pub(super) const fn format(&self) -> Format {
        match self {
            Self::Check(arguments) => arguments.output.format,
            Self::Print(arguments) => arguments.output.format,
            Self::Example => Format::Table,
        }
    }
}

pub(super) fn run(command: ConfigCommand) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Check(arguments) => check(arguments)?,
        ConfigCommand::Print(arguments) => print(arguments)?,
        ConfigCommand::Example => output::write(config::example().as_bytes())?,
    }
    Ok(Exit::Ok)
}

fn check(arguments: CheckArguments) -> Result<(), Failure> {
    let name = arguments
        .file
        .as_ref()
        .map(|file| file.display().to_string());
    config::load_system(arguments.file, Vec::new())?;
    match arguments.output.format {
        Format::Table => {
            let name = name.as_deref().unwrap_or("defaults and environment");
            output::write_line(&format!("{name}: ok"))
        }
        format @ (Format::Json | Format::Jsonl) => {
            output::write_json(format, &json!({ "file": name, "valid": true }))
        }
    }
}

fn print(arguments: PrintArguments) -> Result<(), Failure> {
    let loaded = config::load_system(arguments.file, Vec::new())?;
    match arguments.output.format {
        Format::Table if arguments.origin => {
            output::write(config::print_with_origins(&loaded.config, &loaded.origins).as_bytes())
        }
        Format::Table => output::write(config::print(&loaded.config).as_bytes()),
        format @ (Format::Json | Format::Jsonl) => {
            let mut document = json!({ "config": loaded.config });
            if arguments.origin {
                let origins = loaded.origins.iter();
                let named: BTreeMap<_, _> = origins
                    .map(|(path, origin)| (path, origin.to_string()))
                    .collect();
                document["origins"] = json!(named);
            }
            output::write_json(format, &document)
        }
    }
}
