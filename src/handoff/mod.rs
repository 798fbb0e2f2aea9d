//! What is owed between nodes: hints for owners that did not answer, and the slots that a joining node copies.
//!
//! - `hints`: who is owed what, bounded. Pure.
//! - `cell`: the ring and the slots that requests go by.
//! - `delivery`: hands hints over when their target is back, or to the present owners when it has left.
//! - `marks`: slots of this node that others have dropped hints for.
//! - `backoff`: pauses between attempts that fail. Pure.
//! - `pace`: how fast slots are copied and hints delivered.
//! - `pull`: the bulk copy of a joining node.
//! - `rounds`: asks and copies when owners change.
//! - `slots`: the slots of one node, and what a change of them takes.
//! - `records`: records as bytes.

mod backoff;
mod cell;
pub mod delivery;
mod hints;
mod marks;
mod origins;
mod pace;
pub mod pull;
pub mod records;
pub mod rounds;
pub mod slots;
#[cfg(all(test, not(feature = "race")))]
pub(crate) mod test_peers;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use shard_cache_membership::identity::NodeId;

pub use cell::{Doubts, RingCell};
pub use hints::{
    AddOutcome, DroppedHint, Fate, HINT_OVERHEAD_BYTES, HintDrops, HintLimits, HintStats,
    HintStore, Lane, MovedHint, TargetHints,
};
pub use marks::RepairMarks;
pub use origins::HintOrigins;
pub use pace::Budget;
pub(crate) use pace::Pace;

use crate::{
    clock::Clock,
    key::Key,
    ring::Ring,
    slot_set::SlotSet,
    store::{Body, Record, Value},
    sync::{Mutex, lock},
    telemetry::{HintDropReason, Metrics, RetryReason},
    version::Version,
};

/// The hints of one node, shared by those who owe and the one who delivers. The lock is held for one map operation or
/// one bounded batch.
///
/// What is dropped although its target still lacks it leaves a mark: the target has to repair the slot. Of each target
/// that is a set of slots, however much was dropped.
pub struct OwedHints {
    store: Mutex<HintStore>,
    /// Taken after the other lock, if both are. No target without marks.
    marks: Mutex<BTreeMap<NodeId, SlotSet>>,
    origins: HintOrigins,
    slots: u16,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl OwedHints {
    /// No hints yet, in a cluster of so many slots.
    #[must_use]
    pub fn new(
        limits: HintLimits,
        slots: u16,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            store: Mutex::new(HintStore::new(limits)),
            marks: Mutex::default(),
            origins: HintOrigins::default(),
            slots,
            clock,
            metrics,
        }
    }

    /// Which sampled requests hints come from.
    #[must_use]
    pub const fn origins(&self) -> &HintOrigins {
        &self.origins
    }

    /// Keeps a hint. When there is no room, the oldest of the target go: a client's write never fails because of hints.
    /// Returns whether the target is owed the record now, or a newer one of the key.
    pub fn owe(&self, target: NodeId, key: &Key, record: &Record) -> bool {
        #[cfg(feature = "planted-bugs")]
        if crate::planted::nothing_is_owed() {
            return false;
        }
        let now_millis = self.clock.wall_millis();
        let (key, record) = unshared(key, record);
        let added = lock(&self.store).add(target, key, record, now_millis);
        self.count(&added);
        match added.fate {
            Fate::Added | Fate::Replaced | Fate::Superseded => true,
            Fate::Overflowed => false,
        }
    }

    fn count(&self, AddOutcome { fate, dropped }: &AddOutcome) {
        self.metrics.hints_written.inc();
        let drops = &self.metrics.hints_dropped;
        drops
            .get(HintDropReason::Overflow)
            .inc_by(dropped.len() as u64);
        match fate {
            Fate::Superseded => {
                drops.get(HintDropReason::Superseded).inc();
            }
            Fate::Added | Fate::Replaced | Fate::Overflowed => {}
        }
        self.mark(dropped);
    }

    fn mark(&self, dropped: &[DroppedHint]) {
        if dropped.is_empty() {
            return;
        }
        let mut marks = lock(&self.marks);
        for DroppedHint { target, key } in dropped {
            marks
                .entry(*target)
                .or_default()
                .insert(key.slot(self.slots));
        }
    }

    /// Targets that have slots to repair, in order of their ids.
    pub fn marked(&self) -> Vec<NodeId> {
        lock(&self.marks).keys().copied().collect()
    }

    /// The slots that a target has to repair, because hints for keys of them were dropped.
    pub fn marks(&self, target: NodeId) -> SlotSet {
        lock(&self.marks).get(&target).cloned().unwrap_or_default()
    }

