//! One shard: whole slots behind one lock, and the orders over their records.
//!
//! Invariants:
//! - a key has a value or a tombstone, never both;
//! - `values` and `order` hold the same keys, so do `tombstones` and `ages`; every value that expires
//!   is awaited (`expiry.rs`);
//! - a slot's digest is the xor over exactly its values and tombstones, and one word more over its ghosts;
//! - no tombstone is at or below its slot's floor. Values may be, until they are swept: they are
//!   misses;
//! - a position with a ghost has no record at or below it.
//!
//! Nothing here counts totals or knows limits: operations return what they added or removed.

#[cfg(test)]
mod audit;
mod expiry;
mod ghosts;
mod scan;

use std::collections::{BTreeMap, BTreeSet};

use lru::LruCache;

use self::{expiry::Expiries, ghosts::Ghosts};
pub(super) use self::{
    ghosts::{Ghost, Passing},
    scan::{Page, is_past},
};
use super::{
    Absence, MissCause,
    digest::{self, Fingerprint},
    entry::{Entry, EntryKey, Keyed, Position, PositionHash, Probe, tombstone_cost},
    totals::Amount,
};
use crate::{key::Slot, version::Version};

/// Where floor and mark of a slot stand in its summary.
const FLOOR_PLACE: Position = Position(1);
const MARK_PLACE: Position = Position(2);

/// The records of some slots.
pub(super) struct Shard {
    /// The values, in order of recency.
    values: LruCache<EntryKey, Entry, PositionHash>,
    /// The keys of the values, in order of position.
    order: BTreeSet<EntryKey>,
    /// When to look for what has expired.
    expiries: Expiries,
    /// The deleted keys, in order of position.
    tombstones: BTreeMap<EntryKey, Version>,
    /// The deleted keys, in order of version: the oldest first.
    ages: BTreeSet<(Version, EntryKey)>,
    /// What values that went have left.
    ghosts: Ghosts,
    /// Slots whose floor rose and the position from which their values are still to be swept.
    sweeps: BTreeMap<Slot, Position>,
    slots: Vec<SlotState>,
    /// Slot `s` is at index `s / stride`.
    stride: usize,
    values_held: Amount,
    tombstones_held: Amount,
}

#[derive(Clone, Copy, Default)]
struct SlotState {
    fingerprint: Fingerprint,
    /// Tombstones up to this version were forgotten: nothing at or below it counts.
    floor: Option<Version>,
    /// The highest version of a ghost that was forgotten: a key without a trace may have had one up to it.
    mark: Option<Version>,
}

/// What a shard has for a key.
pub(super) enum Found {
    /// A value that may be served.
    Value(Entry),
    /// None.
    Miss(Absence),
}

/// What a new tombstone changed.
pub(super) struct Buried {
    /// The value it removed.
    pub(super) value: Amount,
    /// The older tombstone it removed.
    pub(super) tombstone: Amount,
    /// Itself.
    pub(super) added: Amount,
}

/// How a version stands to what is held for its key.
pub(super) enum Standing {
    /// Above everything held.
    Higher,
    /// The version held.
    Same,
    /// Below the version held, which it carries.
    Lower(Version),
    /// At or below the slot's floor; carries the highest version known.
    Sunk(Version),
    /// Without a trace of the key, and at or below the slot's mark, which it carries.
    Untraced(Version),
    /// The version of a value that was given up here.
    GivenUp,
}

/// What a write meets at its key.
pub(super) struct Met {
    /// How its version stands to what is there.
    pub(super) standing: Standing,
    /// What the value there costs, zero without one.
    pub(super) held: Amount,
    /// Whether a read would be served by it.
    pub(super) is_live: bool,
}

/// Where a new value enters the order of recency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Warmth {
    /// As the most recently used.
    Hot,
    /// As the least recently used; a value that is there already stays where it is.
    Cold,
}

impl Shard {
    /// An empty shard of `slots` slots, every `stride`-th of the store.
    pub(super) fn new(slots: usize, stride: usize) -> Self {
        Self {
            values: LruCache::unbounded_with_hasher(PositionHash::default()),
            order: BTreeSet::new(),
            expiries: Expiries::default(),
            tombstones: BTreeMap::new(),
            ages: BTreeSet::new(),
            ghosts: Ghosts::default(),
            sweeps: BTreeMap::new(),
            slots: vec![SlotState::default(); slots],
            stride,
            values_held: Amount::default(),
            tombstones_held: Amount::default(),
        }
    }

