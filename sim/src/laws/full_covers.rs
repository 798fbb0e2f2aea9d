//! An owner that is full in a configuration holds every write that was acknowledged in lower configurations of the root, or
//! something newer.
//!
//! **Violation**: a node that has become full, or one that is full at a look now and then, holds an older version of a key
//! than a write at QUORUM or ALL that was acknowledged before anybody was seen in this configuration or a higher one.
//!
//! **Not concluded**: of keys whose highest version may have been one that expires or is forgotten soon; of anything once a
//! node has evicted something; of what was written while two roots were in use.

use std::{collections::BTreeMap, time::Duration};

use shard_cache::{
    key::Slot,
    ring::slot::Configuration,
    store::{Lookup, Store},
};
use shard_cache_membership::identity::BootId;

use super::{
    Glimpse,
    acknowledged::{AllWritten, version_of},
};
use crate::{
    history::Version,
    options::Options,
    recorder::Recorder,
    world::{Nanos, clock::EPOCH_MILLIS, nanos},
};

/// A find counts once everything that was under way when it was made has ended.
const CONFIRMED_AFTER: Duration = Duration::from_secs(5);
/// Every so often all full owners are compared, not only those that have become full.
const THOROUGH_EVERY: u64 = 30;
/// Limits of a store below which it may evict between two looks.
const ENTRIES_MIN: usize = 10_000;
const BYTES_MIN: u64 = 64 << 20;
const TOMBSTONE_BYTES_MIN: usize = 1 << 20;
const GHOSTS_MIN: usize = 10_000;

/// Which node, in which life, has which slot.
type Place = (u16, BootId, Slot);

/// What has been seen so far.
pub(super) struct FullCovers {
    slots: u16,
    written: AllWritten,
    timelines: BTreeMap<Slot, Timeline>,
    /// Configurations in which nodes were seen to be full.
    full: BTreeMap<Place, Configuration>,
    suspicions: Vec<Suspicion>,
    last_look: Nanos,
    looks: u64,
    compared: u64,
    /// Something may be gone by eviction.
    is_over: bool,
}

/// The highest configurations of a slot, in rising order.
#[derive(Default)]
struct Timeline {
    /// Each with the last look at which nobody was in it or above.
    highest: Vec<(Configuration, Nanos)>,
    /// The last look before which somebody may have been in a lower root than the highest.
    lower_root_until: Option<Nanos>,
}

struct Suspicion {
    due: Nanos,
    key: usize,
    version: Version,
    what: String,
}

impl FullCovers {
    pub(super) fn new(options: &Options) -> Self {
        let may_evict = options.capacity_entries < ENTRIES_MIN
            || options.memory_bytes < BYTES_MIN
            || options.tombstone_bytes_max < TOMBSTONE_BYTES_MIN
            || options.ghosts_max < GHOSTS_MIN;
        Self {
            slots: options.slots,
            written: AllWritten::new(options),
            timelines: BTreeMap::new(),
            full: BTreeMap::new(),
            suspicions: Vec::new(),
            last_look: 0,
            looks: 0,
            compared: 0,
            is_over: may_evict,
        }
    }

    pub(super) fn compared(&self) -> u64 {
        self.compared
    }

    pub(super) fn look(
        &mut self,
        recorder: &Recorder,
        glimpses: &[Glimpse],
        now: Nanos,
        has_changed: bool,
    ) -> Vec<String> {
        self.written.take(recorder);
        self.is_over |= glimpses.iter().any(|it| has_evicted(it.node.store()));
        let is_thorough = self.looks.is_multiple_of(THOROUGH_EVERY);
        if has_changed {
            self.follow(glimpses, now);
        }
        if !self.is_over && (has_changed || is_thorough) {
            for glimpse in glimpses {
                self.compare(glimpse, now, is_thorough);
            }
        }
        self.looks += 1;
        self.last_look = now;
        self.confirm(now)
    }

