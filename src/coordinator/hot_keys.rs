//! Which keys are asked for most, in a bounded space: the Space-Saving sketch (Metwally, Agrawal, El Abbadi, "Efficient
//! Computation of Frequent and Top-k Elements in Data Streams", ICDT 2005, section 3), over a sample of the requests.
//!
//! Counts are halved every minute, so that they tell of the last minutes.

use std::{cmp::Reverse, time::Duration};

use bytes::Bytes;

use crate::{
    clock::{Clock, Monotonic},
    key::Key,
    sync::{Mutex, lock, try_lock},
};

/// One request in so many is counted. A prime, so that it does not matter how finely the clock counts.
const SAMPLED: u32 = 61;
/// Keys that are followed. What is asked for by more than one request in so many is among them for sure.
const KEYS_MAX: usize = 128;
/// After so long a request counts half.
const HALVED_EVERY: Duration = Duration::from_secs(60);
/// Sampled requests for a key without which nothing is said about it.
const COUNT_MIN: u32 = 16;

/// A key that is asked for often.
#[derive(Clone, PartialEq, Debug)]
pub struct HotKey {
    /// The key itself: for operators only.
    pub key: Bytes,
    /// Its hash.
    pub hash: u64,
    /// Its share of the requests, 0 to 1, over the last minutes.
    pub share: f64,
}

/// Counts the requests that a coordinator takes.
#[derive(Debug, Default)]
pub(super) struct HotKeys(Mutex<Sketch>);

#[derive(Debug, Default)]
struct Sketch {
    entries: Vec<Entry>,
    requests: u32,
    halved_at: Monotonic,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    key: Bytes,
    count: u32,
    /// How much of the count may belong to keys that had this place before.
    inherited: u32,
}

impl HotKeys {
    /// A request for the key. `deadline` is the request's: the nanoseconds in it decide whether it is counted, which costs
    /// all others a division, and nothing that threads share.
    pub(super) fn note(&self, key: &Key, deadline: Monotonic, clock: &dyn Clock) {
        if deadline.subsec_nanos().is_multiple_of(SAMPLED) {
            self.count(key, clock.monotonic());
        }
    }

    fn count(&self, key: &Key, now: Monotonic) {
        // Nobody waits for a count.
        if let Some(mut sketch) = try_lock(&self.0) {
            sketch.fade(now);
            sketch.count(key);
        }
    }

    /// The keys that are asked for most, most first.
    pub(super) fn top(&self, count: usize, now: Monotonic) -> Vec<HotKey> {
        let mut sketch = lock(&self.0);
        sketch.fade(now);
        sketch.top(count)
    }
}

impl Sketch {
    fn fade(&mut self, now: Monotonic) {
        while now.saturating_sub(self.halved_at) >= HALVED_EVERY {
            self.halved_at += HALVED_EVERY;
            if self.requests == 0 {
                self.halved_at = now;
                return;
            }
            self.requests /= 2;
            for entry in &mut self.entries {
                entry.count /= 2;
                entry.inherited /= 2;
            }
            self.entries.retain(|entry| entry.count > 0);
        }
    }

    fn count(&mut self, key: &Key) {
        self.requests = self.requests.saturating_add(1);
        let is_meant = |entry: &&mut Entry| entry.hash == key.hash();
        if let Some(entry) = self.entries.iter_mut().find(is_meant) {
            entry.count = entry.count.saturating_add(1);
            return;
        }
        // A copy: the key is a part of the request's message, which would be kept as a whole.
        let entry = |inherited: u32| Entry {
            hash: key.hash(),
            key: Bytes::copy_from_slice(key.bytes()),
            count: inherited.saturating_add(1),
            inherited,
        };
        if self.entries.len() < KEYS_MAX {
            self.entries.push(entry(0));
        } else if let Some(least) = self.entries.iter_mut().min_by_key(|entry| entry.count) {
            *least = entry(least.count);
        }
    }

    fn top(&self, count: usize) -> Vec<HotKey> {
        let sure = |entry: &Entry| entry.count - entry.inherited;
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.retain(|entry| sure(entry) >= COUNT_MIN);
        entries.sort_by_key(|entry| (Reverse(sure(entry)), entry.hash));
        entries.truncate(count);
        let hot = entries.into_iter().map(|entry| HotKey {
            key: entry.key.clone(),
            hash: entry.hash,
            share: f64::from(sure(entry)) / f64::from(self.requests),
        });
        hot.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn key(name: &str) -> Key {
        Key::new(Bytes::copy_from_slice(name.as_bytes()))
    }

    /// Half of all requests are for two keys, the rest for keys that come once.
    #[test]
    fn hot_keys_are_found_among_many_others_with_their_shares() {
        let hot = HotKeys::default();
        for round in 0..10_000_u32 {
            let name = match round % 10 {
                0..3 => "hottest".to_owned(),
                3..5 => "hot".to_owned(),
                _ => format!("once-{round}"),
            };
            hot.count(&key(&name), Monotonic::ZERO);
        }
        let top = hot.top(2, Monotonic::ZERO);
        let names: Vec<&[u8]> = top.iter().map(|hot| &*hot.key).collect();
        assert_eq!(names, [b"hottest".as_slice(), b"hot"]);
        assert!((top[0].share - 0.3).abs() < 0.02, "{top:?}");
        assert!((top[1].share - 0.2).abs() < 0.02, "{top:?}");
        assert!(lock(&hot.0).entries.len() <= KEYS_MAX);
    }

    #[test]
    fn nothing_is_said_of_keys_that_are_all_alike() {
        let hot = HotKeys::default();
        for round in 0..10_000 {
            hot.count(&key(&format!("{}", round % 5000)), Monotonic::ZERO);
        }
        assert_eq!(hot.top(10, Monotonic::ZERO), []);
    }

    #[test]
    fn what_was_hot_is_forgotten() {
        let hot = HotKeys::default();
        for _ in 0..100 {
            hot.count(&key("k"), Monotonic::ZERO);
        }
        assert_eq!(hot.top(1, HALVED_EVERY).len(), 1);
        assert_eq!(hot.top(1, 8 * HALVED_EVERY), []);
        assert!(lock(&hot.0).entries.is_empty());
    }

    #[test]
    fn a_share_of_the_requests_is_counted_whatever_their_deadlines() {
        let hot = HotKeys::default();
        let clock = SystemClock::new();
        for micros in 0..64_000 {
            hot.note(&key("k"), Duration::from_nanos(micros * 1009), &clock);
        }
        let counted = lock(&hot.0).requests;
        assert!((900..1100).contains(&counted), "{counted} of 64000");
    }
}
