//! The tree of fields with their defaults.
//!
//! Every struct fills absent fields from its `Default` and refuses unknown ones. Ranges of single fields are part of
//! their type or of their reader in `units`; rules between fields are in `check`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{machine, units};

const KIB: usize = 1024;
/// Ghosts that are kept at least, unless the configuration says otherwise.
const GHOSTS_MIN: usize = 65_536;
/// What one takes, about.
const GHOST_BYTES: usize = 100;
const MIB: usize = 1024 * KIB;
const HOUR: Duration = Duration::from_secs(3600);

/// The configuration of one node.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Ports, addresses, the cache and its limits.
    pub server: ServerConfig,
    /// What all nodes of a cluster agree on.
    pub cluster: ClusterConfig,
    /// Who this node is.
    pub node: NodeConfig,
    /// Quorums and hedging: the cluster's defaults.
    pub client: ClientConfig,
    /// What happens when a quorum cannot be had.
    pub quorum: DegradeConfig,
    /// Writes kept for owners that did not answer.
    pub hints: HintsConfig,
    /// What is remembered of deleted keys.
    pub tombstones: TombstonesConfig,
    /// What all background work may take together.
    pub background: BackgroundConfig,
    /// Copies of slots that change owners.
    pub handoff: HandoffConfig,
    /// Agreement of owners in the background.
    pub repair: RepairConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// What helps to see why a node does what it does.
    pub debug: DebugConfig,
}

impl Config {
    /// The node's name: the configured one, or `hostname:gossip-port`. `gossip_port` is the bound port, which differs
    /// from the configured one when that is 0.
    #[must_use]
    pub fn node_name(&self, gossip_port: u16) -> String {
        self.node
            .name
            .clone()
            .unwrap_or_else(|| format!("{}:{gossip_port}", machine::hostname()))
    }

    /// Bytes that entries may take: `server.cache.max_memory`, or half of what the machine (or its cgroup) allows.
    #[must_use]
    pub fn memory_limit_bytes(&self) -> u64 {
        self.server
            .cache
            .max_memory
            .unwrap_or_else(|| machine::memory_bytes() / 2)
    }

    /// Ghosts that are kept: `server.cache.ghosts_max`, or twice as many as entries, as far as a sixteenth of the memory
    /// limit holds them, but no less than 65536.
    #[must_use]
    pub fn ghosts_max(&self) -> usize {
        let cache = &self.server.cache;
        cache.ghosts_max.unwrap_or_else(|| {
            let room = usize::try_from(self.memory_limit_bytes()).unwrap_or(usize::MAX);
            let fitting = room / 16 / GHOST_BYTES;
            cache
                .capacity
                .saturating_mul(2)
                .min(fitting)
                .max(GHOSTS_MIN)
        })
    }

    /// Threads that serve connections: `server.threads`, or one per core.
    #[must_use]
    pub fn worker_threads(&self) -> usize {
        if self.server.threads == 0 {
            machine::cores()
        } else {
            self.server.threads
        }
    }
}

/// `server`: ports, addresses, the cache and its limits.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// The client port.
    pub grpc: GrpcConfig,
    /// The HTTP port.
    pub http: HttpConfig,
    /// The gossip and peer port.
    pub gossip: GossipConfig,
    /// Addresses to listen on, at least one. `::` means all addresses, IPv6 included.
    #[serde(with = "units::one_or_many")]
    pub bind: Vec<IpAddr>,
    /// What other nodes and clients are told to connect to. Absent: the bound address, or the routed one when bound to
    /// all addresses.
    pub advertise: Option<Advertise>,
    /// Threads that serve connections, at most 1024; 0 means one per core.
    #[serde(deserialize_with = "units::whole::<_, _, 0, 1024>")]
    pub threads: usize,
    /// The cache.
    pub cache: CacheConfig,
    /// Limits on requests.
    pub limits: LimitsConfig,
    /// Links to other nodes.
    pub peer: PeerConfig,
    /// Whether the client port answers gRPC reflection.
    pub reflection: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            grpc: GrpcConfig::default(),
            http: HttpConfig::default(),
            gossip: GossipConfig::default(),
            bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            advertise: None,
            threads: 0,
            cache: CacheConfig::default(),
            limits: LimitsConfig::default(),
            peer: PeerConfig::default(),
            reflection: true,
        }
    }
}

