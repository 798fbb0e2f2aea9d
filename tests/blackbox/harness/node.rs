//! One node as a process of its own.

use std::{
    env, fs,
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shard_cache_client::{Client, ClientOptions, cluster::Member};
use tokio::sync::oneshot;

use super::{PATIENCE, http, until};

/// How much of a node's log is shown when a test fails, in bytes.
const LOG_END_BYTES: usize = 6_000;

/// The ports of a running node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Addresses {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) peer: SocketAddr,
}

/// How a node is started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) name: String,
    pub(crate) seeds: Vec<String>,
    pub(crate) min_members: usize,
    /// Dotted paths of the configuration and their values; they go by the environment.
    pub(crate) settings: Vec<(String, String)>,
    /// Further environment variables.
    pub(crate) variables: Vec<(String, String)>,
    /// Further arguments.
    pub(crate) arguments: Vec<String>,
    /// The gossip and peer port, where a test has to know it beforehand; otherwise a free one.
    pub(crate) peer_port: u16,
    pub(crate) style: Style,
}

/// How the command line is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    /// `shard-cache serve --flag=value`.
    Serve,
    /// `shard-cache -flag=value`, as the original's.
    Go,
}

impl Launch {
    pub(crate) fn new(name: &str, min_members: usize) -> Self {
        Self {
            name: name.to_owned(),
            seeds: Vec::new(),
            min_members,
            settings: vec![
                ("server.threads".to_owned(), "1".to_owned()),
                // What these tests do to a cluster would fill a small cache.
                ("server.cache.capacity".to_owned(), "200000".to_owned()),
                // Others use this machine too; being shed for that is a matter of its own tests.
                ("server.limits.cpu_threshold".to_owned(), "1".to_owned()),
            ],
            variables: Vec::new(),
            arguments: Vec::new(),
            peer_port: 0,
            style: Style::Serve,
        }
    }

    pub(crate) fn seed(mut self, seed: impl ToString) -> Self {
        self.seeds.push(seed.to_string());
        self
    }

