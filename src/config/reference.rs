//! One line of documentation per section and field, in the order of the example file.
//!
//! The example file is rendered from this table and the defaults, and overrides may name exactly these paths; tests
//! hold the table and the tree of fields together.

/// A section or field.
pub(super) struct Entry {
    /// Its dotted path.
    pub(super) path: &'static str,
    /// What it means, its unit, and what is accepted.
    pub(super) doc: &'static str,
    /// For a field that is absent by default: a value to show.
    pub(super) sample: Option<&'static str>,
}

const fn entry(path: &'static str, doc: &'static str) -> Entry {
    Entry {
        path,
        doc,
        sample: None,
    }
}

const fn absent(path: &'static str, sample: &'static str, doc: &'static str) -> Entry {
    Entry {
        path,
        doc,
        sample: Some(sample),
    }
}

/// The entry of a path.
pub(super) fn find(path: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.path == path)
}

/// Whether a path is a field, not a section.
pub(super) fn is_field(path: &str) -> bool {
    fields().any(|field| field == path)
}

/// The field that was probably meant.
pub(super) fn nearest_field(path: &str) -> Option<&'static str> {
    let leaf = path.rsplit_once('.').map_or(path, |(_, leaf)| leaf);
    elsewhere(leaf).or_else(|| nearest(path, fields()))
}

/// The paths of all fields. In the table a section is followed by something below it.
pub(super) fn fields() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().enumerate().filter_map(|(index, entry)| {
        let next = ENTRIES
            .get(index + 1)
            .and_then(|next| next.path.strip_prefix(entry.path));
        let section = next.is_some_and(|rest| rest.starts_with('.'));
        (!section).then_some(entry.path)
    })
}

