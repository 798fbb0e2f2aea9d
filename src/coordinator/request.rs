//! What the coordinator is asked and what it answers, free of any protocol.

use std::{sync::Arc, time::Duration};

use thiserror::Error;

use crate::{
    clock::Monotonic, coordinator::explanation::Explanation, key::Key, offsets::ClockOff,
    store::Value, telemetry::traces::Scope, version::Version,
};

/// How many owners must take part before a request is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consistency {
    /// One owner.
    One,
    /// The configured read or write quorum.
    Quorum,
    /// Every owner.
    All,
}

/// The terms of one request.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Owners that must take part.
    pub consistency: Consistency,
    /// Whether fewer owners will do when the level cannot be met.
    pub degrade: Degrade,
    /// When the request was taken up. How long it takes, and times in an explanation, count from here.
    pub arrived: Monotonic,
    /// When the caller stops waiting.
    pub deadline: Monotonic,
    /// Whether the answer tells how the request was carried out.
    pub detail: Detail,
}

/// Whether an answer tells how the request was carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// The answer alone; nothing is collected.
    Answer,
    /// The answer and an [`Explanation`].
    Explained,
}

impl Detail {
    /// Whether there is an explanation.
    #[must_use]
    pub const fn is_explained(self) -> bool {
        match self {
            Self::Answer => false,
            Self::Explained => true,
        }
    }
}

/// Whether a request may be answered by fewer owners than its level asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Degrade {
    /// Never: fail instead.
    Refuse,
    /// At least one owner will do; the answer says so.
    Accept,
}

/// The time to live that a writer asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ttl {
    /// None given: the configured default applies.
    Default,
    /// An explicit zero: the value never expires.
    Never,
    /// Expires after this long.
    After(Duration),
}

/// Stores a value.
#[derive(Clone, Debug)]
pub struct SetRequest {
    /// What to store it under.
    pub key: Key,
    /// The value.
    pub value: Value,
    /// How long it lives.
    pub ttl: Ttl,
    /// The terms.
    pub terms: Terms,
    /// The span that it belongs to; only when it is sampled.
    pub trace: Option<Arc<Scope>>,
}

/// Reads or deletes a key.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    /// The key.
    pub key: Key,
    /// The terms.
    pub terms: Terms,
    /// The span that it belongs to; only when it is sampled.
    pub trace: Option<Arc<Scope>>,
}

/// A write that was acknowledged.
#[derive(Clone, Debug)]
pub struct Written {
    /// The version it was stored under.
    pub version: Version,
    /// Owners known to have stored it.
    pub stored: u8,
    /// Whether an answering owner held a live value before.
    pub replaced: bool,
    /// Whether fewer owners than the level asks for had to do.
    pub degraded: bool,
    /// How it was carried out, when asked for.
    pub explain: Option<Box<Explanation>>,
}

/// The answer to a read.
#[derive(Clone, Debug)]
pub struct Read {
    /// The value and what is left of its life; `None` is a miss.
    pub hit: Option<Hit>,
    /// The newest version known, also of a deleted or expired value.
    pub version: Option<Version>,
    /// Whether fewer owners than the level asks for had to do.
    pub degraded: bool,
    /// How it was carried out, when asked for.
    pub explain: Option<Box<Explanation>>,
}

/// A value that was found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The value.
    pub value: Value,
    /// Time left; `None` when it never expires.
    pub expires_in: Option<Duration>,
}

/// A request that failed.
#[derive(Clone, Debug)]
pub struct Failed<E> {
    /// Why.
    pub error: E,
    /// How far it got, when that was asked for and owners were found.
    pub explain: Option<Box<Explanation>>,
}

/// Why a node cannot serve a request at all. Nothing was sent: the request surely had no effect, and another node or a
/// later attempt may succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Unavailable {
    /// Too few owners can be reached.
    #[error("no_quorum: {reachable} of {owners} owners can be reached, {needed} are needed")]
    NoQuorum {
        /// Owners that can be reached.
        reachable: u8,
        /// Owners of the slot.
        owners: u8,
        /// Owners that the level asks for.
        needed: u8,
    },
    /// This node has too many exchanges under way.
    #[error("overloaded: too many exchanges with owners are under way at this node")]
    Overloaded,
    /// The node has not joined a ring yet.
    #[error("joining: this node has no ring yet")]
    Joining,
    /// The node is leaving.
    #[error("draining: this node is leaving the cluster")]
    Draining,
    /// The node's clock is off: it would stamp writes and judge expiry wrongly.
    #[error("clock: {0}")]
    Clock(ClockOff),
}

impl Unavailable {
    /// One word for programs.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoQuorum { .. } => "no_quorum",
            Self::Overloaded => "overloaded",
            Self::Joining => "joining",
            Self::Draining => "draining",
            Self::Clock(_) => "clock",
        }
    }
}

/// Why a write was not acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum WriteError {
    /// Surely not applied.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Sent, but too few owners can still store it. It may appear later: the outcome is unknown.
    #[error(
        "{stored} of {needed} owners stored it and no more can be reached: it may or may not appear later"
    )]
    Unknown {
        /// Owners known to have stored it.
        stored: u8,
        /// Owners that the level asks for.
        needed: u8,
    },
    /// Sent, but the deadline came first. It may appear later: the outcome is unknown.
    #[error(
        "deadline exceeded: {stored} of {needed} owners had stored it, it may or may not appear later"
    )]
    DeadlineExceeded {
        /// Owners known to have stored it.
        stored: u8,
        /// Owners that the level asks for.
        needed: u8,
    },
}

impl WriteError {
    /// One word for programs.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable(unavailable) => unavailable.reason(),
            Self::Unknown { .. } => "outcome_unknown",
            Self::DeadlineExceeded { .. } => "deadline_exceeded",
        }
    }
}

/// Why a read was not answered. Reads change nothing, so trying again is always safe.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ReadError {
    /// Nothing was sent.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Too few owners can still answer.
    #[error("no_quorum: {answered} of {needed} owners answered and no more can be reached")]
    NoQuorum {
        /// Owners that answered.
        answered: u8,
        /// Owners that the level asks for.
        needed: u8,
    },
    /// The deadline came first.
    #[error("deadline exceeded: {answered} of {needed} owners had answered")]
    DeadlineExceeded {
        /// Owners that answered.
        answered: u8,
        /// Owners that the level asks for.
        needed: u8,
    },
}

impl ReadError {
    /// One word for programs.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable(unavailable) => unavailable.reason(),
            Self::NoQuorum { .. } => "no_quorum",
            Self::DeadlineExceeded { .. } => "deadline_exceeded",
        }
    }
}
