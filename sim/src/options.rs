//! What a run is like: every choice follows from its seed.

use std::{collections::BTreeSet, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use shard_cache::config::{Config, GossipProfile};

pub use crate::fault_kind::FaultKind;
use crate::{node, plan::Given, plant::Plant, workload::KEY_BYTES_MAX};

/// Most operations per second: more would show little that is new, and take long.
const RATE_MAX: u32 = 200;
/// Usually the first so many nodes are the seeds of all.
const SEED_NODES: u16 = 3;
const HOUR: Duration = Duration::from_secs(3600);
/// What the configuration wants in a queue beside the largest entry, in bytes.
const QUEUE_SLACK_BYTES: usize = 64 << 10;

/// What clients do, in percent.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Operations that store.
    pub set: u32,
    /// Operations that delete. The rest reads.
    pub delete: u32,
    /// Of what is stored, how much expires.
    pub ttl: u32,
    /// Operations at ONE.
    pub one: u32,
    /// Operations at ALL. The rest is at QUORUM.
    pub all: u32,
    /// Operations that accept degraded service.
    pub degrade: u32,
}

/// Everything about a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What everything else follows from.
    pub seed: u64,
    /// How many nodes there are.
    pub nodes: u16,
    /// N.
    pub replication_factor: u8,
    /// R.
    pub quorum: u8,
    /// W.
    pub write_quorum: u8,
    /// Members that the first ring needs.
    pub min_members: u16,
    /// How long a member that is down stays in the ring.
    pub ring_down_grace: Duration,
    /// How many nodes may be without their memory at the same time.
    pub losses: u32,
    /// Slots of the ring.
    pub slots: u16,
    /// How long faults happen.
    pub duration: Duration,
    /// Clients.
    pub clients: u16,
    /// Operations of all clients together in a second.
    pub rate: u32,
    /// Keys.
    pub keys: u32,
    /// What clients do.
    pub mix: Mix,
    /// Largest value, in bytes, but for a few.
    pub value_bytes_max: usize,
    /// Size of these few, in bytes.
    pub huge_value_bytes: usize,
    /// Life of a value whose writer gave none; zero for ever.
    pub default_ttl: Duration,
    /// Nodes that others join through.
    pub seeds: BTreeSet<u16>,
    /// Zones that nodes stand in, in turn; 0 for none.
    pub zones: u16,
    /// How patient probes are.
    pub profile: GossipProfile,
    /// Entries that a node keeps.
    pub capacity_entries: usize,
    /// Bytes that they may take.
    pub memory_bytes: u64,
    /// Bytes of hints for one target.
    pub hint_bytes_max: usize,
    /// How long after the first undelivered hint more are kept.
    pub hint_window: Duration,
    /// How long a deletion is remembered.
    pub tombstone_life: Duration,
    /// Bytes that tombstones may take.
    pub tombstone_bytes_max: usize,
    /// Versions that are kept of values that expired or were evicted.
    pub ghosts_max: usize,
    /// Bytes queued for one peer.
    pub queue_bytes_max: usize,
    /// Client requests in flight at one node.
    pub requests_max: usize,
    /// How long a peer may leave an operation unanswered.
    pub stall_timeout: Duration,
    /// Longest pause between two attempts to connect.
    pub reconnect_max: Duration,
    /// When a read asks one more owner, and the share of reads that may.
    pub hedge: (Duration, f64),
    /// Longest time that a client gives a request.
    pub deadline_max: Duration,
    /// Shortest delay of a path, and what is added at most.
    pub delay: Duration,
    /// See `delay`.
    pub jitter: Duration,
    /// Packets that are lost all the time, in a million.
    pub loss_ppm: u32,
    /// How far wall clocks are off at most, in milliseconds either way.
    pub skew_millis: i64,
    /// How much faster or slower clocks go at most, in parts per million.
    pub drift_ppm: i64,
    /// What may go wrong.
    pub faults: BTreeSet<FaultKind>,
    /// Mean time between the end of a fault and the next one.
    pub calm: Duration,
    /// A bug that all nodes have.
    pub plant: Option<Plant>,
    /// What a file says instead of the seed.
    pub given: Option<Given>,
}

impl std::fmt::Display for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            nodes,
            replication_factor,
            quorum,
            write_quorum,
            slots,
            duration,
            clients,
            rate,
            keys,
            mix,
            ghosts_max,
            ..
        } = self;
        let faults: Vec<_> = self.faults.iter().map(|kind| kind.name()).collect();
        write!(
            f,
            "{nodes} nodes, N {replication_factor}, R {quorum}, W {write_quorum}, {slots} slots, {ghosts_max} ghosts; \
             {clients} clients, {rate} operations per second on {keys} keys (set {}, delete {} %); {duration:?} with {}",
            mix.set,
            mix.delete,
            if faults.is_empty() {
                "no faults".to_owned()
            } else {
                faults.join(", ")
            }
        )
    }
}

