//! Operations and answers: what a coordinator asks an owner of a slot, and what the owner answers. Plain values, shared by
//! the coordinator that sends, the transport that carries and the replica that carries out.

use crate::{
    clock::Monotonic,
    key::{Key, Slot},
    ring::{SlotConfiguration, slot::Vote},
    store::{Absence, MissCause, Record},
    trace::TraceParent,
    version::Version,
};

/// An operation for one owner of a slot.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Comes back with the answer.
    pub token: u64,
    /// The slot of the key.
    pub slot: Slot,
    /// The configuration that the coordinator counts under.
    pub configuration: SlotConfiguration,
    /// When the request ends, on the clock of the node at hand; what is left of it travels.
    pub deadline: Monotonic,
    /// The span that asks; only for sampled requests.
    pub trace: Option<Box<TraceParent>>,
    /// What to do.
    pub kind: Kind,
}

/// What an operation does.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A client's mutation.
    Write {
        /// The key.
        key: Key,
        /// What it maps to.
        record: Record,
        /// A read found it to be the newest, and stores it before it is answered.
        is_write_back: bool,
    },
    /// A read.
    Read {
        /// The key.
        key: Key,
        /// How much of the record to answer with.
        want: Want,
        /// Whether a miss is answered with its cause.
        is_explained: bool,
    },
}

impl Kind {
    /// The key that it is about.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Write { key, .. } | Self::Read { key, .. } => key,
        }
    }

    /// Bytes of key and value, as counted against the queue of a link.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        match self {
            Self::Write { key, record, .. } => key.bytes().len() + record.payload_bytes(),
            Self::Read { key, .. } => key.bytes().len(),
        }
    }
}

/// How much of a record a read asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// All of it.
    Record,
    /// Its version alone.
    Version,
}

/// An owner's answer to an operation.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To a write.
    Write(WriteAnswer),
    /// To a read.
    Read(ReadAnswer),
    /// To anything.
    Failed(Failure),
}

/// What an owner answered to a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteAnswer {
    /// It holds exactly this version now.
    Stored {
        /// A live value was there before.
        replaced: bool,
        /// How the answer counts.
        vote: Vote,
    },
    /// It holds something newer.
    Newer {
        /// What it holds.
        version: Version,
        /// How the answer counts.
        vote: Vote,
    },
    /// Not stored, for a reason that is the same to a write and to a read.
    Failed(Failure),
}

/// Why an owner did not do what it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// It is in another configuration of the slot.
    WrongConfig,
    /// It refused the coordinator's clock.
    Drift,
    /// It holds a version that is too far ahead of the coordinator's clock: its own clock was refused. What was to be stored
    /// is older, so it was not applied and has no use there.
    Ahead,
    /// It had no room. What the write supersedes is gone there.
    Shed,
    /// It got the operation after the deadline and did not apply it.
    Expired,
    /// It was not reached: the operation was surely not applied.
    NotSent,
    /// The link broke before it answered: the operation may have been applied.
    Broken,
}

impl Failure {
    /// The word for it, the same that the coordinator uses for an owner who failed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WrongConfig => "wrong_config",
            Self::Drift | Self::Ahead => "drift",
            Self::Shed => "shed",
            Self::Expired => "expired",
            Self::NotSent | Self::Broken => "unreachable",
        }
    }
}

/// What an owner answered to a read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadAnswer {
    /// It holds this.
    Holds {
        /// The record, whole or its version alone.
        held: Held,
        /// How the answer counts.
        vote: Vote,
    },
    /// It holds nothing to serve.
    Miss {
        /// What it knows of the key.
        absence: Absence,
        /// How the answer counts.
        vote: Vote,
        /// Why, where that was asked for and the owner can tell.
        cause: Option<MissCause>,
    },
    /// Not answered.
    Failed(Failure),
}

/// A held record as a replica shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Held {
    /// The whole record.
    Whole(Record),
    /// Its version alone.
    Version(Version),
}

impl Held {
    /// The version held.
    #[must_use]
    pub const fn version(&self) -> Version {
        match self {
            Self::Whole(record) => record.version,
            Self::Version(version) => *version,
        }
    }
}
