//! `shard-cache bench`: the plan from flags, progress on stderr, the result on stdout. The work is done by
//! `shard-cache-bench`.

mod arguments;
mod render;

use shard_cache_bench::{BenchError, Progress, Report};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Mutex,
};

use super::{
    connection::block_on,
    exit::{Exit, Failure},
    output,
};

pub(super) use arguments::BenchArguments;

pub(super) fn run(arguments: &BenchArguments) -> Result<Exit, Failure> {
    let plan = arguments.plan()?;
    let report = block_on(async {
        let interrupts = signal(SignalKind::interrupt())
            .map_err(|error| Failure::system("cannot wait for signals", &error))?;
        let interrupts = Mutex::new(interrupts);
        let stop = async || {
            interrupts.lock().await.recv().await;
        };
        Ok(shard_cache_bench::run(&plan, &mut tell, stop).await?)
    })?;
    arguments.write(&report)?;
    judge(arguments, &report)
}

/// What the process exits with: a wrong value outweighs a broken threshold.
fn judge(arguments: &BenchArguments, report: &Report) -> Result<Exit, Failure> {
    let mut broken = false;
    for threshold in arguments.thresholds() {
        if threshold.is_broken(report) {
            broken = true;
            let measured = threshold.shown(report);
            output::note(&format!(
                "threshold broken: {threshold} (measured: {measured})"
            ));
        }
    }
    let corrupt = report.all.corrupt;
    if corrupt > 0 {
        return Err(Failure::new(
            Exit::Failed,
            "CORRUPT",
            format!("{corrupt} reads returned a value that was never written under their key"),
        ));
    }
    if broken {
        return Ok(Exit::Threshold);
    }
    if report.all.ok == 0 && report.all.errors() > 0 {
        let most = report.failures.iter().max_by_key(|one| one.count);
        let (code, reason) = most.map_or(("", ""), |one| (&one.code, &one.reason));
        let exit = match reason {
            "no_quorum" => Exit::NoQuorum,
            _ => Exit::Unreachable,
        };
        let message = format!("not one request succeeded, mostly because of {code} {reason}");
        return Err(Failure::new(exit, "NOTHING_SUCCEEDED", message));
    }
    Ok(Exit::Ok)
}

/// For people who watch.
fn tell(progress: Progress<'_>) {
    match progress {
        Progress::Loading { keys } => output::progress(&format!("loading {keys} keys")),
        Progress::Loaded { keys, seconds } => {
            output::progress(&format!("loaded {keys} keys in {seconds:.1} s"));
        }
        Progress::WarmingUp => output::progress("warming up"),
        Progress::Moment(moment) => output::progress(&render::moment(moment)),
    }
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        let (exit, code) = match &error {
            BenchError::Plan(_) => (Exit::Usage, "INVALID_PLAN"),
            BenchError::Unreachable { .. } => (Exit::Unreachable, "UNREACHABLE"),
            BenchError::Load { .. } => (Exit::Failed, "LOAD_FAILED"),
            BenchError::Stopped { .. } => (Exit::Failed, "STOPPED"),
            _ => (Exit::Failed, "FAILED"),
        };
        Self::new(exit, code, error.to_string())
    }
}
