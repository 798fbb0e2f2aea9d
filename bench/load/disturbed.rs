//! What requests at two of three nodes see of a third one that is slow, or is killed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use shard_cache_bench::{Mix, Moment, Pace, Plan, Report};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

use crate::{
    goals::{KILLED_BACK, KILLED_FAILED, SLOWED_EXTRA, SLOWED_LATER},
    results::{Results, median},
    systems::{Stage, System},
};

/// The node that is slowed or killed; requests go to the ones before it.
const THIRD: usize = 2;
/// Requests per second while one is slowed, of which nine in ten are Gets.
const SLOWED_RATE: f64 = 10_000.0;
const MIX: Mix = Mix::Mixed { reads: 0.9 };
/// The slow node stands still for so long, and then goes on for so long.
const STILL: Duration = Duration::from_millis(50);
const GOES_ON: Duration = Duration::from_millis(150);
/// Share of what is sustained that is asked for while one is killed.
const LOAD: f64 = 0.7;
/// How what is sustained is looked for: from what a closed loop gets through downward, by this factor, for so long each.
const LESS: f64 = 0.85;
const TRY: Duration = Duration::from_secs(2);
const TRIES_MAX: usize = 12;
const P99_MAX_US: f64 = 1e4;
/// Latency is looked at by intervals as long as this.
const INTERVAL: Duration = Duration::from_millis(100);
/// It is back to normal when so many intervals after each other have a p99 below twice what it was, and one millisecond.
const NORMAL: usize = 3;