impl Options {
    /// The options of a seed.
    #[must_use]
    pub fn of_seed(seed: u64, duration: Duration) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x6f70_7469_6f6e_7321);
        let nodes = if rng.random_bool(0.25) {
            3
        } else {
            rng.random_range(3..=10)
        };
        let replication_factor = replication_factor(&mut rng, nodes);
        let (quorum, write_quorum) = quorums(&mut rng, replication_factor);
        let faults = FaultKind::ALL
            .into_iter()
            .filter(|_| rng.random_bool(0.5))
            .collect();
        let mix = Mix {
            set: rng.random_range(20..=60),
            delete: rng.random_range(0..=15),
            ttl: rng.random_range(0..=20),
            one: rng.random_range(0..=15),
            all: rng.random_range(0..=15),
            degrade: if rng.random_bool(0.3) { 5 } else { 0 },
        };
        let value_bytes_max = [300, 300, 300, 20_000][rng.random_range(0..4)];
        let huge_value_bytes = if rng.random_bool(0.15) {
            1 << 20
        } else {
            value_bytes_max
        };
        let entry_bytes_max = huge_value_bytes + KEY_BYTES_MAX;
        let tombstone_life = if rng.random_bool(0.2) {
            Duration::from_secs(rng.random_range(30..180))
        } else {
            4 * HOUR
        };
        let hint_window = if rng.random_bool(0.3) {
            Duration::from_secs(rng.random_range(1..25))
        } else {
            (3 * HOUR).min(tombstone_life / 2)
        };
        Self {
            seed,
            nodes,
            replication_factor,
            quorum,
            write_quorum,
            // A ring that grows by one member at a time, before it holds anything, is safe.
            min_members: if nodes == 3 && rng.random_bool(0.5) {
                2
            } else {
                nodes
            },
            // A ring of no more nodes than owners never shrinks by failure.
            ring_down_grace: Duration::from_secs([0, 1, 20][rng.random_range(0..3)]),
            losses: if rng.random_bool(0.15) { 2 } else { 1 },
            slots: slots(rng.random_range(0..4), nodes),
            duration,
            clients: rng.random_range(8..=24),
            rate: (u32::from(nodes) * 40).min(RATE_MAX),
            keys: [20, 100, 500, 2000][rng.random_range(0..4)],
            mix,
            value_bytes_max,
            huge_value_bytes,
            default_ttl: [HOUR, HOUR, Duration::from_secs(4), Duration::ZERO]
                [rng.random_range(0..4)],
            seeds: seeds(&mut rng, first_nodes_of_joined(nodes)),
            zones: zones(seed),
            ghosts_max: ghosts(seed),
            profile: if rng.random_bool(0.2) {
                GossipProfile::Local
            } else {
                GossipProfile::Lan
            },
            capacity_entries: if rng.random_bool(0.08) { 50 } else { 100_000 },
            memory_bytes: if rng.random_bool(0.08) {
                entry_bytes_max as u64 + rng.random_range(10_000..200_000)
            } else {
                256 << 20
            },
            hint_bytes_max: if rng.random_bool(0.2) {
                5_000
            } else {
                64 << 20
            },
            hint_window,
            tombstone_life,
            tombstone_bytes_max: if rng.random_bool(0.08) {
                rng.random_range(500..5_000)
            } else {
                32 << 20
            },
            queue_bytes_max: if rng.random_bool(0.2) {
                entry_bytes_max + QUEUE_SLACK_BYTES
            } else {
                16 << 20
            },
            requests_max: if rng.random_bool(0.1) {
                rng.random_range(2..20)
            } else {
                1_000
            },
            stall_timeout: Duration::from_millis(rng.random_range(50..=500)),
            reconnect_max: Duration::from_millis(
                [1_000, 1_000, 100, 5_000][rng.random_range(0..4)],
            ),
            hedge: (
                Duration::from_millis(rng.random_range(1..=100)),
                [0.0, 0.1, 0.1, 1.0][rng.random_range(0..4)],
            ),
            deadline_max: Duration::from_millis(if rng.random_bool(0.12) {
                rng.random_range(10..=80)
            } else {
                rng.random_range(300..=2000)
            }),
            delay: Duration::from_micros(rng.random_range(50..=2000)),
            jitter: Duration::from_micros(rng.random_range(20..=2000)),
            loss_ppm: 0,
            skew_millis: rng.random_range(0..=80),
            drift_ppm: rng.random_range(0..=100),
            faults,
            calm: Duration::from_millis(rng.random_range(1_000..=20_000)),
            plant: None,
            given: None,
        }
    }

    /// Whether every node owns every key, so that no failure changes owners.
    #[must_use]
    pub const fn owners_are_fixed(&self) -> bool {
        self.replication_factor as u16 >= self.nodes
    }

    /// How many nodes form the first ring; the others may join later.
    #[must_use]
    pub fn first_nodes(&self) -> u16 {
        if let Some(given) = &self.given {
            given.first_nodes
        } else if self.faults.contains(&FaultKind::Join) {
            first_nodes_of_joined(self.nodes)
        } else {
            self.nodes
        }
    }

    /// The configuration of a node.
    #[must_use]
    pub fn config(&self, index: u16) -> Config {
        let mut config = Config::default();
        config.node.name = Some(node::name(index));
        if let Some(zone) = index.checked_rem(self.zones) {
            config.node.zone = format!("zone-{zone}");
        }
        config.cluster.id = "simulated".to_owned();
        let seeds = self.seeds.iter();
        config.cluster.seeds = seeds.map(|seed| node::address(*seed).to_string()).collect();
        config.cluster.slots = self.slots;
        config.cluster.replication_factor = usize::from(self.replication_factor);
        config.cluster.min_members = Some(usize::from(self.min_members.min(self.first_nodes())));
        config.cluster.ring_down_grace = self.ring_down_grace;
        config.client.quorum.read_quorum = usize::from(self.quorum);
        config.client.quorum.write_quorum = usize::from(self.write_quorum);
        config.server.gossip.profile = self.profile;
        let cache = &mut config.server.cache;
        cache.max_memory = Some(self.memory_bytes);
        cache.capacity = self.capacity_entries;
        cache.max_value_size = self.huge_value_bytes.max(self.value_bytes_max);
        cache.max_key_size = KEY_BYTES_MAX;
        cache.default_ttl = self.default_ttl;
        config.server.peer.queue_bytes_max = self.queue_bytes_max;
        config.server.peer.stall_timeout = self.stall_timeout;
        config.server.peer.reconnect_max = self.reconnect_max;
        config.server.limits.max_concurrent_requests = self.requests_max;
        config.client.hedging.enabled = self.hedge.1 > 0.0;
        config.client.hedging.timeout = self.hedge.0;
        config.client.hedging.ratio = self.hedge.1;
        config.hints.target_bytes_max = self.hint_bytes_max;
        config.hints.window = self.hint_window;
        config.tombstones.life = self.tombstone_life;
        config.tombstones.bytes_max = self.tombstone_bytes_max;
        config.server.cache.ghosts_max = Some(self.ghosts_max);
        config
    }
}

