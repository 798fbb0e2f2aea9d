//! Paging over a slot's records in order of position.
//!
//! A record's position never changes while it is present, so a walk that resumes at a position
//! passes everything that was there all along, whatever else comes and goes.

use std::ops::Bound::{Excluded, Included};

use super::{Entry, EntryKey, Found, Keyed, Position, Probe, Shard, judge};
use crate::{
    key::{Key, Slot},
    store::{
        digest::{self, Inventory},
        record::{Body, Record},
    },
    version::Version,
};

/// What a record takes in a page beyond its key and value, in bytes.
const RECORD_BYTES: usize = 40;
/// What a ghost takes in a page, in bytes.
const GHOST_BYTES: usize = 24;
/// Ghosts of one slot in a page at most.
const GHOSTS_MAX: usize = 4096;

/// The records collected so far.
pub(in crate::store) struct Page<'a> {
    records: Vec<(EntryKey, Copied)>,
    ghosts: Vec<(Position, Version)>,
    /// Of the last record, or of what had expired in its place.
    last: Option<Position>,
    bytes_left: usize,
    /// What is left out.
    held: &'a Inventory,
}

enum Copied {
    Value(Entry),
    Tombstone(Version),
}

impl<'a> Page<'a> {
    /// An empty page that closes with the record that reaches `bytes_max`, without what is `held`.
    pub(in crate::store) const fn new(bytes_max: usize, held: &'a Inventory) -> Self {
        Self {
            records: Vec::new(),
            ghosts: Vec::new(),
            last: None,
            bytes_left: bytes_max,
            held,
        }
    }

    /// Whether there is room for nothing more. A page has something, however small it has to be.
    pub(in crate::store) const fn is_full(&self) -> bool {
        self.bytes_left == 0 && !(self.records.is_empty() && self.ghosts.is_empty())
    }

    /// The page's ghosts.
    pub(in crate::store) fn take_ghosts(&mut self) -> Vec<(Position, Version)> {
        std::mem::take(&mut self.ghosts)
    }

    /// The page's records as they travel. Allocates, so it is called without a lock.
    pub(in crate::store) fn into_records(self) -> Vec<(Key, Record)> {
        let to_record = |copied| match copied {
            Copied::Value(entry) => Entry::into_record(entry),
            Copied::Tombstone(version) => Record {
                version,
                expires_at: None,
                body: Body::Tombstone,
            },
        };
        self.records
            .into_iter()
            .map(|(key, copied)| (key.to_key(), to_record(copied)))
            .collect()
    }

    /// Whether a record at `position` has to wait for the next page. Records of one position share
    /// a page, so that every page moves on; and a page has at least one record, or what has expired.
    fn is_closed_to(&self, position: Position) -> bool {
        self.bytes_left == 0 && self.last.is_some_and(|last| last != position)
    }

    fn haunt(&mut self, position: Position, version: Version) {
        self.bytes_left = self.bytes_left.saturating_sub(GHOST_BYTES);
        self.ghosts.push((position, version));
    }

    fn push(&mut self, key: &EntryKey, copied: Copied, value_bytes: usize) {
        let bytes = key.bytes().len() + value_bytes + RECORD_BYTES;
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.last = Some(key.position());
        self.records.push((key.clone(), copied));
    }
}

impl Shard {
    /// Adds the live values, the tombstones that are not past their life, the ghosts and what is about to be one of `slot`
    /// from `from` on to `page`; returns where to go on when the page is full.
    pub(in crate::store) fn scan(
        &self,
        slot: Slot,
        from: Position,
        (now_millis, purged_millis): (u64, Option<u64>),
        page: &mut Page<'_>,
    ) -> Option<Position> {
        let end_of_slot = Position::end(slot);
        let stop = self.ghosts.range(from..end_of_slot).nth(GHOSTS_MAX);
        let stop = stop.map_or(end_of_slot, |(position, _)| position);
        let rest = self.scan_records(from, stop, (now_millis, purged_millis), page);
        for (position, ghost) in self.ghosts.range(from..rest.unwrap_or(stop)) {
            if !page.held.contains(position, ghost.version) {
                page.haunt(position, ghost.version);
            }
        }
        rest.or((stop < end_of_slot).then_some(stop))
    }

