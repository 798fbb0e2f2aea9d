//! Every metric of the product, by name.
//!
//! Two kinds: counters and histograms that the async shell counts itself, as handles in
//! [`Metrics`]; and figures that live elsewhere (store, membership, ring, hints), which are read
//! once per scrape through [`Snapshot`], so that nothing is counted twice. All series of the first
//! kind exist at zero from the start.

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::{
    constant::{Constants, Labels},
    exposition::{self, Format},
    labels::{
        Api, BreakerState, Code, Direction, Handles, HedgeOutcome, HintDropReason, LabelSet,
        Lookup, Op, OperationOutcome, RepairMode, ReplicaOp, ReplicaOutcome, RetryReason,
        ShedReason,
    },
    snapshot::{PeerHints, Snapshot},
};

const PREFIX: &str = "shardcache";

/// Upper bounds of the latency buckets, in seconds. The targets of 1, 5 and 10 ms are bounds, so
/// that the share of requests within them is exact.
pub const LATENCY_BUCKETS: [f64; 15] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5,
];

/// The handles of everything that is counted where it happens. Cheap to use from any task.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Clients' requests, by how they ended.
    pub requests: Handles<(Api, Op, Code), Counter>,
    /// Time from a client's request to its answer, in seconds.
    pub request_duration: Handles<(Api, Op), Histogram>,
    /// Clients' requests being worked on.
    pub requests_in_flight: Handles<Api, Gauge>,
    /// Clients' requests refused for load.
    pub requests_shed: Handles<ShedReason, Counter>,
    /// Clients' reads, by what they found.
    pub lookups: Handles<Lookup, Counter>,
    /// Operations coordinated by this node.
    pub coordinator_operations: Handles<(Op, OperationOutcome), Counter>,
    /// Requests of this node's coordinator to replicas, itself included.
    pub replica_requests: Handles<(ReplicaOp, ReplicaOutcome), Counter>,
    /// Reads whose owners differed, so that the newest record was stored again.
    pub read_repairs: Handles<RepairMode, Counter>,
    /// Reads whose hedging delay had passed.
    pub hedges: Handles<HedgeOutcome, Counter>,
    /// Writes stamped anew because an owner held something newer.
    pub restamps: Counter,
    /// Hints kept for owners that did not answer.
    pub hints_written: Counter,
    /// Hints delivered.
    pub hints_replayed: Counter,
    /// Hints of members that left, which went to the present owners.
    pub hints_moved: Counter,
    /// Hints that stay owed after an attempt to deliver them.
    pub hints_retried: Handles<RetryReason, Counter>,
    /// Bytes of the hints delivered, as they travel.
    pub hints_replayed_bytes: Counter,
    /// Deliveries after which the rate to their target was halved.
    pub hints_slowed: Counter,
    /// Hints dropped.
    pub hints_dropped: Handles<HintDropReason, Counter>,
    /// Remote clocks refused for being too far ahead.
    pub hlc_rejected: Counter,
    /// Batches on peer links.
    pub link_batches: Handles<Direction, Counter>,
    /// Operations on peer links.
    pub link_operations: Handles<Direction, Counter>,
    /// Changes of peer breakers.
    pub breaker_transitions: Handles<BreakerState, Counter>,
    /// Operations refused because the table of pending operations was full.
    pub pending_full: Counter,
    /// Operations refused because a peer link's queue was full.
    pub link_queue_full: Counter,
    /// Records taken over from peers by bulk pull.
    pub pulled_records: Counter,
    /// Pages of records asked for by bulk pull.
    pub pull_pages: Counter,
    /// Bytes of records taken over by bulk pull, as they travel.
    pub pulled_bytes: Counter,
    /// Records copied when the owners of slots changed.
    pub slot_records: Counter,
    /// Pages of records asked for when the owners of slots changed.
    pub slot_pages: Counter,
    /// Bytes of records copied when the owners of slots changed, as they travel.
    pub slot_bytes: Counter,
    /// Slots compared with another owner.
    pub repair_compared: Counter,
    /// Of these, slots that differed twice in a row.
    pub repair_differing: Counter,
    /// Records that were lacking and have been taken over.
    pub repair_records: Counter,
    /// Bytes of records copied for repair, as they travel.
    pub repair_bytes: Counter,
    /// Pages and batches of background work after which others' had to be waited for.
    pub background_waits: Counter,
    /// Slots that this node declared lost.
    pub slots_lost: Counter,
    /// Attempts of bulk pull that did not come to a page taken over.
    pub pull_retries: Handles<RetryReason, Counter>,
    /// Spans that found no room or could not be exported.
    pub otel_spans_dropped: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All series, at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut set = Registration(Registry::with_prefix(PREFIX));
        Self {
            requests: set.counters("requests", "Requests of clients, by outcome"),
            request_duration: set.latencies(
                "request_duration_seconds",
                "Time from a client's request to its answer",
            ),
            requests_in_flight: set.gauges("requests_in_flight", "Requests being worked on"),
            requests_shed: set.counters("requests_shed", "Requests refused for load"),
            lookups: set.counters("lookups", "Reads of clients, by what they found"),
            coordinator_operations: set.counters(
                "coordinator_operations",
                "Operations coordinated by this node",
            ),
            replica_requests: set.counters(
                "replica_requests",
                "Requests of this node's coordinator to replicas",
            ),
            read_repairs: set.counters(
                "read_repairs",
                "Reads whose owners differed and were made equal",
            ),
            hedges: set.counters("hedges", "Reads whose hedging delay had passed"),
            restamps: set.counter(
                "restamps",
                "Writes stamped anew after meeting a newer version",
            ),
            hints_written: set.counter("hints_written", "Hints kept for owners without an answer"),
            hints_replayed: set.counter("hints_replayed", "Hints delivered"),
            hints_moved: set.counter(
                "hints_moved",
                "Hints of members that left, owed to the present owners instead",
            ),
            hints_retried: set.counters(
                "hints_retried",
                "Hints that stay owed after an attempt to deliver them",
            ),
            hints_replayed_bytes: set.counter(
                "hints_replayed_bytes",
                "Bytes of hints delivered, refused ones included",
            ),
            hints_slowed: set.counter(
                "hints_slowed",
                "Deliveries that were late or refused for load, so that the rate was halved",
            ),
            hints_dropped: set.counters("hints_dropped", "Hints dropped"),
            hlc_rejected: set.counter("hlc_rejected", "Remote clocks refused for being ahead"),
            link_batches: set.counters("link_batches", "Batches on peer links"),
            link_operations: set.counters("link_operations", "Operations on peer links"),
            breaker_transitions: set.counters("breaker_transitions", "Changes of peer breakers"),
            pending_full: set.counter(
                "pending_full",
                "Operations refused: the pending table was full",
            ),
            link_queue_full: set.counter(
                "link_queue_full",
                "Operations refused: a link's queue was full",
            ),
            pulled_records: set.counter("pulled_records", "Records taken over by bulk pull"),
            pull_pages: set.counter("pull_pages", "Pages asked for by bulk pull"),
            pulled_bytes: set.counter("pulled_bytes", "Bytes of records taken over by bulk pull"),
            slot_records: set.counter(
                "slot_handoff_records",
                "Records copied because owners changed",
            ),
            slot_pages: set.counter(
                "slot_handoff_pages",
                "Pages asked for because owners changed",
            ),
            slot_bytes: set.counter(
                "slot_handoff_bytes",
                "Bytes of records copied because owners changed",
            ),
            repair_compared: set
                .counter("repair_slots_compared", "Slots compared with another owner"),
            repair_differing: set.counter(
                "repair_slots_differing",
                "Slots that differed from another owner's twice in a row",
            ),
            repair_records: set.counter(
                "repair_records",
                "Records that this node lacked and took over from another owner",
            ),
            repair_bytes: set.counter("repair_bytes", "Bytes of records copied for repair"),
            background_waits: set.counter(
                "background_waits",
                "Pages and batches of hints, repair and handoff after which their common budget was used up",
            ),
            slots_lost: set.counter("slots_lost", "Slots that this node declared lost"),
            pull_retries: set.counters(
                "pull_retries",
                "Attempts of bulk pull to take over a page that have to be repeated",
            ),
            otel_spans_dropped: set.counter(
                "otel_spans_dropped",
                "Spans that found no room or could not be exported",
            ),
            registry: set.0,
        }
    }

    /// One scrape in the given format.
    #[must_use]
    pub fn render(&self, snapshot: &Snapshot, format: Format) -> String {
        let (own, process) = snapshot.registries();
        let mut exposition = String::with_capacity(32 * 1024);
        for registry in [&self.registry, &own, &process] {
            text::encode_registry(&mut exposition, registry)
                .expect("writing to a String does not fail");
        }
        exposition::convert(&exposition, format)
    }
}

