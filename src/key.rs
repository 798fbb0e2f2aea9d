//! Keys and slots: the fixed partition of the key space.

use std::fmt;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Seed of the key hash. Part of the wire contract: clients in any language compute owners with it.
pub const KEY_HASH_SEED: u64 = 0x7368_6172_6443_4143;

/// The hash of a key. Slot, shard and digest all derive from it.
#[must_use]
pub fn key_hash(key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, KEY_HASH_SEED)
}

/// One of the cluster's fixed number of slots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub u16);

impl Slot {
    /// The slot of a key hash in a cluster of `slots` slots: the remainder of the hash.
    #[must_use]
    pub fn of_hash(hash: u64, slots: u16) -> Self {
        // The remainder of a u16 fits a u16.
        Self(u16::try_from(hash % u64::from(slots)).unwrap_or_default())
    }

    /// The slot as a table index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key with its hash, computed once.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    bytes: Bytes,
    hash: u64,
}

impl Key {
    /// Hashes `bytes`. Lengths are checked at the edge, where the limits are known.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        let hash = key_hash(&bytes);
        Self { bytes, hash }
    }

    /// The key itself.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its hash.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Its slot in a cluster of `slots` slots.
    #[must_use]
    pub fn slot(&self, slots: u16) -> Slot {
        Slot::of_hash(self.hash, slots)
    }
}

/// Shows the hash only: keys may be personal data and never reach a log.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:016x})", self.hash)
    }
}
