//! The store: this node's records in memory, within limits that hold exactly.
//!
//! Slots are spread over shards, each behind one lock, and lie wholly in one (`slot % shards`). A
//! record is decided by its version alone, so the order in which records of a key arrive does not
//! matter. Time is a parameter, in hybrid milliseconds; nothing here asks a clock, waits or does
//! input or output.
//!
//! Invariants:
//! - values never count more than `capacity_entries` and `memory_bytes` over the whole store, and a
//!   store below both evicts nothing. Room is taken from the totals before it is used
//!   (`totals.rs`);
//! - while fewer bytes are allowed ([`Store::allow_bytes`]), what counts more than that does not grow, and
//!   [`Store::shrink`] evicts it bit by bit;
//! - an expired value, or one at or below its slot's floor, is never served;
//! - a version at or below what is held for its key, or at or below the slot's floor, changes
//!   nothing;
//! - a value that expires or is evicted leaves its version, a ghost: what is older is refused. Ghosts
//!   have a limit; beyond it the oldest become their slot's mark, and a merge of a key without a
//!   trace at or below it is refused;
//! - tombstones are not evicted for values. They have a cap of their own over the whole store;
//!   those that it pushes out raise their slot's floor, so nothing they deleted returns;
//! - a thread holds at most one shard's lock.
//!
//! Recency is exact within a shard and approximate between shards: the value evicted is the coldest
//! of the shard that needs the room, and another shard's when that one has nothing else. Small
//! stores have one shard.

mod absence;
mod apply;
mod digest;
mod entry;
mod record;
mod shard;
mod shrink;
#[cfg(test)]
mod tests;
mod totals;

pub use self::{
    absence::{Absence, MissCause},
    digest::{Fingerprint, Inventory},
    entry::{ENTRY_OVERHEAD_BYTES, EXPIRY_OVERHEAD_BYTES, TOMBSTONE_OVERHEAD_BYTES},
    record::{Body, Form, Record, Value},
    totals::Stats,
};
use self::{
    apply::Source,
    entry::{Keyed as _, Position, Probe},
    shard::{Found, Page, Shard, Standing},
    totals::Totals,
};
pub use crate::slot_set::SlotSet;
use crate::{
    key::{Key, Slot},
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        lock, try_lock,
    },
    version::Version,
};

/// The most shards a store has.
const SHARDS_MAX: usize = 64;
/// How many entries of capacity justify a shard. Below twice this there is one, and recency is
/// exact.
const SHARD_ENTRIES_MIN: usize = 4096;

/// How much a store may hold and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Values, in number.
    pub capacity_entries: usize,
    /// Values with their keys and overhead, in bytes.
    pub memory_bytes: usize,
    /// Tombstones with their keys and overhead, in bytes.
    pub tombstone_bytes: usize,
    /// How long after its version's stamp a tombstone is purged, in milliseconds; later while [`Store::hold_tombstones`] has
    /// them stay.
    pub tombstone_life_millis: u64,
    /// Ghosts, in number; about 100 bytes each.
    pub ghosts: usize,
    /// The cluster's number of slots.
    pub slots: u16,
}

/// What a read finds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// A value that may be served.
    Hit(Record),
    /// No value that may be served.
    Miss(Absence),
}

/// What became of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applied {
    /// It is held now.
    Stored {
        /// Whether the key had a value that a read would have served.
        replaced: bool,
    },
    /// Exactly this version was held already; nothing changed.
    Same,
    /// A higher version is known for the key, or the slot's floor is not below this one; nothing
    /// changed.
    Newer {
        /// The version to exceed.
        version: Version,
    },
    /// A merge at or below the slot's floor or its mark, or of a value that was given up here; nothing changed.
    Refused,
    /// It is not held for want of room, and neither is the older value of the key, if there was
    /// one, because it was superseded. A merge ends so when the room would have to come from a more
    /// recently used value; a write only when the value alone is above the limits, or when writes
    /// in flight have taken all of the room.
    Full,
}

/// Some of a scan's records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanPage {
    /// In order of slot and key hash.
    pub records: Vec<(Key, Record)>,
    /// What of the same slots is known to be gone or unsure.
    pub traces: Traces,
    /// What to pass to go on; `None` when the scan is complete.
    pub next_cursor: Option<u64>,
}

/// What is known of values that are not there, apart from tombstones.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Traces {
    /// Positions of keys (slot and part of the hash) with the versions of values that went.
    pub ghosts: Vec<(u64, Version)>,
    /// Slots and their floors: nothing at or below one counts.
    pub floors: Vec<(Slot, Version)>,
    /// Slots and their marks: keys without a trace may have had values up to one.
    pub marks: Vec<(Slot, Version)>,
}