/// Makes metrics and registers them.
struct Registration(Registry);

impl Registration {
    fn counter(&mut self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.0.register(name, help, counter.clone());
        counter
    }

    fn counters<S: LabelSet>(&mut self, name: &str, help: &str) -> Handles<S, Counter> {
        let handles = Handles::new(Counter::default);
        self.0.register(name, help, handles.clone());
        handles
    }

    fn gauges<S: LabelSet>(&mut self, name: &str, help: &str) -> Handles<S, Gauge> {
        let handles = Handles::new(Gauge::default);
        self.0.register(name, help, handles.clone());
        handles
    }

    fn latencies<S: LabelSet>(&mut self, name: &str, help: &str) -> Handles<S, Histogram> {
        let handles = Handles::new(|| Histogram::new(LATENCY_BUCKETS));
        self.0.register(name, help, handles.clone());
        handles
    }
}

/// Hashes are cut to 48 bits: Prometheus keeps values as floats, which hold integers up to 53 bits
/// exactly.
const HASH_BITS_SHOWN: u64 = (1 << 48) - 1;

impl Snapshot {
    fn registries(&self) -> (Registry, Registry) {
        let mut set = Constants(Registry::with_prefix(PREFIX));
        self.describe_store(&mut set);
        self.describe_members(&mut set);
        self.describe_gossip(&mut set);
        self.describe_hints(&mut set);
        self.describe_clock(&mut set);
        self.describe_load(&mut set);
        set.float(
            "uptime_seconds",
            "Time since the node started",
            self.uptime_seconds,
        );
        let build = rows("version", &[(self.version, 1)]);
        set.gauges("build_info", "The running build", build);
        // The names of these are the same for every program, without a prefix.
        let mut process = Constants(Registry::default());
        self.describe_process(&mut process);
        (set.0, process.0)
    }

