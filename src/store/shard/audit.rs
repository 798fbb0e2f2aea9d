//! The shard's invariants, checked from scratch, and keys that collide.

use super::{
    Amount, BTreeSet, Entry, EntryKey, Fingerprint, Found, Keyed, Page, Position, Probe, Shard,
    Warmth, digest, tombstone_cost,
};
use crate::{
    key::Slot,
    store::{
        digest::Inventory,
        record::{Form, Value},
    },
    version::{Stamp, Version},
};

impl Shard {
    /// Panics unless every order, digest and amount agrees with the records held.
    pub(in crate::store) fn audit(&self) {
        let mut digests = vec![0; self.slots.len()];
        let (mut values, mut tombstones) = (Amount::default(), Amount::default());
        let (mut order, mut ages) = (BTreeSet::new(), BTreeSet::new());
        for (key, entry) in self.values.iter() {
            assert!(
                !self.tombstones.contains_key(key),
                "a key has a value or a tombstone"
            );
            digests[self.index(key)] ^= digest::term(key.position(), entry.version());
            values += Amount::one(entry.cost(key.bytes().len()));
            order.insert(key.clone());
        }
        for (key, version) in &self.tombstones {
            assert!(
                Some(*version) > self.floor(key.position()),
                "tombstones are above the floor"
            );
            digests[self.index(key)] ^= digest::term(key.position(), *version);
            tombstones += Amount::one(tombstone_cost(key.bytes().len()));
            ages.insert((*version, key.clone()));
        }
        let everywhere = Position(0)..Position(u64::MAX);
        let mut ghosts = vec![0; self.slots.len()];
        for (position, ghost) in self.ghosts.range(everywhere) {
            let index = position.slot().index() / self.stride;
            ghosts[index] ^= digest::term(position, ghost.version);
        }
        assert!(order == self.order && ages == self.ages);
        self.audit_expiries();
        let computed = digests.into_iter().zip(ghosts);
        let computed = computed.map(|(digest, ghosts)| Fingerprint { digest, ghosts });
        let kept = self.slots.iter().map(|state| state.fingerprint);
        assert!(computed.eq(kept));
        assert_eq!((values, tombstones), self.held());
    }

    fn index(&self, key: &EntryKey) -> usize {
        key.position().slot().index() / self.stride
    }
}

fn version(millis: u64) -> Version {
    Version::new(Stamp::new(millis, 0), 1)
}

fn put(shard: &mut Shard, probe: &Probe<'_>, millis: u64) {
    let value = Value {
        bytes: bytes::Bytes::from_static(b"value"),
        form: Form::Bytes,
    };
    shard.put(
        probe,
        Entry::copy(&value, version(millis), None),
        Warmth::Hot,
    );
    shard.audit();
}

const COLLISION: Position = Position(42);

/// Whether a read would be served.
fn is_live(shard: &Shard, probe: &Probe<'_>) -> bool {
    matches!(shard.peek(probe, 0), Found::Value(_))
}

#[test]
fn keys_of_one_position_are_told_apart() {
    let mut shard = Shard::new(1, 1);
    let (a, b) = (
        Probe::placed(COLLISION, b"a"),
        Probe::placed(COLLISION, b"b"),
    );
    put(&mut shard, &a, 1);
    assert!(is_live(&shard, &a) && !is_live(&shard, &b));
    put(&mut shard, &b, 2);
    shard.bury(&a, version(3));
    shard.audit();
    assert!(!is_live(&shard, &a) && is_live(&shard, &b));
}

#[test]
fn keys_of_one_position_share_a_page() {
    let mut shard = Shard::new(1, 1);
    for (index, key) in [b"a", b"b", b"c"].into_iter().enumerate() {
        put(&mut shard, &Probe::placed(COLLISION, key), index as u64);
    }
    shard.bury(&Probe::placed(COLLISION, b"d"), version(9));
    put(
        &mut shard,
        &Probe::placed(Position(COLLISION.0 + 1), b"e"),
        10,
    );
    let held = Inventory::nothing();
    let mut page = Page::new(1, &held);
    let next = shard.scan(Slot(0), Position(0), (0, None), &mut page);
    assert_eq!(next, Some(Position(COLLISION.0 + 1)));
    assert_eq!(page.into_records().len(), 4);
}

#[test]
fn a_sweep_moves_on_past_keys_of_one_position() {
    let mut shard = Shard::new(1, 1);
    for key in [b"a", b"b", b"c"] {
        put(&mut shard, &Probe::placed(COLLISION, key), 5);
    }
    put(
        &mut shard,
        &Probe::placed(Position(COLLISION.0 + 1), b"old"),
        1,
    );
    shard.bury(&Probe::placed(Position(7), b"gone"), version(2));
    assert!(shard.forget_oldest_tombstone(0).is_some());
    let steps = (0..2).map(|_| shard.expire(10, None, &mut 1).swept.entries);
    assert_eq!(steps.collect::<Vec<_>>(), [0, 1]);
    shard.audit();
}