impl Traces {
    /// Adds what came later.
    pub fn add(&mut self, later: Self) {
        self.ghosts.extend(later.ghosts);
        self.floors.extend(later.floors);
        self.marks.extend(later.marks);
    }

    /// All versions.
    pub fn versions(&self) -> impl Iterator<Item = Version> + '_ {
        let ghosts = self.ghosts.iter().map(|(_, version)| *version);
        let of_slots = self.floors.iter().chain(&self.marks);
        ghosts.chain(of_slots.map(|(_, version)| *version))
    }
}

/// The records of one node. All methods take `&self` and may be called from any thread.
pub struct Store {
    limits: Limits,
    shards: Vec<Mutex<Shard>>,
    totals: Totals,
    /// Bytes that values may count now, at most those of the limits.
    allowed_bytes: AtomicUsize,
    /// The shard at which the next step of shrinking begins.
    shrink_next: AtomicUsize,
    /// The shard at which the next step of expiry begins.
    expire_next: AtomicUsize,
    /// Tombstones grow no older than this, in hybrid milliseconds.
    tombstones_held: AtomicU64,
}

impl Store {
    /// An empty store. A slot count of zero is taken as one.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = Limits {
            slots: limits.slots.max(1),
            ..limits
        };
        let slots = usize::from(limits.slots);
        let shards = (limits.capacity_entries / SHARD_ENTRIES_MIN)
            .clamp(1, SHARDS_MAX)
            .min(slots);
        Self {
            shards: (0..shards)
                .map(|_| Mutex::new(Shard::new(slots.div_ceil(shards), shards)))
                .collect(),
            allowed_bytes: AtomicUsize::new(limits.memory_bytes),
            shrink_next: AtomicUsize::new(0),
            limits,
            totals: Totals::default(),
            expire_next: AtomicUsize::new(0),
            tombstones_held: AtomicU64::new(u64::MAX),
        }
    }

    /// Looks a key up for a client, which makes its value the most recently used.
    #[must_use]
    pub fn read(&self, key: &Key, now_millis: u64) -> Lookup {
        let probe = self.probe(key);
        let found = lock(self.shard(probe.position().slot())).read(&probe, now_millis);
        Lookup::from(found)
    }

    /// Looks a key up without counting as an access.
    #[must_use]
    pub fn peek(&self, key: &Key, now_millis: u64) -> Lookup {
        let probe = self.probe(key);
        let found = lock(self.shard(probe.position().slot())).peek(&probe, now_millis);
        Lookup::from(found)
    }

    /// Why a read of the key would be a miss; `None` where it would be none. No access.
    #[must_use]
    pub fn miss_cause(&self, key: &Key, now_millis: u64) -> Option<MissCause> {
        let probe = self.probe(key);
        lock(self.shard(probe.position().slot())).miss_cause(&probe, now_millis)
    }

    /// Brings what operations on these keys will look at into the processor's cache, for many keys at once: they wait for
    /// memory together, and not one after the other. Changes nothing. Shards that another thread is at are left out.
    pub fn look_ahead<'a>(&self, keys: impl Iterator<Item = &'a Key> + Clone) {
        let mut shards = [const { None }; SHARDS_MAX];
        for key in keys.clone() {
            let home = self.home(self.probe(key).position().slot());
            if shards[home].is_none() {
                shards[home] = try_lock(&self.shards[home]);
            }
        }
        // Locks are barriers: all are taken before and released after.
        let mut seen = 0;
        for key in keys {
            let probe = self.probe(key);
            if let Some(shard) = &shards[self.home(probe.position().slot())] {
                seen ^= shard.look_at(&probe);
            }
        }
        std::hint::black_box(seen);
    }

    /// Applies a client's mutation, if its version is above what is held. The value becomes the
    /// most recently used; colder ones make room. A value that is past its expiry counts as a
    /// version without a value.
    ///
    /// The bytes of key and value are copied, so that the buffers they arrived in are free to go.
    pub fn write(&self, key: &Key, record: Record, now_millis: u64) -> Applied {
        self.apply(&self.probe(key), &record, now_millis, Source::Client)
    }

    /// Applies what a read found to be the newest like [`write`](Self::write): a key whose trace was lost here takes it.
    pub fn write_back(&self, key: &Key, record: Record, now_millis: u64) -> Applied {
        self.apply(&self.probe(key), &record, now_millis, Source::WriteBack)
    }

    /// Applies a handed over record like [`merge`](Self::merge), from a source that knows of everything newer: a key whose
    /// trace was lost here takes it.
    pub fn take_over(&self, key: &Key, record: Record, now_millis: u64) -> Applied {
        self.apply(&self.probe(key), &record, now_millis, Source::Handoff)
    }

    /// Applies a hint or a repaired record, if its version is above what is held. No
    /// access: a new value enters as the next to be evicted, a present one keeps its place. Never
    /// evicts a more recently used value.
    pub fn merge(&self, key: &Key, record: Record, now_millis: u64) -> Applied {
        self.apply(&self.probe(key), &record, now_millis, Source::Background)
    }

    /// One step of active expiry: removes values past their expiry, tombstones past their life, and
    /// values below a floor that rose. Looks at no more than `budget` records; returns how many it
    /// removed. Steps begin at shards in turn, so that a small budget reaches all of them.
    pub fn expire(&self, now_millis: u64, budget: usize) -> usize {
        let first = self.expire_next.fetch_add(1, Relaxed);
        let (mut left, mut removed) = (budget, 0);
        for offset in 0..self.shards.len() {
            if left == 0 {
                break;
            }
            let shard = &self.shards[first.wrapping_add(offset) % self.shards.len()];
            let mut shard = lock(shard);
            let step = shard.expire(now_millis, self.purged(now_millis), &mut left);
            self.bound_ghosts(&mut shard);
            for values in [step.values, step.swept] {
                self.totals.values.sub(values);
                removed += values.entries;
            }
            self.totals.tombstones.sub(step.tombstones);
            drop(shard);
            self.totals.expired(step.values.entries);
            removed += step.tombstones.entries;
        }
        removed
    }

    /// From now on tombstones grow no older than they are at `until_millis`: whoever was away since may still have what they
    /// deleted. `u64::MAX` for no such limit, which is what a new store has.
    pub fn hold_tombstones(&self, until_millis: u64) {
        self.tombstones_held.store(until_millis, Relaxed);
    }

    /// Tombstones stamped at or before this have outlived their use, in hybrid milliseconds. Nothing has while the clock
    /// shows less than their life.
    fn purged(&self, now_millis: u64) -> Option<u64> {
        let age_at = now_millis.min(self.tombstones_held.load(Relaxed));
        age_at.checked_sub(self.limits.tombstone_life_millis)
    }

    /// The digest of a slot: the xor of a hash of (key, version) over its values, expired ones that
    /// are still held included, and its tombstones. Zero for an empty slot and for one that does
    /// not exist.
    #[must_use]
    pub fn slot_digest(&self, slot: Slot) -> u64 {
        self.fingerprint(slot).digest
    }

    /// One word for everything that a slot has: records, ghosts, floor and mark. Zero where it has nothing.
    #[must_use]
    pub fn slot_summary(&self, slot: Slot) -> u64 {
        if slot.0 >= self.limits.slots {
            return 0;
        }
        lock(self.shard(slot)).summary(slot)
    }

    /// The same as [`slot_digest`](Self::slot_digest) with the word of the slot's ghosts.
    #[must_use]
    pub fn fingerprint(&self, slot: Slot) -> Fingerprint {
        if slot.0 >= self.limits.slots {
            return Fingerprint::default();
        }
        lock(self.shard(slot)).fingerprint(slot)
    }

    /// What is held of `slots`, values, tombstones and ghosts, as far as that is at most `records_max`; `None` if it is
    /// more.
    #[must_use]
    pub fn held(&self, slots: &SlotSet, records_max: usize) -> Option<Inventory> {
        let mut terms = Vec::new();
        for slot in slots.iter().take_while(|slot| slot.0 < self.limits.slots) {
            lock(self.shard(slot)).terms(slot, &mut terms);
            if terms.len() > records_max {
                return None;
            }
        }
        Some(Inventory::of_terms(terms))
    }

    /// A page of the live values and tombstones of `slots`, without those that are `held`. Pass 0 first, then each page's
    /// `next_cursor`. The page ends with the record that reaches `bytes_max` (keys, values and 40
    /// bytes each), so it has at least one record if any is left. A record that is present during
    /// the whole scan is returned; one that comes or changes meanwhile may be.
    #[must_use]
    pub fn scan(
        &self,
        slots: &SlotSet,
        cursor: u64,
        bytes_max: usize,
        held: &Inventory,
        now_millis: u64,
    ) -> ScanPage {
        let start = Position(cursor);
        let mut page = Page::new(bytes_max, held);
        let mut traces = Traces::default();
        let known = slots
            .iter_from(start.slot())
            .take_while(|slot| slot.0 < self.limits.slots);
        let mut next_cursor = None;
        for slot in known {
            let first = Position::first(slot);
            if page.is_full() {
                next_cursor = Some(first.0);
                break;
            }
            let from = start.max(first);
            let shard = lock(self.shard(slot));
            if from == first {
                traces
                    .floors
                    .extend(shard.floor_of(slot).map(|floor| (slot, floor)));
                traces
                    .marks
                    .extend(shard.mark_of(slot).map(|mark| (slot, mark)));
            }
            let purged = self.purged(now_millis);
            if let Some(Position(next)) = shard.scan(slot, from, (now_millis, purged), &mut page) {
                next_cursor = Some(next);
                break;
            }
        }
        let ghosts = page.take_ghosts().into_iter();
        traces.ghosts = ghosts
            .map(|(Position(at), version)| (at, version))
            .collect();
        ScanPage {
            records: page.into_records(),
            traces,
            next_cursor,
        }
    }

    /// Takes over what another node knows of values that are not there, as far as `is_taken` says. What is here and out of
    /// date by it goes.
    pub fn take_traces(&self, traces: &Traces, is_taken: impl Fn(Slot, Version) -> bool) {
        let is_taken = |slot: Slot, version| slot.0 < self.limits.slots && is_taken(slot, version);
        let of_slots = |traces: &[(Slot, Version)]| -> Vec<(Slot, Version)> {
            let taken = traces.iter().copied();
            taken.filter(|(slot, at)| is_taken(*slot, *at)).collect()
        };
        for (slot, floor) in of_slots(&traces.floors) {
            let forgotten = lock(self.shard(slot)).raise_floor(slot, floor);
            self.totals.tombstones.sub(forgotten);
        }
        for (slot, mark) in of_slots(&traces.marks) {
            lock(self.shard(slot)).raise_mark(slot, mark);
        }
        let ghosts = traces
            .ghosts
            .iter()
            .map(|(at, ghost)| (Position(*at), *ghost));
        for (position, version) in ghosts.filter(|(at, ghost)| is_taken(at.slot(), *ghost)) {
            let mut shard = lock(self.shard(position.slot()));
            let (values, tombstones) = shard.hear_of_ghost(position, version);
            self.bound_ghosts(&mut shard);
            self.totals.values.sub(values);
            self.totals.tombstones.sub(tombstones);
        }
    }

    /// Discards the values and tombstones of some slots. Their floors stay. Records applied meanwhile may stay.
    pub fn drop_slots(&self, slots: &SlotSet) {
        for slot in slots.iter().take_while(|slot| slot.0 < self.limits.slots) {
            let mut shard = lock(self.shard(slot));
            let (values, tombstones) = shard.drop_slot(slot);
            self.totals.values.sub(values);
            self.totals.tombstones.sub(tombstones);
        }
    }

    /// Takes a record out again if exactly this version is held.
    pub fn discard(&self, key: &Key, version: Version) {
        let probe = self.probe(key);
        let mut shard = lock(self.shard(probe.position().slot()));
        if matches!(shard.standing(&probe, version), Standing::Same) {
            let (values, tombstones) = shard.drop_key(&probe);
            self.totals.values.sub(values);
            self.totals.tombstones.sub(tombstones);
        }
    }

    /// Waits until operations on these slots that are under way have ended: whatever was written before is visible to
    /// them that follow.
    pub fn fence(&self, slots: &SlotSet) {
        let mut homes = vec![false; self.shards.len()];
        for slot in slots.iter() {
            homes[self.home(slot)] = true;
        }
        for (shard, is_home) in self.shards.iter().zip(homes) {
            if is_home {
                drop(lock(shard));
            }
        }
    }

    /// Discards everything, floors and digests included. Records applied meanwhile may stay.
    pub fn clear(&self) {
        for shard in &self.shards {
            let slots = usize::from(self.limits.slots).div_ceil(self.shards.len());
            let empty = Shard::new(slots, self.shards.len());
            // The old contents are freed after the lock is released.
            let old = std::mem::replace(&mut *lock(shard), empty);
            let (values, tombstones) = old.held();
            self.totals.values.sub(values);
            self.totals.tombstones.sub(tombstones);
        }
    }

    /// How many ghosts there are. Takes each lock in turn.
    #[must_use]
    pub fn ghosts(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).ghosts()).sum()
    }

    /// Levels and counters, without a lock.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.totals.stats()
    }

    fn probe<'a>(&self, key: &'a Key) -> Probe<'a> {
        Probe::of(key, self.limits.slots)
    }

    fn home(&self, slot: Slot) -> usize {
        slot.index() % self.shards.len()
    }

    fn shard(&self, slot: Slot) -> &Mutex<Shard> {
        &self.shards[self.home(slot)]
    }
}

impl From<Found> for Lookup {
    fn from(found: Found) -> Self {
        match found {
            Found::Value(entry) => Self::Hit(entry.into_record()),
            Found::Miss(absence) => Self::Miss(absence),
        }
    }
}
