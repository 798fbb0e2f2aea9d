//! Slot digests: one word per slot that changes with every record in it.
//!
//! A digest is the xor over (key, version) of a slot's values and tombstones, so that storing and
//! removing a record cost one hash and one xor, and the order of operations leaves no trace. Equal
//! contents give equal digests on every node with the same number of slots; different contents give
//! different ones but for chance.

use xxhash_rust::xxh3::xxh3_64;

use super::entry::Position;
use crate::version::Version;

/// The term of one record. Versions are unique per write, so the position stands for the key.
pub(super) fn term(position: Position, version: Version) -> u64 {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&position.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&version.stamp.raw().to_le_bytes());
    bytes[16..].copy_from_slice(&version.writer.to_le_bytes());
    xxh3_64(&bytes)
}
