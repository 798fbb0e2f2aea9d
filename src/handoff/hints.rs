//! Hints: records owed to owners that did not answer, bounded. Pure: time is a parameter.
//!
//! Per target and key only the newest record is owed, so that delivery takes one write per key,
//! however many there were. What a target has refused waits in a lane of its own, so that it holds
//! up nothing else. When a cap is reached the oldest hints go, in the order in which their
//! keys were first owed; a write never fails because of hints. What is dropped is reported with its
//! key, so that the caller can have the slot repaired.
//!
//! A record that has expired while it waited is still owed, as a ghost without its value: the target has to learn that
//! anything older is dead.
//!
//! Invariants: neither cap is ever exceeded; a key is owed once per target; a hint is removed only
//! by a confirmation of its version or a newer one, or counted as dropped or moved, so that at any
//! time `written = pending + delivered + moved + dropped`; the age of a hint counts from the first
//! undelivered write of its key, so that no record outlives the window and with it the tombstone of
//! a later delete. Everything is iterated in a fixed order.

use std::collections::BTreeMap;

use shard_cache_membership::identity::NodeId;

use crate::{
    key::Key,
    store::Record,
    version::{DRIFT_MAX_MILLIS, Version},
};

mod outcome;
mod queue;

pub use outcome::{AddOutcome, DroppedHint, Fate, HintDrops, HintStats, MovedHint, TargetHints};
pub use queue::Lane;
use queue::{Place, Queue, cost, payload};

/// What a hint takes beyond its key and value, in bytes; an estimate that rounds up.
pub const HINT_OVERHEAD_BYTES: usize = 256;

/// The bounds of a [`HintStore`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HintLimits {
    /// Most bytes for one target: keys, values and [`HINT_OVERHEAD_BYTES`] each.
    pub target_bytes_max: usize,
    /// Most bytes for all targets together.
    pub total_bytes_max: usize,
    /// How long a hint is kept, in milliseconds from the first undelivered write of its key.
    pub window_millis: u64,
}

/// The hints that one node owes.
#[derive(Debug)]
pub struct HintStore {
    limits: HintLimits,
    /// No target without hints.
    targets: BTreeMap<NodeId, Queue>,
    bytes: usize,
    sequence: u64,
    /// The time of the last change; hints are never dated after it.
    latest_millis: u64,
    written: u64,
    delivered: u64,
    moved: u64,
    dropped: HintDrops,
}

impl HintStore {
    /// A store that owes nothing.
    #[must_use]
    pub fn new(limits: HintLimits) -> Self {
        Self {
            limits,
            targets: BTreeMap::new(),
            bytes: 0,
            sequence: 0,
            latest_millis: 0,
            written: 0,
            delivered: 0,
            moved: 0,
            dropped: HintDrops::default(),
        }
    }

    /// Owes a record to a target. Key and value are kept as they are: they should not pin a larger
    /// buffer.
    pub fn add(&mut self, target: NodeId, key: Key, record: Record, now_millis: u64) -> AddOutcome {
        self.add_since(
            target,
            MovedHint {
                key,
                record,
                since_millis: now_millis,
            },
            now_millis,
        )
    }

    /// Owes a record that another target was owed. Its age is kept.
    pub fn add_since(&mut self, target: NodeId, hint: MovedHint, now_millis: u64) -> AddOutcome {
        self.turn_clock(now_millis);
        self.written += 1;
        let MovedHint {
            key,
            record,
            since_millis,
        } = hint;
        let owed = self
            .targets
            .get(&target)
            .and_then(|queue| queue.version(&key));
        if owed.is_some_and(|owed| owed >= record.version) {
            self.dropped.superseded += 1;
            return AddOutcome {
                fate: Fate::Superseded,
                dropped: Vec::new(),
            };
        }
        if cost(&key, &record)
            > self
                .limits
                .target_bytes_max
                .min(self.limits.total_bytes_max)
        {
            self.dropped.overflow += 1;
            let dropped = vec![DroppedHint { target, key }];
            return AddOutcome {
                fate: Fate::Overflowed,
                dropped,
            };
        }
        self.sequence += 1;
        let place = (since_millis.min(now_millis), self.sequence);
        let queue = self.targets.entry(target).or_default();
        let before = queue.bytes;
        queue.insert(key.clone(), record, place, (now_millis, self.sequence));
        self.bytes = self.bytes - before + queue.bytes;
        self.dropped.superseded += u64::from(owed.is_some());
        let dropped = self.make_room(target);
        let fate = if dropped
            .iter()
            .any(|lost| lost.target == target && lost.key == key)
        {
            Fate::Overflowed
        } else if owed.is_some() {
            Fate::Replaced
        } else {
            Fate::Added
        };
        AddOutcome { fate, dropped }
    }

