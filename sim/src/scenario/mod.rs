//! A run as a file: a cluster, its network, its load, what goes wrong when, and what is promised. What a file leaves out
//! has the value of [`Scenario::default`].
//!
//! - `read`: from a file, with the place of whatever is wrong in it.
//! - `check`: what must hold between values.
//! - `convert`: to and from [`Options`](crate::options::Options).

mod check;
mod convert;
mod read;

use std::{collections::BTreeSet, fmt, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};

use shard_cache::config::GossipProfile;

pub use self::read::read_file;
use crate::{
    history::{Floors, Invariant},
    plan::Fault,
    report::Summary,
    span::Span,
};

/// A run as a file.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// What follows from chance follows from it.
    pub seed: u64,
    /// How long clients work and faults happen, in minutes; 5 if neither this nor `seconds` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes: Option<u64>,
    /// The same in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// The cluster.
    pub topology: Topology,
    /// The network and the clocks.
    pub network: Network,
    /// What clients do.
    pub load: Load,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// What is promised.
    pub promises: Wanted,
    /// How much has to happen for a verdict; what is usual for the load if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floors: Option<Floors>,
    /// The verdict that is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<Summary>,
    /// The trace that a run of this had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// The cluster of a scenario.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Topology {
    /// How many nodes there are, from 2 to 64.
    pub nodes: u16,
    /// How many of them form the first ring; all if absent. The others join by faults of that kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_nodes: Option<u16>,
    /// N: owners per key.
    pub replication_factor: u8,
    /// R; a majority of N if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_quorum: Option<u8>,
    /// W; a majority of N if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_quorum: Option<u8>,
    /// Slots of the ring.
    pub slots: u16,
    /// Members that the first ring needs; all of the first nodes if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_members: Option<u16>,
    /// How long a member that is down stays in the ring.
    pub ring_down_grace: Span,
    /// Nodes that others join through; the first three if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeds: Option<BTreeSet<u16>>,
    /// How patient probes are.
    pub profile: GossipProfile,
    /// Entries that a node keeps.
    pub capacity_entries: usize,
    /// Bytes that they may take.
    pub memory_bytes: u64,
    /// Bytes of hints for one target.
    pub hint_bytes: usize,
    /// How long after the first undelivered hint more are kept.
    pub hint_window: Span,
    /// How long a deletion is remembered.
    pub tombstone_life: Span,
    /// Bytes that tombstones may take.
    pub tombstone_bytes: usize,
    /// Versions that are kept of values that expired or were evicted.
    pub ghosts: usize,
    /// Zones that nodes stand in, in turn; 0 for none.
    pub zones: u16,
    /// Bytes queued for one peer.
    pub queue_bytes: usize,
    /// Client requests in flight at one node.
    pub requests_max: usize,
    /// How long a peer may leave an operation unanswered.
    pub stall_timeout: Span,
    /// Longest pause between two attempts to connect.
    pub reconnect_max: Span,
    /// When a read asks one more owner.
    pub hedge_after: Span,
    /// The share of reads that may, from 0 to 1.
    pub hedge_share: f64,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            nodes: 3,
            first_nodes: None,
            replication_factor: 3,
            read_quorum: None,
            write_quorum: None,
            slots: 256,
            min_members: None,
            ring_down_grace: Span(Duration::from_secs(24 * 3600)),
            seeds: None,
            profile: GossipProfile::Lan,
            capacity_entries: 100_000,
            memory_bytes: 256 << 20,
            hint_bytes: 64 << 20,
            hint_window: Span(Duration::from_secs(3 * 3600)),
            tombstone_life: Span(Duration::from_secs(4 * 3600)),
            tombstone_bytes: 32 << 20,
            ghosts: 65_536,
            zones: 0,
            queue_bytes: 16 << 20,
            requests_max: 1_000,
            stall_timeout: Span(Duration::from_millis(200)),
            reconnect_max: Span(Duration::from_secs(1)),
            hedge_after: Span(Duration::from_millis(20)),
            hedge_share: 0.1,
        }
    }
}

/// The network and the clocks of a scenario.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// Shortest delay of a packet between two nodes.
    pub delay: Span,
    /// What is added at most; one packet in a hundred takes ten times that.
    pub jitter: Span,
    /// Packets lost all the time, in percent.
    pub loss_percent: f64,
    /// How far wall clocks are off at most, in milliseconds either way.
    pub clock_skew_ms: i64,
    /// How much faster or slower clocks go at most, in parts per million.
    pub clock_drift_ppm: i64,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            delay: Span(Duration::from_micros(250)),
            jitter: Span(Duration::from_micros(200)),
            loss_percent: 0.0,
            clock_skew_ms: 20,
            clock_drift_ppm: 50,
        }
    }
}

/// What clients of a scenario do. Shares are in percent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Load {
    /// Operations per second, of all clients together.
    pub rate: u32,
    /// Clients.
    pub clients: u16,
    /// Keys.
    pub keys: u32,
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
    /// Largest value, in bytes, but for a few.
    pub value_bytes: usize,
    /// Size of these few, in bytes; as `value_bytes` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub huge_value_bytes: Option<usize>,
    /// Life of a value whose writer gave none, as one in ten; zero for ever.
    pub default_ttl: Span,
    /// Longest time that a client gives a request.
    pub deadline: Span,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            rate: 120,
            clients: 12,
            keys: 100,
            set: 40,
            delete: 5,
            ttl: 0,
            one: 0,
            all: 0,
            degrade: 0,
            value_bytes: 300,
            huge_value_bytes: None,
            default_ttl: Span(Duration::from_secs(3600)),
            deadline: Span(Duration::from_secs(1)),
        }
    }
}

/// What a scenario promises.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Wanted {
    /// Everything.
    #[default]
    All,
    /// These invariants.
    Only(BTreeSet<Invariant>),
}

impl Serialize for Wanted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str(ALL),
            Self::Only(invariants) => invariants.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WantedVisitor)
    }
}

const ALL: &str = "all";

struct WantedVisitor;

impl<'de> Visitor<'de> for WantedVisitor {
    type Value = Wanted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all or a list of invariants")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Wanted, E> {
        match text {
            ALL => Ok(Wanted::All),
            other => Err(E::unknown_variant(other, &[ALL, "a list of invariants"])),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Wanted, A::Error> {
        let mut only = BTreeSet::new();
        while let Some(invariant) = list.next_element()? {
            only.insert(invariant);
        }
        Ok(Wanted::Only(only))
    }
}
