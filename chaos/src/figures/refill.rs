//! A node with data is killed and comes back empty, while clients go on at the other nodes.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use shard_cache_client::{CallOptions, Client, ClientOptions, Ttl, Value};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    Bench, FigureArguments, finish,
    table::{Row, Worst},
};
use crate::{
    history::{Operation, Purpose, Run},
    load::{Load, LoadOptions, Retry},
    nodes::{
        Nodes,
        look::{Look, look},
        network::Network,
    },
    recorder::Recorder,
    session::Session,
};

/// Bytes of a value.
const VALUE_BYTES: usize = 16 * 1024;
/// Writers that fill nodes with data.
const FILLERS: usize = 24;
/// Deadline of their writes, and attempts.
const FILL_TIMEOUT: Duration = Duration::from_secs(5);
const FILL_ATTEMPTS_MAX: u32 = 5;
/// How long clients are watched before each kill.
const QUIET: Duration = Duration::from_secs(10);
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Longest time until a node copies its first page, and until it is full again.
const FIRST_PAGE_TIME: Duration = Duration::from_secs(60);
const FULL_TIME: Duration = Duration::from_secs(300);
const NODES: usize = 3;

/// What was measured of one restart.
struct Refill {
    full_after: Duration,
    mib_per_second: f64,
    p99_ratio: f64,
    p99_quiet_ms: f64,
    p99_copying_ms: f64,
}

/// Three nodes, each of which holds everything.
pub(super) async fn refills(arguments: &FigureArguments) -> anyhow::Result<Vec<Row>> {
    let bench = Bench {
        arguments,
        name: "refill",
        first: NODES,
        most: NODES,
        settings: vec![("server.cache.max_memory", "8GiB".to_owned())],
    };
    let mut nodes = bench.start(Network::Loopback).await?;
    fill(&nodes, arguments.data_mib, VALUE_BYTES).await?;
    let mut seen = Vec::new();
    for run in 0..arguments.refills() {
        let place = run % NODES;
        let refill = one(arguments, &mut nodes, place, run).await?;
        eprintln!(
            "refill {}: full after {:.1?}, {:.0} MiB/s, p99 {:.2} ms, before {:.2} ms",
            run + 1,
            refill.full_after,
            refill.mib_per_second,
            refill.p99_copying_ms,
            refill.p99_quiet_ms
        );
        seen.push(refill);
    }
    finish(arguments, nodes).await;
    Ok(rows(arguments, &seen))
}

fn rows(arguments: &FigureArguments, seen: &[Refill]) -> Vec<Row> {
    let of = |value: fn(&Refill) -> f64| -> Vec<f64> { seen.iter().map(value).collect() };
    let largest =
        |label: &str, values: &[f64], unit: &str| Row::new(label, values, unit, Worst::Largest);
    let start = format!(
        "start of a killed node that held {} MiB: until it is full again",
        arguments.data_mib
    );
    vec![
        largest(&start, &of(|it| it.full_after.as_secs_f64()), "s"),
        Row::new(
            "the same: copied, from its first page on",
            &of(|it| it.mib_per_second),
            "MiB/s",
            Worst::Smallest,
        ),
        largest(
            &format!(
                "the same: p99 of {} requests per second at the other nodes meanwhile",
                arguments.rate
            ),
            &of(|it| it.p99_copying_ms),
            "ms",
        ),
        largest("the same just before", &of(|it| it.p99_quiet_ms), "ms"),
        largest("ratio of the two", &of(|it| it.p99_ratio), "times"),
    ]
}

/// Kills a node, starts it at once and waits until it is full. Clients use the other nodes all the time.
async fn one(
    arguments: &FigureArguments,
    nodes: &mut Nodes,
    place: usize,
    run: usize,
) -> anyhow::Result<Refill> {
    nodes.safe_to_stop(place, arguments.settle).await?;
    let held = memory(&look_at(nodes, place).await?)?;
    let recorder = Arc::new(Recorder::begin(
        Run::new(format!("refill{run}"), nodes.addresses()),
        None,
    )?);
    let session = Session::without_nodes(
        &nodes.addresses(),
        FILL_TIMEOUT,
        Arc::clone(&recorder),
        Purpose::Load,
    );
    for other in (0..NODES).filter(|other| *other != place) {
        session.join(other).await?;
    }
    let options = LoadOptions {
        run: format!("refill{run}"),
        writers: 8,
        rate: arguments.rate,
        retry: Retry::ElsewhereOnce,
    };
    let load = Load::start(&session, &options);
    sleep(QUIET).await;
    let quiet_until = recorder.now_us();
    nodes.node_mut(place).kill9().await?;
    let started = Instant::now();
    nodes.node_mut(place).spawn()?;
    nodes.node_mut(place).answers().await?;
    let (copying_from, copying_from_us) = first_page(nodes, place, &recorder).await?;
    full(nodes, place, held).await?;
    let (full_after, copied_for) = (started.elapsed(), copying_from.elapsed());
    let full_us = recorder.now_us();
    load.stop().await;
    nodes.at_rest(arguments.settle).await?;
    let history = recorder.finish()?;
    let p99 = |from: u64, to: u64| {
        let inside = |it: &&Operation| it.begun_us >= from && it.ended_us <= to;
        p99_ms(history.operations.iter().filter(inside))
    };
    let quiet = p99(0, quiet_until).context("no request before")?;
    let copying = p99(copying_from_us, full_us).context("no request meanwhile")?;
    Ok(Refill {
        full_after,
        mib_per_second: held / f64::from(1 << 20) / copied_for.as_secs_f64(),
        p99_ratio: copying / quiet,
        p99_quiet_ms: quiet,
        p99_copying_ms: copying,
    })
}