/// N. All nodes own everything in some runs: then the loss of a memory changes no owners. In most of the others the ring has
/// more nodes than owners.
fn replication_factor(rng: &mut SmallRng, nodes: u16) -> u8 {
    let owned_by_all = nodes <= 7 && rng.random_bool(0.25);
    let drawn = [3, 3, 3, 3, 3, 2, 2, 4, 5, 1][rng.random_range(0..10)];
    let all = u8::try_from(nodes).unwrap_or(u8::MAX);
    if owned_by_all { all } else { drawn.min(all) }
}

/// R and W: usually majorities, else any that the configuration accepts.
fn quorums(rng: &mut SmallRng, replication_factor: u8) -> (u8, u8) {
    let majority = replication_factor / 2 + 1;
    if rng.random_bool(0.85) {
        return (majority, majority);
    }
    let write = rng.random_range(majority..=replication_factor);
    let read_min = (replication_factor - majority + 1).max(replication_factor - write + 1);
    (rng.random_range(read_min..=replication_factor), write)
}

/// Slots of the ring: many of them only where few nodes talk about them.
const fn slots(drawn: usize, nodes: u16) -> u16 {
    if nodes <= 4 {
        [16, 64, 256, 1024][drawn]
    } else {
        [16, 64, 64, 256][drawn]
    }
}

/// How many of so many nodes form the first ring, where others join.
const fn first_nodes_of_joined(nodes: u16) -> u16 {
    let others = nodes / 3;
    nodes - if others == 0 { 1 } else { others }
}

/// Mostly none. Drawn by itself, so that all else that follows from a seed does not depend on it.
fn zones(seed: u64) -> u16 {
    let mut rng = SmallRng::seed_from_u64(seed ^ 0x7a6f_6e65_735f_6f66);
    if rng.random_bool(0.3) {
        rng.random_range(2..=4)
    } else {
        0
    }
}

/// Mostly more than are needed. Drawn by itself, too.
fn ghosts(seed: u64) -> usize {
    let mut rng = SmallRng::seed_from_u64(seed ^ 0x6768_6f73_7473_5f6f);
    if rng.random_bool(0.1) {
        rng.random_range(0..100)
    } else {
        65_536
    }
}

/// Usually the first few nodes; else one, or any, of those that form the first ring in any case.
fn seeds(rng: &mut SmallRng, first_nodes: u16) -> BTreeSet<u16> {
    match rng.random_range(0..10) {
        0..5 => (0..first_nodes.min(SEED_NODES)).collect(),
        5..8 => BTreeSet::from([rng.random_range(0..first_nodes)]),
        _ => {
            let one = rng.random_range(0..first_nodes);
            let others = (0..first_nodes).filter(|_| rng.random_bool(0.5));
            others.chain([one]).collect()
        }
    }
}
