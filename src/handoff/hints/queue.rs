//! The hints of one target, in the order of their age.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::HINT_OVERHEAD_BYTES;
use crate::{
    key::Key,
    store::{Body, Record},
    version::Version,
};

/// Since when in milliseconds, then a number that orders hints of one millisecond: a place in the
/// order of age.
pub(super) type Place = (u64, u64);

/// The hints of one target.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) hints: BTreeMap<Place, Hint>,
    /// Where a key's hint is. Only looked up, never iterated.
    places: HashMap<Bytes, Place>,
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) struct Hint {
    pub(super) key: Key,
    pub(super) record: Record,
    /// The place that it has once everything before this record is delivered.
    renewed: Place,
}

impl Queue {
    pub(super) fn oldest(&self) -> Option<Place> {
        self.hints.first_key_value().map(|(&place, _)| place)
    }

    pub(super) fn version(&self, key: &Key) -> Option<Version> {
        let place = self.places.get(key.bytes())?;
        self.hints.get(place).map(|hint| hint.record.version)
    }

    /// Adds a hint, or replaces the key's, which keeps its place unless the new one is older still.
    pub(super) fn insert(&mut self, key: Key, record: Record, place: Place, renewed: Place) {
        let held = self.places.get(key.bytes()).copied();
        self.remove(&key);
        let place = held.map_or(place, |held| held.min(place));
        self.bytes += cost(&key, &record);
        self.places.insert(key.bytes().clone(), place);
        self.hints.insert(
            place,
            Hint {
                key,
                record,
                renewed,
            },
        );
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Hint> {
        let place = self.places.remove(key.bytes())?;
        let hint = self.hints.remove(&place)?;
        self.bytes -= cost(&hint.key, &hint.record);
        Some(hint)
    }

    pub(super) fn pop_oldest(&mut self) -> Option<Hint> {
        let (_, hint) = self.hints.pop_first()?;
        self.places.remove(hint.key.bytes());
        self.bytes -= cost(&hint.key, &hint.record);
        Some(hint)
    }

    /// Moves the key's hint to the place that it has without the records before it.
    pub(super) fn renew(&mut self, key: &Key) {
        if let Some(hint) = self.remove(key) {
            let renewed = hint.renewed;
            self.insert(hint.key, hint.record, renewed, renewed);
        }
    }

    pub(super) fn date_back(&mut self, now_millis: u64) {
        let back = |(millis, sequence): Place| (millis.min(now_millis), sequence);
        for (place, hint) in std::mem::take(&mut self.hints) {
            self.places.insert(hint.key.bytes().clone(), back(place));
            let renewed = back(hint.renewed);
            self.hints.insert(back(place), Hint { renewed, ..hint });
        }
    }
}

/// Bytes of key and value.
pub(super) fn payload(key: &Key, record: &Record) -> usize {
    let value = match &record.body {
        Body::Value(value) => value.bytes.len(),
        Body::Tombstone => 0,
    };
    key.bytes().len() + value
}

pub(super) fn cost(key: &Key, record: &Record) -> usize {
    HINT_OVERHEAD_BYTES + payload(key, record)
}
