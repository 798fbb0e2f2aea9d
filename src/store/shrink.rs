//! A store that may hold less for a while: resident memory is more than what entries count, and whoever watches it lowers
//! what they may count.

use super::{Store, totals::Lack};
use crate::sync::{atomic::Ordering::Relaxed, lock};

/// Values evicted in one hold of a shard's lock.
const SHARD_STEP: usize = 32;

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
            let mut step = 0;
            while step < SHARD_STEP.min(values_max - evicted)
                && self.is_above_allowed()
                && let Some(freed) = shard.evict_coldest(None)
            {
                // Before the lock is released, as everywhere.
                self.totals.values.sub(freed);
                self.totals.evicted(Lack::Bytes);
                step += 1;
            }
            self.bound_ghosts(&mut shard);
            drop(shard);
            evicted += step;
            fruitless = if step == 0 { fruitless + 1 } else { 0 };
        }
        evicted
    }

    fn is_above_allowed(&self) -> bool {
        self.totals.values.get().bytes > self.allowed_bytes()
    }
}
