//! A store that may hold less for a while: resident memory is more than what entries count, and whoever watches it lowers
//! what they may count.

use super::{
    Store,
    entry::Probe,
    shard::Shard,
    totals::{Amount, Lack},
};
use crate::sync::{atomic::Ordering::Relaxed, lock};

/// Values evicted in one hold of a shard's lock.
const SHARD_STEP: usize = 32;
/// What a write evicts of the shard it holds while the store has more than it is allowed: so many times what it adds, and so
/// many values. What is written faster is evicted faster.
const WRITE_TIMES: usize = 32;
const WRITE_VALUES: usize = 256;

/// Most that goes in one hold of a shard's lock.
struct Step {
    values: usize,
    bytes: usize,
}

impl Store {
    /// From now on values may count so many bytes, at most [`Limits::memory_bytes`](super::Limits::memory_bytes). What
    /// counts more already stays until [`shrink`](Self::shrink) evicts it or a write needs its room; it does not grow.
    pub fn allow_bytes(&self, bytes: usize) {
        let bytes = bytes.min(self.limits.memory_bytes);
        self.allowed_bytes.store(bytes, Relaxed);
    }

    /// Bytes that values may count now.
    #[must_use]
    pub fn allowed_bytes(&self) -> usize {
        self.allowed_bytes.load(Relaxed)
    }

    /// One step towards the bytes that are allowed: evicts the coldest values of the shards in turn, a few in each hold of
    /// a lock and no more than `values_max` in all. Returns how many; less than `values_max` means that nothing is left to
    /// do.
    pub fn shrink(&self, values_max: usize) -> usize {
        let (mut evicted, mut fruitless) = (0, 0);
        while evicted < values_max && fruitless < self.shards.len() && self.is_above_allowed() {
            let turn = self.shrink_next.fetch_add(1, Relaxed);
            let mut shard = lock(&self.shards[turn % self.shards.len()]);
            let step = Step {
                values: SHARD_STEP.min(values_max - evicted),
                bytes: usize::MAX,
            };
            let step = self.shrink_by(&mut shard, step, None);
            drop(shard);
            evicted += step;
            fruitless = if step == 0 { fruitless + 1 } else { 0 };
        }
        evicted
    }

    /// What a write of `bytes` does for a store that has more than it is allowed.
    pub(super) fn shrink_for(&self, shard: &mut Shard, written: &Probe<'_>, bytes: usize) {
        let step = Step {
            values: WRITE_VALUES,
            bytes: bytes.saturating_mul(WRITE_TIMES),
        };
        self.shrink_by(shard, step, Some(written));
    }

    /// Evicts the coldest values of one shard, but not that of `spared`, until the store has come down or the step is done.
    /// Returns how many.
    fn shrink_by(&self, shard: &mut Shard, step: Step, spared: Option<&Probe<'_>>) -> usize {
        let mut evicted = Amount::default();
        while evicted.entries < step.values
            && evicted.bytes < step.bytes
            && self.is_above_allowed()
            && let Some(freed) = shard.evict_coldest(spared)
        {
            // Before the lock is released, as everywhere.
            self.totals.values.sub(freed);
            self.totals.evicted(Lack::Bytes);
            evicted += freed;
        }
        if evicted.entries > 0 {
            self.bound_ghosts(shard);
        }
        evicted.entries
    }

    fn is_above_allowed(&self) -> bool {
        self.totals.values.get().bytes > self.allowed_bytes()
    }
}
