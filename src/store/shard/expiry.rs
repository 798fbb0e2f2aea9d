//! What time removes: expired values, tombstones past their life, and values below a floor that
//! rose.
//!
//! All three are found through exact orders, so a step costs what it removes and nothing stale is
//! left behind.

use std::ops::Bound::{Excluded, Included};

use super::{
    Amount, Entry, EntryKey, Ghost, Keyed, Position, Probe, Shard, Slot, scan::is_past,
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

impl Shard {
    /// Removes what is due at `now_millis`, soonest first, and tombstones stamped at or before `purged_millis`. Each removal, and each value that a
    /// sweep looks at, takes one from `budget`.
    pub(in crate::store) fn expire(
        &mut self,
        now_millis: u64,
        purged_millis: Option<u64>,
        budget: &mut usize,
    ) -> Expired {
        let mut step = Expired::default();
        while *budget > 0
            && self
                .expiries
                .first()
                .is_some_and(|(at, _)| *at <= now_millis)
        {
            *budget -= 1;
            if let Some((_, key)) = self.expiries.pop_first() {
                if let Some(version) = self.values.peek(&key).map(Entry::version) {
                    self.leave_ghost(key.position(), Ghost::own(version));
                }
                step.values += self.drop_value(&key);
            }
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
                self.leave_ghost(key.position(), Ghost::own(version));
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