/// `server.grpc`: the client port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcConfig {
    /// TCP port; 0 takes a free one.
    #[serde(deserialize_with = "units::whole::<_, _, 0, 65535>")]
    pub port: u16,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        Self { port: 8080 }
    }
}

/// `server.http`: health, metrics and the key routes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// TCP port; 0 takes a free one.
    #[serde(deserialize_with = "units::whole::<_, _, 0, 65535>")]
    pub port: u16,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { port: 8081 }
    }
}

/// `server.gossip`: membership.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GossipConfig {
    /// UDP port of gossip and TCP port of peer links; 0 takes a free one.
    #[serde(deserialize_with = "units::whole::<_, _, 0, 65535>")]
    pub port: u16,
    /// How patient probes are.
    pub profile: GossipProfile,
    /// How long a member that went down is remembered.
    #[serde(with = "units::duration")]
    pub down_memory: Duration,
}

impl Default for GossipConfig {
    fn default() -> Self {
        Self {
            port: 7946,
            profile: GossipProfile::Lan,
            down_memory: 24 * HOUR,
        }
    }
}

/// How patient probes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GossipProfile {
    /// Nodes in one data centre.
    Lan,
    /// Nodes far apart: slower to suspect.
    Wan,
    /// All nodes on one machine: quicker to suspect.
    Local,
}

/// What other nodes are told to connect to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advertise {
    /// An IP address without brackets, or a name.
    pub host: String,
    /// Gossip and peer port, where it differs from the bound one (address translation).
    pub port: Option<u16>,
}

impl FromStr for Advertise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || {
            format!("`{text}` is no host or host:port, such as 10.0.0.5, node1:7946 or [::1]:7946")
        };
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self {
                host: address.to_string(),
                port: None,
            });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| expected())?)),
            None => (text, None),
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let valid = match bare {
            Some(address) => matches!(address.parse(), Ok(IpAddr::V6(_))),
            None => {
                !host.is_empty()
                    && host
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
            }
        };
        if valid && port != Some(0) {
            Ok(Self {
                host: bare.unwrap_or(host).to_owned(),
                port,
            })
        } else {
            Err(expected())
        }
    }
}

impl fmt::Display for Advertise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            None => f.write_str(&self.host),
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
        }
    }
}

impl Serialize for Advertise {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Advertise {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// `server.cache`: how much is kept, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Entries a node keeps, at least 1; beyond it the least recently used go.
    #[serde(deserialize_with = "units::whole::<_, _, 1, 1_000_000_000_000>")]
    pub capacity: usize,
    /// Life of a value whose writer gave none; zero means that it never expires.
    #[serde(with = "units::duration")]
    pub default_ttl: Duration,
    /// Bytes that entries may take. Absent: half of what the machine (or its cgroup) allows; ask
    /// [`Config::memory_limit_bytes`].
    #[serde(with = "units::optional_size")]
    pub max_memory: Option<u64>,
    /// Versions that are kept of values that expired or were evicted, in number. Absent: ask [`Config::ghosts_max`].
    pub ghosts_max: Option<usize>,
    /// Largest value, in bytes.
    #[serde(with = "units::size")]
    pub max_value_size: usize,
    /// Longest key, in bytes.
    #[serde(with = "units::size")]
    pub max_key_size: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            capacity: 10_000,
            default_ttl: HOUR,
            max_memory: None,
            ghosts_max: None,
            max_value_size: MIB,
            max_key_size: KIB,
        }
    }
}

