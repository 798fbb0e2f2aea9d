//! `shard-cache serve`: configuration, logs, runtime, node, signals, drain.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

use super::{
    exit::{Exit, Failure},
    give_way::give_way,
    lanes::Lanes,
    output,
};
#[cfg(feature = "planted-bugs")]
use crate::planted;
use crate::{
    config::{self, Config, Flag, LogFormat, TelemetryConfig},
    node::{Addresses, Drained, Node, Seams},
    telemetry::{AllocatorReader, logs},
};

/// Run a node (the default command). SIGTERM and SIGINT drain it; a second one ends it at once. SIGHUP has it read its
/// configuration again.
#[derive(Debug, Default, Args)]
pub(super) struct ServeArguments {
    /// Configuration file; flags and environment win over it. [env: SHARD_CACHE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// TCP port of client gRPC; 0 takes a free one. [env: SHARD_CACHE_GRPC_PORT] [default: 8080]
    #[arg(long, value_name = "PORT")]
    grpc_port: Option<String>,
    /// TCP port of HTTP; 0 takes a free one. [env: SHARD_CACHE_HTTP_PORT] [default: 8081]
    #[arg(long, value_name = "PORT")]
    http_port: Option<String>,
    /// UDP port of gossip and TCP port of peer links; 0 takes a free one. [env: SHARD_CACHE_GOSSIP_PORT] [default: 7946]
    #[arg(long, value_name = "PORT")]
    gossip_port: Option<String>,
    /// IP addresses to listen on; "::" is all of them. [env: SHARD_CACHE_BIND] [default: 127.0.0.1]
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    bind: Vec<String>,
    /// What others are told to connect to, as host or host:port. [env: SHARD_CACHE_ADVERTISE]
    #[arg(long, value_name = "HOST[:PORT]")]
    advertise: Option<String>,
    /// Gossip address of a node to join through; repeat it, or separate by commas. [env: SHARD_CACHE_SEED]
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    seed: Vec<String>,
    /// Name of the cluster; nodes of another one are refused. [env: SHARD_CACHE_CLUSTER_ID] [default: shard-cache]
    #[arg(long, value_name = "NAME")]
    cluster_id: Option<String>,
    /// Members that must be present before a first ring is formed. [env: SHARD_CACHE_MIN_MEMBERS] [default: 1 without
    /// seeds, 2 with]
    #[arg(long, value_name = "N")]
    min_members: Option<String>,
    /// Name of this node, unique in the cluster. [env: SHARD_CACHE_NODE_NAME] [default: hostname:gossip-port]
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// off, error, warn, info, debug or trace. [env: SHARD_CACHE_LOG_LEVEL] [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// auto, pretty or json. [env: SHARD_CACHE_LOG_FORMAT] [default: auto]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Set any field, such as server.cache.capacity=5000; repeat it. [env: SHARD_CACHE__SERVER__CACHE__CAPACITY and so on]
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<String>,
    /// Print the bound addresses to stdout as one line of JSON once the node has started.
    #[arg(long)]
    print_addresses: bool,
}

impl ServeArguments {
    /// The flags that were given, for the configuration.
    fn flags(&self) -> Result<Vec<Flag>, Failure> {
        let list = |list: &[String]| (!list.is_empty()).then(|| list.join(","));
        let named = [
            ("grpc-port", self.grpc_port.clone()),
            ("http-port", self.http_port.clone()),
            ("gossip-port", self.gossip_port.clone()),
            ("bind", list(&self.bind)),
            ("advertise", self.advertise.clone()),
            ("seed", list(&self.seed)),
            ("cluster-id", self.cluster_id.clone()),
            ("min-members", self.min_members.clone()),
            ("node-name", self.node_name.clone()),
            ("log-level", self.log_level.clone()),
            ("log-format", self.log_format.clone()),
        ];
        let mut flags: Vec<_> = named
            .into_iter()
            .filter_map(|(name, text)| Flag::of_twin(name, text?))
            .collect();
        for assignment in &self.set {
            let Some((path, text)) = assignment.split_once('=') else {
                return Err(Failure::new(
                    Exit::Usage,
                    "USAGE",
                    format!("--set {assignment}: expected FIELD=VALUE"),
                ));
            };
            let (path, text) = (path.trim().to_owned(), text.to_owned());
            flags.push(Flag {
                name: "set".to_owned(),
                path,
                text,
            });
        }
        Ok(flags)
    }
}