    pub(crate) fn setting(mut self, path: &str, value: impl ToString) -> Self {
        self.settings.push((path.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn argument(mut self, argument: impl ToString) -> Self {
        self.arguments.push(argument.to_string());
        self
    }

    /// Starts the node and waits until it tells its addresses.
    pub(crate) async fn start(self) -> NodeProcess {
        let log = new_log(&self.name);
        let (child, addresses) = self.spawn(None, &log).await;
        NodeProcess {
            launch: self,
            child,
            addresses,
            log,
        }
    }

    /// Starts a node that ends by itself, before it tells its addresses: how it ended, and its log.
    pub(crate) async fn refused(self) -> (ExitStatus, String) {
        let log = new_log(&self.name);
        let mut child = self
            .command(None, &log)
            .spawn()
            .expect("the binary can be started");
        let what = format!("the end of {}", self.name);
        let status = until(&what, PATIENCE, async || {
            let status = child.try_wait().map_err(|error| error.to_string())?;
            status.ok_or_else(|| format!("it still runs; its log:\n{}", log_end(&log)))
        });
        let status = status.await;
        let said = log_end(&log);
        drop(fs::remove_file(&log));
        (status, said)
    }

    async fn spawn(&self, ports: Option<Addresses>, log: &PathBuf) -> (Child, Addresses) {
        let mut child = self
            .command(ports, log)
            .spawn()
            .expect("the binary can be started");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let first_line = first_line(stdout, log.clone());
        let line = tokio::time::timeout(PATIENCE, first_line).await;
        let addresses = line.ok().and_then(Result::ok).and_then(|line| parse(&line));
        let Some(addresses) = addresses else {
            // It may have ended by itself.
            drop(child.kill());
            let status = child.wait();
            panic!(
                "{} told no addresses; {status:?}; its log:\n{}",
                self.name,
                log_end(log)
            );
        };
        (child, addresses)
    }

    fn command(&self, ports: Option<Addresses>, log: &PathBuf) -> Command {
        let port = |address: fn(&Addresses) -> SocketAddr| {
            ports.as_ref().map_or(0, |ports| address(ports).port())
        };
        let peer_port = ports.map_or(self.peer_port, |ports| ports.peer.port());
        let mut flags = vec![
            format!("grpc-port={}", port(|ports| ports.grpc)),
            format!("http-port={}", port(|ports| ports.http)),
            format!("gossip-port={peer_port}"),
            "bind=127.0.0.1".to_owned(),
            format!("node-name={}", self.name),
            format!("min-members={}", self.min_members),
            "print-addresses".to_owned(),
        ];
        flags.extend(self.seeds.iter().map(|seed| format!("seed={seed}")));
        let mut command = binary();
        match self.style {
            Style::Serve => {
                command
                    .arg("serve")
                    .args(flags.iter().map(|flag| format!("--{flag}")));
            }
            Style::Go => {
                command.args(flags.iter().map(|flag| format!("-{flag}")));
            }
        }
        for (path, value) in &self.settings {
            let variable = path.to_uppercase().replace('.', "__");
            command.env(format!("SHARD_CACHE__{variable}"), value);
        }
        let log = File::options()
            .append(true)
            .open(log)
            .expect("the log was created");
        command.envs(self.variables.iter().cloned());
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        command
    }
}

/// A running node; dropping it kills it, and shows the end of its log when the test has failed.
pub(crate) struct NodeProcess {
    launch: Launch,
    child: Child,
    addresses: Addresses,
    log: PathBuf,
}

impl NodeProcess {
    pub(crate) fn name(&self) -> &str {
        &self.launch.name
    }

    pub(crate) const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// `kill -9`, and waits until the process is gone.
    pub(crate) fn kill9(&mut self) {
        self.child
            .kill()
            .expect("a child that was not waited for can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Starts it again after it ended: the same name, ports and settings, and an empty store.
    pub(crate) async fn restart(&mut self) {
        let status = self.child.try_wait().expect("a child can be waited for");
        assert!(status.is_some(), "{} still runs", self.name());
        let (child, addresses) = self.launch.spawn(Some(self.addresses), &self.log).await;
        self.child = child;
        assert_eq!(
            addresses, self.addresses,
            "a restarted node has the ports that it had"
        );
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGHUP: it reads its configuration again.
    pub(crate) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGSTOP: the process stands still, its sockets stay open.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a child can be signalled");
    }

    /// Waits until the process ends.
    pub(crate) async fn ended(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.launch.name);
        until(&what, deadline, async || {
            let status = self.child.try_wait().map_err(|error| error.to_string())?;
            status.ok_or_else(|| "it still runs".to_owned())
        })
        .await
    }

    /// Whether the process runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// A client of this node with a deadline of 2 s.
    pub(crate) async fn client(&self) -> Client {
        self.client_with(Duration::from_secs(2)).await
    }

    pub(crate) async fn client_with(&self, timeout: Duration) -> Client {
        let endpoint = self.addresses.grpc.to_string();
        let options = ClientOptions {
            timeout,
            ..ClientOptions::default()
        };
        until(
            &format!("a connection to {}", self.name()),
            PATIENCE,
            async || {
                Client::connect(&endpoint, options)
                    .await
                    .map_err(|error| error.to_string())
            },
        )
        .await
    }

    pub(crate) async fn http(&self, path: &str) -> Result<http::Answer, String> {
        http::get(self.addresses.http, path).await
    }

    /// `/health`.
    pub(crate) async fn health(&self) -> Result<Value, String> {
        let answer = self.http("/health").await?;
        if answer.status == 200 {
            Ok(answer.json())
        } else {
            Err(format!("/health says {}: {}", answer.status, answer.text()))
        }
    }

    /// The members as this node sees them.
    pub(crate) async fn members(&self) -> Result<Vec<Member>, String> {
        let options = ClientOptions {
            timeout: Duration::from_secs(2),
            ..ClientOptions::default()
        };
        let client = Client::connect(&self.addresses.grpc.to_string(), options).await;
        let members = client
            .map_err(|error| error.to_string())?
            .cluster_members()
            .await;
        members
            .map(|answer| answer.members)
            .map_err(|error| error.to_string())
    }

    /// The sum of a metric's series that have all these labels.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<u64, String> {
        let answer = self.http("/metrics?format=json").await?.json();
        let series = answer[name]
            .as_array()
            .ok_or_else(|| format!("no metric {name}"))?;
        let matching = series.iter().filter(|one| {
            labels
                .iter()
                .all(|(label, value)| one["labels"][label].as_str() == Some(value))
        });
        Ok(matching.filter_map(|one| one["value"].as_u64()).sum())
    }

    /// As [`Self::metric`], of a node that is known to answer.
    pub(crate) async fn figure(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.metric(name, labels)
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", self.name()))
    }

    /// How many requests it has shed for this reason.
    pub(crate) async fn shed(&self, reason: &str) -> u64 {
        self.figure("shardcache_requests_shed_total", &[("reason", reason)])
            .await
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            eprintln!(
                "--- the end of the log of {} ---\n{}",
                self.name(),
                log_end(&self.log)
            );
        } else {
            drop(fs::remove_file(&self.log));
        }
    }
}

/// The product's binary, without what the environment of the tests says to it.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shard-cache"));
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("SHARD_CACHE") || name_text.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

/// A new file under the directory that cargo keeps for the files of tests.
pub(crate) fn scratch_file(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("blackbox");
    fs::create_dir_all(&directory).expect("the directory for the files of tests can be made");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    directory.join(format!("{}-{count}-{name}", std::process::id()))
}

fn new_log(name: &str) -> PathBuf {
    let path = scratch_file(&format!("{name}.log"));
    File::create(&path).expect("a log can be created");
    path
}

/// Reads the first line; what follows goes to the log, so that the node is never held up by a full pipe.
fn first_line(stdout: ChildStdout, log: PathBuf) -> oneshot::Receiver<String> {
    let (tell, told) = oneshot::channel();
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        if stdout.read_line(&mut line).is_ok() {
            // Nobody waits any more when the test has failed meanwhile.
            drop(tell.send(line));
        }
        let mut rest = Vec::new();
        if stdout.read_to_end(&mut rest).is_ok()
            && let Ok(mut log) = File::options().append(true).open(log)
        {
            drop(log.write_all(&rest));
        }
    });
    told
}

fn parse(line: &str) -> Option<Addresses> {
    let told: Value = serde_json::from_str(line).ok()?;
    let address = |face: &str| told[face].as_str()?.parse().ok();
    Some(Addresses {
        grpc: address("grpc")?,
        http: address("http")?,
        peer: address("peer")?,
    })
}

fn log_end(path: &PathBuf) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let from = bytes.len().saturating_sub(LOG_END_BYTES);
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}