async fn look_at(nodes: &Nodes, place: usize) -> anyhow::Result<Look> {
    let seen = look(nodes.node(place).place().http).await;
    seen.map_err(anyhow::Error::msg)
}

fn figure(look: &Look, metric: &str) -> anyhow::Result<f64> {
    look.sum(metric).map_err(anyhow::Error::msg)
}

fn memory(look: &Look) -> anyhow::Result<f64> {
    figure(look, "shardcache_memory_used_bytes")
}

/// While it joins and afterwards.
fn pages(look: &Look) -> anyhow::Result<f64> {
    let joining = figure(look, "shardcache_pull_pages_total")?;
    Ok(joining + figure(look, "shardcache_slot_handoff_pages_total")?)
}

/// Waits until the node has asked for a page.
async fn first_page(
    nodes: &Nodes,
    place: usize,
    recorder: &Recorder,
) -> anyhow::Result<(Instant, u64)> {
    let begun = Instant::now();
    while begun.elapsed() < FIRST_PAGE_TIME {
        if let Ok(seen) = look_at(nodes, place).await
            && pages(&seen)? > 0.0
        {
            return Ok((Instant::now(), recorder.now_us()));
        }
        sleep(LOOK_PAUSE).await;
    }
    anyhow::bail!("the node copies nothing")
}

/// Waits until the node is in a ring, lacks no slot, and holds what it held.
async fn full(nodes: &Nodes, place: usize, held: f64) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut why = String::new();
    while begun.elapsed() < FULL_TIME {
        match look_at(nodes, place).await {
            Ok(seen) => {
                let wanting = figure(&seen, "shardcache_slots_wanting")?;
                let unsettled = figure(&seen, "shardcache_slots_unsettled")?;
                let share = memory(&seen)? / held;
                // Keys that clients delete meanwhile are not all made up for by new ones.
                if seen.health.status == "ok" && wanting + unsettled == 0.0 && share > 0.98 {
                    return Ok(());
                }
                why = format!("{wanting} slots wanting, {unsettled} unsettled, {share:.3} held");
            }
            Err(error) => why = error.to_string(),
        }
        sleep(LOOK_PAUSE).await;
    }
    anyhow::bail!("not full within {FULL_TIME:?}: {why}")
}

/// Of everything that was asked, whatever became of it.
fn p99_ms<'a>(operations: impl Iterator<Item = &'a Operation>) -> Option<f64> {
    let took = operations.map(|it| it.ended_us.saturating_sub(it.begun_us));
    let mut took: Vec<u64> = took.collect();
    took.sort_unstable();
    let place = (took.len() * 99).div_ceil(100).checked_sub(1)?;
    Some(took[place] as f64 / 1e3)
}

/// Fills the cluster with so many MiB of values, through all running nodes.
pub(super) async fn fill(nodes: &Nodes, mib: u32, value_bytes: usize) -> anyhow::Result<()> {
    let values = usize::try_from(mib)? * 1024 * 1024 / value_bytes;
    eprintln!("writing {values} values of {value_bytes} bytes");
    let running = nodes.running();
    let mut fillers = JoinSet::new();
    for filler in 0..FILLERS {
        let address = nodes.node(running[filler % running.len()]).place().grpc;
        let options = ClientOptions {
            timeout: FILL_TIMEOUT,
            ..ClientOptions::default()
        };
        let client = Client::connect(&address.to_string(), options).await?;
        fillers.spawn(async move {
            for number in (filler..values).step_by(FILLERS) {
                write(&client, number, value_bytes).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = fillers.join_next().await {
        done??;
    }
    Ok(())
}

async fn write(client: &Client, number: usize, bytes: usize) -> anyhow::Result<()> {
    let key = format!("fill-{number}");
    let mut attempt = 1;
    loop {
        let value = Value::from(format!("{key:.<bytes$}").as_str());
        let options = CallOptions::default();
        match client.set(&key, value, Ttl::Never, &options).await {
            Ok(_) => return Ok(()),
            Err(error) if attempt == FILL_ATTEMPTS_MAX => return Err(error.into()),
            Err(_) => attempt += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Action, Outcome};

    #[test]
    fn the_p99_is_the_value_that_one_in_a_hundred_exceeds() {
        let operation = |took: u64| Operation {
            key: String::new(),
            action: Action::Delete,
            node: 0,
            begun_us: 7,
            ended_us: 7 + took,
            outcome: Outcome::Ok,
            version: None,
            error: None,
            purpose: Purpose::Load,
            attempt: 1,
        };
        let operations: Vec<_> = (1..=200).map(|ms| operation(ms * 1000)).collect();
        assert_eq!(p99_ms(operations.iter()), Some(198.0));
        assert_eq!(p99_ms([].iter()), None);
    }
}
