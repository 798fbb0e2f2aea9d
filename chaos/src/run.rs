//! One run: load before, during and after the faults, one fault at a time, and then everything read back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use shard_cache_client::ClientError;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    arguments::Arguments,
    audit,
    cluster::Cluster,
    fault::Fault,
    history::{FaultState, History, Purpose, Run},
    load::{Load, LoadOptions, Retry},
    progress,
    recorder::Recorder,
    session::Session,
    views,
};

/// Load between a fault that has settled and the next one.
const BETWEEN: Duration = Duration::from_secs(2);

/// Why a run could not begin.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A node cannot be reached, or the nodes do not agree before anything was done to them.
    Unreachable(String),
    /// Anything else.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        Self::Unreachable(error.to_string())
    }
}

/// Runs to the end, or until it is cancelled; the history then ends there.
///
/// # Errors
/// See [`Refusal`]. Once load has begun there is always a history.
pub(crate) async fn run(
    arguments: &Arguments,
    name: &str,
    cancelled: &CancellationToken,
) -> Result<History, Refusal> {
    let nodes = arguments.nodes.clone();
    let history = arguments.history.as_deref();
    let recorder = Arc::new(Recorder::begin(
        Run::new(name.to_owned(), nodes.clone()),
        history,
    )?);
    let cluster = Arc::new(Cluster::new(nodes, Arc::clone(&recorder)));
    eprintln!("waiting until the nodes agree and owe nothing");
    match cancelled
        .run_until_cancelled(cluster.settled(arguments.settle))
        .await
    {
        Some(settled) => settled.map_err(Refusal::Unreachable)?,
        None => return Ok(recorder.finish()?),
    }
    let run = Parts {
        arguments,
        name,
        recorder: Arc::clone(&recorder),
        cluster,
        cancelled,
    };
    run.load().await?;
    if !cancelled.is_cancelled() {
        run.read_back().await?;
    }
    Ok(recorder.finish()?)
}

struct Parts<'a> {
    arguments: &'a Arguments,
    name: &'a str,
    recorder: Arc<Recorder>,
    cluster: Arc<Cluster>,
    cancelled: &'a CancellationToken,
}

impl Parts<'_> {
    async fn load(&self) -> Result<(), Refusal> {
        let session = self.session(Purpose::Load).await?;
        let options = LoadOptions {
            run: self.name.to_owned(),
            writers: self.arguments.writers(),
            rate: self.arguments.rate,
            retry: Retry::FreshKeys,
        };
        let load = Load::start(&session, &options);
        // Dropped, and so ended, with this function.
        let mut watchers = JoinSet::new();
        watchers.spawn(progress::show_writes(Arc::clone(&self.recorder)));
        watchers.spawn(watch(Arc::clone(&self.cluster)));
        let http = self.arguments.http.clone();
        watchers.spawn(views::follow(http, Arc::clone(&self.recorder)));
        let outcome = self.faults().await;
        load.stop().await;
        outcome
    }

    async fn faults(&self) -> Result<(), Refusal> {
        eprintln!("before: writing for {:?}", self.arguments.before);
        self.pause(self.arguments.before).await;
        for (number, fault) in self.arguments.faults().iter().enumerate() {
            if number > 0 {
                self.pause(BETWEEN).await;
            }
            if self.cancelled.is_cancelled() || !self.fault(fault).await? {
                return Ok(());
            }
        }
        eprintln!("after: writing for {:?}", self.arguments.after);
        self.pause(self.arguments.after).await;
        // The last writes may have left hints, and reads must not depend on them.
        Ok(())
    }

    /// Whether the next fault may follow.
    async fn fault(&self, fault: &Fault) -> Result<bool, Refusal> {
        let Fault { name, command, .. } = fault;
        eprintln!("fault {name}: {command}");
        let longest = self.arguments.fault_timeout;
        let begun_us = self.recorder.now_us();
        let state = fault.run(&self.recorder, longest, self.cancelled).await?;
        if state == FaultState::Skipped {
            eprintln!("fault {name}: SKIPPED, a tool or a privilege is missing");
            return Ok(true);
        }
        if self.cancelled.is_cancelled() {
            return Ok(false);
        }
        if state == FaultState::Failed {
            eprintln!("fault {name}: its command failed");
            return Ok(false);
        }
        if self.arguments.wipes.contains(name) {
            self.recorder.wiped(begun_us);
        }
        eprintln!("fault {name}: over; waiting until the nodes agree and owe nothing");
        let settled = self.cluster.settled(self.arguments.settle);
        match self.cancelled.run_until_cancelled(settled).await {
            Some(Ok(())) => {
                self.recorder.mark(name, FaultState::Settled);
                Ok(true)
            }
            Some(Err(missing)) => {
                eprintln!(
                    "fault {name}: not settled within {:?}: {missing}",
                    self.arguments.settle
                );
                self.recorder.mark(name, FaultState::Unsettled);
                Ok(false)
            }
            None => Ok(false),
        }
    }

    /// Through new connections, so that nothing depends on how the old ones came through the faults.
    async fn read_back(&self) -> Result<(), Refusal> {
        let settled = self.cluster.settled(self.arguments.settle);
        if let Some(Err(missing)) = self.cancelled.run_until_cancelled(settled).await {
            eprintln!("not settled before reading back: {missing}");
            self.recorder.mark("reading back", FaultState::Unsettled);
        }
        let session = self.session(Purpose::Audit).await;
        let session = session.map_err(|error| {
            Refusal::Failed(anyhow::Error::new(error).context("cannot read back"))
        })?;
        let keys = self.recorder.keys();
        eprintln!(
            "reading {} keys back at {} nodes",
            keys.len(),
            session.places().len()
        );
        let done = Arc::new(AtomicUsize::new(0));
        let mut watchers = JoinSet::new();
        watchers.spawn(progress::show_share(Arc::clone(&done), keys.len()));
        audit::read_back(&session, keys, &done, self.cancelled).await;
        drop(watchers);
        eprintln!("read {} keys back", done.load(Ordering::Relaxed));
        if self.arguments.remove {
            let removed = audit::remove(&session, self.recorder.keys(), self.cancelled).await;
            eprintln!("deleted {removed} keys");
        }
        // Evictions while reading back count, too.
        if let Err(missing) = self.cluster.survey().await {
            eprintln!("after reading back: {missing}");
        }
        Ok(())
    }

    async fn session(&self, purpose: Purpose) -> Result<Session, ClientError> {
        let recorder = Arc::clone(&self.recorder);
        let Arguments { nodes, timeout, .. } = self.arguments;
        Session::connect(nodes, *timeout, recorder, purpose).await
    }

    async fn pause(&self, time: Duration) {
        self.cancelled.run_until_cancelled(sleep(time)).await;
    }
}

/// Notes what is evicted while the load goes on. That nodes are missing meanwhile is what faults are for.
async fn watch(cluster: Arc<Cluster>) {
    loop {
        cluster.survey().await.ok();
        sleep(Duration::from_secs(2)).await;
    }
}

/// Reads a history and returns it.
///
/// # Errors
/// The file cannot be read, or is no history.
pub(crate) fn load_history(path: &std::path::Path) -> anyhow::Result<History> {
    let what = || format!("cannot read {}", path.display());
    let file = std::fs::File::open(path).with_context(what)?;
    History::read(std::io::BufReader::new(file)).with_context(what)
}
