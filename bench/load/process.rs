//! Processes that are started for a measurement, and end with it: each is killed by its own handle when that is dropped.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// How long a node may take to tell its addresses.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two looks at whether something has come about.
const POLL: Duration = Duration::from_millis(50);

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts it, with what it prints going to a log in `room`.
    pub(crate) fn start(mut command: Command, room: &Room, name: &str) -> Result<Self> {
        let log = fs::File::create(room.path(&format!("{name}.log")))?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child })
    }

    /// Starts one that tells its addresses on the first line of stdout, as JSON.
    pub(crate) fn start_telling(
        mut command: Command,
        room: &Room,
        name: &str,
    ) -> Result<(Self, Value)> {
        let path = room.path(&format!("{name}.log"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&path)?);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let mut process = Self { child };
        let mut line = String::new();
        if let Some(stdout) = process.child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if line.is_empty() {
            process.child.wait()?;
            let said = fs::read_to_string(&path).unwrap_or_default();
            bail!("{name} did not start: {}", said.trim());
        }
        let told = serde_json::from_str(&line)
            .with_context(|| format!("{name} told no addresses but `{}`", line.trim()))?;
        Ok((process, told))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A line of `/proc/<pid>/status`, in bytes.
    pub(crate) fn memory(&self, line: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let text = status
            .lines()
            .find_map(|text| text.strip_prefix(line)?.strip_prefix(':'))
            .with_context(|| format!("no {line} of process {}", self.pid()))?;
        let kib: u64 = text.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder for logs and data, in memory where possible; removed at the end.
#[derive(Debug)]
pub(crate) struct Room {
    path: PathBuf,
}

impl Room {
    pub(crate) fn new() -> Result<Self> {
        let shared_memory = Path::new("/dev/shm");
        let parent = if shared_memory.is_dir() {
            shared_memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let path = parent.join(format!("shard-cache-bench-load-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A new folder in it.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir(&path)?;
        Ok(path)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Whoever still writes there has been killed before.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A port that was free a moment ago, for programs that cannot choose one themselves.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    Ok(listener.local_addr()?.port())
}

/// Waits until `attempt` succeeds.
pub(crate) async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + START_TIMEOUT;
    loop {
        match attempt().await {
            Ok(found) => return Ok(found),
            Err(error) if Instant::now() >= end => {
                return Err(error).with_context(|| format!("{what}: not within {START_TIMEOUT:?}"));
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
