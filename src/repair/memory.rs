//! What was compared and yielded nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::{key::Slot, ring::RingMember};

/// Pairs of digests, ours and theirs, of slots that differ although there is nothing to copy: one side has evicted what the
/// other holds. Bounded by slots and peers.
#[derive(Debug, Default)]
pub(super) struct Fruitless {
    digests: BTreeMap<(RingMember, Slot), (u64, u64)>,
}

impl Fruitless {
    pub(super) fn note(&mut self, peer: RingMember, slot: Slot, digests: (u64, u64)) {
        self.digests.insert((peer, slot), digests);
    }

    pub(super) fn contains(&self, peer: RingMember, slot: Slot, digests: (u64, u64)) -> bool {
        self.digests.get(&(peer, slot)) == Some(&digests)
    }

    /// Forgets peers that are not there.
    pub(super) fn retain(&mut self, peers: &BTreeSet<RingMember>) {
        self.digests.retain(|(peer, _), _| peers.contains(peer));
    }
}
