//! Totals: how much the whole store holds, and room taken before it is used.
//!
//! Room is taken from the limit before an entry is put in place and given back after one was
//! removed, so the counted amount is never below what the shards hold and never above the limit,
//! and the two are equal at every quiet moment. Each counter is exact by itself; no ordering
//! between counters is relied on, hence `Relaxed`.

use std::ops::AddAssign;

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// An amount of entries and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Amount {
    /// How many entries.
    pub(super) entries: usize,
    /// What they cost in all.
    pub(super) bytes: usize,
}

impl Amount {
    /// One entry of `bytes`.
    pub(super) const fn one(bytes: usize) -> Self {
        Self { entries: 1, bytes }
    }

    /// What is left of each part after taking `other` away, at least zero.
    pub(super) const fn without(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_sub(other.entries),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    /// Whether each part is at most that of `other`.
    pub(super) const fn fits(self, other: Self) -> bool {
        self.entries <= other.entries && self.bytes <= other.bytes
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.entries += other.entries;
        self.bytes += other.bytes;
    }
}

/// A shared amount.
#[derive(Default, Debug)]
pub(super) struct Gauge {
    entries: AtomicUsize,
    bytes: AtomicUsize,
}

impl Gauge {
    /// The amount now. Its parts are read one after the other.
    pub(super) fn get(&self) -> Amount {
        Amount {
            entries: self.entries.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }

    /// Counts what was added, whatever the limit.
    pub(super) fn add(&self, amount: Amount) {
        self.entries.fetch_add(amount.entries, Relaxed);
        self.bytes.fetch_add(amount.bytes, Relaxed);
    }

    /// Gives back what was counted.
    pub(super) fn sub(&self, amount: Amount) {
        if amount.entries > 0 {
            self.entries.fetch_sub(amount.entries, Relaxed);
        }
        if amount.bytes > 0 {
            self.bytes.fetch_sub(amount.bytes, Relaxed);
        }
    }

    /// Raises `room` to `need` as far as `limit` allows, each part wholly or not at all; returns
    /// what is lacking. What was taken stays in `room`, also when the rest is lacking.
    pub(super) fn top_up(&self, room: &mut Amount, need: Amount, limit: Amount) -> Option<Lack> {
        let missing = need.without(*room);
        if !take(&self.entries, missing.entries, limit.entries) {
            return Some(Lack::Entries);
        }
        room.entries += missing.entries;
        if !take(&self.bytes, missing.bytes, limit.bytes) {
            return Some(Lack::Bytes);
        }
        room.bytes += missing.bytes;
        None
    }
}

/// Adds `amount` unless the sum would be above `limit`.
fn take(counter: &AtomicUsize, amount: usize, limit: usize) -> bool {
    let sum = |held: usize| held.checked_add(amount).filter(|sum| *sum <= limit);
    amount == 0 || counter.fetch_update(Relaxed, Relaxed, sum).is_ok()
}

/// Which limit is in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lack {
    /// The number of entries.
    Entries,
    /// Their bytes.
    Bytes,
}

/// Everything the store counts.
#[derive(Default, Debug)]
pub(super) struct Totals {
    /// Values held and room taken for values.
    pub(super) values: Gauge,
    /// Tombstones held.
    pub(super) tombstones: Gauge,
    evictions_capacity: AtomicU64,
    evictions_memory: AtomicU64,
    expired: AtomicU64,
    floors_raised: AtomicU64,
    ghosts_forgotten: AtomicU64,
}

impl Totals {
    /// Counts an eviction that made room for what was lacking.
    pub(super) fn evicted(&self, lack: Lack) {
        match lack {
            Lack::Entries => self.evictions_capacity.fetch_add(1, Relaxed),
            Lack::Bytes => self.evictions_memory.fetch_add(1, Relaxed),
        };
    }

    /// Counts values that active expiry removed.
    pub(super) fn expired(&self, values: usize) {
        self.expired.fetch_add(values as u64, Relaxed);
    }

    /// Counts a floor that rose.
    pub(super) fn floor_raised(&self) {
        self.floors_raised.fetch_add(1, Relaxed);
    }

    /// Counts a ghost that became a mark.
    pub(super) fn ghost_forgotten(&self) {
        self.ghosts_forgotten.fetch_add(1, Relaxed);
    }

    /// All counters, read one after the other.
    pub(super) fn stats(&self) -> Stats {
        let (values, tombstones) = (self.values.get(), self.tombstones.get());
        Stats {
            entries: values.entries,
            memory_bytes: values.bytes,
            tombstones: tombstones.entries,
            tombstone_bytes: tombstones.bytes,
            evictions_capacity: self.evictions_capacity.load(Relaxed),
            evictions_memory: self.evictions_memory.load(Relaxed),
            expired: self.expired.load(Relaxed),
            floors_raised: self.floors_raised.load(Relaxed),
            ghosts_forgotten: self.ghosts_forgotten.load(Relaxed),
        }
    }
}

/// What the store holds and what it has done. The first four are levels, the others only grow, also
/// over a discard.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Values held, expired ones that are not yet removed included.
    pub entries: usize,
    /// What these values cost, in bytes with overhead.
    pub memory_bytes: usize,
    /// Tombstones held.
    pub tombstones: usize,
    /// What they cost, in bytes with overhead.
    pub tombstone_bytes: usize,
    /// Values evicted because the number of entries was at its limit.
    pub evictions_capacity: u64,
    /// Values evicted because memory was at its limit.
    pub evictions_memory: u64,
    /// Expired values removed by active expiry.
    pub expired: u64,
    /// How often a slot's floor rose because tombstones were at their limit.
    pub floors_raised: u64,
    /// Ghosts that were forgotten because they were at their limit.
    pub ghosts_forgotten: u64,
}
