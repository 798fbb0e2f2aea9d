//! `shard-cache metrics`.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    exit::{Exit, Failure},
    output::{self, Format, OutputArguments},
};
use crate::telemetry::reference::{self, Family};

/// List every metric of a node with its type, labels, unit and meaning. As a table, this is docs/metrics.md. A node's own
/// figures are at /metrics of its HTTP port.
#[derive(Debug, Args)]
pub(super) struct MetricsArguments {
    #[command(flatten)]
    output: OutputArguments,
}

impl MetricsArguments {
    pub(super) const fn format(&self) -> Format {
        self.output.format
    }
}

pub(super) fn run(arguments: &MetricsArguments) -> Result<Exit, Failure> {
    match arguments.format() {
        Format::Table => output::write(reference::document().as_bytes())?,
        format @ Format::Json => {
            let metrics: Vec<_> = reference::families().iter().map(described).collect();
            output::write_json(format, &json!({ "metrics": metrics }))?;
        }
        format @ Format::Jsonl => {
            for family in reference::families() {
                output::write_json(format, &described(&family))?;
            }
        }
    }
    Ok(Exit::Ok)
}

fn described(family: &Family) -> Value {
    let labels = family.labels.iter();
    let labels: Map<_, _> = labels
        .map(|(label, values)| (label.clone(), json!(values)))
        .collect();
    json!({
        "name": family.name,
        "type": family.kind,
        "labels": labels,
        "unit": family.unit,
        "meaning": family.meaning,
    })
}
