//! Every metric of the product, by name.
//!
//! Two kinds: counters and histograms that the async shell counts itself, as handles in
//! [`Metrics`]; and figures that live elsewhere (store, membership, ring, hints), which are read
//! once per scrape through [`Snapshot`], so that nothing is counted twice. All series of the first
//! kind exist at zero from the start, those of a peer from when it is known.
//!
//! `docs/metrics.md` is written from what is registered here: see [`super::reference`].

use std::sync::{Arc, atomic::AtomicU64};

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Metric, Registry},
};

use shard_cache_membership::{
    counters::{PROBE_BOUNDS_MICROS, ProbeTimes},
    identity::NodeId,
};

use super::{
    constant::{ConstHistogram, Constants, Labels},
    exposition::{self, Format},
    labels::{
        Api, BreakerState, Code, Direction, Handles, HedgeOutcome, HintDropReason, LabelSet,
        Lookup, Op, OperationOutcome, RepairMode, ReplicaOp, ReplicaOutcome, RetryReason,
        ShedReason,
    },
    latencies::{Exemplar, Exemplars, Latencies},
    machine::RuntimeFigures,
    peers::{PeerRequests, Peers},
    snapshot::{PeerHints, Snapshot},
};

const PREFIX: &str = "shardcache";

/// The family whose buckets have exemplars.
const REQUEST_DURATION: &str = "request_duration_seconds";

/// The handles of everything that is counted where it happens. Cheap to use from any task.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Clients' requests, by how they ended.
    pub requests: Handles<(Api, Op, Code), Counter>,
    /// Time from a client's request to its answer, in seconds.
    pub request_duration: Handles<(Api, Op), Latencies>,
    /// Of these, sampled ones that stand for a bucket.
    pub request_exemplars: Handles<(Api, Op), Exemplars>,
    /// Bytes that clients sent: messages over gRPC, bodies over HTTP.
    pub request_bytes: Handles<Api, Counter>,
    /// Bytes that clients were sent: messages over gRPC, bodies over HTTP.
    pub response_bytes: Handles<Api, Counter>,
    /// Clients' requests being worked on.
    pub requests_in_flight: Handles<Api, Gauge>,
    /// Clients' requests refused for load.
    pub requests_shed: Handles<ShedReason, Counter>,
    /// Clients' reads, by what they found.
    pub lookups: Handles<Lookup, Counter>,
    /// Operations coordinated by this node.
    pub coordinator_operations: Handles<(Op, OperationOutcome), Counter>,
    /// How long the coordinator took for an operation.
    pub coordinator_duration: Handles<Op, Latencies>,
    /// Requests of this node's coordinator to replicas, itself included, by peer.
    pub peers: Peers,
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
    /// 1 if the configuration that was read last is in use, 0 if it was refused.
    pub config_reload_successful: Gauge,
    /// When a configuration was put into use last, in seconds since the Unix epoch.
    pub config_reload_success_timestamp: Gauge<f64, AtomicU64>,
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
                REQUEST_DURATION,
                "Time from a client's request to its answer, with exemplars of sampled requests",
            ),
            request_exemplars: Handles::new(Exemplars::default),
            request_bytes: set.counters(
                "request_bytes",
                "Bytes that clients sent: messages with their length over gRPC, bodies over HTTP",
            ),
            response_bytes: set.counters(
                "response_bytes",
                "Bytes that clients were sent: messages with their length over gRPC, bodies over HTTP",
            ),
            requests_in_flight: set.gauges("requests_in_flight", "Requests being worked on"),
            requests_shed: set.counters("requests_shed", "Requests refused for load"),
            lookups: set.counters("lookups", "Reads of clients, by what they found"),
            coordinator_operations: set.counters(
                "coordinator_operations",
                "Operations coordinated by this node",
            ),
            coordinator_duration: set.latencies(
                "coordinator_duration_seconds",
                "Time that this node's coordinator took for an operation, retries included",
            ),
            peers: Peers::default(),
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
            config_reload_successful: set.gauge(
                "config_last_reload_successful",
                "1 if the configuration that was read last is in use, 0 if it was refused",
            ),
            config_reload_success_timestamp: set.gauge(
                "config_last_reload_success_timestamp_seconds",
                "When a configuration was put into use last, since the Unix epoch",
            ),
            registry: set.0,
        }
    }

    /// A configuration was put into use, at this time in milliseconds since the Unix epoch.
    pub fn note_config_in_use(&self, at_millis: u64) {
        self.config_reload_successful.set(1);
        self.config_reload_success_timestamp
            .set(at_millis as f64 / 1000.0);
    }

    /// One scrape in the given format.
    #[must_use]
    pub fn render(&self, snapshot: &Snapshot, format: Format) -> String {
        let exposition = self.exposition(snapshot);
        match format {
            Format::Classic => exposition::classic(&exposition),
            Format::OpenMetrics => {
                let family = format!("{PREFIX}_{REQUEST_DURATION}");
                exposition::open_metrics(&exposition, &family, |labels| self.exemplar(labels))
            }
            Format::Json => exposition::json(&exposition).to_string(),
        }
    }

    /// What the library writes: OpenMetrics without exemplars and end mark.
    pub(super) fn exposition(&self, snapshot: &Snapshot) -> String {
        let (own, process) = snapshot.registries(&self.peers);
        let mut exposition = String::with_capacity(64 * 1024);
        for registry in [&self.registry, &own, &process] {
            text::encode_registry(&mut exposition, registry)
                .expect("writing to a String does not fail");
        }
        exposition
    }

    /// The sampled request that stands for the bucket with these labels.
    fn exemplar(&self, labels: &[(&str, String)]) -> Option<Exemplar> {
        let label = |wanted| labels.iter().find(|(name, _)| *name == wanted);
        let bound = match label("le")?.1.as_str() {
            "+Inf" => f64::INFINITY,
            bound => bound.parse().ok()?,
        };
        let is_of = |set: &(Api, Op)| {
            let mut pairs = set.pairs().into_iter();
            pairs.all(|(name, value)| label(name).is_some_and(|(_, shown)| shown == value))
        };
        let set = <(Api, Op)>::all().into_iter().find(is_of)?;
        self.request_exemplars.get(set).within(bound)
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

    fn gauge<N, A>(&mut self, name: &str, help: &str) -> Gauge<N, A>
    where
        Gauge<N, A>: Default + Clone + Metric,
    {
        let gauge = Gauge::default();
        self.0.register(name, help, gauge.clone());
        gauge
    }

    fn gauges<S: LabelSet>(&mut self, name: &str, help: &str) -> Handles<S, Gauge> {
        let handles = Handles::new(Gauge::default);
        self.0.register(name, help, handles.clone());
        handles
    }

    fn latencies<S: LabelSet>(&mut self, name: &str, help: &str) -> Handles<S, Latencies> {
        let handles = Handles::new(Latencies::default);
        self.0.register(name, help, handles.clone());
        handles
    }
}