/// Measures both; what fails is noted as missing.
pub(crate) async fn measure(stage: &Stage<'_>, time: Duration, results: &mut Results) {
    let figures: [(&[&'static str], Result<Vec<f64>>); 2] = [
        (&[SLOWED_LATER, SLOWED_EXTRA], slowed(stage, time).await),
        (&[KILLED_FAILED, KILLED_BACK], killed(stage, time).await),
    ];
    for (names, measured) in figures {
        match measured {
            Ok(values) => results.single.extend(names.iter().copied().zip(values)),
            Err(error) => {
                let reason = format!("{error:#}");
                let missing = names
                    .iter()
                    .map(|name| ((*name).to_owned(), reason.clone()));
                results.missing.extend(missing);
            }
        }
    }
}

/// How much later 99 of 100 Gets are answered while the third node stands still again and again, in milliseconds; and the
/// share of Gets that asked one owner more.
async fn slowed(stage: &Stage<'_>, time: Duration) -> Result<Vec<f64>> {
    let nodes = stage.nodes("slowed", 3, &[]).await?;
    let open = Plan {
        load: true,
        pace: Pace::Open { rate: SLOWED_RATE },
        mix: MIX,
        duration: time,
        ..plan(&nodes)
    };
    let quiet = run(&open).await?;
    let before = hedges(&nodes).await?;
    let third = pid(&nodes)?;
    let stutter = async {
        loop {
            kill_process(third, Signal::STOP).ok();
            sleep(STILL).await;
            kill_process(third, Signal::CONT).ok();
            sleep(GOES_ON).await;
        }
    };
    let again = Plan {
        load: false,
        ..open
    };
    let disturbed = tokio::select! {
        biased;
        report = run(&again) => report?,
        () = stutter => unreachable!("it stutters for ever"),
    };
    kill_process(third, Signal::CONT).ok();
    let sent = hedges(&nodes).await? - before;
    for (name, report) in [("quiet", &quiet), ("one slowed", &disturbed)] {
        eprintln!(
            "disturbed, {name}: {} Gets, p50 {:.0} µs, p99 {:.0} µs, {} errors",
            report.reads.ended,
            report.reads.latency.p50_us,
            report.reads.latency.p99_us,
            report.all.errors()
        );
    }
    let [before, after] = [&quiet, &disturbed].map(|report| report.reads.latency.p99_us / 1e3);
    Ok(vec![
        after - before,
        sent / disturbed.reads.ended.max(1) as f64,
    ])
}

/// The share of requests that fail when the third node is killed under load, and after how many milliseconds latency is
/// what it was.
async fn killed(stage: &Stage<'_>, time: Duration) -> Result<Vec<f64>> {
    let nodes = stage.nodes("killed", 3, &[]).await?;
    let rate = sustained(&nodes).await? * LOAD;
    let open = Plan {
        pace: Pace::Open { rate },
        mix: MIX,
        duration: time,
        interval: INTERVAL,
        ..plan(&nodes)
    };
    let third = pid(&nodes)?;
    let begun = Instant::now();
    let kill = async {
        sleep(open.warm_up + time / 2).await;
        // Whoever waits for it to end makes no requests meanwhile.
        kill_process(third, Signal::KILL).ok();
        begun.elapsed().saturating_sub(open.warm_up).as_secs_f64()
    };
    let (report, killed_at) = tokio::join!(run(&open), kill);
    let report = report?;
    let failed = report.all.error_ratio();
    let back = back_to_normal(&report, killed_at)?;
    eprintln!(
        "disturbed, one killed at {rate:.0}/s: {:.0}/s, {} requests, {} errors, p99 {:.0} µs, longest {:.0} µs, back to normal after {back:.0} ms",
        report.all.throughput,
        report.all.ended,
        report.all.errors(),
        report.all.latency.p99_us,
        report.all.latency.max_us,
    );
    for failures in &report.failures {
        eprintln!("  {} {} {}", failures.count, failures.code, failures.reason);
    }
    Ok(vec![failed, back])
}

/// Requests per second of an open loop that nodes sustain: none fails, and 99 of 100 take less than ten milliseconds.
async fn sustained(nodes: &System) -> Result<f64> {
    let closed = Plan {
        load: true,
        mix: MIX,
        in_flight: Some(64),
        duration: TRY,
        ..plan(nodes)
    };
    let mut rate = run(&closed).await?.all.throughput;
    for _ in 0..TRIES_MAX {
        let open = Plan {
            pace: Pace::Open { rate },
            mix: MIX,
            duration: TRY,
            ..plan(nodes)
        };
        let all = run(&open).await?.all;
        if all.errors() == 0 && all.latency.p99_us < P99_MAX_US {
            return Ok(rate);
        }
        rate *= LESS;
    }
    bail!("no rate down to {rate:.0}/s is sustained")
}

/// Milliseconds from a time, in seconds since the beginning, until latency is what it was before.
fn back_to_normal(report: &Report, killed_at: f64) -> Result<f64> {
    let (before, after): (Vec<Moment>, Vec<Moment>) = report
        .series
        .iter()
        .copied()
        .partition(|moment| moment.at_seconds + INTERVAL.as_secs_f64() <= killed_at);
    let usual = median(before.iter().map(|moment| moment.p99_us).collect());
    let usual = usual.context("nothing was measured before the node was killed")?;
    let is_normal = |p99_us: f64| p99_us <= 2.0 * usual + 1e3;
    let back = after
        .windows(NORMAL)
        .find(|some| some.iter().all(|moment| is_normal(moment.p99_us)));
    let back = back.context("latency did not come back to normal")?;
    Ok(((back[0].at_seconds - killed_at) * 1e3).max(0.0))
}

fn plan(nodes: &System) -> Plan {
    Plan {
        endpoints: nodes.endpoints[..THIRD].to_vec(),
        connections: 2 * THIRD,
        outstanding: 1024,
        warm_up: Duration::from_millis(500),
        timeout: Duration::from_secs(1),
        pids: nodes.pids(),
        ..Plan::default()
    }
}

async fn run(plan: &Plan) -> Result<Report> {
    Ok(shard_cache_bench::run(plan, &mut |_| {}, std::future::pending).await?)
}

fn pid(nodes: &System) -> Result<Pid> {
    let raw = i32::try_from(nodes.processes[THIRD].pid())?;
    Pid::from_raw(raw).context("a process without a number")
}

/// Reads that have asked one owner more, at the nodes that are asked.
async fn hedges(nodes: &System) -> Result<f64> {
    let mut sent = 0.0;
    for http in &nodes.http[..THIRD] {
        let mut connection = TcpStream::connect(http).await?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        ensure!(answer.contains(" 200 "), "{http} tells no metrics");
        let line = answer
            .lines()
            .find_map(|line| line.strip_prefix(r#"shardcache_hedges_total{outcome="sent"} "#));
        sent += line.context("no count of hedges")?.trim().parse::<f64>()?;
    }
    Ok(sent)
}
