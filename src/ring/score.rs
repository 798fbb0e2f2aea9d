//! The score of a node for a slot: rendezvous hashing on integers.
//!
//! Part of the wire contract: clients in any language compute owners with it (`docs/ring.md`, with
//! test vectors). It is `MurmurHash3`'s 64-bit finalizer, twice, on wrapping 64-bit arithmetic. The
//! finalizer is a bijection, so two different nodes never have the same score for one slot.

use shard_cache_membership::identity::NodeId;

use crate::key::Slot;

/// The score of a node for a slot; the nodes with the highest scores own it.
pub(super) fn score(node_id: NodeId, slot: Slot) -> u64 {
    SlotMix::of(slot).score(node_id)
}

/// The slot's share of the score, mixed once and used for every node.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotMix(u64);

impl SlotMix {
    /// Slot 0 would be a fixed point of the finalizer, hence the one that is added.
    pub(super) fn of(slot: Slot) -> Self {
        Self(fmix64(u64::from(slot.0) + 1))
    }

    pub(super) fn score(self, node_id: NodeId) -> u64 {
        fmix64(node_id.0 ^ self.0)
    }
}

/// `MurmurHash3`'s 64-bit finalizer.
const fn fmix64(mut bits: u64) -> u64 {
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}
