//! One request and what became of it.

use serde::{Deserialize, Serialize};

use super::version::{ValueId, Version};

/// One attempt at one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Names it; unique within a history.
    pub id: u64,
    /// Who asked. A client need not wait for one operation before it begins the next.
    pub client: u32,
    /// Place in [`super::Cluster::nodes`] of the node that was asked.
    pub node: u32,
    /// The key.
    pub key: String,
    /// What was asked.
    pub request: Request,
    /// Owners that must take part, as it was in force: a cluster's default is written out.
    pub consistency: Consistency,
    /// Whether fewer owners would do, by the request or by the cluster's configuration.
    pub degrade: Degrade,
    /// When it was sent.
    pub invoked_ns: u64,
    /// When it was answered or given up; the end of the history if it was neither.
    pub completed_ns: u64,
    /// What is known of it.
    pub outcome: Outcome,
}

/// What was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// Store a value.
    Set {
        /// Which.
        value: ValueId,
        /// For how long.
        life: Life,
    },
    /// Read the key.
    Get,
    /// Delete the key.
    Delete,
}

impl Request {
    /// The value that it stores.
    #[must_use]
    pub const fn value(self) -> Option<ValueId> {
        match self {
            Self::Set { value, .. } => Some(value),
            Self::Get | Self::Delete => None,
        }
    }

    /// Whether it changes the key.
    #[must_use]
    pub const fn is_write(self) -> bool {
        match self {
            Self::Set { .. } | Self::Delete => true,
            Self::Get => false,
        }
    }
}

/// How long a value lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Life {
    /// Until it is deleted or evicted.
    Never,
    /// As long as a default that the recorder does not know: it may be gone at any time.
    Unrecorded,
    /// This long, from the moment when the coordinator stamps it.
    AfterNs(u64),
}

/// How many owners must take part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// One owner.
    One,
    /// A read or write quorum.
    Quorum,
    /// Every owner.
    All,
}

/// Whether fewer owners than the level asks for will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Degrade {
    /// Never: fail instead.
    #[default]
    Refuse,
    /// At least one will do; the answer says so.
    Accept,
}

/// What is known of an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was answered.
    Ok(Answered),
    /// Surely not applied. A read that was not answered changes nothing and is one, too.
    Failed(Unanswered),
    /// May have been applied, or may be later.
    Unknown(Unanswered),
}

/// Why there was no answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unanswered {
    /// In words, for people; may be empty.
    pub reason: String,
}

/// An answer and the terms on which it was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answered {
    /// What was answered.
    pub answer: Answer,
    /// Whether the answer says that fewer owners than the level asks for had to do.
    pub degraded: bool,
    /// Owners known to have stored it (a write), or that answered (a read); none if not recorded.
    pub took_part: Option<u8>,
    /// Owners of the configuration in which it was carried out; none if not recorded.
    pub owners: Option<u8>,
}

/// What was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// To a write: stored, or deleted.
    Written {
        /// The version that the write was given in the end.
        version: Version,
        /// Whether an owner that answered held a live value before; none if not recorded.
        replaced: Option<bool>,
    },
    /// To a read: this value.
    Hit {
        /// Which.
        value: ValueId,
        /// Its version.
        version: Version,
        /// What is left of its life; none if it never expires, or this was not recorded.
        expires_in_ns: Option<u64>,
    },
    /// To a read: no value.
    Miss {
        /// The newest version known to the owners that answered, if any.
        version: Option<Version>,
    },
}

impl Operation {
    /// What it was answered, if it was.
    #[must_use]
    pub const fn answered(&self) -> Option<&Answered> {
        match &self.outcome {
            Outcome::Ok(answered) => Some(answered),
            Outcome::Failed(_) | Outcome::Unknown(_) => None,
        }
    }

    /// Whether G1 to G5 speak of it: acknowledged by a full quorum or by all owners.
    #[must_use]
    pub fn is_covered(&self) -> bool {
        let by_quorum = match self.consistency {
            Consistency::One => false,
            Consistency::Quorum | Consistency::All => true,
        };
        by_quorum && self.answered().is_some_and(|answered| !answered.degraded)
    }

    /// The version under which a write was acknowledged.
    #[must_use]
    pub fn written_version(&self) -> Option<Version> {
        match self.answered()?.answer {
            Answer::Written { version, .. } => Some(version),
            Answer::Hit { .. } | Answer::Miss { .. } => None,
        }
    }

    /// Whether it is a write that cannot have had any effect.
    #[must_use]
    pub const fn surely_had_no_effect(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}
