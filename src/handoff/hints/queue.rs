//! The hints of one target, in the order of their age, in two lanes: those that it has refused wait for their turn and
//! do not hold up the others.

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

/// Whether a target has refused a hint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// It has not, or it has taken an older record of the key since.
    Fresh,
    /// It has, and the key is owed since.
    Refused,
}

/// The hints of one target.
#[derive(Debug, Default)]
pub(super) struct Queue {
    fresh: BTreeMap<Place, Hint>,
    refused: BTreeMap<Place, Hint>,
    /// Where the next batch of refused hints begins: those that were refused again let the others go first.
    turn: Place,
    /// Where a key's hint is. Only looked up, never iterated.
    places: HashMap<Bytes, (Lane, Place)>,
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
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn refused(&self) -> usize {
        self.refused.len()
    }

    pub(super) fn oldest(&self) -> Option<Place> {
        let lanes = [&self.fresh, &self.refused].into_iter();
        lanes
            .filter_map(|lane| lane.first_key_value())
            .map(|(&place, _)| place)
            .min()
    }

    pub(super) fn version(&self, key: &Key) -> Option<Version> {
        let (lane, place) = self.places.get(key.bytes())?;
        self.lane(*lane).get(place).map(|hint| hint.record.version)
    }

    /// The hints of a lane in the order in which they are tried.
    pub(super) fn in_turn(&self, lane: Lane) -> impl Iterator<Item = (&Place, &Hint)> {
        let (lane, turn) = match lane {
            Lane::Fresh => (&self.fresh, Place::default()),
            Lane::Refused => (&self.refused, self.turn),
        };
        lane.range(turn..).chain(lane.range(..turn))
    }

    /// Adds a hint, or replaces the key's, which keeps its lane, and its place unless the new one is older still.
    pub(super) fn insert(&mut self, key: Key, record: Record, place: Place, renewed: Place) {
        let held = self.places.get(key.bytes()).copied();
        self.remove(&key);
        let (lane, place) =
            held.map_or((Lane::Fresh, place), |(lane, held)| (lane, held.min(place)));
        let hint = Hint {
            key,
            record,
            renewed,
        };
        self.put(lane, place, hint);
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Hint> {
        let (lane, place) = self.places.remove(key.bytes())?;
        let hint = self.lane_mut(lane).remove(&place)?;
        self.bytes -= cost(&hint.key, &hint.record);
        Some(hint)
    }

    pub(super) fn pop_oldest(&mut self) -> Option<(Place, Hint)> {
        let place = self.oldest()?;
        let hint = self
            .fresh
            .remove(&place)
            .or_else(|| self.refused.remove(&place))?;
        self.places.remove(hint.key.bytes());
        self.bytes -= cost(&hint.key, &hint.record);
        Some((place, hint))
    }

    /// Moves the key's hint to the place that it has without the records before it, which were taken.
    pub(super) fn renew(&mut self, key: &Key) {
        if let Some(hint) = self.remove(key) {
            self.put(Lane::Fresh, hint.renewed, hint);
        }
    }

    /// Moves the key's hint to those that were refused; if it was there already, the others have their turn first.
    pub(super) fn refuse(&mut self, key: &Key) {
        match self.places.get(key.bytes()).copied() {
            Some((Lane::Fresh, place)) => {
                if let Some(hint) = self.remove(key) {
                    self.put(Lane::Refused, place, hint);
                }
            }
            Some((Lane::Refused, (millis, sequence))) => self.turn = (millis, sequence + 1),
            None => {}
        }
    }

    pub(super) fn date_back(&mut self, now_millis: u64) {
        let back = |(millis, sequence): Place| (millis.min(now_millis), sequence);
        for lane in [Lane::Fresh, Lane::Refused] {
            for (place, hint) in std::mem::take(self.lane_mut(lane)) {
                self.places
                    .insert(hint.key.bytes().clone(), (lane, back(place)));
                let renewed = back(hint.renewed);
                self.lane_mut(lane)
                    .insert(back(place), Hint { renewed, ..hint });
            }
        }
    }

    fn put(&mut self, lane: Lane, place: Place, hint: Hint) {
        self.bytes += cost(&hint.key, &hint.record);
        self.places.insert(hint.key.bytes().clone(), (lane, place));
        self.lane_mut(lane).insert(place, hint);
    }

    const fn lane(&self, lane: Lane) -> &BTreeMap<Place, Hint> {
        match lane {
            Lane::Fresh => &self.fresh,
            Lane::Refused => &self.refused,
        }
    }

    const fn lane_mut(&mut self, lane: Lane) -> &mut BTreeMap<Place, Hint> {
        match lane {
            Lane::Fresh => &mut self.fresh,
            Lane::Refused => &mut self.refused,
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