    fn scan_records(
        &self,
        from: Position,
        stop: Position,
        (now_millis, purged_millis): (u64, Option<u64>),
        page: &mut Page<'_>,
    ) -> Option<Position> {
        let (first, end) = (Probe::at(from), Probe::at(stop));
        let range = (Included(&first as &dyn Keyed), Excluded(&end as &dyn Keyed));
        let mut values = self.order.range::<dyn Keyed, _>(range).peekable();
        let mut tombstones = self.tombstones.range::<dyn Keyed, _>(range).peekable();
        loop {
            let value_first = match (values.peek(), tombstones.peek()) {
                (None, None) => return None,
                (Some(value), Some((tombstone, _))) => value < tombstone,
                (value, _) => value.is_some(),
            };
            let (key, version) = if value_first {
                (values.next()?, None)
            } else {
                tombstones
                    .next()
                    .map(|(key, version)| (key, Some(*version)))?
            };
            if page.is_closed_to(key.position()) {
                return Some(key.position());
            }
            match version {
                Some(version)
                    if page.held.contains(key.position(), version)
                        || is_past(version, purged_millis) => {}
                Some(version) => page.push(key, Copied::Tombstone(version), 0),
                None => self.scan_value(key, now_millis, page),
            }
        }
    }

    /// The keys of a slot, of values and of tombstones.
    pub(super) fn keys_of(&self, slot: Slot) -> Vec<EntryKey> {
        self.keys_between(Position::first(slot), Position::end(slot))
    }

    /// The keys at a position, of values and of tombstones.
    pub(super) fn keys_at(&self, position: Position) -> Vec<EntryKey> {
        self.keys_between(position, Position(position.0.saturating_add(1)))
    }

    fn keys_between(&self, first: Position, end: Position) -> Vec<EntryKey> {
        let (first, end) = (Probe::at(first), Probe::at(end));
        let range = (Included(&first as &dyn Keyed), Excluded(&end as &dyn Keyed));
        let values = self.order.range::<dyn Keyed, _>(range).cloned();
        let tombstones = self.tombstones.range::<dyn Keyed, _>(range);
        values
            .chain(tombstones.map(|(key, _)| key.clone()))
            .collect()
    }

    /// The terms of a slot's values and tombstones, in the digest, and of values that were given up here. One that is known
    /// to have gone elsewhere is welcome.
    pub(in crate::store) fn terms(&self, slot: Slot, terms: &mut Vec<u64>) {
        let (first, end) = (
            Probe::at(Position::first(slot)),
            Probe::at(Position::end(slot)),
        );
        let range = (Included(&first as &dyn Keyed), Excluded(&end as &dyn Keyed));
        for key in self.order.range::<dyn Keyed, _>(range) {
            if let Some(entry) = self.values.peek(key as &dyn Keyed) {
                terms.push(digest::term(key.position(), entry.version()));
            }
        }
        let tombstones = self.tombstones.range::<dyn Keyed, _>(range);
        terms.extend(tombstones.map(|(key, version)| digest::term(key.position(), *version)));
        let ghosts = self
            .ghosts
            .range(Position::first(slot)..Position::end(slot));
        let own = ghosts.filter(|(_, ghost)| ghost.is_own);
        terms.extend(own.map(|(position, ghost)| digest::term(position, ghost.version)));
    }

    fn scan_value(&self, key: &EntryKey, now_millis: u64, page: &mut Page<'_>) {
        let Some(entry) = self.values.peek(key as &dyn Keyed) else {
            return;
        };
        if page.held.contains(key.position(), entry.version()) {
            return;
        }
        let floor = self.floor(key.position());
        if let Found::Value(entry) = judge(entry, floor, now_millis) {
            let value_bytes = entry.value_bytes();
            page.push(key, Copied::Value(entry), value_bytes);
        } else if floor < Some(entry.version()) {
            // It has expired, and will be a ghost: whoever holds something older must hear of it now.
            page.haunt(key.position(), entry.version());
            page.last = Some(key.position());
        }
    }
}

/// Whether a tombstone has outlived its use.
pub(in crate::store) fn is_past(version: Version, purged_millis: Option<u64>) -> bool {
    Some(version.stamp.millis()) <= purged_millis
}