/// Hashes are cut to 48 bits: Prometheus keeps values as floats, which hold integers up to 53 bits
/// exactly.
const HASH_BITS_SHOWN: u64 = (1 << 48) - 1;

impl Snapshot {
    fn registries(&self, peers: &Peers) -> (Registry, Registry) {
        let mut set = Constants(Registry::with_prefix(PREFIX));
        self.describe_store(&mut set);
        self.describe_members(&mut set);
        self.describe_gossip(&mut set);
        self.describe_peers(&mut set, peers);
        self.describe_hints(&mut set);
        self.describe_clock(&mut set);
        self.describe_load(&mut set);
        self.describe_runtimes(&mut set);
        self.describe_allocator(&mut set);
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
        set.gauge(
            "ring_hash",
            "Hash of the ring in use, equal on nodes that agree; 0 before the first",
            self.ring_hash & HASH_BITS_SHOWN,
        );
        set.gauge(
            "ring_epoch",
            "Highest number that a slot's owners have: it rises whenever a slot gets other owners",
            self.ring_epoch,
        );
    }

    fn describe_gossip(&self, set: &mut Constants) {
        let gossip = &self.gossip;
        let rejected = [
            ("junk", gossip.rejected_junk),
            ("foreign_cluster", gossip.rejected_foreign_cluster),
            ("protocol", gossip.rejected_protocol),
            ("oversize", gossip.rejected_oversize),
        ];
        let ignored = rejected.iter().map(|(_, count)| count).sum();
        let messages = [
            ("sent", gossip.datagrams_sent),
            (
                "received",
                gossip.datagrams_received.saturating_sub(ignored),
            ),
        ];
        set.counters(
            "gossip_messages",
            "Gossip datagrams sent, and those received and understood",
            rows("direction", &messages),
        );
        let bytes = [
            ("sent", gossip.bytes_sent),
            ("received", gossip.bytes_received),
        ];
        set.counters("gossip_bytes", "Bytes of gossip", rows("direction", &bytes));
        set.counters(
            "gossip_rejected",
            "Datagrams ignored",
            rows("reason", &rejected),
        );
        let transitions = [
            ("alive", gossip.members_alive),
            ("suspect", gossip.members_suspect),
            ("down", gossip.members_down),
        ];
        set.counters(
            "member_transitions",
            "Changes of other members as this node sees them; alive counts new members too",
            rows("to", &transitions),
        );
        set.histogram(
            "gossip_probe_duration_seconds",
            "Time from a probe to its direct answer",
            probe_times(&gossip.probe_times),
        );
        let failures = [
            ("direct", gossip.probes_unanswered),
            ("indirect", gossip.probes_failed),
        ];
        set.counters(
            "gossip_probe_failures",
            "Probes without a direct answer in time, and those to which others got no answer either",
            rows("kind", &failures),
        );
        set.counter(
            "gossip_refutations",
            "Suspicions about this node that it refuted",
            gossip.refutations,
        );
        set.counter(
            "gossip_late_turns",
            "Times that gossip's timers were more than 100 ms late: this node is short of CPU",
            gossip.late_turns,
        );
        set.gauge(
            "gossip_health_score",
            "How far this node distrusts its own suspicions: 0 is good, 8 is bad",
            gossip.health_score,
        );
    }