/// The path that was probably meant.
pub(super) fn nearest<'a>(
    given: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    /// Below this likeness a suggestion confuses more than it helps.
    const LIKENESS_MIN: f64 = 0.75;
    candidates
        .map(|candidate| (strsim::jaro_winkler(given, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// The full path of a field that has the given name in another section, when there is exactly one.
pub(super) fn elsewhere(name: &str) -> Option<&'static str> {
    let mut same =
        fields().filter(|path| path.rsplit_once('.').is_some_and(|(_, leaf)| leaf == name));
    let first = same.next()?;
    same.next().is_none().then_some(first)
}

/// A short way to set a field: a flag of `serve` and an environment variable.
pub(crate) struct Twin {
    /// The flag, without dashes.
    pub(crate) flag: &'static str,
    /// The environment variable.
    pub(crate) variable: &'static str,
    /// The field.
    pub(super) path: &'static str,
}

const fn twin(flag: &'static str, variable: &'static str, path: &'static str) -> Twin {
    Twin {
        flag,
        variable,
        path,
    }
}

/// The flags of `serve` that set a field, with their environment variables.
pub(super) const TWINS: &[Twin] = &[
    twin("grpc-port", "SHARD_CACHE_GRPC_PORT", "server.grpc.port"),
    twin("http-port", "SHARD_CACHE_HTTP_PORT", "server.http.port"),
    twin(
        "gossip-port",
        "SHARD_CACHE_GOSSIP_PORT",
        "server.gossip.port",
    ),
    twin("bind", "SHARD_CACHE_BIND", "server.bind"),
    twin("advertise", "SHARD_CACHE_ADVERTISE", "server.advertise"),
    twin("seed", "SHARD_CACHE_SEED", "cluster.seeds"),
    twin("cluster-id", "SHARD_CACHE_CLUSTER_ID", "cluster.id"),
    twin(
        "min-members",
        "SHARD_CACHE_MIN_MEMBERS",
        "cluster.min_members",
    ),
    twin("node-name", "SHARD_CACHE_NODE_NAME", "node.name"),
    twin("log-level", "SHARD_CACHE_LOG_LEVEL", "telemetry.log_level"),
    twin(
        "log-format",
        "SHARD_CACHE_LOG_FORMAT",
        "telemetry.log_format",
    ),
];

/// The flags of `serve` that set a field.
#[cfg(test)]
pub(crate) fn twin_flags() -> impl Iterator<Item = &'static Twin> {
    TWINS.iter()
}

/// All sections and fields.
pub(super) const ENTRIES: &[Entry] = &[
    entry(
        "server",
        "Ports, addresses, the cache and its limits: of one node.",
    ),
    entry("server.grpc", "The client port."),
    entry(
        "server.grpc.port",
        "TCP port, 0 to 65535; 0 takes a free one.",
    ),
    entry("server.http", "Health, metrics and /v1/keys."),
    entry(
        "server.http.port",
        "TCP port, 0 to 65535; 0 takes a free one.",
    ),
    entry("server.gossip", "Membership."),
    entry(
        "server.gossip.port",
        "UDP port of gossip and TCP port of links between nodes; 0 takes a free one.",
    ),
    entry(
        "server.gossip.profile",
        "How patient probes are: lan, wan (far apart) or local (one machine).",
    ),
    entry(
        "server.gossip.down_memory",
        "How long a member that went down is remembered.",
    ),
    entry(
        "server.bind",
        "IP addresses to listen on; one or a list. \"::\" is all addresses, IPv6 included.",
    ),
    absent(
        "server.advertise",
        "10.0.0.5",
        "What others are told to connect to: host, or host:port where the gossip port is translated. \
         Not set: the bound address, or the routed one when bound to all.",
    ),
    entry(
        "server.threads",
        "Threads that serve connections, 0 to 1024; 0 means one per core. With more than one, gossip and background work have \
         another one.",
    ),
    entry("server.cache", "How much is kept, and for how long."),
    entry(
        "server.cache.capacity",
        "Entries, at least 1; beyond it the least recently used go.",
    ),
    entry(
        "server.cache.default_ttl",
        "Life of a value whose writer gave none; 0s means that it never expires.",
    ),
    absent(
        "server.cache.max_memory",
        "512MiB",
        "Bytes that entries may take. Not set: half of what the machine, or its cgroup, allows.",
    ),
    absent(
        "server.cache.ghosts_max",
        "100000",
        "Versions kept of values that expired or were evicted, about 100 bytes each and not counted in max_memory, so that \
         no older copy is taken for the newest. Not set: twice the capacity, as far as a sixteenth of max_memory holds \
         them, at least 65536.",
    ),
    entry(
        "server.cache.max_value_size",
        "Largest value. With max_key_size at most 8MiB.",
    ),
    entry("server.cache.max_key_size", "Longest key."),
    entry("server.limits", "What a node accepts from clients."),
    entry(
        "server.limits.max_concurrent_requests",
        "Client requests in flight; more get RESOURCE_EXHAUSTED.",
    ),
    entry(
        "server.limits.cpu_threshold",
        "CPU utilisation, of the machine or of the cgroup's quota, above which part of the new requests get \
         RESOURCE_EXHAUSTED, writes first. Above 0 and up to 1; 1 means never.",
    ),
    entry(
        "server.limits.cpu_window",
        "Window over which the utilisation is measured; less than 500ms counts as 500ms.",
    ),
    entry(
        "server.limits.request_timeout",
        "Deadline of a request whose caller gave none.",
    ),
    entry(
        "server.limits.max_request_timeout",
        "Longest deadline; a longer one is cut to it.",
    ),
    entry(
        "server.limits.max_batch_items",
        "Items in one GetMany, SetMany or DeleteMany; of more it is refused with INVALID_ARGUMENT.",
    ),
    entry(
        "server.limits.max_batch_bytes",
        "Bytes of a batch, and of the answer to one. Many gRPC clients take no answer above 4MiB.",
    ),
    entry("server.peer", "Links to other nodes."),
    entry(
        "server.peer.connect_timeout",
        "How long a connection attempt may take.",
    ),
    entry(
        "server.peer.stall_timeout",
        "A link that is silent for this long, with operations in flight, counts as broken.",
    ),
    entry(
        "server.peer.queue_bytes_max",
        "Bytes queued for one peer; more operations are refused.",
    ),
    entry(
        "server.peer.reconnect_max",
        "Longest pause between two attempts to connect. A first ring is formed that much later: whoever knows a former life \
         of a node has come by before.",
    ),
    entry(
        "server.peer.link",
        "How operations travel to a peer: frames, in batches over one TCP connection; stream, in batches on one gRPC \
         stream; or unary, in a call each, which is there to be compared with and costs several times as much.",
    ),
    entry(
        "server.reflection",
        "Whether the client port answers gRPC reflection: true or false.",
    ),
    entry(
        "cluster",
        "How nodes find each other, and what all nodes of a cluster must agree on.",
    ),
    entry(
        "cluster.id",
        "Name of the cluster; nodes of another one are refused.",
    ),
    entry(
        "cluster.seeds",
        "host:port of gossip of nodes to join through; one or a list. A node's own address among them is skipped.",
    ),
    entry(
        "cluster.slots",
        "Slots that the key space is cut into, 1 to 65535.",
    ),
    entry(
        "cluster.replication_factor",
        "Copies of every key (N), 1 to 7.",
    ),
    absent(
        "cluster.min_members",
        "2",
        "Members that must be present before a first ring is formed; a majority of the planned size is a \
         good choice. Not set: 1 without seeds, 2 with.",
    ),
    entry(
        "cluster.bootstrap_wait",
        "How long a node without seeds waits to be claimed before it forms a ring alone.",
    ),
    entry(
        "cluster.ring_down_grace",
        "How long a member that went down stays in the ring.",
    ),
    entry(
        "cluster.on_loss",
        "What happens to slots whose data is lost for good: auto, they start afresh at once, or manual, they wait for \
         `shard-cache cluster accept-losses`.",
    ),
    entry("node", "Who this node is."),
    absent(
        "node.name",
        "node1",
        "Unique in the cluster, at most 128 bytes. Not set: hostname:gossip-port.",
    ),
    entry(
        "node.zone",
        "Failure domain, at most 64 bytes. A key's owners lie in different zones where possible; empty: one of its own.",
    ),
    entry(
        "node.drain_timeout",
        "How long leaving may take after SIGTERM, at least 5s; past it the process ends with code 3.",
    ),
    entry(
        "client",
        "Quorums and hedging. Nodes read them as the cluster's defaults.",
    ),
    entry(
        "client.quorum",
        "How many owners must take part at consistency QUORUM. R + W > N and 2 W > N, and R meets every majority of N.",
    ),
    entry(
        "client.quorum.read_quorum",
        "Owners that must answer a read (R).",
    ),
    entry(
        "client.quorum.write_quorum",
        "Owners that must store a write (W).",
    ),
    entry("client.hedging", "Asking another owner when one is slow."),
    entry("client.hedging.enabled", "true or false."),
    entry(
        "client.hedging.timeout",
        "Longest wait before the next owner is asked; shorter than request_timeout.",
    ),
    entry(
        "client.hedging.ratio",
        "Largest share of reads that may be hedged, 0 to 1.",
    ),
    entry("quorum", "What happens when a quorum cannot be had."),
    entry(
        "quorum.degrade",
        "Whether fewer owners will do, at least one, for requests that do not say. The answer then says so.",
    ),
    entry("hints", "Writes kept for owners that did not answer."),
    entry(
        "hints.target_bytes_max",
        "Bytes kept for one owner; beyond it the oldest go.",
    ),
    entry(
        "hints.total_bytes_max",
        "Bytes kept for all owners together.",
    ),
    entry(
        "hints.window",
        "How long after the first undelivered hint more are kept for an owner.",
    ),
    entry("tombstones", "What is remembered of deleted keys."),
    entry(
        "tombstones.life",
        "How long a deletion is remembered; longer than hints.window.",
    ),
    entry(
        "tombstones.bytes_max",
        "Bytes that tombstones may take; beyond it the oldest go.",
    ),
    entry(
        "background",
        "What hints, repair and handoff may take together.",
    ),
    entry(
        "background.bytes_per_second_max",
        "Most bytes of keys and values that this node copies and delivers in a second, at least 64KiB. Each has a bound of \
         its own as well.",
    ),
    entry(
        "handoff",
        "Copies of slots that change owners: when nodes join, leave or restart.",
    ),
    entry(
        "handoff.bytes_per_second_max",
        "Most bytes of keys and values that this node copies in a second, at least 64KiB. Less while it slows others \
         down; slots that requests wait for are not held back.",
    ),
    entry(
        "repair",
        "Agreement of owners: they compare their slots and copy what they lack.",
    ),
    entry(
        "repair.interval",
        "Longest time between two comparisons with one other owner. Sooner after a heal, a change of the ring, or \
         dropped hints.",
    ),
    entry(
        "repair.bytes_per_second_max",
        "Most bytes of keys and values that this node copies for repair in a second, at least 64KiB. Less while it slows \
         others down.",
    ),
    entry("telemetry", "Logs and traces."),
    entry(
        "telemetry.log_level",
        "off, error, warn, info, debug or trace; libraries never write more than info.",
    ),
    entry(
        "telemetry.log_format",
        "auto (pretty on a terminal, JSON otherwise), pretty or json.",
    ),
    entry(
        "telemetry.traces",
        "Traces of requests across nodes, sent as OTLP over gRPC. OTEL_* environment variables win over this file.",
    ),
    entry(
        "telemetry.traces.enabled",
        "true or false. Without an endpoint there are no traces either.",
    ),
    absent(
        "telemetry.traces.endpoint",
        "http://127.0.0.1:4317",
        "The collector, as an http URL. Not set: no traces, and no cost of any.",
    ),
    entry(
        "telemetry.traces.sampler",
        "always_on, always_off, traceidratio, or as the caller decided and for traces that begin here: \
         parentbased_always_on, parentbased_always_off, parentbased_traceidratio.",
    ),
    entry(
        "telemetry.traces.ratio",
        "Share of traces that the ratio samplers record, 0 to 1.",
    ),
    absent(
        "telemetry.traces.service_name",
        "shard-cache",
        "service.name of the spans. Not set: as resource_attributes say, or shard-cache.",
    ),
    entry(
        "telemetry.traces.resource_attributes",
        "Further attributes of all spans: one name=value or a list, values percent-encoded.",
    ),
    entry(
        "telemetry.traces.queue_spans_max",
        "Spans that wait for the exporter, 1 to 1000000; more are dropped and counted.",
    ),
    entry(
        "telemetry.traces.batch_spans_max",
        "Spans in one export, at most queue_spans_max.",
    ),
    entry(
        "telemetry.traces.flush_interval",
        "The longest that a span waits before it is sent.",
    ),
    entry(
        "telemetry.traces.export_timeout",
        "How long one export may take; then its spans are dropped and counted.",
    ),
    entry("debug", "What helps to see why a node does what it does."),
    entry(
        "debug.pprof",
        "Who may take profiles at /debug/pprof: loopback (callers on this machine), all or off.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn paths_of(value: &serde_json::Value, path: &str, paths: &mut Vec<String>) {
        if !path.is_empty() {
            paths.push(path.to_owned());
        }
        for (key, value) in value.as_object().into_iter().flatten() {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            paths_of(value, &path, paths);
        }
    }

    #[test]
    fn every_section_and_field_is_documented_and_nothing_else_is() {
        let mut paths = Vec::new();
        paths_of(
            &serde_json::to_value(Config::default()).unwrap(),
            "",
            &mut paths,
        );
        paths.sort();
        let mut documented: Vec<_> = ENTRIES.iter().map(|entry| entry.path.to_owned()).collect();
        documented.sort();
        assert_eq!(documented, paths);
    }

    #[test]
    fn fields_stand_below_their_section() {
        for pair in ENTRIES.windows(2) {
            let parent = pair[1]
                .path
                .rsplit_once('.')
                .map_or("", |(parent, _)| parent);
            let before = pair[0].path;
            assert!(
                parent.is_empty() || before == parent || before.starts_with(&format!("{parent}.")),
                "{} stands after {before}",
                pair[1].path
            );
        }
    }

    #[test]
    fn twins_name_fields_and_variables_follow_their_flags() {
        for twin in TWINS {
            assert!(find(twin.path).is_some(), "{}", twin.path);
            let variable = format!("SHARD_CACHE_{}", twin.flag.replace('-', "_").to_uppercase());
            assert_eq!(twin.variable, variable);
        }
    }

    #[test]
    fn a_near_miss_is_recognised_and_nonsense_is_not() {
        let paths = || ENTRIES.iter().map(|entry| entry.path);
        assert_eq!(
            nearest("server.grpc.prt", paths()),
            Some("server.grpc.port")
        );
        assert_eq!(nearest("xyzzy", paths()), None);
    }
}