    /// Takes note of the configurations that nodes are in.
    fn follow(&mut self, glimpses: &[Glimpse], now: Nanos) {
        for slot in (0..self.slots).map(Slot) {
            let timeline = self.timelines.entry(slot).or_default();
            for glimpse in glimpses {
                let Some(configuration) = glimpse.gates.configuration(slot) else {
                    continue;
                };
                let highest = timeline.highest.last();
                if highest.is_some_and(|(highest, _)| configuration.root() > highest.root()) {
                    timeline.lower_root_until = Some(now);
                }
                if highest.is_none_or(|(highest, _)| configuration > highest) {
                    let seen = (configuration.clone(), self.last_look);
                    timeline.highest.push(seen);
                }
            }
            let Some((highest, _)) = timeline.highest.last() else {
                continue;
            };
            let mut present = glimpses
                .iter()
                .filter_map(|it| it.gates.configuration(slot));
            if present.any(|other| other.root() != highest.root()) {
                timeline.lower_root_until = Some(now);
            }
        }
    }

    fn compare(&mut self, glimpse: &Glimpse, now: Nanos, is_thorough: bool) {
        for slot in (0..self.slots).map(Slot) {
            if !glimpse.gates.is_full(slot) {
                continue;
            }
            let Some(configuration) = glimpse.gates.configuration(slot) else {
                continue;
            };
            let place = (glimpse.index, glimpse.boot, slot);
            let is_new = self.full.get(&place) != Some(configuration);
            if is_new {
                self.full.insert(place, configuration.clone());
            }
            if is_new || is_thorough {
                self.compare_slot(glimpse, slot, configuration, now);
            }
        }
    }

    fn compare_slot(
        &mut self,
        glimpse: &Glimpse,
        slot: Slot,
        configuration: &Configuration,
        now: Nanos,
    ) {
        let Some(timeline) = self.timelines.get(&slot) else {
            return;
        };
        let Some((_, before)) = timeline.highest.iter().find(|(it, _)| it >= configuration) else {
            return;
        };
        let is_root_new = |invoked_ns: Nanos| {
            let until = timeline.lower_root_until;
            until.is_some_and(|until| invoked_ns <= until + nanos(super::INTERVAL))
        };
        let (store, now_millis) = (glimpse.node.store(), EPOCH_MILLIS + now / 1_000_000);
        for (key, written) in self.written.of(slot) {
            let Some(write) = written.highest(*before) else {
                continue;
            };
            if is_root_new(write.invoked_ns) {
                continue;
            }
            self.compared += 1;
            let held = match store.peek(&written.key, now_millis) {
                Lookup::Hit(record) => Some(version_of(record.version)),
                Lookup::Miss(absence) => absence.known().map(version_of),
            };
            if held >= Some(write.version) {
                continue;
            }
            let (index, name, version) = (glimpse.index, &written.name, write.version);
            let acknowledged_s = write.completed_ns as f64 / 1e9;
            self.suspicions.push(Suspicion {
                due: now + nanos(CONFIRMED_AFTER),
                key,
                version,
                what: format!(
                    "node-{index} is full in {configuration:?} of {slot} and holds {held:?} of {name}, though {version:?} was \
                     acknowledged at {acknowledged_s:.3} s, below that"
                ),
            });
        }
    }

    /// What is still unexplained now that all that was under way has ended.
    fn confirm(&mut self, now: Nanos) -> Vec<String> {
        if self.is_over {
            self.suspicions.clear();
        }
        let due = |suspicion: &mut Suspicion| suspicion.due <= now;
        let due: Vec<Suspicion> = self.suspicions.extract_if(.., due).collect();
        due.into_iter()
            .filter(|it| self.written.key(it.key).is_above_fleeting(it.version))
            .map(|it| it.what)
            .collect()
    }
}

fn has_evicted(store: &Store) -> bool {
    let stats = store.stats();
    stats.evictions_capacity + stats.evictions_memory + stats.floors_raised + stats.ghosts_forgotten
        > 0
}
