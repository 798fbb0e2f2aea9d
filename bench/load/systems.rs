//! The systems that are measured, each started once and alive for the whole run.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use shard_cache_bench::System as Spoken;
use shard_cache_client::{Client, ClientOptions};

use crate::{
    process::{Process, Room, free_port, until},
    rows::Name,
};

/// A system that runs.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) spoken: Spoken,
    pub(crate) endpoints: Vec<String>,
    /// HTTP of the nodes, of ours only.
    pub(crate) http: Vec<String>,
    pub(crate) processes: Vec<Process>,
    /// How it was started, for the record.
    pub(crate) command: String,
}

/// What is needed to start one.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) binary: PathBuf,
    pub(crate) room: &'a Room,
    pub(crate) value_bytes: u32,
}

/// What nodes are started with, beside ports and names: everything is on that is on by default. The limits of a test
/// machine that has nothing else to do; room for all keys.
const SETTINGS: [&str; 3] = [
    "server.threads=1",
    "server.cache.capacity=4000000",
    "server.limits.cpu_threshold=1",
];

impl System {
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }
}

impl Stage<'_> {
    pub(crate) async fn start(&self, name: Name) -> Result<System> {
        match name {
            Name::Echo => self.echo(),
            Name::Single => self.nodes("single", 1, &[]).await,
            Name::Cluster => self.nodes("cluster", 3, &[]).await,
            Name::Unary => {
                let settings = ["server.peer.link=unary"];
                self.nodes("unary", 3, &settings).await
            }
            Name::Six => self.nodes("six", 6, &[]).await,
            Name::Redis => self.redis("redis", 0).await,
            Name::RedisReplicated => self.redis("redis-replicated", 2).await,
            Name::Memcached => self.memcached(),
            Name::Etcd => self.etcd(),
        }
    }

    fn echo(&self) -> Result<System> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["echo", "--value-bytes", &self.value_bytes.to_string()]);
        let shown = "shard-cache-bench-load echo".to_owned();
        let (process, told) = Process::start_telling(command, self.room, "echo")?;
        Ok(System {
            spoken: Spoken::ShardCache,
            endpoints: vec![address(&told, "grpc")?],
            http: Vec::new(),
            processes: vec![process],
            command: shown,
        })
    }

    /// Nodes of ours, that agree on their ring.
    pub(crate) async fn nodes(
        &self,
        name: &str,
        count: usize,
        settings: &[&str],
    ) -> Result<System> {
        let mut system = System {
            spoken: Spoken::ShardCache,
            endpoints: Vec::new(),
            http: Vec::new(),
            processes: Vec::new(),
            command: String::new(),
        };
        let mut seed = None;
        for number in 1..=count {
            let mut command = Command::new(&self.binary);
            command.args(["serve", "--bind=127.0.0.1", "--print-addresses"]);
            command.args(["--grpc-port=0", "--http-port=0", "--gossip-port=0"]);
            command.args(["--log-level=warn", &format!("--cluster-id=bench-{name}")]);
            command.arg(format!("--node-name={name}-{number}"));
            command.arg(format!("--min-members={}", count.min(2)));
            for setting in SETTINGS.iter().chain(settings) {
                command.args(["--set", setting]);
            }
            if let Some(seed) = &seed {
                command.arg(format!("--seed={seed}"));
            }
            let label = format!("{name}-{number}");
            let (process, told) = Process::start_telling(command, self.room, &label)?;
            system.processes.push(process);
            system.endpoints.push(address(&told, "grpc")?);
            seed.get_or_insert(address(&told, "peer")?);
            system.http.push(address(&told, "http")?);
        }
        let all: Vec<&str> = SETTINGS.iter().chain(settings).copied().collect();
        system.command = format!("{count} x shard-cache serve --set {}", all.join(" --set "));
        agree(&system.endpoints).await?;
        Ok(system)
    }

    async fn redis(&self, name: &str, replicas: u16) -> Result<System> {
        let mut system = System {
            spoken: Spoken::Redis {
                replicas: u32::from(replicas.min(1)),
            },
            endpoints: Vec::new(),
            http: Vec::new(),
            processes: Vec::new(),
            command: "redis-server --save '' --appendonly no".to_owned(),
        };
        let primary = free_port()?;
        for number in 0..=replicas {
            let port = if number == 0 { primary } else { free_port()? };
            let label = format!("{name}-{number}");
            let mut command = Command::new("redis-server");
            command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
            command.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
            command.args([
                "--repl-diskless-sync",
                "yes",
                "--repl-diskless-sync-delay",
                "0",
            ]);
            command.arg("--dir").arg(self.room.folder(&label)?);
            if number > 0 {
                command.args(["--replicaof", &format!("127.0.0.1 {primary}")]);
            }
            system
                .processes
                .push(Process::start(command, self.room, &label)?);
        }
        if replicas > 0 {
            system.command += &format!(", and {replicas} with --replicaof; SET then WAIT 1");
        }
        system.endpoints.push(format!("127.0.0.1:{primary}"));
        Ok(system)
    }

    fn memcached(&self) -> Result<System> {
        let port = free_port()?.to_string();
        let mut command = Command::new("memcached");
        command.args([
            "-l",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "0",
            "-t",
            "1",
            "-m",
            "1024",
        ]);
        if is_root() {
            command.args(["-u", "root"]);
        }
        Ok(System {
            spoken: Spoken::Memcached,
            endpoints: vec![format!("127.0.0.1:{port}")],
            http: Vec::new(),
            processes: vec![Process::start(command, self.room, "memcached")?],
            command: "memcached -t 1 -m 1024".to_owned(),
        })
    }

    fn etcd(&self) -> Result<System> {
        let mut ports = Vec::new();
        for number in 0..3 {
            ports.push((number, free_port()?, free_port()?));
        }
        let peers: Vec<String> = ports
            .iter()
            .map(|(number, _, peer)| format!("e{number}=http://127.0.0.1:{peer}"))
            .collect();
        let mut system = System {
            spoken: Spoken::Etcd,
            endpoints: Vec::new(),
            http: Vec::new(),
            processes: Vec::new(),
            command: "3 x etcd, data on tmpfs".to_owned(),
        };
        for (number, client, peer) in ports {
            let label = format!("etcd-{number}");
            let (client_url, peer_url) = (
                format!("http://127.0.0.1:{client}"),
                format!("http://127.0.0.1:{peer}"),
            );
            let mut command = Command::new("etcd");
            command.args(["--name", &format!("e{number}")]);
            command.arg("--data-dir").arg(self.room.folder(&label)?);
            command.args(["--listen-client-urls", &client_url]);
            command.args(["--advertise-client-urls", &client_url]);
            command.args(["--listen-peer-urls", &peer_url]);
            command.args(["--initial-advertise-peer-urls", &peer_url]);
            command.args(["--initial-cluster", &peers.join(",")]);
            command.args(["--initial-cluster-state", "new", "--log-level", "error"]);
            system
                .processes
                .push(Process::start(command, self.room, &label)?);
            system.endpoints.push(format!("127.0.0.1:{client}"));
        }
        Ok(system)
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn address(told: &Value, face: &str) -> Result<String> {
    let text = told[face].as_str();
    Ok(text
        .with_context(|| format!("no {face} in {told}"))?
        .to_owned())
}

/// Waits until all nodes see each other and have one ring.
async fn agree(endpoints: &[String]) -> Result<()> {
    let options = ClientOptions {
        timeout: Duration::from_secs(2),
        ..ClientOptions::default()
    };
    until("all nodes agree", async || {
        let mut rings = Vec::new();
        for endpoint in endpoints {
            let health = Client::connect(endpoint, options).await?.health().await?;
            let alive = usize::try_from(health.members_alive)?;
            ensure!(
                health.status == "ok" && alive == endpoints.len(),
                "{endpoint} is {} and sees {alive} members: {}",
                health.status,
                health.reason
            );
            rings.push(health.ring_hash);
        }
        rings.dedup();
        if rings.len() != 1 {
            bail!("rings differ: {rings:?}");
        }
        Ok(())
    })
    .await
}