    /// Looks a key up. A value that may be served becomes the most recently used, a dead one the
    /// next to evict.
    pub(super) fn read(&mut self, probe: &Probe<'_>, now_millis: u64) -> Found {
        let floor = self.floor(probe.position());
        let Some(entry) = self.values.get(probe as &dyn Keyed) else {
            return self.absent(probe, floor);
        };
        let found = judge(entry, floor, now_millis);
        if matches!(found, Found::Miss(_)) {
            self.values.demote(probe as &dyn Keyed);
        }
        found
    }

    /// Looks a key up and leaves no trace.
    pub(super) fn peek(&self, probe: &Probe<'_>, now_millis: u64) -> Found {
        let floor = self.floor(probe.position());
        match self.values.peek(probe as &dyn Keyed) {
            Some(entry) => judge(entry, floor, now_millis),
            None => self.absent(probe, floor),
        }
    }

    fn absent(&self, probe: &Probe<'_>, floor: Option<Version>) -> Found {
        // A tombstone is above its slot's floor.
        let buried = self.tombstones.get(probe as &dyn Keyed).copied();
        let ghost = self.ghosts.get(probe.position());
        Found::Miss(match (buried.or(floor), ghost) {
            (Some(dead), Some(ghost)) if ghost.version > dead => Absence::Ghost(ghost.version),
            (None, Some(ghost)) => Absence::Ghost(ghost.version),
            (Some(dead), _) if buried.is_some() => Absence::Gone(dead),
            (dead, None | Some(_)) => match (dead, self.mark_of(probe.position().slot())) {
                (dead, Some(mark)) if dead < Some(mark) => Absence::Unsure(mark),
                (Some(dead), _) => Absence::Gone(dead),
                (None, _) => Absence::Untraced,
            },
        })
    }

    /// Why a read of the key is a miss; `None` where it is none. Leaves no trace.
    pub(super) fn miss_cause(&self, probe: &Probe<'_>, now_millis: u64) -> Option<MissCause> {
        let Found::Miss(absence) = self.peek(probe, now_millis) else {
            return None;
        };
        let is_above_floor = |entry: &&Entry| Some(entry.version()) > self.floor(probe.position());
        let held = self.values.peek(probe as &dyn Keyed).filter(is_above_floor);
        let tombstone = self.tombstones.contains_key(probe as &dyn Keyed);
        let ghost = self.ghosts.get(probe.position());
        Some(match (absence, ghost.map(|ghost| ghost.passing)) {
            (Absence::Untraced, _) => MissCause::NotSeen,
            (Absence::Gone(_), _) if held.is_some() => MissCause::Expired,
            (Absence::Gone(_), _) if tombstone => MissCause::Deleted,
            (Absence::Ghost(_), Some(Passing::Expired)) => MissCause::Expired,
            (Absence::Ghost(_), Some(Passing::Evicted)) => MissCause::Evicted,
            (Absence::Ghost(_), Some(Passing::Deleted)) => MissCause::Deleted,
            (Absence::Ghost(_), Some(Passing::Elsewhere)) => MissCause::GoneElsewhere,
            (Absence::Gone(_) | Absence::Unsure(_) | Absence::Ghost(_), _) => MissCause::TraceLost,
        })
    }

    /// Something that depends on what an operation on the key looks at: its entry, its value and its slot.
    pub(super) fn look_at(&self, probe: &Probe<'_>) -> u64 {
        let slot = self.digest(probe.position().slot());
        let entry = self.values.peek(probe as &dyn Keyed);
        slot ^ entry.map_or(0, |entry| entry.value_bytes() as u64)
    }

    /// How `version` stands to what is held for the key, and to what is known of what was.
    pub(super) fn standing(&self, probe: &Probe<'_>, version: Version) -> Standing {
        let value = self.values.peek(probe as &dyn Keyed);
        self.standing_to(probe, value, version)
    }

    /// The same with all else that a write has to know of its key, in one look.
    pub(super) fn meet(&self, probe: &Probe<'_>, version: Version, now_millis: u64) -> Met {
        let value = self.values.peek(probe as &dyn Keyed);
        let floor = self.floor(probe.position());
        Met {
            standing: self.standing_to(probe, value, version),
            held: value.map_or_else(Amount::default, |entry| cost(probe, entry)),
            is_live: value.is_some_and(|entry| dead_as_of(entry, floor, now_millis).is_none()),
        }
    }