    /// Hints of one lane for a target, at most `bytes_max` of keys and values, but at least one if
    /// any is owed: fresh ones oldest first, refused ones in turn. They stay owed until
    /// [`delivered`](Self::delivered) confirms them: asking again before gives the same ones again.
    /// Hints past the window are left out; of what has expired only a ghost is left.
    #[must_use]
    pub fn take_batch(
        &self,
        target: NodeId,
        lane: Lane,
        bytes_max: usize,
        now_millis: u64,
    ) -> Vec<(Key, Record)> {
        let Some(queue) = self.targets.get(&target) else {
            return Vec::new();
        };
        let mut bytes = 0_usize;
        queue
            .in_turn(lane)
            .filter(|(place, _)| !self.is_past(place.0, now_millis))
            .map(|(_, hint)| (hint.key.clone(), alive_or_ghost(&hint.record, now_millis)))
            .take_while(|(key, record)| {
                let first = bytes == 0;
                // One more than its bytes, so that an empty record counts as something.
                bytes = bytes.saturating_add(payload(key, record).max(1));
                first || bytes <= bytes_max
            })
            .collect()
    }

    /// The target holds these versions or newer ones. A hint that has become newer since it was
    /// taken stays owed, from the time of that change on.
    pub fn delivered(&mut self, target: NodeId, confirmed: &[(Key, Version)]) {
        let Some(queue) = self.targets.get_mut(&target) else {
            return;
        };
        let before = queue.bytes;
        for (key, version) in confirmed {
            match queue.version(key) {
                Some(owed) if owed <= *version => {
                    self.delivered += u64::from(queue.remove(key).is_some());
                }
                Some(_) => queue.renew(key),
                None => {}
            }
        }
        self.bytes = self.bytes - before + queue.bytes;
        self.forget_if_paid(target);
    }

    /// The target has refused these: they stay owed, among [`Lane::Refused`].
    pub fn refused(&mut self, target: NodeId, keys: &[Key]) {
        if let Some(queue) = self.targets.get_mut(&target) {
            keys.iter().for_each(|key| queue.refuse(key));
        }
    }

    /// Drops the hints that are past the window.
    pub fn expire(&mut self, now_millis: u64) -> Vec<DroppedHint> {
        self.turn_clock(now_millis);
        let mut dropped = Vec::new();
        for target in self.targets() {
            while self
                .oldest(target)
                .is_some_and(|(since, _)| self.is_past(since, now_millis))
            {
                dropped.extend(self.drop_oldest(target));
                self.dropped.expired += 1;
            }
        }
        dropped
    }

    /// Drops all hints of a target that left for good and that nobody else needs; returns how many
    /// there were.
    pub fn drop_target(&mut self, target: NodeId) -> usize {
        let queue = self.targets.remove(&target).unwrap_or_default();
        self.bytes -= queue.bytes;
        self.dropped.target_gone += queue.len() as u64;
        queue.len()
    }

    /// Drops all hints of a target that still lacks them: an operator wants it.
    pub fn discard(&mut self, target: NodeId) -> Vec<DroppedHint> {
        let mut dropped = Vec::new();
        while let Some(lost) = self.drop_oldest(target) {
            dropped.push(lost);
        }
        self.dropped.operator += dropped.len() as u64;
        dropped
    }

    /// Drops the hints for these keys; returns how many there were.
    pub fn forget(&mut self, is_void: impl Fn(&Key) -> bool) -> usize {
        let mut count = 0;
        for target in self.targets() {
            let Some(queue) = self.targets.get_mut(&target) else {
                continue;
            };
            let before = queue.bytes;
            let lanes = [Lane::Fresh, Lane::Refused].into_iter();
            let void: Vec<Key> = lanes
                .flat_map(|lane| queue.in_turn(lane))
                .map(|(_, hint)| hint.key.clone())
                .filter(|key| is_void(key))
                .collect();
            count += void.iter().filter_map(|key| queue.remove(key)).count();
            self.bytes = self.bytes - before + queue.bytes;
            self.forget_if_paid(target);
        }
        self.dropped.target_gone += count as u64;
        count
    }