    /// The same, to tell the target: they are forgotten here unless they are [given back](Self::give_back).
    pub fn take_marks(&self, target: NodeId) -> SlotSet {
        lock(&self.marks).remove(&target).unwrap_or_default()
    }

    /// The target could not be told of these. Others may have been marked meanwhile.
    pub fn give_back(&self, target: NodeId, slots: &SlotSet) {
        if !slots.is_empty() {
            let mut marks = lock(&self.marks);
            marks.entry(target).or_default().extend(slots.iter());
        }
    }

    /// Targets that are owed something, in order of their ids.
    pub fn targets(&self) -> Vec<NodeId> {
        lock(&self.store).targets()
    }

    /// Hints of one lane for a target, at most `bytes_max` of keys and values. They stay owed until
    /// [`OwedHints::delivered`].
    pub fn batch(&self, target: NodeId, lane: Lane, bytes_max: usize) -> Vec<(Key, Record)> {
        let now_millis = self.clock.wall_millis();
        lock(&self.store).take_batch(target, lane, bytes_max, now_millis)
    }

    /// These have reached the target.
    pub fn delivered(&self, target: NodeId, paid: &[(Key, Version)]) {
        self.metrics.hints_replayed.inc_by(paid.len() as u64);
        lock(&self.store).delivered(target, paid);
    }

    /// The target has refused these; they stay owed.
    pub fn refused(&self, target: NodeId, keys: &[Key]) {
        let retries = &self.metrics.hints_retried;
        retries.get(RetryReason::Refused).inc_by(keys.len() as u64);
        lock(&self.store).refused(target, keys);
    }

    /// Drops what is past the window.
    pub fn expire(&self) {
        let now_millis = self.clock.wall_millis();
        let dropped = lock(&self.store).expire(now_millis);
        self.metrics
            .hints_dropped
            .get(HintDropReason::Expired)
            .inc_by(dropped.len() as u64);
        self.mark(&dropped);
    }

    /// The target has left for good: at most so many of its hints, the oldest first, are owed to the present owners of
    /// their keys instead, of which some may lack them. Returns how many there were.
    pub fn hand_over(&self, target: NodeId, ring: &Ring, count_max: usize) -> usize {
        let now_millis = self.clock.wall_millis();
        let mut store = lock(&self.store);
        let moved = store.drain_target(target, count_max);
        self.metrics.hints_moved.inc_by(moved.len() as u64);
        for hint in &moved {
            for owner in ring.owners(ring.slot(&hint.key)).iter() {
                self.count(&store.add_since(owner.node_id, hint.clone(), now_millis));
            }
        }
        moved.len()
    }

    /// Nothing is owed to the target any more.
    fn forgive(&self, target: NodeId) {
        let dropped = lock(&self.store).drop_target(target);
        self.metrics
            .hints_dropped
            .get(HintDropReason::PeerGone)
            .inc_by(dropped as u64);
    }

    /// An operator wants nothing to be owed to the target any more, although it lacks it.
    pub fn discard(&self, target: NodeId) {
        let dropped = lock(&self.store).discard(target);
        self.metrics
            .hints_dropped
            .get(HintDropReason::Operator)
            .inc_by(dropped.len() as u64);
        self.mark(&dropped);
    }

    /// Hints for these keys are void: their slot has another root.
    pub fn forget(&self, is_void: impl Fn(&Key) -> bool) {
        let dropped = lock(&self.store).forget(is_void);
        self.metrics
            .hints_dropped
            .get(HintDropReason::PeerGone)
            .inc_by(dropped as u64);
    }

    /// Nothing is owed to anybody any more: the ring under which it was is void.
    pub fn clear(&self) {
        for target in self.targets() {
            self.forgive(target);
        }
        lock(&self.marks).clear();
    }

    /// Figures for metrics and status.
    pub fn stats(&self) -> HintStats {
        let now_millis = self.clock.wall_millis();
        lock(&self.store).stats(now_millis)
    }
}

/// A copy that does not pin the network buffer that key and value were read into: a hint may live for hours.
fn unshared(key: &Key, record: &Record) -> (Key, Record) {
    let body = match &record.body {
        Body::Value(Value { bytes, form }) => Body::Value(Value {
            bytes: Bytes::copy_from_slice(bytes),
            form: *form,
        }),
        Body::Tombstone => Body::Tombstone,
    };
    (
        Key::new(Bytes::copy_from_slice(key.bytes())),
        Record {
            body,
            ..record.clone()
        },
    )
}