    fn standing_to(&self, probe: &Probe<'_>, value: Option<&Entry>, version: Version) -> Standing {
        let value = value.map(Entry::version);
        let held = value.or_else(|| self.tombstones.get(probe as &dyn Keyed).copied());
        let floor = self.floor(probe.position());
        if let Some(floor) = floor.filter(|floor| version <= *floor) {
            return Standing::Sunk(held.map_or(floor, |held| held.max(floor)));
        }
        match held {
            Some(held) if version == held => Standing::Same,
            Some(held) if version < held => Standing::Lower(held),
            Some(_) => Standing::Higher,
            None => self.standing_to_ghosts(probe.position(), version),
        }
    }

    fn standing_to_ghosts(&self, position: Position, version: Version) -> Standing {
        match (self.ghosts.get(position), self.mark_of(position.slot())) {
            (Some(ghost), _) if version < ghost.version => Standing::Lower(ghost.version),
            (Some(ghost), _) if version == ghost.version && ghost.is_own => Standing::GivenUp,
            (None, Some(mark)) if version <= mark => Standing::Untraced(mark),
            (Some(_) | None, _) => Standing::Higher,
        }
    }

    /// Makes the key's value, if there is one, the most recently used.
    pub(super) fn touch(&mut self, probe: &Probe<'_>) {
        self.values.promote(probe as &dyn Keyed);
    }

    /// What the key's value costs, zero without one.
    pub(super) fn value_held(&self, probe: &Probe<'_>) -> Amount {
        let held = self.values.peek(probe as &dyn Keyed);
        held.map_or_else(Amount::default, |entry| cost(probe, entry))
    }

    /// Puts a value in the place of whatever is held for the key; returns the tombstone that it
    /// removed. The caller has checked the version and the room.
    pub(super) fn put(&mut self, probe: &Probe<'_>, entry: Entry, warmth: Warmth) -> Amount {
        let mut unburied = Amount::default();
        self.values_held += cost(probe, &entry);
        self.mark(probe.position(), entry.version());
        let held = match warmth {
            Warmth::Hot => self.values.get_key_value_mut(probe as &dyn Keyed),
            Warmth::Cold => {
                let key = self.order.get(probe as &dyn Keyed);
                key.zip(self.values.peek_mut(probe as &dyn Keyed))
            }
        };
        match held {
            Some((key, held)) => {
                let awaited = self.expiries.replace(key, held, entry);
                self.forget(probe, &awaited);
            }
            None => {
                unburied = self.unbury(probe);
                self.lay_ghost(probe.position());
                self.enter(probe, entry, warmth);
            }
        }
        self.rebuild_expiries();
        unburied
    }

    /// Enters a new value into the orders of position, expiry and recency.
    fn enter(&mut self, probe: &Probe<'_>, mut entry: Entry, warmth: Warmth) {
        let key = probe.to_key();
        self.order.insert(key.clone());
        self.expiries.enter(&key, &mut entry);
        self.values.put(key, entry);
        if warmth == Warmth::Cold {
            self.values.demote(probe as &dyn Keyed);
        }
    }

    /// Puts a tombstone in the place of whatever is held for the key. The caller has checked the
    /// version.
    pub(super) fn bury(&mut self, probe: &Probe<'_>, version: Version) -> Buried {
        let value = self.remove(probe);
        let tombstone = self.unbury(probe);
        self.lay_ghost(probe.position());
        let key = probe.to_key();
        self.mark(probe.position(), version);
        self.ages.insert((version, key.clone()));
        self.tombstones.insert(key, version);
        let added = Amount::one(tombstone_cost(probe.bytes().len()));
        self.tombstones_held += added;
        Buried {
            value,
            tombstone,
            added,
        }
    }

    /// Removes the key's value; returns what it held.
    pub(super) fn remove(&mut self, probe: &Probe<'_>) -> Amount {
        match self.values.pop_entry(probe as &dyn Keyed) {
            Some((key, entry)) => self.unlink(&key, &entry),
            None => Amount::default(),
        }
    }

    /// Removes whatever is held for the key; returns what value and tombstone held.
    pub(super) fn drop_key(&mut self, probe: &Probe<'_>) -> (Amount, Amount) {
        (self.remove(probe), self.unbury(probe))
    }

    /// Removes all records of a slot, and what is known of others, apart from its floor; returns what values and tombstones
    /// held.
    pub(super) fn drop_slot(&mut self, slot: Slot) -> (Amount, Amount) {
        let mut dropped = (Amount::default(), Amount::default());
        for key in self.keys_of(slot) {
            let (value, tombstone) = self.drop_key(&Probe::placed(key.position(), key.bytes()));
            dropped.0 += value;
            dropped.1 += tombstone;
        }
        let ghosts = self
            .ghosts
            .range(Position::first(slot)..Position::end(slot));
        let haunted: Vec<Position> = ghosts.map(|(position, _)| position).collect();
        for position in haunted {
            self.lay_ghost(position);
        }
        self.state_mut(slot).mark = None;
        dropped
    }