pub(super) fn run(
    arguments: ServeArguments,
    allocator: Option<AllocatorReader>,
) -> Result<Exit, Failure> {
    let flags = arguments.flags()?;
    let file = arguments.config;
    let read = move || Ok(config::load_system(file.clone(), flags.clone())?.config);
    let config = read()?;
    init_logs(&config.telemetry)?;
    if let Some(name) = &config.node.name {
        logs::name_node(name);
    }
    #[cfg(feature = "planted-bugs")]
    plant()?;
    let lanes = Lanes::start(config.worker_threads())?;
    let runtime = runtime()?;
    let seams = Seams {
        lanes: lanes.runtimes(),
        config: Some(Box::new(read)),
        allocator,
        ..Seams::system()
    };
    let result = runtime.block_on(serve(config, seams, arguments.print_addresses));
    // Everything of the node has ended or was given up; what is left must not keep the process.
    runtime.shutdown_background();
    result
}

/// Nothing is served without a bug by a build that is made for that.
#[cfg(feature = "planted-bugs")]
fn plant() -> Result<(), Failure> {
    let name = config::environment::variable(planted::VARIABLE);
    let bug = planted::plant(name.as_deref())
        .map_err(|error| Failure::new(Exit::ConfigInvalid, "CONFIG_INVALID", error.to_string()))?;
    tracing::warn!(%bug, "THIS NODE IS BROKEN ON PURPOSE AND WILL LOSE DATA: it was built with planted bugs, for tests only");
    Ok(())
}

fn init_logs(telemetry: &TelemetryConfig) -> Result<(), Failure> {
    let format = match telemetry.log_format {
        LogFormat::Auto => logs::LogFormat::Auto,
        LogFormat::Pretty => logs::LogFormat::Pretty,
        LogFormat::Json => logs::LogFormat::Json,
    };
    logs::init(telemetry.log_level.as_str(), format)
        .map_err(|error| Failure::failed(format!("cannot set up logs: {error}")))
}

/// The main thread: gossip, background work, and with one thread everything.
fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .on_thread_park(give_way())
        .build()
        .map_err(|error| Failure::system("cannot start the runtime", &error))
}

/// The signals that stop a node.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// The next signal. Cancel-safe.
    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::system("cannot listen for signals", &error))
}

async fn serve(config: Config, seams: Seams, print_addresses: bool) -> Result<Exit, Failure> {
    let mut stop = Stop::new()?;
    let mut reload = listen(SignalKind::hangup())?;
    let node = tokio::select! {
        biased;
        () = stop.next() => return Ok(Exit::Ok),
        started = Node::start(config, seams) => {
            started.map_err(|error| Failure::failed(format!("the node did not start: {error}")))?
        }
    };
    let addresses = node.addresses();
    logs::name_node(node.name());
    tracing::info!(grpc = %addresses.grpc, http = %addresses.http, peer = %addresses.peer, "started");
    if print_addresses {
        output::write_line(&addresses_line(addresses))?;
    }
    loop {
        tokio::select! {
            biased;
            () = stop.next() => break,
            () = node.drain_wanted() => break,
            // Its place is another one's: there is nothing to hand over.
            rival = node.superseded() => {
                return Err(Failure::failed(format!("the node ended: {rival}")));
            }
            // How it went is in the logs.
            _ = reload.recv() => drop(node.reload()),
        }
    }
    let drained = tokio::select! {
        biased;
        () = stop.next() => Drained::Unsafe { reason: "a second signal cut it short".to_owned() },
        drained = node.drain() => drained,
    };
    match drained {
        Drained::Clean => Ok(Exit::Ok),
        Drained::Unsafe { reason } => {
            tracing::warn!(%reason, "drain was unsafe");
            Ok(Exit::UNSAFE)
        }
    }
}

fn addresses_line(addresses: Addresses) -> String {
    json!({ "grpc": addresses.grpc, "http": addresses.http, "peer": addresses.peer }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_set_a_field_reach_the_configuration() {
        let arguments = ServeArguments {
            grpc_port: Some("9090".to_owned()),
            seed: vec!["a:1".to_owned(), "b:2".to_owned()],
            set: vec!["server.cache.capacity=7".to_owned()],
            ..ServeArguments::default()
        };
        let sources = config::Sources {
            flags: arguments.flags().unwrap(),
            ..config::Sources::default()
        };
        let config = config::load(sources).unwrap().config;
        assert_eq!(config.server.grpc.port, 9090);
        assert_eq!(config.cluster.seeds, ["a:1", "b:2"]);
        assert_eq!(config.server.cache.capacity, 7);
    }

    #[test]
    fn an_assignment_without_a_value_is_wrong_usage() {
        let arguments = ServeArguments {
            set: vec!["x".to_owned()],
            ..ServeArguments::default()
        };
        assert_eq!(arguments.flags().unwrap_err().exit, Exit::Usage);
    }
}
