//! How long it takes until all slots have settled after a node has joined, and after it has left.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Bench, FigureArguments, finish, refill, seconds,
    table::{Row, Worst},
};
use crate::nodes::network::Network;

/// Values that are there, in MiB.
const DATA_MIB: u32 = 16;
/// Bytes of a value.
const VALUE_BYTES: usize = 1024;
/// The node that comes and goes.
const PASSING: usize = 3;
const LEAVE_TIME: Duration = Duration::from_secs(75);

/// A fourth node joins and leaves, again and again.
pub(super) async fn joins(arguments: &FigureArguments) -> anyhow::Result<Vec<Row>> {
    let bench = Bench {
        arguments,
        name: "join",
        first: 3,
        most: 4,
        settings: Vec::new(),
    };
    let mut nodes = bench.start(Network::Loopback).await?;
    refill::fill(&nodes, DATA_MIB, VALUE_BYTES).await?;
    let (mut joined, mut left) = (Vec::new(), Vec::new());
    for run in 0..arguments.runs() {
        let begun = Instant::now();
        nodes.node_mut(PASSING).spawn()?;
        nodes.ready(PASSING, arguments.settle).await?;
        joined.push(nodes.at_rest(arguments.settle).await? - begun);
        let begun = Instant::now();
        let status = nodes.node_mut(PASSING).terminate(LEAVE_TIME).await?;
        anyhow::ensure!(status.success(), "the node left with {status}");
        left.push(nodes.at_rest(arguments.settle).await? - begun);
        eprintln!(
            "join {}: {:.2?}, leave {:.2?}",
            run + 1,
            joined[run],
            left[run]
        );
    }
    finish(arguments, nodes).await;
    let data = format!("{DATA_MIB} MiB of values");
    let row = |what: &str, times: &[Duration]| {
        let label = format!("{what}, {data}: until all slots have settled");
        Row::new(&label, &seconds(times), "s", Worst::Largest)
    };
    Ok(vec![
        row("start of a fourth node", &joined),
        row("SIGTERM to one of four nodes", &left),
    ])
}