    /// Evicts the least recently used value, unless it is the one of `spared`; returns what it
    /// held.
    pub(super) fn evict_coldest(&mut self, spared: Option<&Probe<'_>>) -> Option<Amount> {
        let (coldest, _) = self.values.peek_lru()?;
        if spared.is_some_and(|spared| spared as &dyn Keyed == coldest as &dyn Keyed) {
            return None;
        }
        let (key, entry) = self.values.pop_lru()?;
        self.leave_ghost(
            key.position(),
            Ghost::own(entry.version(), Passing::Evicted),
        );
        Some(self.unlink(&key, &entry))
    }

    /// Removes the key's value and tombstone, which the caller has found to be older, and leaves a ghost instead; returns
    /// what value and tombstone held.
    pub(super) fn give_up(&mut self, probe: &Probe<'_>, ghost: Ghost) -> (Amount, Amount) {
        let dropped = self.drop_key(probe);
        self.leave_ghost(probe.position(), ghost);
        dropped
    }

    /// Takes note that another node had a value of this version of whatever key is at the position, and has not any more:
    /// what is older here is out of date. Returns what values and tombstones held that went.
    pub(super) fn hear_of_ghost(
        &mut self,
        position: Position,
        version: Version,
    ) -> (Amount, Amount) {
        let mut dropped = (Amount::default(), Amount::default());
        if self.floor(position) >= Some(version) {
            return dropped;
        }
        let mut is_superseded = false;
        for key in self.keys_at(position) {
            let probe = Probe::placed(key.position(), key.bytes());
            if matches!(self.standing(&probe, version), Standing::Higher) {
                let (value, tombstone) = self.drop_key(&probe);
                dropped.0 += value;
                dropped.1 += tombstone;
            } else {
                is_superseded = true;
            }
        }
        if !is_superseded {
            self.leave_ghost(position, Ghost::heard_of(version, Passing::Elsewhere));
        }
        dropped
    }

    /// Leaves a ghost of a value that went, unless the floor says as much.
    fn leave_ghost(&mut self, position: Position, ghost: Ghost) {
        if self.floor(position) >= Some(ghost.version) {
            return;
        }
        let changed = self.ghosts.enter(position, ghost);
        for version in changed.into_iter().flatten() {
            self.haunt(position, version);
        }
    }

    /// A ghost goes, if there is one.
    fn lay_ghost(&mut self, position: Position) {
        if let Some(ghost) = self.ghosts.lay(position) {
            self.haunt(position, ghost.version);
        }
    }

    /// Folds the oldest ghost into its slot's mark while there are more than `most`. Returns whether it did.
    pub(super) fn forget_oldest_ghost(&mut self, most: usize) -> bool {
        let Some((position, ghost)) = self.ghosts.forget_oldest(most) else {
            return false;
        };
        self.haunt(position, ghost.version);
        self.raise_mark(position.slot(), ghost.version);
        true
    }

    /// How many ghosts there are.
    pub(super) fn ghosts(&self) -> usize {
        self.ghosts.len()
    }

    /// Raises a slot's mark.
    pub(super) fn raise_mark(&mut self, slot: Slot, version: Version) {
        let state = self.state_mut(slot);
        state.mark = state.mark.max(Some(version));
    }

    /// Raises a slot's floor; what is not above it will be swept.
    pub(super) fn raise_floor(&mut self, slot: Slot, version: Version) -> Amount {
        let mut forgotten = Amount::default();
        if self.state_mut(slot).floor >= Some(version) {
            return forgotten;
        }
        self.state_mut(slot).floor = Some(version);
        self.sweeps.insert(slot, Position::first(slot));
        // A tombstone is above its slot's floor.
        for key in self.keys_of(slot) {
            let probe = Probe::placed(key.position(), key.bytes());
            if self
                .tombstones
                .get(&key)
                .is_some_and(|held| *held <= version)
            {
                forgotten += self.unbury(&probe);
            }
        }
        forgotten
    }

