//! What was compared and yielded nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::{key::Slot, ring::RingMember, store::Fingerprint};

/// What we and they had.
type Pair = (Fingerprint, Fingerprint);

/// Slots that differ although there is nothing to copy: one side has evicted what the other holds. Worth another try as
/// soon as either has something else, be it a ghost. Bounded by slots and peers.
#[derive(Debug, Default)]
pub(super) struct Fruitless {
    pairs: BTreeMap<(RingMember, Slot), Pair>,
}

impl Fruitless {
    pub(super) fn note(&mut self, peer: RingMember, slot: Slot, pair: Pair) {
        self.pairs.insert((peer, slot), pair);
    }

    pub(super) fn contains(&self, peer: RingMember, slot: Slot, pair: Pair) -> bool {
        self.pairs.get(&(peer, slot)) == Some(&pair)
    }

    /// Forgets peers that are not there.
    pub(super) fn retain(&mut self, peers: &BTreeSet<RingMember>) {
        self.pairs.retain(|(peer, _), _| peers.contains(peer));
    }
}
