//! What was done to a cluster and what was seen of it, apart from requests.

use serde::{Deserialize, Serialize};

use super::{
    promises::Invariant,
    version::{ValueId, Version},
};

/// Something that happened at a moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// When.
    pub at_ns: u64,
    /// What.
    pub event: Event,
}

/// What happened. Nodes are places in [`super::Cluster::nodes`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// A fault begins to work.
    FaultBegin {
        /// Its name, unique within a history.
        fault: String,
        /// Nodes that it concerns.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        nodes: Vec<u32>,
    },
    /// A fault is undone.
    FaultEnd {
        /// Its name.
        fault: String,
    },
    /// A node lost its memory: it was killed, or discarded its store.
    Crash {
        /// Which.
        node: u32,
    },
    /// A node began a life. The first one is its start; another one without a crash before it lost the memory now.
    Boot {
        /// Which.
        node: u32,
        /// The life.
        boot_id: u64,
    },
    /// A node was added to a ring: one formed without it, or one that it had left.
    Join {
        /// Which.
        node: u32,
    },
    /// A node left the ring: in order, forgotten, or because it was down for longer than the ring waits.
    Leave {
        /// Which.
        node: u32,
    },
    /// The process of a node that was told to leave has ended, and this is how.
    Drained {
        /// Which.
        node: u32,
        /// Whether it said that everything was handed over, so that the others know that it left.
        is_clean: bool,
    },
    /// A node's clock is now so far ahead of the history's; negative for behind.
    Clock {
        /// Which.
        node: u32,
        /// How far.
        offset_ns: i64,
    },
    /// Who owns a key from now on. Without it every node may own every key.
    Owners {
        /// The key.
        key: String,
        /// They.
        nodes: Vec<u32>,
    },
    /// All slots are settled in their newest configuration, and no configuration in use names a dead life of a node:
    /// the next loss is the first one again.
    Settled,
    /// The time allowed for settling after a fault has passed without it.
    Unsettled {
        /// The fault's name.
        fault: String,
    },
    /// From now on, until the next fault begins or a node starts, stops, joins or leaves, these nodes are up and reach
    /// each other.
    Healed {
        /// They.
        nodes: Vec<u32>,
    },
    /// Values that a node has evicted, floors that it has raised and ghosts that it has forgotten for want of room, since
    /// this life began.
    Evictions {
        /// Which.
        node: u32,
        /// The life.
        boot_id: u64,
        /// How many.
        total: u64,
    },
    /// Whom a node sees.
    Membership {
        /// Which node.
        node: u32,
        /// Hash of the members that it sees.
        members: u64,
        /// Hash of its ring.
        ring: u64,
        /// Whom its ring names; empty if that was not recorded.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ring_members: Vec<u32>,
    },
    /// How much of something a node uses.
    Usage {
        /// Which node.
        node: u32,
        /// Of what.
        resource: Resource,
        /// How much.
        used: u64,
        /// The most that is allowed; none where only growth without end is wrong.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
    },
    /// Who recorded this saw nodes break a law that nothing else in a history shows.
    Broken {
        /// The law.
        invariant: Invariant,
        /// What was seen, for people.
        what: String,
    },
}

/// What a node may use up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Bytes of values, keys and their overhead.
    MemoryBytes,
    /// Values.
    Entries,
    /// Bytes of tombstones.
    TombstoneBytes,
    /// Bytes of hints.
    HintBytes,
    /// Hints.
    Hints,
    /// Exchanges with owners under way.
    Pending,
    /// Operations queued towards a peer.
    Queued,
    /// Tasks.
    Tasks,
    /// Datagrams of gossip per second.
    GossipRate,
    /// How often one hint was sent to its owner since the last sample.
    HintSends,
    /// How often one page of a bulk pull was asked for since the last sample.
    PageSends,
}

impl Resource {
    /// The word for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MemoryBytes => "memory bytes",
            Self::Entries => "entries",
            Self::TombstoneBytes => "tombstone bytes",
            Self::HintBytes => "hint bytes",
            Self::Hints => "hints",
            Self::Pending => "pending exchanges",
            Self::Queued => "queued operations",
            Self::Tasks => "tasks",
            Self::GossipRate => "gossip datagrams per second",
            Self::HintSends => "sends of one hint",
            Self::PageSends => "requests for one page",
        }
    }
}

/// What an owner holds of a key, read from its store. Complete for a key: every owner that is up has one, also when it
/// holds nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerCopy {
    /// When it was looked at.
    pub at_ns: u64,
    /// The owner.
    pub node: u32,
    /// The key.
    pub key: String,
    /// What it holds.
    pub held: Held,
}

/// What an owner holds of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Held {
    /// A value, expired or not.
    Value {
        /// Which.
        value: ValueId,
        /// Its version.
        version: Version,
    },
    /// The fact that there is none at this version: a tombstone, or what is left of an evicted or expired value.
    Gone {
        /// The version.
        version: Version,
    },
    /// Nothing.
    Nothing,
}

impl Held {
    /// The version held.
    #[must_use]
    pub const fn version(self) -> Option<Version> {
        match self {
            Self::Value { version, .. } | Self::Gone { version } => Some(version),
            Self::Nothing => None,
        }
    }
}
