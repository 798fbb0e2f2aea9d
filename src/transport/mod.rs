//! How nodes reach each other. Operations are *submitted* to a peer with a token; their answers arrive later as
//! *completions*. The caller waits on its entry in a table, not on a future per operation, and the simulator can put its
//! own network behind the same trait.
//!
//! - `link`: what is queued for one peer and what is in flight, and the breaker. No I/O.
//! - `streams`: the transport, one long-lived stream per peer.
//! - [`dial`]: the I/O below it, which the simulator replaces; `grpc`: the one of production.
//! - `frames`: links of bare frames.
//! - `unary`: a link made of calls, to compare with.
//! - [`inquiry`]: a push-pull of a node that does not take part yet.
//! - `wire`: operations and answers as protobuf messages; `slots`: exchanges about slots.

pub mod dial;
mod frames;
mod grpc;
pub mod inquiry;
mod link;
pub(crate) mod slots;
mod streams;
mod unary;
pub(crate) mod wire;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use shard_cache_membership::identity::{BootId, NodeId};
use thiserror::Error;

pub(crate) use frames::{Frames, PREAMBLE, Watch, expected};
pub use grpc::{GrpcDialer, LinkMode};
pub use streams::{
    MESSAGE_BYTES_MAX, Outgoing, PeerTarget, StreamTransport, StreamTransportConfig, Surroundings,
};

use crate::{
    clock::BoxFuture,
    key::Slot,
    operation::{Answer, Operation},
    ring::{
        RingMember,
        table::{Question, Reply},
    },
    slot_set::SlotSet,
    store::{Fingerprint, Inventory, Traces},
};

/// Carries operations to peers and to the node itself.
pub trait PeerTransport: Send + Sync + 'static {
    /// Makes the set of links equal to `targets`: new and moved peers are connected to, absent ones are let go.
    /// Operations on a link that is let go are answered as broken.
    fn retarget(&self, targets: &BTreeMap<NodeId, PeerTarget>);

    /// Lets every peer go.
    fn close(&self) {
        self.retarget(&BTreeMap::new());
    }

    /// Queues an operation for a peer. Its answer arrives at [`Completions::complete`], exactly once, unless the
    /// operation's deadline passes first. An operation for the node itself is answered before this returns.
    ///
    /// # Errors
    /// [`NotSent`]: the operation was surely not applied and no completion follows.
    fn submit(&self, peer: NodeId, operation: Operation) -> Result<(), NotSent>;

    /// What the breaker of a peer says.
    fn reach(&self, peer: NodeId) -> Reach;

    /// How a peer can be expected to answer.
    fn outlook(&self, peer: NodeId) -> Outlook;

    /// Exchanges the full member state with the node at an address.
    fn push_pull(
        &self,
        address: SocketAddr,
        offer: PushPull,
    ) -> BoxFuture<Result<PushPull, CallError>>;

    /// Reads a page of the records of some slots from a peer.
    fn pull_slots(&self, peer: NodeId, page: PageRequest) -> BoxFuture<Result<Page, CallError>>;

    /// Asks a peer where it is in some slots. The replies are those of the life of its memory that was asked.
    fn exchange_slots(
        &self,
        peer: NodeId,
        exchange: SlotExchange,
    ) -> BoxFuture<Result<Vec<Reply>, CallError>>;

    /// Asks a peer in which of some slots its data is another than this node's; with what it has. Slots of another root,
    /// and those in which it is no full owner, are left out. Tells it what this node has taken of it before.
    fn compare_slots(
        &self,
        peer: NodeId,
        boot_id: BootId,
        comparison: Comparison,
    ) -> BoxFuture<Result<Vec<(Slot, Fingerprint)>, CallError>>;

    /// Hands a peer records that are owed to it.
    fn deliver(&self, peer: NodeId, delivery: Delivery) -> BoxFuture<Result<Receipt, CallError>>;

    /// Asks a peer for its own report, an encoded `shardcache.v1.NodeReport`.
    fn report(&self, peer: NodeId) -> BoxFuture<Result<Bytes, CallError>>;
}

/// Where answers go.
pub trait Completions: Send + Sync + 'static {
    /// The answer to the operation with this token. Unknown tokens are ignored.
    fn complete(&self, token: u64, answer: Answer);

    /// The peer is late with the operation with this token; it may still answer.
    fn stall(&self, token: u64);
}

/// What the breaker of a peer says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reach {
    /// The link is up and answers.
    Up,
    /// The link is up, but the oldest operation on it has been unanswered for too long.
    Stalled,
    /// There is no link.
    Down,
}

