//! What all scenarios have in common: nodes, load through them, and everything read back in the end.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    arguments::{ProcessArguments, Scenario},
    away,
    claim::Claim,
    history_file, pause, restarts, scale, split,
};
use crate::{
    audit,
    cluster::Cluster,
    history::{FaultState, History, Purpose, Run},
    load::{Load, LoadOptions, Retry},
    nodes::{
        Nodes, Planned,
        network::{Namespaces, Network},
    },
    progress,
    recorder::Recorder,
    session::Session,
};

/// Load before the first fault, and at least after the last.
const QUIET: Duration = Duration::from_secs(3);
/// How long to go on writing for the floor of acknowledged writes.
const LONGEST_AFTER: Duration = Duration::from_secs(90);
/// Between two looks at what was evicted.
const SURVEY_PAUSE: Duration = Duration::from_secs(2);
/// Slots where each of them is asked about; otherwise what nodes have by default.
pub(super) const PROBED_SLOTS: u16 = 256;
/// Slots where digests of all of them are followed.
pub(super) const SLOTS: f64 = 16_384.0;
/// Room for all keys: an eviction is legal and looks like loss.
const CAPACITY: usize = 1_000_000;

/// A scenario under way.
pub(super) struct Stage<'a> {
    pub(super) arguments: &'a ProcessArguments,
    pub(super) nodes: Nodes,
    pub(super) recorder: Arc<Recorder>,
    pub(super) session: Session,
    pub(super) claims: Vec<Claim>,
    scenario: Scenario,
    run: String,
    first: usize,
    cancelled: &'a CancellationToken,
}

impl<'a> Stage<'a> {
    /// Makes the network; starts nothing yet.
    ///
    /// # Errors
    /// The network or the file of the history cannot be made.
    pub(super) fn build(
        arguments: &'a ProcessArguments,
        scenario: Scenario,
        logs: &Path,
        cancelled: &'a CancellationToken,
    ) -> anyhow::Result<Self> {
        let (first, most) = match scenario {
            Scenario::RollingRestart | Scenario::Kills | Scenario::Split | Scenario::Pause => {
                (5, 5)
            }
            Scenario::EvenSplit => (4, 4),
            Scenario::Scale => (3, 6),
            Scenario::Away | Scenario::AwayOverflow => (3, 3),
        };
        let network = if scenario.needs_namespaces() {
            Network::Namespaces(Namespaces::new(most)?)
        } else {
            Network::Loopback
        };
        let planned = Planned {
            binary: std::path::absolute(&arguments.binary).context("no current directory")?,
            nodes: most,
            first,
            settings: settings(scenario),
            logs: logs.to_path_buf(),
        };
        let nodes = Nodes::new(&planned, network)?;
        let name = format!("{}-{:x}", scenario.name(), std::process::id());
        let run = Run {
            leave: (first..most).collect(),
            ..Run::new(name.clone(), nodes.addresses())
        };
        let file = history_file(arguments, scenario)?;
        let recorder = Arc::new(Recorder::begin(run, file.as_deref())?);
        let session = Session::without_nodes(
            &nodes.addresses(),
            arguments.timeout,
            Arc::clone(&recorder),
            Purpose::Load,
        );
        Ok(Self {
            arguments,
            nodes,
            recorder,
            session,
            claims: Vec::new(),
            scenario,
            run: name,
            first,
            cancelled,
        })
    }

    /// Plays it to the end, or until it is cancelled.
    ///
    /// # Errors
    /// Nodes do not start, end by themselves, or do not come to rest.
    pub(super) async fn play(&mut self) -> anyhow::Result<()> {
        let cancelled = self.cancelled;
        let performed = cancelled.run_until_cancelled(self.perform()).await;
        performed.unwrap_or(Ok(()))
    }

    /// Ends the nodes and returns what was seen.
    ///
    /// # Errors
    /// The history could not be written.
    pub(super) async fn strike(self) -> anyhow::Result<(History, Vec<Claim>)> {
        let history = self.recorder.finish();
        self.nodes.remove().await;
        Ok((history?, self.claims))
    }

    async fn perform(&mut self) -> anyhow::Result<()> {
        self.nodes.start(self.first, self.arguments.settle).await?;
        for place in 0..self.first {
            self.session.join(place).await?;
        }
        let options = LoadOptions {
            run: self.run.clone(),
            writers: usize::from(self.arguments.writers),
            rate: self.arguments.rate,
            retry: Retry::ElsewhereOnce,
        };
        let load = Load::start(&self.session, &options);
        // Dropped, and so ended, with this function.
        let mut watchers = JoinSet::new();
        watchers.spawn(progress::show_writes(Arc::clone(&self.recorder)));
        watchers.spawn(watch(self.session.clone(), Arc::clone(&self.recorder)));
        sleep(QUIET).await;
        match self.scenario {
            Scenario::RollingRestart => restarts::rolling(self).await,
            Scenario::Kills => restarts::kills(self).await,
            Scenario::Scale => scale::scale(self).await,
            Scenario::Split => split::split(self, &[vec![0, 1], vec![2, 3, 4]]).await,
            Scenario::EvenSplit => split::split(self, &[vec![0, 1], vec![2, 3]]).await,
            Scenario::Pause => pause::pauses(self).await,
            Scenario::Away => away::away(self, true).await,
            Scenario::AwayOverflow => away::away(self, false).await,
        }?;
        self.after().await;
        load.stop().await;
        drop(watchers);
        self.read_back().await
    }