    /// Takes hints of a target that left for good, oldest first and at most so many, for the
    /// present owners of their keys.
    pub fn drain_target(&mut self, target: NodeId, count_max: usize) -> Vec<MovedHint> {
        let mut moved = Vec::new();
        while moved.len() < count_max
            && let Some(hint) = self.take_oldest(target)
        {
            moved.push(hint);
        }
        self.moved += moved.len() as u64;
        moved
    }

    /// Targets that are owed something, sorted by node id.
    #[must_use]
    pub fn targets(&self) -> Vec<NodeId> {
        self.targets.keys().copied().collect()
    }

    /// Figures at `now_millis`.
    #[must_use]
    pub fn stats(&self, now_millis: u64) -> HintStats {
        let targets = self.targets.iter().map(|(&target, queue)| TargetHints {
            target,
            pending: queue.len(),
            refused: queue.refused(),
            bytes: queue.bytes,
            oldest_age_millis: queue
                .oldest()
                .map_or(0, |(since, _)| now_millis.saturating_sub(since)),
        });
        HintStats {
            written: self.written,
            delivered: self.delivered,
            moved: self.moved,
            dropped: self.dropped,
            bytes: self.bytes,
            targets: targets.collect(),
        }
    }

    fn is_past(&self, since_millis: u64, now_millis: u64) -> bool {
        now_millis.saturating_sub(since_millis) > self.limits.window_millis
    }

    /// When the wall clock was set back, hints from the time that is now ahead are dated back to
    /// now: otherwise they would outlive the window.
    fn turn_clock(&mut self, now_millis: u64) {
        if now_millis < self.latest_millis {
            for queue in self.targets.values_mut() {
                queue.date_back(now_millis);
            }
        }
        self.latest_millis = now_millis;
    }

    /// Drops the oldest hints of the target, then of all targets, until both caps are kept.
    fn make_room(&mut self, target: NodeId) -> Vec<DroppedHint> {
        let mut dropped = Vec::new();
        while self.target_bytes(target) > self.limits.target_bytes_max {
            dropped.extend(self.drop_oldest(target));
        }
        while self.bytes > self.limits.total_bytes_max {
            let oldest = self
                .targets
                .iter()
                .filter_map(|(&id, queue)| Some((queue.oldest()?, id)));
            let Some((_, id)) = oldest.min() else { break };
            dropped.extend(self.drop_oldest(id));
        }
        self.dropped.overflow += dropped.len() as u64;
        dropped
    }

    fn target_bytes(&self, target: NodeId) -> usize {
        self.targets.get(&target).map_or(0, |queue| queue.bytes)
    }

    fn oldest(&self, target: NodeId) -> Option<Place> {
        self.targets.get(&target)?.oldest()
    }

    fn drop_oldest(&mut self, target: NodeId) -> Option<DroppedHint> {
        let MovedHint { key, .. } = self.take_oldest(target)?;
        Some(DroppedHint { target, key })
    }

    fn take_oldest(&mut self, target: NodeId) -> Option<MovedHint> {
        let queue = self.targets.get_mut(&target)?;
        let before = queue.bytes;
        let ((since_millis, _), hint) = queue.pop_oldest()?;
        self.bytes = self.bytes - before + queue.bytes;
        self.forget_if_paid(target);
        Some(MovedHint {
            key: hint.key,
            record: hint.record,
            since_millis,
        })
    }

    fn forget_if_paid(&mut self, target: NodeId) {
        if self
            .targets
            .get(&target)
            .is_some_and(|queue| queue.len() == 0)
        {
            self.targets.remove(&target);
        }
    }
}

/// The record, or its ghost once it has expired by every clock that is within the bound.
fn alive_or_ghost(record: &Record, now_millis: u64) -> Record {
    if record.is_expired(now_millis.saturating_sub(DRIFT_MAX_MILLIS)) {
        Record::ghost(record.version)
    } else {
        record.clone()
    }
}

#[cfg(test)]
mod tests;
