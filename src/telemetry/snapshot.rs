//! Figures that live elsewhere than in the metric handles: in the store, the membership, the ring,
//! the hints and the process. They are read once per scrape.

use shard_cache_membership::{counters::CountersSnapshot, identity::NodeId};

use super::{
    machine::{AllocatorFigures, RuntimeFigures},
    process::ProcessFigures,
};

/// Figures that live elsewhere, as they are at one scrape. The node fills it in.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The product's version.
    pub version: &'static str,
    /// Seconds since the node started.
    pub uptime_seconds: f64,
    /// Live entries in the store.
    pub entries: u64,
    /// Entries that the store may hold.
    pub capacity_entries: u64,
    /// Bytes that the store accounts for.
    pub memory_used_bytes: u64,
    /// Bytes that the store may account for.
    pub memory_limit_bytes: u64,
    /// Those that it may account for now, so that resident memory stays within bounds.
    pub memory_limit_effective_bytes: u64,
    /// Tombstones in the store.
    pub tombstones: u64,
    /// For how long the member that is furthest behind has not taken everything that this node had.
    pub tombstones_held_seconds: f64,
    /// Entries evicted because there were too many.
    pub evictions_capacity: u64,
    /// Entries evicted because they took too much memory.
    pub evictions_memory: u64,
    /// Entries removed because their time was over.
    pub expired: u64,
    /// Times that a slot's floor rose because tombstones were at their byte cap.
    pub floors_raised: u64,
    /// Versions kept of values that expired or were evicted.
    pub ghosts: u64,
    /// Those that were forgotten because they were at their limit.
    pub ghosts_forgotten: u64,
    /// Members believed to be alive, this node included.
    pub members_alive: u64,
    /// Members under suspicion.
    pub members_suspect: u64,
    /// Members declared down and not forgotten.
    pub members_down: u64,
    /// Hash of the set of members seen alive; equal on nodes that agree.
    pub membership_view_hash: u64,
    /// Share of the slots that this node owns a copy of, 0 to 1.
    pub ring_owned_ratio: f64,
    /// Slots whose owners are not all known to be full.
    pub slots_unsettled: u64,
    /// Slots that this node owns and has no full copy of.
    pub slots_wanting: u64,
    /// Slots that have lost their data and wait for an operator.
    pub slots_lost_waiting: u64,
    /// Rings put into use since the start.
    pub ring_changes: u64,
    /// Hash of the ring in use; 0 before the first.
    pub ring_hash: u64,
    /// Highest number of a slot's configuration; 0 before the first.
    pub ring_epoch: u64,
    /// What membership has counted.
    pub gossip: CountersSnapshot,
    /// This node.
    pub own: Option<NodeId>,
    /// Names of the members, this node included: those whose counters are shown.
    pub peers: Vec<(NodeId, String)>,
    /// Hints owed, per peer; sorted by peer, one entry for each known peer.
    pub hints: Vec<PeerHints>,
    /// How old a hint may become before it is dropped, in seconds.
    pub hints_window_seconds: f64,
    /// How far this node's clock is ahead of its peers', as a median, in seconds; 0 while none is heard.
    pub clock_offset_seconds: f64,
    /// How far it is ahead of each peer's that was heard of late, by name, in seconds.
    pub clock_skews: Vec<(String, f64)>,
    /// The hashes of the keys that this node is asked for most, and their shares of the requests, 0 to 1.
    pub hot_keys: Vec<(u64, f64)>,
    /// 1 while this node refuses clients' requests because its clock is off, else 0.
    pub clock_refusing: u64,
    /// The CPU utilisation that shedding goes by, 0 to 1.
    pub cpu_utilization_ratio: f64,
    /// How much is shed for it, 0 to 1.
    pub cpu_shed_pressure_ratio: f64,
    /// Figures of the runtimes that the node runs on.
    pub runtimes: Vec<RuntimeFigures>,
    /// Figures of the allocator, where it tells any.
    pub allocator: Option<AllocatorFigures>,
    /// Figures of the process; read by [`ProcessFigures::read`].
    pub process: ProcessFigures,
}

/// Hints owed to one peer.
#[derive(Clone, Debug, Default)]
pub struct PeerHints {
    /// The peer's node name.
    pub peer: String,
    /// Hints waiting.
    pub pending: u64,
    /// Bytes they take.
    pub pending_bytes: u64,
    /// Age of the oldest, in seconds; 0 without any.
    pub oldest_age_seconds: f64,
    /// Slots that it still has to be told to repair, because hints for them were dropped.
    pub marked_slots: u64,
}