    /// Writes on until enough is acknowledged.
    async fn after(&self) {
        let begun = Instant::now();
        let enough = || self.recorder.writes().0 >= self.arguments.floors().acked_min;
        while begun.elapsed() < QUIET || (!enough() && begun.elapsed() < LONGEST_AFTER) {
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Through new connections, so that nothing depends on how the old ones came through the faults.
    async fn read_back(&mut self) -> anyhow::Result<()> {
        self.rest("reading back").await?;
        let session = Session::without_nodes(
            &self.nodes.addresses(),
            self.arguments.timeout,
            Arc::clone(&self.recorder),
            Purpose::Audit,
        );
        for place in self.nodes.running() {
            session.join(place).await?;
        }
        let keys = self.recorder.keys();
        let (count, done) = (keys.len(), Arc::new(AtomicUsize::new(0)));
        let places = session.places().len();
        eprintln!("  reading {count} keys back at {places} nodes");
        let mut watchers = JoinSet::new();
        watchers.spawn(progress::show_share(Arc::clone(&done), count));
        audit::read_back(&session, keys, &done, self.cancelled).await;
        survey(&session, &self.recorder).await;
        self.nodes.all_run()
    }

    /// A fault begins, and works at once.
    pub(super) fn begin(&self, fault: &str) {
        eprintln!("  {fault}");
        self.recorder.mark(fault, FaultState::Begun);
        self.recorder.mark(fault, FaultState::On);
    }

    /// A fault is over.
    pub(super) fn end(&self, fault: &str) {
        self.recorder.mark(fault, FaultState::Off);
    }

    /// Waits until the nodes have settled after a fault, and the next may follow.
    ///
    /// # Errors
    /// They do not within the time, which is noted as a violation; or one ended by itself.
    pub(super) async fn settled(&mut self, fault: &str) -> anyhow::Result<()> {
        self.rest(fault).await?;
        self.recorder.mark(fault, FaultState::Settled);
        Ok(())
    }

    /// Waits until the nodes have settled, which ends the fault: the change was the fault.
    ///
    /// # Errors
    /// As [`Self::settled`].
    pub(super) async fn ended_settled(&mut self, fault: &str) -> anyhow::Result<()> {
        self.rest(fault).await?;
        self.end(fault);
        self.recorder.mark(fault, FaultState::Settled);
        Ok(())
    }

    async fn rest(&mut self, fault: &str) -> anyhow::Result<()> {
        let rest = self.nodes.at_rest(self.arguments.settle).await;
        self.nodes.all_run()?;
        if rest.is_err() {
            self.recorder.mark(fault, FaultState::Unsettled);
        }
        rest.map(drop).with_context(|| format!("after {fault}"))
    }

    /// Notes whether a promise held.
    pub(super) fn claim(&mut self, held: bool, what: impl Into<String>) {
        self.claims.push(Claim::new(held, what));
    }
}

fn settings(scenario: Scenario) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("server.threads", "1".to_owned()),
        ("server.cache.capacity", CAPACITY.to_string()),
        // All nodes and the load share this machine; being shed for that is another matter.
        ("server.limits.cpu_threshold", "1".to_owned()),
        ("telemetry.log_format", "json".to_owned()),
    ];
    if scenario.needs_namespaces() {
        settings.push(("cluster.slots", PROBED_SLOTS.to_string()));
    }
    if matches!(scenario, Scenario::Away | Scenario::AwayOverflow) {
        settings.push(("cluster.slots", SLOTS.to_string()));
    }
    if scenario == Scenario::AwayOverflow {
        let bytes = away::OVERFLOWING_HINT_BYTES;
        settings.push(("hints.target_bytes_max", bytes.to_string()));
    }
    settings
}

/// Notes what is evicted while the load goes on.
async fn watch(session: Session, recorder: Arc<Recorder>) {
    loop {
        survey(&session, &recorder).await;
        sleep(SURVEY_PAUSE).await;
    }
}

/// That nodes are missing meanwhile is what faults are for.
async fn survey(session: &Session, recorder: &Arc<Recorder>) {
    let cluster = Cluster::new(session.addresses(), Arc::clone(recorder));
    cluster.survey().await.ok();
}
