//! Slot digests: one word per slot that changes with every record in it.
//!
//! A digest is the xor over (key, version) of a slot's values and tombstones, so that storing and
//! removing a record cost one hash and one xor, and the order of operations leaves no trace. Equal
//! contents give equal digests on every node with the same number of slots; different contents give
//! different ones but for chance.
//!
//! The ghosts of a slot have a word of their own, made in the same way. Nodes may have different ghosts and nothing to do
//! about it; but where their digests differ, a new ghost is news.
//!
//! The same terms, one by one, tell another node which records need not be sent to it ([`Inventory`]).

use xxhash_rust::xxh3::xxh3_64;

use super::entry::Position;
use crate::version::Version;

/// What a slot has, in two words.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Fingerprint {
    /// Of its values and tombstones.
    pub digest: u64,
    /// Of its ghosts.
    pub ghosts: u64,
}

/// The term of one record. Versions are unique per write, so the position stands for the key.
pub(super) fn term(position: Position, version: Version) -> u64 {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&position.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&version.stamp.raw().to_le_bytes());
    bytes[16..].copy_from_slice(&version.writer.to_le_bytes());
    xxh3_64(&bytes)
}

/// Records that somebody holds already, by their terms: they need not be sent to it. Two different records have the same
/// term by chance only, as with digests.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Inventory {
    /// Sorted.
    terms: Vec<u64>,
}

impl Inventory {
    /// Nothing is held.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { terms: Vec::new() }
    }

    /// The records of these terms, in any order.
    #[must_use]
    pub fn of_terms(mut terms: Vec<u64>) -> Self {
        terms.sort_unstable();
        Self { terms }
    }

    /// The terms, sorted.
    #[must_use]
    pub fn terms(&self) -> &[u64] {
        &self.terms
    }

    pub(super) fn contains(&self, position: Position, version: Version) -> bool {
        !self.terms.is_empty() && self.terms.binary_search(&term(position, version)).is_ok()
    }
}