/// `server.limits`: what a node accepts from clients.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Client requests in flight at one node; more are refused with RESOURCE_EXHAUSTED.
    #[serde(deserialize_with = "units::whole::<_, _, 1, 1_000_000>")]
    pub max_concurrent_requests: usize,
    /// CPU utilisation above which part of the new client requests is shed; 1 for never.
    #[serde(deserialize_with = "units::positive_ratio")]
    pub cpu_threshold: f64,
    /// Window over which the CPU utilisation is measured.
    #[serde(with = "units::duration")]
    pub cpu_window: Duration,
    /// Deadline of a request whose caller gave none.
    #[serde(with = "units::duration")]
    pub request_timeout: Duration,
    /// Longest deadline: a longer one is cut to it.
    #[serde(with = "units::duration")]
    pub max_request_timeout: Duration,
    /// Items in one batch; of more the batch is refused with INVALID_ARGUMENT.
    #[serde(deserialize_with = "units::whole::<_, _, 1, 100_000>")]
    pub max_batch_items: usize,
    /// Bytes of a batch, and of the answer to one.
    #[serde(with = "units::size")]
    pub max_batch_bytes: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_concurrent_requests: 1000,
            cpu_threshold: 0.9,
            cpu_window: Duration::from_secs(10),
            request_timeout: Duration::from_millis(500),
            max_request_timeout: Duration::from_secs(30),
            max_batch_items: 1000,
            max_batch_bytes: 2 * MIB,
        }
    }
}

/// `server.peer`: links to other nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeerConfig {
    /// How long a connection attempt may take.
    #[serde(with = "units::duration")]
    pub connect_timeout: Duration,
    /// A link that has not answered anything for this long, with operations in flight, counts as broken.
    #[serde(with = "units::duration")]
    pub stall_timeout: Duration,
    /// Bytes queued for one peer; more operations are refused.
    #[serde(with = "units::size")]
    pub queue_bytes_max: usize,
    /// Longest pause between two attempts to connect.
    #[serde(with = "units::duration")]
    pub reconnect_max: Duration,
    /// How operations travel to a peer.
    pub link: LinkKind,
}

/// How operations travel to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    /// In batches, in bare frames over TCP.
    Frames,
    /// In batches on one long-lived gRPC stream.
    Stream,
    /// In a call of its own each: for comparison.
    Unary,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_millis(500),
            stall_timeout: Duration::from_millis(250),
            queue_bytes_max: 16 * MIB,
            reconnect_max: Duration::from_secs(1),
            link: LinkKind::Frames,
        }
    }
}

/// `cluster`: what all nodes of a cluster agree on, and how they find each other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// Name of the cluster, 1 to 64 bytes; nodes of another cluster are refused.
    pub id: String,
    /// `host:port` of gossip of nodes to join through. A node's own address among them is skipped.
    #[serde(with = "units::one_or_many")]
    pub seeds: Vec<String>,
    /// Slots that the key space is cut into, 1 to 65535.
    #[serde(deserialize_with = "units::whole::<_, _, 1, 65535>")]
    pub slots: u16,
    /// Copies kept of every key (N), 1 to 7.
    #[serde(deserialize_with = "units::whole::<_, _, 1, 7>")]
    pub replication_factor: usize,
    /// Members that must be present before a first ring is formed. Absent: 1 without seeds, 2 with; ask
    /// [`ClusterConfig::first_ring_members`].
    #[serde(deserialize_with = "units::optional_whole::<_, _, 1, 10_000>")]
    pub min_members: Option<usize>,
    /// How long a node without seeds waits for somebody to claim it before it forms a ring alone.
    #[serde(with = "units::duration")]
    pub bootstrap_wait: Duration,
    /// How long a member that went down stays in the ring.
    #[serde(with = "units::duration")]
    pub ring_down_grace: Duration,
    /// What happens to slots that have lost their data for good.
    pub on_loss: OnLoss,
}

impl ClusterConfig {
    /// Members that must be present before a first ring is formed.
    #[must_use]
    pub fn first_ring_members(&self) -> usize {
        self.min_members
            .unwrap_or(if self.seeds.is_empty() { 1 } else { 2 })
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            id: "shard-cache".to_owned(),
            seeds: Vec::new(),
            slots: 16_384,
            replication_factor: 3,
            min_members: None,
            bootstrap_wait: Duration::from_secs(3),
            ring_down_grace: Duration::from_secs(20),
            on_loss: OnLoss::Auto,
        }
    }
}