/// How a peer can be expected to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outlook {
    /// What its breaker says.
    pub reach: Reach,
    /// A smoothed round trip time, or how long the oldest operation in flight has been unanswered, if that is longer: a
    /// peer that stands still looks far away at once. Zero for the node itself and before the first measurement.
    pub round_trip: Duration,
    /// An answer that takes longer than this is later than 95 % of the peer's. `None` for the node itself, and while
    /// too few have been measured.
    pub late_after: Option<Duration>,
}

/// An operation was not queued: it surely had no effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum NotSent {
    /// There is no link to the peer at the moment.
    #[error("there is no link to the peer")]
    Disconnected,
    /// Too many bytes are queued for the peer.
    #[error("{queued_bytes} bytes are queued for the peer, the limit is {queue_bytes_max}")]
    QueueFull {
        /// Bytes queued.
        queued_bytes: usize,
        /// The limit.
        queue_bytes_max: usize,
    },
}

/// The full member state, ring and orders of a node, encoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PushPull {
    /// Members, in the encoding of the membership crate.
    pub members: Bytes,
    /// The ring's roster; empty before the first ring.
    pub ring: Bytes,
    /// What operators have ordered; empty for nothing.
    pub orders: Bytes,
}

/// Asks for a page of records.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// The life of the peer's memory that is asked: another one would be an empty page that looks like a whole one.
    pub boot_id: BootId,
    /// The slots wanted.
    pub slots: SlotSet,
    /// Where to go on; 0 at first.
    pub cursor: u64,
    /// Most bytes of keys and values in the page.
    pub bytes_max: usize,
    /// What need not be sent.
    pub held: Inventory,
}

/// A page of records.
#[derive(Clone, Debug)]
pub struct Page {
    /// The records, in the encoding of the handoff module.
    pub records: Bytes,
    /// What of the same slots is known to be gone or unsure.
    pub traces: Traces,
    /// Where to go on; `None` at the end.
    pub next_cursor: Option<u64>,
}

/// Slots in one comparison.
pub const COMPARED_SLOTS_MAX: usize = 1024;

/// What one node holds of a slot, in short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotDigest {
    /// The slot.
    pub slot: Slot,
    /// The root of its data.
    pub root: u64,
    /// The digest of its data.
    pub digest: u64,
}

/// What a node compares with a peer.
#[derive(Clone, Default, Debug)]
pub struct Comparison {
    /// What it holds of some slots, at most [`COMPARED_SLOTS_MAX`].
    pub digests: Vec<SlotDigest>,
    /// It has everything that the peer had at this time of its own hybrid clock, in milliseconds; 0 for nothing to say.
    pub agreed_millis: u64,
}

/// Questions about slots.
#[derive(Clone, Debug)]
pub struct SlotExchange {
    /// Who asks, in its present life.
    pub from: RingMember,
    /// The life of the peer's memory that is asked.
    pub boot_id: BootId,
    /// What is asked.
    pub questions: Vec<Question>,
}

/// Records that are owed to a peer.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Root of the configurations under which they were written.
    pub root: u64,
    /// The records, in the encoding of the handoff module.
    pub records: Bytes,
    /// Slots that the peer has to repair: records of them are no longer owed although it lacks them.
    pub repair: SlotSet,
}

/// What a peer says to a [`Delivery`].
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Receipt {
    /// Places in the delivery, from 0 on, of the records that it refused because their stamps are too far ahead of its
    /// clock. It has the others.
    pub refused: Vec<u32>,
}

/// A call to a peer failed. Calls change nothing at the peer but its knowledge of members, so they may be repeated.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CallError {
    /// No address of the peer is known.
    #[error("no address of the peer is known")]
    NoAddress,
    /// The peer could not be reached, or the call took too long.
    #[error("the peer could not be reached: {reason}")]
    Unreachable {
        /// What the transport said.
        reason: String,
    },
    /// The peer belongs to another cluster or has other cluster-wide settings.
    #[error("the peer refused: {reason}")]
    Refused {
        /// What the peer said.
        reason: String,
    },
    /// The peer has too much to do. It may be asked again later.
    #[error("the peer is overloaded: {reason}")]
    Overloaded {
        /// What the peer said.
        reason: String,
    },
    /// The answer made no sense.
    #[error("the peer's answer could not be read: {reason}")]
    Malformed {
        /// What was wrong.
        reason: String,
    },
}

impl CallError {
    /// In a word, for spans.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NoAddress => "no_address",
            Self::Unreachable { .. } => "unreachable",
            Self::Refused { .. } => "refused",
            Self::Overloaded { .. } => "overloaded",
            Self::Malformed { .. } => "malformed",
        }
    }
}