    fn describe_store(&self, set: &mut Constants) {
        set.gauge("entries", "Live entries in the store", self.entries);
        set.gauge(
            "capacity_entries",
            "Entries the store may hold",
            self.capacity_entries,
        );
        set.gauge(
            "memory_used_bytes",
            "Bytes the store accounts for",
            self.memory_used_bytes,
        );
        set.gauge(
            "memory_limit_bytes",
            "Bytes the store may use",
            self.memory_limit_bytes,
        );
        set.gauge(
            "memory_limit_effective_bytes",
            "Bytes the store may use now: less than the limit while resident memory is above it",
            self.memory_limit_effective_bytes,
        );
        set.gauge("tombstones", "Tombstones in the store", self.tombstones);
        set.float(
            "tombstones_held_seconds",
            "For how long the member that is furthest behind has not taken over everything: tombstones since then stay",
            self.tombstones_held_seconds,
        );
        let reasons = [
            ("capacity", self.evictions_capacity),
            ("memory", self.evictions_memory),
        ];
        set.counters(
            "evictions",
            "Entries evicted for want of space",
            rows("reason", &reasons),
        );
        set.counter(
            "expired",
            "Entries removed because their time was over",
            self.expired,
        );
        set.counter(
            "tombstone_floors_raised",
            "Tombstones dropped at their byte cap, so that their slot's floor rose",
            self.floors_raised,
        );
        set.gauge(
            "ghosts",
            "Versions kept of values that expired or were evicted",
            self.ghosts,
        );
        set.counter(
            "ghosts_forgotten",
            "Ghosts forgotten at their limit: keys of their slots have lost their trace",
            self.ghosts_forgotten,
        );
    }

