//! What one node's memory does: per entry, and under churn.

use std::time::Duration;

use anyhow::Result;
use shard_cache_bench::{Mix, Plan};

use crate::{
    goals::{CHURN, ENTRY_BYTES},
    results::Results,
    rows::VALUE_BYTES,
    systems::{Stage, System},
};

const MIB: f64 = 1024.0 * 1024.0;
/// What a node may use beside its store, in bytes.
const ALLOWANCE: f64 = 64.0 * MIB;
/// `max_memory` of the node under churn, in MiB.
const MAX_MEMORY_MIB: u32 = 256;
const KEY_BYTES: u64 = 32;
/// More keys than fit.
const CHURN_KEYS: u64 = 100_000_000;

/// Measures both; what fails is noted as missing.
pub(crate) async fn measure(
    stage: &Stage<'_>,
    entries: u64,
    churn: Duration,
    results: &mut Results,
) {
    for (name, measured) in [
        (ENTRY_BYTES, per_entry(stage, entries).await),
        (CHURN, under_churn(stage, churn).await),
    ] {
        match measured {
            Ok(value) => {
                results.single.insert(name, value);
            }
            Err(error) => {
                results
                    .missing
                    .insert(name.to_owned(), format!("{error:#}"));
            }
        }
    }
}

/// How much the process grows for each entry, less key and value.
async fn per_entry(stage: &Stage<'_>, entries: u64) -> Result<f64> {
    let settings = ["server.cache.max_memory=8GiB"];
    let node = stage.nodes("entries", 1, &settings).await?;
    let before = node.processes[0].memory("VmRSS")?;
    let plan = Plan {
        load: true,
        keys: entries,
        duration: Duration::from_millis(10),
        mix: Mix::Get,
        ..plan(&node)
    };
    run(&plan).await?;
    let grown = node.processes[0].memory("VmRSS")?.saturating_sub(before);
    Ok(grown as f64 / entries as f64 - (KEY_BYTES + u64::from(VALUE_BYTES)) as f64)
}

/// The most that the process took, less the allowance, divided by `max_memory`.
async fn under_churn(stage: &Stage<'_>, time: Duration) -> Result<f64> {
    let max_memory = format!("server.cache.max_memory={MAX_MEMORY_MIB}MiB");
    let node = stage
        .nodes(
            "churn",
            1,
            &[&max_memory, "server.cache.capacity=100000000"],
        )
        .await?;
    let plan = Plan {
        keys: CHURN_KEYS,
        duration: time,
        ..plan(&node)
    };
    run(&plan).await?;
    let peak = node.processes[0].memory("VmHWM")? as f64;
    Ok((peak - ALLOWANCE) / (f64::from(MAX_MEMORY_MIB) * MIB))
}

fn plan(node: &System) -> Plan {
    Plan {
        endpoints: node.endpoints.clone(),
        connections: 4,
        outstanding: 32,
        warm_up: Duration::ZERO,
        timeout: Duration::from_secs(5),
        mix: Mix::Set,
        ..Plan::default()
    }
}

async fn run(plan: &Plan) -> Result<()> {
    shard_cache_bench::run(plan, &mut |_| {}, std::future::pending).await?;
    Ok(())
}
