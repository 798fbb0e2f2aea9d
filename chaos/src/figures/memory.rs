//! What the state of slots takes: nodes that differ in nothing but the number of slots.

use super::{
    Bench, FigureArguments, finish,
    table::{Row, Worst},
};
use crate::nodes::network::Network;

/// Few slots, and as many as a cluster has by default.
const FEW: u16 = 256;
const DEFAULT: u16 = 16_384;
const NODES: usize = 3;

/// Resident memory of idle nodes, by number of slots.
pub(super) async fn memory(arguments: &FigureArguments) -> anyhow::Result<Vec<Row>> {
    let few = resident(arguments, FEW).await?;
    let many = resident(arguments, DEFAULT).await?;
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let mean = few.iter().sum::<f64>() / few.len() as f64;
    let more: Vec<f64> = many.iter().map(|bytes| mib(bytes - mean)).collect();
    let per_slot: Vec<f64> = many
        .iter()
        .map(|bytes| (bytes - mean) / f64::from(DEFAULT - FEW))
        .collect();
    let whole: Vec<f64> = many.iter().map(|bytes| mib(*bytes)).collect();
    let row = |label: String, values: &[f64], unit| Row::new(&label, values, unit, Worst::Largest);
    Ok(vec![
        row(
            format!("resident memory of an idle node, {DEFAULT} slots, {NODES} nodes"),
            &whole,
            "MiB",
        ),
        row(
            format!("state of slots: more resident memory than with {FEW} slots"),
            &more,
            "MiB",
        ),
        row("the same for each slot".to_owned(), &per_slot, "bytes"),
    ])
}

async fn resident(arguments: &FigureArguments, slots: u16) -> anyhow::Result<Vec<f64>> {
    let bench = Bench {
        arguments,
        name: "memory",
        first: NODES,
        most: NODES,
        settings: vec![("cluster.slots", slots.to_string())],
    };
    let nodes = bench.start(Network::Loopback).await?;
    let bytes: anyhow::Result<Vec<f64>> = nodes
        .running()
        .into_iter()
        .map(|place| Ok(nodes.node(place).resident_bytes()? as f64))
        .collect();
    eprintln!("memory: {bytes:.0?} bytes with {slots} slots");
    finish(arguments, nodes).await;
    bytes
}