    fn describe_peers(&self, set: &mut Constants, peers: &Peers) {
        let known: Vec<(NodeId, &str, Arc<PeerRequests>)> = self
            .peers
            .iter()
            .filter_map(|(peer, name)| Some((*peer, name.as_str(), peers.get(*peer)?)))
            .collect();
        let labels = |peer: &str, rest: Vec<(&'static str, &'static str)>| -> Labels {
            let rest = rest
                .into_iter()
                .map(|(name, value)| (name, value.to_owned()));
            [("peer", peer.to_owned())]
                .into_iter()
                .chain(rest)
                .collect()
        };
        let ended = known.iter().flat_map(|(_, name, requests)| {
            let outcomes = <(ReplicaOp, ReplicaOutcome)>::all().into_iter();
            outcomes.map(move |ended| {
                let count = requests.ended.get(ended).get();
                (labels(name, ended.pairs()), count)
            })
        });
        set.counters(
            "replica_requests",
            "Requests of this node's coordinator to replicas, itself included",
            ended.collect(),
        );
        // This node's own copy is asked without a way there and back.
        let others = known.iter().filter(|(peer, ..)| Some(*peer) != self.own);
        let durations = others.map(|(_, name, requests)| {
            let labels = labels(name, Vec::new());
            (labels, requests.duration.clone())
        });
        set.latencies(
            "replica_request_duration_seconds",
            "Time from sending a request to another replica until its answer",
            durations.collect(),
        );
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
        set.float(
            "hints_window_seconds",
            "Age at which a hint is dropped (hints.window)",
            self.hints_window_seconds,
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
        let hot_keys = self.hot_keys.iter();
        let hot_keys =
            hot_keys.map(|(hash, share)| (vec![("key_hash", format!("{hash:016x}"))], *share));
        set.floats(
            "hot_key_requests_ratio",
            "Share of this node's requests in the last minutes for each key that stands out, at most ten, by its hash",
            hot_keys.collect(),
        );
        let skews = self.clock_skews.iter();
        let skews = skews.map(|(peer, seconds)| (vec![("peer", peer.clone())], *seconds));
        set.floats(
            "clock_skew_seconds",
            "How far this node's clock is ahead of a peer's that was heard within 10 s",
            skews.collect(),
        );
    }

    fn describe_runtimes(&self, set: &mut Constants) {
        let each = |figure: fn(&RuntimeFigures) -> u64| -> Vec<(Labels, u64)> {
            let runtimes = self.runtimes.iter();
            runtimes
                .map(|runtime| (vec![("runtime", runtime.name.clone())], figure(runtime)))
                .collect()
        };
        set.gauges(
            "runtime_workers",
            "Threads of a runtime",
            each(|it| it.workers),
        );
        set.gauges(
            "runtime_queue_depth",
            "Tasks woken from outside a runtime that wait for their turn",
            each(|it| it.queue_depth),
        );
        set.gauges(
            "runtime_tasks",
            "Tasks of a runtime that have not ended",
            each(|it| it.tasks),
        );
        set.counters(
            "runtime_parks",
            "Times that a thread of a runtime went to sleep for want of work",
            each(|it| it.parks),
        );
        let busy = self.runtimes.iter();
        let busy = busy.map(|it| (vec![("runtime", it.name.clone())], it.busy_seconds));
        set.seconds_counters(
            "runtime_busy_seconds",
            "Time that a runtime's threads spent on tasks; its rate by runtime_workers is the share",
            busy.collect(),
        );
    }

    fn describe_allocator(&self, set: &mut Constants) {
        let Some(figures) = self.allocator else {
            return;
        };
        for (name, help, bytes) in [
            (
                "allocator_allocated_bytes",
                "Bytes that the program asked for and has not given back",
                figures.allocated_bytes,
            ),
            (
                "allocator_active_bytes",
                "Bytes of the pages that these are on",
                figures.active_bytes,
            ),
            (
                "allocator_metadata_bytes",
                "Bytes that the allocator keeps for itself",
                figures.metadata_bytes,
            ),
            (
                "allocator_resident_bytes",
                "Bytes of physical memory that the allocator holds at most",
                figures.resident_bytes,
            ),
            (
                "allocator_mapped_bytes",
                "Bytes of address space that the allocator uses",
                figures.mapped_bytes,
            ),
            (
                "allocator_retained_bytes",
                "Bytes of address space that the allocator keeps without memory behind them",
                figures.retained_bytes,
            ),
        ] {
            set.gauge(name, help, bytes);
        }
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

fn probe_times(times: &ProbeTimes) -> ConstHistogram {
    let bounds = PROBE_BOUNDS_MICROS.map(|micros| micros as f64 / 1e6);
    let bounds = bounds.into_iter().chain([f64::INFINITY]);
    ConstHistogram {
        buckets: bounds.zip(times.counts).collect(),
        sum: times.sum_micros as f64 / 1e6,
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
