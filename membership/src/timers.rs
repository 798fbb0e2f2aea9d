//! One ordered queue of timers. Generic: foca's `Timer` brings its own order for timers that are
//! due together.
//!
//! Invariants: timers leave in the order of (deadline, the timer's own order, submission); a timer
//! with a key replaces the pending one with the same key, so that day-long timers cannot pile up
//! while a member flaps.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Pending timers.
#[derive(Debug)]
pub(crate) struct Timers<K, T> {
    pending: BTreeSet<Entry<T>>,
    keyed: BTreeMap<K, Entry<T>>,
    submitted: u64,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    deadline: Duration,
    timer: T,
    sequence: u64,
}

impl<K: Ord + Copy, T: Ord + Clone> Timers<K, T> {
    pub(crate) const fn new() -> Self {
        Self {
            pending: BTreeSet::new(),
            keyed: BTreeMap::new(),
            submitted: 0,
        }
    }

    /// Fires `timer` at `deadline`; with a key, instead of the pending timer with that key.
    pub(crate) fn submit(&mut self, deadline: Duration, timer: T, key: Option<K>) {
        self.submitted += 1;
        let entry = Entry {
            deadline,
            timer,
            sequence: self.submitted,
        };
        if let Some(key) = key
            && let Some(replaced) = self.keyed.insert(key, entry.clone())
        {
            self.pending.remove(&replaced);
        }
        self.pending.insert(entry);
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.pending.first().map(|entry| entry.deadline)
    }

    /// The first timer whose deadline has come. `key_of` names the key it was submitted with.
    pub(crate) fn pop_due(&mut self, now: Duration, key_of: impl Fn(&T) -> Option<K>) -> Option<T> {
        if self.next_deadline()? > now {
            return None;
        }
        let timer = self.pending.pop_first()?.timer;
        if let Some(key) = key_of(&timer) {
            self.keyed.remove(&key);
        }
        Some(timer)
    }

    /// Moves every deadline by `delay`; the order stays.
    pub(crate) fn postpone(&mut self, delay: Duration) {
        let moved = |mut entry: Entry<T>| {
            entry.deadline += delay;
            entry
        };
        self.pending = std::mem::take(&mut self.pending)
            .into_iter()
            .map(moved)
            .collect();
        self.keyed
            .values_mut()
            .for_each(|entry| entry.deadline += delay);
    }
}

impl<T: Ord> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.deadline.cmp(&other.deadline))
            .then_with(|| self.timer.cmp(&other.timer))
            .then_with(|| self.sequence.cmp(&other.sequence))
    }
}

impl<T: Ord> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Ord> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keyless(_: &u8) -> Option<u8> {
        None
    }

    fn drain(timers: &mut Timers<u8, u8>, now: u64) -> Vec<u8> {
        std::iter::from_fn(|| timers.pop_due(Duration::from_millis(now), keyless)).collect()
    }

    #[test]
    fn timers_due_together_leave_in_their_own_order_then_as_submitted() {
        let mut timers = Timers::<u8, (u8, char)>::new();
        let at = Duration::from_millis(5);
        for timer in [(3, 'a'), (1, 'b'), (2, 'c')] {
            timers.submit(at, timer, None);
        }
        timers.submit(Duration::from_millis(4), (9, 'd'), None);
        let order: Vec<_> = std::iter::from_fn(|| timers.pop_due(at, |_| None)).collect();
        assert_eq!(order, [(9, 'd'), (1, 'b'), (2, 'c'), (3, 'a')]);
    }

    #[test]
    fn a_keyed_timer_replaces_the_pending_one() {
        let mut timers = Timers::<u8, u8>::new();
        for (deadline, timer) in [(10, 1), (20, 2), (30, 3)] {
            timers.submit(Duration::from_millis(deadline), timer, Some(7));
        }
        assert_eq!(timers.pending.len(), 1);
        let due = timers.pop_due(Duration::from_millis(30), |_| Some(7));
        assert_eq!((due, timers.keyed.len()), (Some(3), 0));
    }

    #[test]
    fn postponed_timers_keep_their_order_and_keys() {
        let mut timers = Timers::<u8, u8>::new();
        timers.submit(Duration::from_millis(10), 1, None);
        timers.submit(Duration::from_millis(20), 2, Some(1));
        timers.postpone(Duration::from_millis(100));
        assert!(drain(&mut timers, 109).is_empty());
        timers.submit(Duration::from_millis(115), 3, Some(1));
        assert_eq!(drain(&mut timers, 200), [1, 3]);
    }

    proptest! {
        #[test]
        fn every_timer_is_delivered_once_in_order(
            submitted in proptest::collection::vec((0..50_u64, any::<u8>()), 0..60),
        ) {
            let mut timers = Timers::<u8, u8>::new();
            for &(deadline, timer) in &submitted {
                timers.submit(Duration::from_millis(deadline), timer, None);
            }
            let mut expected = submitted;
            expected.sort();
            let expected: Vec<u8> = expected.into_iter().map(|(_, timer)| timer).collect();
            prop_assert_eq!(drain(&mut timers, 50), expected);
        }
    }
}