/// What happens to slots that have lost their data for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLoss {
    /// They start afresh, empty, at once.
    #[default]
    Auto,
    /// They wait until an operator accepts it.
    Manual,
}

/// `node`: who this node is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// Name, unique in the cluster. Absent: `hostname:gossip-port`; ask [`Config::node_name`].
    pub name: Option<String>,
    /// Failure domain: the owners of a slot lie in different ones where possible. Empty: one of its own.
    pub zone: String,
    /// How long leaving may take from SIGTERM on. A node that is cut off waits so long to be heard.
    #[serde(with = "units::duration")]
    pub drain_timeout: Duration,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name: None,
            zone: String::new(),
            drain_timeout: Duration::from_secs(60),
        }
    }
}

/// `client`: quorums and hedging. A node reads them as the cluster's defaults.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// How many owners must take part.
    pub quorum: QuorumConfig,
    /// Asking another owner when one is slow.
    pub hedging: HedgingConfig,
}

/// `client.quorum`: how many owners must take part at consistency QUORUM.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuorumConfig {
    /// Owners that must answer a read (R).
    #[serde(deserialize_with = "units::whole::<_, _, 1, 7>")]
    pub read_quorum: usize,
    /// Owners that must store a write (W).
    #[serde(deserialize_with = "units::whole::<_, _, 1, 7>")]
    pub write_quorum: usize,
}

impl Default for QuorumConfig {
    fn default() -> Self {
        Self {
            read_quorum: 2,
            write_quorum: 2,
        }
    }
}

/// `client.hedging`: asking another owner when one is slow.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HedgingConfig {
    /// Whether reads are hedged.
    pub enabled: bool,
    /// Longest wait before the next owner is asked.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    /// Largest share of reads that may be hedged.
    #[serde(deserialize_with = "units::ratio")]
    pub ratio: f64,
}

impl Default for HedgingConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            timeout: Duration::from_millis(100),
            ratio: 0.1,
        }
    }
}

/// `quorum`: what happens when a quorum cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DegradeConfig {
    /// Whether fewer owners will do, at least one, for requests that do not say. The answer then says `degraded`.
    pub degrade: bool,
}

/// `hints`: writes kept for owners that did not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HintsConfig {
    /// Bytes kept for one target; beyond it the oldest go.
    #[serde(with = "units::size")]
    pub target_bytes_max: usize,
    /// Bytes kept for all targets together.
    #[serde(with = "units::size")]
    pub total_bytes_max: usize,
    /// How long after the first undelivered hint more are kept for a target.
    #[serde(with = "units::duration")]
    pub window: Duration,
}

impl Default for HintsConfig {
    fn default() -> Self {
        Self {
            target_bytes_max: 64 * MIB,
            total_bytes_max: 256 * MIB,
            window: 3 * HOUR,
        }
    }
}

/// `handoff`: copies of slots that change owners.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HandoffConfig {
    /// Most bytes of keys and values that this node copies in a second.
    #[serde(with = "units::size")]
    pub bytes_per_second_max: usize,
}

impl Default for HandoffConfig {
    fn default() -> Self {
        Self {
            bytes_per_second_max: 32 * MIB,
        }
    }
}

/// `background`: what hints, repair and handoff may take together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackgroundConfig {
    /// Most bytes of keys and values that this node copies and delivers in a second.
    #[serde(with = "units::size")]
    pub bytes_per_second_max: usize,
}

impl Default for BackgroundConfig {
    fn default() -> Self {
        Self {
            bytes_per_second_max: 32 * MIB,
        }
    }
}

/// `repair`: how owners are kept in agreement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepairConfig {
    /// Longest time between two comparisons of a node's slots with one other owner.
    #[serde(with = "units::duration")]
    pub interval: Duration,
    /// Most bytes of keys and values that this node copies for repair in a second.
    #[serde(with = "units::size")]
    pub bytes_per_second_max: usize,
}

impl Default for RepairConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            bytes_per_second_max: 8 * MIB,
        }
    }
}

