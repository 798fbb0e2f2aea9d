//! What a hint store reports.

use shard_cache_membership::identity::NodeId;

use crate::{key::Key, store::Record};

/// What became of a hint that was added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddOutcome {
    /// Whether it is owed.
    pub fate: Fate,
    /// What was dropped for lack of room, the hint itself included if it was that.
    pub dropped: Vec<DroppedHint>,
}

/// Whether a hint that was added is owed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is; nothing was owed for the key before.
    Added,
    /// It is, in place of an older record.
    Replaced,
    /// It is not: the same record or a newer one is owed already.
    Superseded,
    /// It is not: there is no room for it. An older record of the key may still be owed.
    Overflowed,
}

/// A hint that was dropped although its target still lacks the record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DroppedHint {
    /// Who lacks the record.
    pub target: NodeId,
    /// The record's key.
    pub key: Key,
}

/// A hint taken from a target that left for good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MovedHint {
    /// The key.
    pub key: Key,
    /// The newest record.
    pub record: Record,
    /// Since when the key is owed, in milliseconds: for [`super::HintStore::add_since`].
    pub since_millis: u64,
}

/// Figures of a [`super::HintStore`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HintStats {
    /// Hints added since the start, whatever became of them.
    pub written: u64,
    /// Hints confirmed by their targets since the start.
    pub delivered: u64,
    /// Hints taken from targets that left for good, since the start.
    pub moved: u64,
    /// Hints dropped since the start.
    pub dropped: HintDrops,
    /// Bytes of all hints owed.
    pub bytes: usize,
    /// Per target that is owed something, sorted by node id.
    pub targets: Vec<TargetHints>,
}

/// Dropped hints by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HintDrops {
    /// A cap was reached.
    pub overflow: u64,
    /// The window had passed.
    pub expired: u64,
    /// The same record or a newer one of the key was owed.
    pub superseded: u64,
    /// The target left for good.
    pub target_gone: u64,
    /// An operator wanted it.
    pub operator: u64,
}

/// What one target is owed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TargetHints {
    /// Who.
    pub target: NodeId,
    /// Number of hints.
    pub pending: usize,
    /// Those of them that it has refused.
    pub refused: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Age of the oldest, in milliseconds.
    pub oldest_age_millis: u64,
}
