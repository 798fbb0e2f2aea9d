//! `chaos/check`: writes through several nodes while faults come and go, and proves that nothing acknowledged was lost.
//! `chaos/processes` does so with processes that it starts itself, `chaos/figures` measures them.
//!
//! ```text
//! arguments ─► run ─► fault (commands that make and undo faults)
//!               ├──► load ─► session ─► recorder ─► history ─► judge, timings ─► report
//!               ├──► cluster (do the nodes agree, is anything owed?), views (who sees whom?)
//!               └──► audit (every key, at every node)
//! processes ─► nodes, load, audit, judge, report
//! figures ─► nodes, load
//! ```
//!
//! Recording and judging are apart: [`judge`] is a function of the [`history`] alone, so that a recorded one can be
//! judged again.

#![expect(
    clippy::disallowed_methods,
    reason = "a tool that drives nodes from outside runs in real time, outside of the seams"
)]

mod arguments;
mod audit;
mod cluster;
mod fault;
mod figures;
mod history;
mod judge;
mod load;
mod nodes;
mod processes;
mod progress;
mod recorder;
mod report;
mod run;
mod session;
mod timings;
mod views;

use std::{
    path::Path,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    arguments::Arguments, figures::FigureArguments, history::History, judge::Verdict,
    processes::ProcessArguments, run::Refusal,
};

const PASSED: u8 = 0;
const VIOLATED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 4;
const VACUOUS: u8 = 5;
/// A tool or a privilege is missing.
const SKIPPED: u8 = 77;
const INTERRUPTED: u8 = 130;

/// Write unique keys through several nodes before, during and after faults, read every key back at every node, and say
/// whether anything acknowledged was lost.
#[derive(Debug, Parser)]
#[command(
    name = "chaos/check",
    bin_name = "chaos/check",
    after_help = arguments::EXIT_CODES,
    args_conflicts_with_subcommands = true
)]
struct Line {
    #[command(subcommand)]
    command: Option<Commands>,
    #[command(flatten)]
    check: Arguments,
}

#[derive(Debug, Subcommand)]
enum Commands {
    Processes(ProcessArguments),
    Figures(FigureArguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let line = Line::parse();
    match &line.command {
        None => check_main(&line.check).await,
        Some(Commands::Processes(arguments)) => {
            let cancelled = CancellationToken::new();
            let run = processes::run(arguments, &cancelled);
            drive(arguments.problem(), run, &cancelled).await
        }
        Some(Commands::Figures(arguments)) => {
            let cancelled = CancellationToken::new();
            let run = figures::run(arguments, &cancelled);
            drive(arguments.problem(), run, &cancelled).await
        }
    }
}

/// Runs to the end, or until it is interrupted and has removed what it made.
async fn drive(
    problem: Option<String>,
    run: impl Future<Output = u8>,
    cancelled: &CancellationToken,
) -> ExitCode {
    if let Some(problem) = problem {
        eprintln!("error: {problem}");
        return ExitCode::from(USAGE);
    }
    let run = async { anyhow::Ok(run.await) };
    ExitCode::from(interruptible(run, cancelled).await.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        UNREACHABLE
    }))
}

async fn check_main(arguments: &Arguments) -> ExitCode {
    if let Some(problem) = arguments.problem() {
        eprintln!("error: {problem}");
        return ExitCode::from(USAGE);
    }
    let code = match check(arguments).await {
        Ok(code) => code,
        Err(Refusal::Unreachable(why)) => {
            eprintln!("error: {why}");
            UNREACHABLE
        }
        Err(Refusal::Failed(error)) => {
            eprintln!("error: {error:#}");
            VACUOUS
        }
    };
    ExitCode::from(code)
}

async fn check(arguments: &Arguments) -> Result<u8, Refusal> {
    let cancelled = CancellationToken::new();
    let history = match &arguments.judge {
        Some(path) => run::load_history(path)?,
        None => {
            let name = name_of_run()?;
            let run = run::run(arguments, &name, &cancelled);
            interruptible(run, &cancelled).await?
        }
    };
    let mut verdict = judge::judge(&history, arguments.floors());
    verdict.broken = timings::broken(&timings::timings(&history), arguments.limits());
    print!("{}", report::render(&history, &verdict));
    if let Some(path) = &arguments.report {
        write_report(path, &history, &verdict)?;
    }
    if cancelled.is_cancelled() {
        println!("INTERRUPTED");
        return Ok(INTERRUPTED);
    }
    Ok(if verdict.is_violated() {
        VIOLATED
    } else if verdict.vacuous.is_empty() {
        PASSED
    } else {
        VACUOUS
    })
}

/// Cancels at the first signal, and lets the run end in order: a fault that is under way is undone first.
async fn interruptible<T, E: From<anyhow::Error>>(
    run: impl Future<Output = Result<T, E>>,
    cancelled: &CancellationToken,
) -> Result<T, E> {
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::pin!(run);
    loop {
        tokio::select! {
            biased;
            ended = &mut run => return ended,
            Some(()) = interrupt.recv() => {}
            Some(()) = terminate.recv() => {}
            Some(()) = hangup.recv() => {}
        }
        if !cancelled.is_cancelled() {
            eprintln!("interrupted: undoing what is under way");
        }
        cancelled.cancel();
    }
}

/// Keys of different runs differ, so that a run can follow another on the same nodes.
fn name_of_run() -> anyhow::Result<String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.context("the clock is before 1970")?;
    Ok(format!("{:x}", since.as_millis()))
}

fn write_report(path: &Path, history: &History, verdict: &Verdict) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(&report::document(history, verdict))?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