    /// Forgets the oldest tombstone, if more than `spared` are held, and raises its slot's floor to
    /// it.
    pub(super) fn forget_oldest_tombstone(&mut self, spared: usize) -> Option<Amount> {
        if self.ages.len() <= spared {
            return None;
        }
        let (version, key) = self.ages.pop_first()?;
        self.tombstones.remove(&key);
        self.mark(key.position(), version);
        let slot = key.position().slot();
        let state = self.state_mut(slot);
        state.floor = state.floor.max(Some(version));
        self.sweeps.insert(slot, Position::first(slot));
        Some(self.released(tombstone_cost(key.bytes().len())))
    }

    /// The digest of one of the shard's slots.
    pub(super) fn digest(&self, slot: Slot) -> u64 {
        self.fingerprint(slot).digest
    }

    /// One word for everything that a slot has, its floor and its mark included.
    pub(super) fn summary(&self, slot: Slot) -> u64 {
        let SlotState {
            fingerprint,
            floor,
            mark,
        } = self.state(slot);
        let bounds = [*floor, *mark].into_iter().zip([FLOOR_PLACE, MARK_PLACE]);
        let bounds = bounds.filter_map(|(bound, place)| Some(digest::term(place, bound?)));
        // Turned, so that a value on one side and its ghost on the other do not cancel out.
        let records = fingerprint.digest ^ fingerprint.ghosts.rotate_left(1);
        bounds.fold(records, |sum, term| sum ^ term)
    }

    /// The same with the word of its ghosts.
    pub(super) fn fingerprint(&self, slot: Slot) -> Fingerprint {
        self.state(slot).fingerprint
    }

    /// What the shard holds: values, then tombstones.
    pub(super) const fn held(&self) -> (Amount, Amount) {
        (self.values_held, self.tombstones_held)
    }

    fn floor(&self, position: Position) -> Option<Version> {
        self.floor_of(position.slot())
    }

    /// A slot's floor.
    pub(super) fn floor_of(&self, slot: Slot) -> Option<Version> {
        self.state(slot).floor
    }

    /// A slot's mark.
    pub(super) fn mark_of(&self, slot: Slot) -> Option<Version> {
        self.state(slot).mark
    }

    fn state(&self, slot: Slot) -> &SlotState {
        &self.slots[slot.index() / self.stride]
    }

    fn state_mut(&mut self, slot: Slot) -> &mut SlotState {
        &mut self.slots[slot.index() / self.stride]
    }

    /// Enters a record into its slot's digest, or takes it out again.
    fn mark(&mut self, position: Position, version: Version) {
        self.state_mut(position.slot()).fingerprint.digest ^= digest::term(position, version);
    }

    /// The same with a ghost.
    fn haunt(&mut self, position: Position, version: Version) {
        self.state_mut(position.slot()).fingerprint.ghosts ^= digest::term(position, version);
    }

    /// Takes a value that left `values` out of everything else.
    fn unlink(&mut self, key: &EntryKey, entry: &Entry) -> Amount {
        self.order.remove(key);
        self.expiries.leave(entry);
        self.forget(key, entry)
    }

    /// Takes a value out of the digest and the amount held.
    fn forget(&mut self, key: &dyn Keyed, entry: &Entry) -> Amount {
        self.mark(key.position(), entry.version());
        let amount = Amount::one(entry.cost(key.bytes().len()));
        self.values_held = self.values_held.without(amount);
        amount
    }

    /// Removes the key's tombstone; returns what it held.
    fn unbury(&mut self, probe: &Probe<'_>) -> Amount {
        match self.tombstones.remove_entry(probe as &dyn Keyed) {
            Some((key, version)) => {
                self.mark(key.position(), version);
                let cost = tombstone_cost(key.bytes().len());
                self.ages.remove(&(version, key));
                self.released(cost)
            }
            None => Amount::default(),
        }
    }

    fn released(&mut self, tombstone_cost: usize) -> Amount {
        let amount = Amount::one(tombstone_cost);
        self.tombstones_held = self.tombstones_held.without(amount);
        amount
    }
}

fn cost(probe: &Probe<'_>, entry: &Entry) -> Amount {
    Amount::one(entry.cost(probe.bytes().len()))
}

/// What a read makes of a value.
fn judge(entry: &Entry, floor: Option<Version>, now_millis: u64) -> Found {
    match dead_as_of(entry, floor, now_millis) {
        Some(version) => Found::Miss(Absence::Gone(version)),
        None => Found::Value(entry.clone()),
    }
}

/// The version by which a value may not be served any more; none, if it may.
fn dead_as_of(entry: &Entry, floor: Option<Version>, now_millis: u64) -> Option<Version> {
    let sunk = floor.filter(|floor| entry.version() <= *floor);
    let expired = || entry.is_expired(now_millis).then(|| entry.version());
    sunk.or_else(expired)
}
