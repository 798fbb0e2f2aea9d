//! `make bench-load`: starts clusters of the real binary, a bare tonic server and whichever other systems are installed,
//! puts the same loads to them in turn, and writes what came of it, with the ratios to reach.
//!
//! ```text
//! rows (what is measured) ─► main ─► systems ─► process (kills what it started)
//!                             └─► shard_cache_bench::run ─► results ─► goals (met or not) ─► render (two files)
//! ```

#![allow(
    clippy::disallowed_methods,
    reason = "a tool that measures nodes from outside runs in real time, outside of the seams"
)]

mod disturbed;
mod echo;
mod goals;
mod machine;
mod memory;
mod process;
mod render;
mod results;
mod rows;
mod systems;

use std::{
    collections::BTreeMap,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use shard_cache_bench::{Mix, Plan};
use tokio::signal::unix::{SignalKind, signal};

use process::{Room, until};
use results::{Results, Sample};
use rows::{Effort, Name, ROWS, Row, VALUE_BYTES};
use systems::{Stage, System};

/// As in the node, so that the bare server is not slower for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures clusters of shard-cache beside other systems, by the same load.
#[derive(Debug, Parser)]
#[command(name = "shard-cache-bench-load", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Inner>,
    #[command(flatten)]
    measure: Measure,
}

#[derive(Debug, Subcommand)]
enum Inner {
    /// Run the bare tonic server that others are compared with, until it is killed.
    Echo {
        /// Size of the values that reads are answered with.
        #[arg(long, default_value_t = VALUE_BYTES as usize)]
        value_bytes: usize,
    },
}

#[derive(Clone, Debug, Args)]
struct Measure {
    /// The binary to measure.
    #[arg(long, default_value = "./shard-cache")]
    binary: PathBuf,
    /// How often each row is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    repetitions: u16,
    /// How long each time.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Measure only rows whose names contain one of these, such as `cluster set`; `memory`, `disturbed` and
    /// `wrk` too.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Two short repetitions with fewer keys: to see that it works.
    #[arg(long)]
    quick: bool,
    /// Run servers and clients under SCHED_RR, so that other work on the machine does not disturb; needs chrt and the
    /// right to do so.
    #[arg(long)]
    realtime: bool,
    /// The directory for RESULTS.md and RESULTS.json; made if it is not there.
    #[arg(long, default_value = "bench")]
    output: PathBuf,
    /// Set by itself once it runs under SCHED_RR.
    #[arg(long, hide = true)]
    scheduled: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Some(Inner::Echo { value_bytes }) => block_on(echo::serve(value_bytes)),
        None if arguments.measure.realtime && !arguments.measure.scheduled => schedule(),
        None => block_on(interruptible(&arguments.measure)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(std::thread::yield_now)
        .build()?
        .block_on(work)
}

/// Becomes this program again, with everything that it starts, in the scheduling class of real time. Returns only if that
/// fails.
fn schedule() -> Result<()> {
    let error = Command::new("chrt")
        .args(["-r", "1"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg("--scheduled")
        .exec();
    Err(error).context("cannot start chrt")
}

/// Ends with all processes that it started when it is told to.
async fn interruptible(arguments: &Measure) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        biased;
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
        ended = measure(arguments) => ended,
    }
}

impl Measure {
    fn repetitions(&self) -> usize {
        if self.quick {
            2
        } else {
            usize::from(self.repetitions)
        }
    }

    fn effort(&self) -> Result<Effort> {
        let seconds = if self.quick { 0.5 } else { self.seconds };
        Ok(Effort {
            keys: if self.quick { 10_000 } else { 100_000 },
            warm_up: Duration::from_millis(if self.quick { 100 } else { 300 }),
            duration: Duration::try_from_secs_f64(seconds)
                .with_context(|| format!("--seconds {seconds} is no time"))?,
        })
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }

    /// How it was called, without where things are on this machine.
    fn shown(&self) -> String {
        let mut shown = format!(
            "shard-cache-bench-load --repetitions {} --seconds {}",
            self.repetitions, self.seconds
        );
        if !self.only.is_empty() {
            shown += &format!(" --only '{}'", self.only.join(","));
        }
        for (flag, given) in [("--quick", self.quick), ("--realtime", self.realtime)] {
            if given {
                shown = format!("{shown} {flag}");
            }
        }
        shown
    }
}

async fn measure(arguments: &Measure) -> Result<()> {
    let effort = arguments.effort()?;
    let binary = std::path::absolute(&arguments.binary)?;
    ensure!(
        binary.is_file(),
        "{} is no file; make build leaves the binary there",
        arguments.binary.display()
    );
    let machine = machine::describe(&binary, arguments.realtime);
    // Now, and not when minutes of measuring would be lost.
    std::fs::create_dir_all(&arguments.output)
        .with_context(|| format!("{} cannot be written to", arguments.output.display()))?;
    let room = Room::new()?;
    let stage = Stage {
        binary,
        room: &room,
        value_bytes: VALUE_BYTES,
    };
    let wanted: Vec<Row> = ROWS
        .into_iter()
        .filter(|row| arguments.wants(&row.id()))
        .collect();
    let mut results = Results::default();
    let mut systems = start(&stage, &wanted, effort, &mut results).await;
    for repetition in 0..arguments.repetitions() {
        for row in &wanted {
            if let Some(system) = systems.get(&row.system) {
                one(row, repetition, system, effort, &mut results).await;
            }
        }
        if let Some(system) = systems.get(&Name::Cluster)
            && arguments.wants("wrk")
        {
            wrk(system, effort, &mut results).await;
        }
    }
    let commands = systems
        .iter()
        .map(|(name, system)| (name.text(), system.command.clone()))
        .collect();
    systems.clear();
    if arguments.wants("memory") {
        eprintln!("memory");
        let (entries, churn) = if arguments.quick {
            (50_000, 2)
        } else {
            (1_000_000, 45)
        };
        memory::measure(&stage, entries, Duration::from_secs(churn), &mut results).await;
    }
    if arguments.wants("disturbed") {
        eprintln!("disturbed");
        let time = Duration::from_secs(if arguments.quick { 2 } else { 10 });
        disturbed::measure(&stage, time, &mut results).await;
    }
    let ratios = goals::judge(&results);
    render::Document {
        machine,
        commands,
        command: arguments.shown(),
        repetitions: arguments.repetitions(),
        effort,
        results: &results,
        ratios: &ratios,
    }
    .write(&arguments.output)?;
    tell(&ratios, &arguments.output);
    Ok(())
}

/// Starts all systems that rows want and fills them; what cannot be started has its rows noted as missing.
async fn start(
    stage: &Stage<'_>,
    wanted: &[Row],
    effort: Effort,
    results: &mut Results,
) -> BTreeMap<Name, System> {
    let mut systems = BTreeMap::new();
    for name in Name::ALL {
        let rows: Vec<&Row> = wanted.iter().filter(|row| row.system == name).collect();
        let Some(row) = rows.first() else {
            continue;
        };
        eprintln!("starting {}", name.text());
        let started = match name.program() {
            Some(program) if !is_installed(program) => {
                Err(anyhow::anyhow!("{program} is not installed"))
            }
            Some(_) | None => stage.start(name).await,
        };
        let filled = match started {
            Ok(system) => fill(row, &system, effort).await.map(|()| system),
            Err(error) => Err(error),
        };
        match filled {
            Ok(system) => {
                systems.insert(name, system);
            }
            Err(error) => {
                let reason = format!("{error:#}").replace(['\n', '|'], " ");
                eprintln!("{} is not measured: {reason}", name.text());
                for row in rows {
                    results.missing.insert(row.id(), reason.clone());
                }
            }
        }
    }
    systems
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn plan_of(row: &Row, system: &System, effort: Effort) -> Plan {
    Plan {
        system: system.spoken,
        endpoints: system.endpoints.clone(),
        pids: system.pids(),
        ..row.plan(effort)
    }
}

/// Writes all keys, which also shows that the system is up: until then it is tried again.
async fn fill(row: &Row, system: &System, effort: Effort) -> Result<()> {
    let plan = Plan {
        mix: Mix::Set,
        load: true,
        duration: Duration::from_millis(10),
        warm_up: Duration::ZERO,
        connections: 6,
        in_flight: Some(64),
        pace: shard_cache_bench::Pace::Closed,
        ..plan_of(row, system, effort)
    };
    until("all keys are written", async || {
        let report = shard_cache_bench::run(&plan, &mut |_| {}, std::future::pending).await?;
        ensure!(
            report.all.ok > 0,
            "nothing is stored: {:?}",
            report.failures
        );
        Ok(())
    })
    .await
}

async fn one(row: &Row, repetition: usize, system: &System, effort: Effort, results: &mut Results) {
    let plan = plan_of(row, system, effort);
    let measured = shard_cache_bench::run(&plan, &mut |_| {}, std::future::pending).await;
    let sample = match &measured {
        Ok(report) => Some(Sample::from(report)),
        Err(error) => {
            results.missing.insert(row.id(), error.to_string());
            None
        }
    };
    match sample {
        Some(sample) => eprintln!(
            "{} {:<28} {:>9.0}/s  p50 {:>7.0} µs  p99 {:>7.0} µs  CPU {:>6.1} µs, client {:>5.1} µs{}",
            repetition + 1,
            row.id(),
            sample.throughput,
            sample.p50_us,
            sample.p99_us,
            sample.server_us_per_op,
            sample.client_us_per_op,
            if sample.error_ratio > 0.0 {
                format!("  {:.3} % errors", sample.error_ratio * 100.0)
            } else {
                String::new()
            }
        ),
        None => eprintln!("{} {:<28} {:?}", repetition + 1, row.id(), measured.err()),
    }
    results.add(row, repetition, sample);
}

/// GET over HTTP by an independent load generator, where that is installed.
async fn wrk(system: &System, effort: Effort, results: &mut Results) {
    const NAME: &str = "wrk: GET /v1/keys, 64 connections, req/s";
    let Some(http) = system.http.first() else {
        return;
    };
    if !is_installed("wrk") {
        results
            .missing
            .insert(NAME.to_owned(), "wrk is not installed".to_owned());
        return;
    }
    let seconds = effort.duration.as_secs().max(1);
    let url = format!("http://{http}/v1/keys/bench-00000000000000000000000000");
    let output = tokio::process::Command::new("wrk")
        .args(["-t1", "-c64", &format!("-d{seconds}s"), &url])
        .kill_on_drop(true)
        .output()
        .await;
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let rate = said.ok().and_then(|said| {
        let failed = said.contains("Non-2xx");
        let rate = said
            .lines()
            .find_map(|line| line.trim().strip_prefix("Requests/sec:"))?;
        if failed {
            None
        } else {
            rate.trim().parse().ok()
        }
    });
    match rate {
        // The best of all repetitions: a figure beside the others, in no ratio.
        Some(rate) => {
            let best = results.single.entry(NAME).or_insert(rate);
            *best = best.max(rate);
        }
        None => {
            results
                .missing
                .insert(NAME.to_owned(), "wrk told no rate".to_owned());
        }
    }
}

fn tell(ratios: &[goals::Outcome], folder: &Path) {
    for one in ratios {
        let value = match (one.value, &one.missing) {
            (Some(value), _) => format!("{value:.2}"),
            (None, reason) => format!("not measured ({})", reason.as_deref().unwrap_or_default()),
        };
        let verdict = match one.met {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "",
        };
        let goal = one.goal.as_deref().unwrap_or("-");
        println!("{:<66} {value:>8}  {goal:<8} {verdict}", one.name);
    }
    println!("written: {}", folder.join("RESULTS.md").display());
}
