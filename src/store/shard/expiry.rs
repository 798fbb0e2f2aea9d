//! What time removes: expired values, tombstones past their life, and values below a floor that
//! rose.
//!
//! Tombstones and dead values are found through exact orders. Values are awaited: the order of expiry has each of them
//! that expires at least once, at its expiry or before, so that a value that is overwritten by one that lives longer, as
//! most are, costs nothing there. Whoever comes up too early is put back. What is stale in it is bounded.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    ops::Bound::{Excluded, Included},
};

use super::{
    Amount, Entry, EntryKey, Ghost, Keyed, Passing, Position, Probe, Shard, Slot, scan::is_past,
    tombstone_cost,
};

/// What one step removed.
#[derive(Default)]
pub(in crate::store) struct Expired {
    /// Values past their expiry.
    pub(in crate::store) values: Amount,
    /// Values at or below their slot's floor.
    pub(in crate::store) swept: Amount,
    /// Tombstones past their life.
    pub(in crate::store) tombstones: Amount,
}

/// The order of expiry. A key can be in it more often than once, and after its value has gone.
#[derive(Default)]
pub(super) struct Expiries {
    order: BinaryHeap<Reverse<(u64, EntryKey)>>,
    /// Values that expire.
    expiring: usize,
}

/// Beyond half as many again as values that expire, and so many, the order is built anew.
const STALE_MIN: usize = 64;

impl Expiries {
    /// A new value.
    pub(super) fn enter(&mut self, key: &EntryKey, entry: &mut Entry) {
        if let Some(at) = entry.expires_at() {
            self.expiring += 1;
            entry.await_expiry();
            self.order.push(Reverse((at, key.clone())));
        }
    }

    /// Puts a value in the place of another one of its key; returns that.
    pub(super) fn replace(&mut self, key: &EntryKey, held: &mut Entry, mut entry: Entry) -> Entry {
        self.leave(held);
        match (held.expires_at(), entry.expires_at()) {
            (Some(before), Some(at)) if held.is_awaited() && before <= at => {
                self.expiring += 1;
                entry.await_expiry();
            }
            (None | Some(_), _) => self.enter(key, &mut entry),
        }
        std::mem::replace(held, entry)
    }

    /// A value that goes.
    pub(super) fn leave(&mut self, entry: &Entry) {
        self.expiring -= usize::from(entry.expires_at().is_some());
    }

    fn pop_due(&mut self, now_millis: u64) -> Option<(u64, EntryKey)> {
        let Reverse((at, _)) = self.order.peek()?;
        if *at > now_millis {
            return None;
        }
        self.order.pop().map(|Reverse(due)| due)
    }

    fn put_back(&mut self, at: u64, key: EntryKey) {
        self.order.push(Reverse((at, key)));
    }

    const fn is_stale(&self, length: usize) -> bool {
        length > self.expiring + self.expiring / 2 + STALE_MIN
    }
}

impl Shard {
    /// Builds the order of expiry anew if too much of it is stale.
    pub(super) fn rebuild_expiries(&mut self) {
        if self.expiries.is_stale(self.expiries.order.len()) {
            let values = self.values.iter();
            let expiring =
                values.filter_map(|(key, entry)| Some(Reverse((entry.expires_at()?, key.clone()))));
            self.expiries.order = expiring.collect();
        }
    }

    /// Panics unless every value that expires is awaited, and what is stale is bounded.
    #[cfg(test)]
    pub(super) fn audit_expiries(&self) {
        use std::collections::BTreeMap;
        let mut awaited = BTreeMap::new();
        for Reverse((at, key)) in &self.expiries.order {
            let first = awaited.entry(key.clone()).or_insert(*at);
            *first = (*first).min(*at);
        }
        let mut expiring = 0;
        for (key, entry) in self.values.iter() {
            if let Some(at) = entry.expires_at() {
                expiring += 1;
                assert!(entry.is_awaited() && awaited.get(key).is_some_and(|first| *first <= at));
            }
        }
        assert_eq!(expiring, self.expiries.expiring);
    }

    /// Removes what is due at `now_millis`, soonest first, and tombstones stamped at or before `purged_millis`. Each value
    /// that is looked at, and each tombstone that is removed, takes one from `budget`.
    pub(in crate::store) fn expire(
        &mut self,
        now_millis: u64,
        purged_millis: Option<u64>,
        budget: &mut usize,
    ) -> Expired {
        let mut step = Expired::default();
        while *budget > 0
            && let Some((at, key)) = self.expiries.pop_due(now_millis)
        {
            *budget -= 1;
            let held = self.values.peek(&key);
            let Some((expiry, version)) =
                held.and_then(|entry| Some((entry.expires_at()?, entry.version())))
            else {
                continue;
            };
            // Only what is due at its own expiry goes, so that the soonest goes first.
            if at < expiry {
                self.expiries.put_back(expiry, key);
                continue;
            }
            self.leave_ghost(key.position(), Ghost::own(version, Passing::Expired));
            step.values += self.drop_value(&key);
        }
        while *budget > 0
            && self
                .ages
                .first()
                .is_some_and(|(version, _)| is_past(*version, purged_millis))
        {
            *budget -= 1;
            if let Some((version, key)) = self.ages.pop_first() {
                self.tombstones.remove(&key);
                self.mark(key.position(), version);
                self.leave_ghost(key.position(), Ghost::own(version, Passing::Deleted));
                step.tombstones += self.released(tombstone_cost(key.bytes().len()));
            }
        }
        while *budget > 0
            && let Some((slot, from)) = self.sweeps.pop_first()
        {
            self.sweep(slot, from, budget, &mut step);
        }
        step
    }

    /// Removes the dead values of one slot from `from` on, and remembers the rest when the budget
    /// ends.
    fn sweep(&mut self, slot: Slot, from: Position, budget: &mut usize, step: &mut Expired) {
        let floor = self.floor(from);
        let (first, end) = (Probe::at(from), Probe::at(Position::end(slot)));
        let range = (Included(&first as &dyn Keyed), Excluded(&end as &dyn Keyed));
        let (mut dead, mut last) = (Vec::new(), None);
        for key in self.order.range::<dyn Keyed, _>(range) {
            // Keys of one position are looked at together, so that the rest begins at another.
            if *budget == 0 && last != Some(key.position()) {
                self.sweeps.insert(slot, key.position());
                break;
            }
            *budget = budget.saturating_sub(1);
            last = Some(key.position());
            if self.values.peek(key).map(Entry::version) <= floor {
                dead.push(key.clone());
            }
        }
        for key in &dead {
            step.swept += self.drop_value(key);
        }
    }

    fn drop_value(&mut self, key: &EntryKey) -> Amount {
        match self.values.pop_entry(key as &dyn Keyed) {
            Some((key, entry)) => self.unlink(&key, &entry),
            None => Amount::default(),
        }
    }
}