    fn describe_members(&self, set: &mut Constants) {
        let states = [
            ("alive", self.members_alive),
            ("suspect", self.members_suspect),
            ("down", self.members_down),
        ];
        set.gauges(
            "members",
            "Members as this node sees them",
            rows("state", &states),
        );
        set.gauge(
            "membership_view_hash",
            "Hash of the members seen alive, equal on nodes that agree",
            self.membership_view_hash & HASH_BITS_SHOWN,
        );
        set.float(
            "ring_owned_ratio",
            "Share of the slots that this node owns a copy of",
            self.ring_owned_ratio,
        );
        set.gauge(
            "slots_unsettled",
            "Slots whose owners are not all known to be full",
            self.slots_unsettled,
        );
        set.gauge(
            "slots_wanting",
            "Slots that this node owns and has no full copy of",
            self.slots_wanting,
        );
        set.gauge(
            "slots_lost_waiting",
            "Slots that have lost their data and wait for an operator (cluster.on_loss: manual)",
            self.slots_lost_waiting,
        );
        set.counter("ring_changes", "Rings put into use", self.ring_changes);
    }

    fn describe_gossip(&self, set: &mut Constants) {
        let mut messages = Vec::new();
        for (direction, kinds) in [
            ("sent", &self.gossip_sent),
            ("received", &self.gossip_received),
        ] {
            for (mut labels, count) in rows("kind", kinds) {
                labels.insert(0, ("direction", direction.to_owned()));
                messages.push((labels, count));
            }
        }
        set.counters("gossip_messages", "Gossip datagrams", messages);
        let bytes = [
            ("sent", self.gossip_sent_bytes),
            ("received", self.gossip_received_bytes),
        ];
        set.counters("gossip_bytes", "Bytes of gossip", rows("direction", &bytes));
        let rejected = rows("reason", &self.gossip_rejected);
        set.counters("gossip_rejected", "Datagrams ignored", rejected);
    }

    fn describe_hints(&self, set: &mut Constants) {
        let peer = |hints: &PeerHints| vec![("peer", hints.peer.clone())];
        let pending = self.hints.iter().map(|hints| (peer(hints), hints.pending));
        set.gauges("hints_pending", "Hints owed", pending.collect());
        let bytes = self
            .hints
            .iter()
            .map(|hints| (peer(hints), hints.pending_bytes));
        set.gauges(
            "hints_pending_bytes",
            "Bytes of the hints owed",
            bytes.collect(),
        );
        let marked = self
            .hints
            .iter()
            .map(|hints| (peer(hints), hints.marked_slots));
        set.gauges(
            "hints_marked_slots",
            "Slots that the peer has to be told to repair, because hints for them were dropped",
            marked.collect(),
        );
        let ages = self
            .hints
            .iter()
            .map(|hints| (peer(hints), hints.oldest_age_seconds));
        set.floats(
            "hints_oldest_age_seconds",
            "Age of the oldest hint owed",
            ages.collect(),
        );
    }

    fn describe_clock(&self, set: &mut Constants) {
        set.float(
            "clock_offset_seconds",
            "How far this node's clock is ahead of its peers', as a median; 0 while none is heard",
            self.clock_offset_seconds,
        );
        set.gauge(
            "clock_refusing",
            "Whether clients' requests are refused because this node's clock is off its peers'",
            self.clock_refusing,
        );
    }

    fn describe_load(&self, set: &mut Constants) {
        set.float(
            "cpu_utilization_ratio",
            "CPU utilisation over the window that shedding goes by; 0 where it cannot be read",
            self.cpu_utilization_ratio,
        );
        set.float(
            "cpu_shed_pressure_ratio",
            "How much is shed for the CPU: up to 0.5 writes, above it reads as well",
            self.cpu_shed_pressure_ratio,
        );
    }

    fn describe_process(&self, set: &mut Constants) {
        let process = &self.process;
        set.seconds_counter("process_cpu_seconds", "CPU time spent", process.cpu_seconds);
        set.gauge(
            "process_resident_memory_bytes",
            "Resident memory",
            process.resident_bytes,
        );
        set.gauge(
            "process_virtual_memory_bytes",
            "Virtual memory",
            process.virtual_bytes,
        );
        set.gauge(
            "process_open_fds",
            "Open file descriptors",
            process.open_fds,
        );
        set.gauge(
            "process_max_fds",
            "Limit of open file descriptors",
            process.max_fds,
        );
        set.float(
            "process_start_time_seconds",
            "Start of the process since the Unix epoch",
            process.start_time_seconds,
        );
    }
}

/// Series that differ in one label.
fn rows(label: &'static str, values: &[(&'static str, u64)]) -> Vec<(Labels, u64)> {
    values
        .iter()
        .map(|&(value, count)| (vec![(label, value.to_owned())], count))
        .collect()
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