/// `tombstones`: what is remembered of deleted keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TombstonesConfig {
    /// How long a deletion is remembered; longer than `hints.window` and the clock drift allowed.
    #[serde(with = "units::duration")]
    pub life: Duration,
    /// Bytes that tombstones may take; beyond it the oldest go and the slot's floor rises.
    #[serde(with = "units::size")]
    pub bytes_max: usize,
}

impl Default for TombstonesConfig {
    fn default() -> Self {
        Self {
            life: 4 * HOUR,
            bytes_max: 32 * MIB,
        }
    }
}

/// `telemetry`: logs and traces.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// The least important level that is logged.
    pub log_level: LogLevel,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Distributed traces.
    pub traces: TracesConfig,
}

/// `telemetry.traces`: distributed traces, sent to a collector.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TracesConfig {
    /// Whether there are any; without an endpoint there are none either.
    pub enabled: bool,
    /// The collector: an http URL that speaks OTLP over gRPC.
    pub endpoint: Option<String>,
    /// Which requests are recorded.
    pub sampler: TracesSampler,
    /// Share of the traces that begin here that are recorded.
    #[serde(deserialize_with = "units::ratio")]
    pub ratio: f64,
    /// `service.name`. Absent: what the resource attributes say, or `shard-cache`.
    pub service_name: Option<String>,
    /// Further attributes of every span, as `name=value`, percent-encoded.
    #[serde(with = "units::one_or_many")]
    pub resource_attributes: Vec<String>,
    /// Spans that wait for the exporter; more are dropped.
    #[serde(deserialize_with = "units::whole::<_, _, 1, 1_000_000>")]
    pub queue_spans_max: usize,
    /// Spans in one export.
    #[serde(deserialize_with = "units::whole::<_, _, 1, 1_000_000>")]
    pub batch_spans_max: usize,
    /// The longest that a span waits before it is sent.
    #[serde(with = "units::duration")]
    pub flush_interval: Duration,
    /// How long one export may take.
    #[serde(with = "units::duration")]
    pub export_timeout: Duration,
}

impl TracesConfig {
    /// The resource attributes with their values decoded. What is not `name=value` is left out; `check` refuses it.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, String)> {
        self.resource_attributes.iter().filter_map(|attribute| {
            let (name, value) = attribute.split_once('=')?;
            Some((name.trim(), units::percent_decoded(value.trim())?))
        })
    }
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            endpoint: None,
            sampler: TracesSampler::default(),
            ratio: 0.01,
            service_name: None,
            resource_attributes: Vec::new(),
            queue_spans_max: 2048,
            batch_spans_max: 512,
            flush_interval: Duration::from_secs(5),
            export_timeout: Duration::from_secs(10),
        }
    }
}

/// Which requests are recorded; the names are those of `OTEL_TRACES_SAMPLER`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum TracesSampler {
    /// All.
    #[serde(rename = "always_on")]
    AlwaysOn,
    /// None.
    #[serde(rename = "always_off")]
    AlwaysOff,
    /// A share, whatever the caller decided.
    #[serde(rename = "traceidratio")]
    TraceIdRatio,
    /// As the caller decided; all that begin here.
    #[serde(rename = "parentbased_always_on")]
    ParentBasedAlwaysOn,
    /// As the caller decided; none that begin here.
    #[serde(rename = "parentbased_always_off")]
    ParentBasedAlwaysOff,
    /// As the caller decided; a share of those that begin here.
    #[default]
    #[serde(rename = "parentbased_traceidratio")]
    ParentBasedTraceIdRatio,
}

/// `debug`: what helps to see why a node does what it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DebugConfig {
    /// Who may take profiles at `/debug/pprof`.
    pub pprof: Exposure,
}

/// Who is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exposure {
    /// Nobody.
    Off,
    /// Callers on the node's own machine.
    #[default]
    Loopback,
    /// Everybody who can reach the port.
    All,
}

/// The least important level that is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What needs a person.
    Error,
    /// What may need one.
    Warn,
    /// What changes: members, rings, starts and stops.
    #[default]
    Info,
    /// What happens and why.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    /// The word for it, also a valid `tracing` filter directive.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One JSON object per line.
    Json,
}
