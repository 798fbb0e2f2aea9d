//! One node as a process of its own.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::{http, network::Place, until};

/// How long a process may take to answer after its start.
const START_TIME: Duration = Duration::from_secs(20);
/// How much of a log is shown when a process ended by itself, in bytes.
const LOG_END_BYTES: usize = 2_000;
/// The user that runs this may have settings for a node in the environment; they are not for these.
const PREFIXES: [&str; 2] = ["SHARD_CACHE", "OTEL_"];

/// How a node is started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The program.
    pub(crate) binary: PathBuf,
    /// The node's name.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) place: Place,
    /// Gossip addresses of all nodes, its own included.
    pub(crate) seeds: Vec<String>,
    /// Members without which no first ring is formed.
    pub(crate) min_members: usize,
    /// Dotted paths of the configuration and their values.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// Its log; every life adds to it.
    pub(crate) log: PathBuf,
}

/// A node, running or not. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct NodeProcess {
    launch: Launch,
    child: Option<Child>,
}

impl NodeProcess {
    /// Starts nothing yet.
    #[must_use]
    pub(crate) const fn new(launch: Launch) -> Self {
        Self {
            launch,
            child: None,
        }
    }

    /// Its name.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.launch.name
    }

    /// Where it listens.
    #[must_use]
    pub(crate) const fn place(&self) -> &Place {
        &self.launch.place
    }

    /// Whether its process was started and not ended by this tool.
    #[must_use]
    pub(crate) const fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// Starts the process, with an empty memory and under the addresses that it always has.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(crate) fn spawn(&mut self) -> anyhow::Result<()> {
        let Launch { binary, log, .. } = &self.launch;
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let output = file.try_clone().context("cannot share the log")?;
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(file)
            // An interrupt at the terminal is for this tool, which then ends the nodes.
            .process_group(0)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        self.child = Some(child);
        Ok(())
    }

    fn command(&self) -> Command {
        let Launch {
            binary,
            name,
            place,
            seeds,
            min_members,
            settings,
            ..
        } = &self.launch;
        let mut command = match &place.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                // It becomes the program: the process id is the node's.
                command.args(["netns", "exec", namespace]).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy();
            if PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&variable);
            }
        }
        command
            .arg("serve")
            .arg(format!("--bind={}", place.grpc.ip()))
            .arg(format!("--grpc-port={}", place.grpc.port()))
            .arg(format!("--http-port={}", place.http.port()))
            .arg(format!("--gossip-port={}", place.peer.port()))
            .arg(format!("--node-name={name}"))
            .arg(format!("--min-members={min_members}"))
            .arg(format!("--seed={}", seeds.join(",")));
        for (path, value) in settings {
            command.arg(format!("--set={path}={value}"));
        }
        command
    }

    /// Waits until the process answers.
    ///
    /// # Errors
    /// It ended, or does not answer in time.
    pub(crate) async fn answers(&mut self) -> anyhow::Result<()> {
        let address = self.launch.place.http;
        let what = format!("{} does not answer", self.launch.name);
        until(&what, START_TIME, async || {
            // One that ended will not answer: that is not waited for.
            if self.still_runs().is_err() {
                return Ok(());
            }
            http::get(address, "/livez").await.map(drop)
        })
        .await?;
        self.still_runs()
    }

    /// Says whether the process runs.
    ///
    /// # Errors
    /// It ended by itself; with the end of its log.
    pub(crate) fn still_runs(&mut self) -> anyhow::Result<()> {
        let Launch { name, log, .. } = &self.launch;
        let Some(child) = &mut self.child else {
            bail!("{name} was not started");
        };
        let status = child.try_wait();
        if let Some(status) = status.with_context(|| format!("cannot look at {name}"))? {
            let text = fs::read(log).unwrap_or_default();
            let end = &text[text.len().saturating_sub(LOG_END_BYTES)..];
            bail!(
                "{name} ended by itself ({status}); the end of its log:\n{}",
                String::from_utf8_lossy(end)
            );
        }
        Ok(())
    }

    /// `kill -9`, and waits until the process is gone.
    ///
    /// # Errors
    /// It was not started.
    pub(crate) async fn kill9(&mut self) -> anyhow::Result<()> {
        let name = &self.launch.name;
        let mut child = self
            .child
            .take()
            .with_context(|| format!("{name} was not started"))?;
        child
            .kill()
            .await
            .with_context(|| format!("cannot kill {name}"))
    }

    /// SIGTERM, and waits until the process has ended by itself.
    ///
    /// # Errors
    /// It did not end within the time.
    pub(crate) async fn terminate(&mut self, longest: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let name = &self.launch.name;
        let child = self.child.as_mut();
        let child = child.with_context(|| format!("{name} was not started"))?;
        let Ok(status) = timeout(longest, child.wait()).await else {
            bail!("{name} did not end within {longest:?} after SIGTERM");
        };
        self.child = None;
        status.context("cannot wait for a node")
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process is gone.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let name = &self.launch.name;
        let pid = self.pid().with_context(|| format!("{name} is gone"))?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {name}"))
    }

    fn pid(&self) -> Option<Pid> {
        let id = self.child.as_ref()?.id()?;
        Pid::from_raw(i32::try_from(id).ok()?)
    }

    /// Bytes of memory that the process has resident, from `/proc`.
    ///
    /// # Errors
    /// The system does not tell.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        let name = &self.launch.name;
        let pid = self.pid().with_context(|| format!("{name} is gone"))?;
        let path = format!("/proc/{}/status", pid.as_raw_nonzero());
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        Ok(kib.with_context(|| format!("{path} has no VmRSS"))? * 1024)
    }
}
