//! Entries: keys and values as the store keeps them, and what they cost.
//!
//! Keys and values are copied out of the buffers they arrived in: a `Bytes` is usually a slice of a
//! network read buffer and would pin all of it for as long as the entry lives. The copies are
//! counted slices behind one word each, which the recency list, the slot order and the expiry order
//! share; a reader takes a reference under the lock and wraps it into `Bytes` afterwards.
//!
//! Every key is looked up by its [`Probe`] (position and borrowed bytes), so that a lookup neither
//! hashes nor allocates.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    hash::{BuildHasherDefault, Hash, Hasher},
};

use bytes::Bytes;
use triomphe::ThinArc;

use super::record::{Body, Form, Record, Value};
use crate::{
    key::{Key, Slot},
    version::Version,
};

/// What an entry costs beyond the bytes of its key and value, in bytes: the node of the recency
/// list (64), counts and allocator rounding of key and value (about 16 and 28), its share of the
/// hash table (20 to 40) and its place in the slot order (about 25). 787 000 entries of 32 + 100
/// bytes in a node were measured to take 187 of resident memory, on Linux; the rest is for what sizes that
/// come and go leave unused. Where that is not enough, resident memory is seen to (`overload::memory`).
pub const ENTRY_OVERHEAD_BYTES: usize = 232;

/// What an entry with an expiry costs in addition, in bytes: its place in the expiry order (measured:
/// 35), and what is stale there.
pub const EXPIRY_OVERHEAD_BYTES: usize = 56;

/// What a tombstone costs beyond the bytes of its key, in bytes: the key's reference counts, its
/// place in the slot order and its place in the order of age.
pub const TOMBSTONE_OVERHEAD_BYTES: usize = 176;

/// The bits of a position below the slot.
const HASH_BITS: u32 = 48;

/// What a value of `value_bytes` under a key of `key_bytes` counts toward `memory_bytes`.
pub(super) const fn entry_cost(key_bytes: usize, value_bytes: usize, expires: bool) -> usize {
    let expiry = if expires { EXPIRY_OVERHEAD_BYTES } else { 0 };
    key_bytes
        .saturating_add(value_bytes)
        .saturating_add(ENTRY_OVERHEAD_BYTES + expiry)
}

/// What a tombstone of a key of `key_bytes` counts toward `tombstone_bytes`.
pub(super) const fn tombstone_cost(key_bytes: usize) -> usize {
    key_bytes.saturating_add(TOMBSTONE_OVERHEAD_BYTES)
}

/// Where a key stands in the store's order: its slot, then the upper bits of its hash. Two keys of
/// one position are possible and are told apart by their bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Position(pub(super) u64);

impl Position {
    /// The position of `key` in a store of `slots` slots.
    pub(super) fn of(key: &Key, slots: u16) -> Self {
        Self(Self::first(key.slot(slots)).0 | (key.hash() >> (u64::BITS - HASH_BITS)))
    }

    /// The lowest position of a slot.
    pub(super) const fn first(slot: Slot) -> Self {
        Self((slot.0 as u64) << HASH_BITS)
    }

    /// The position after the last one of a slot. There is one, because slots are fewer than 2^16.
    pub(super) const fn end(slot: Slot) -> Self {
        Self(Self::first(slot).0.saturating_add(1 << HASH_BITS))
    }

    /// The slot that the position belongs to.
    pub(super) const fn slot(self) -> Slot {
        Slot((self.0 >> HASH_BITS) as u16)
    }
}

/// What identifies a key, borrowed or owned. Equality and order are by position, then by bytes.
pub(super) trait Keyed {
    /// Where the key stands.
    fn position(&self) -> Position;
    /// The key's own bytes.
    fn bytes(&self) -> &[u8];
}

impl PartialEq for dyn Keyed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.position() == other.position() && self.bytes() == other.bytes()
    }
}

impl Eq for dyn Keyed + '_ {}

impl PartialOrd for dyn Keyed + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Keyed + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.position()
            .cmp(&other.position())
            .then_with(|| self.bytes().cmp(other.bytes()))
    }
}

impl Hash for dyn Keyed + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.position().0);
    }
}

/// A key to look for.
#[derive(Clone, Copy)]
pub(super) struct Probe<'a> {
    position: Position,
    bytes: &'a [u8],
}

impl<'a> Probe<'a> {
    /// The probe of `key` in a store of `slots` slots.
    pub(super) fn of(key: &'a Key, slots: u16) -> Self {
        Self {
            position: Position::of(key, slots),
            bytes: key.bytes(),
        }
    }

    /// The lower bound of all keys at or above `position`.
    pub(super) const fn at(position: Position) -> Self {
        Self {
            position,
            bytes: &[],
        }
    }

    /// The key with these bytes at a position; tests make two keys collide with it.
    pub(super) const fn placed(position: Position, bytes: &'a [u8]) -> Self {
        Self { position, bytes }
    }

    /// An owned copy of the key.
    pub(super) fn to_key(self) -> EntryKey {
        EntryKey {
            position: self.position,
            bytes: Slice::copy(self.bytes),
        }
    }
}

impl Keyed for Probe<'_> {
    fn position(&self) -> Position {
        self.position
    }

    fn bytes(&self) -> &[u8] {
        self.bytes
    }
}

/// Shared bytes behind one word: their number and the count of references lie with them.
#[derive(Clone, PartialEq, Eq)]
struct Slice(ThinArc<(), u8>);

impl Slice {
    fn copy(bytes: &[u8]) -> Self {
        Self(ThinArc::from_header_and_slice((), bytes))
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        &self.0.slice
    }
}

/// A key as the store holds it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct EntryKey {
    position: Position,
    bytes: Slice,
}

impl PartialOrd for EntryKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EntryKey {
    fn cmp(&self, other: &Self) -> Ordering {
        (self as &dyn Keyed).cmp(other as &dyn Keyed)
    }
}

impl EntryKey {
    /// The key as it was given.
    pub(super) fn to_key(&self) -> Key {
        Key::new(Bytes::copy_from_slice(self.bytes.as_ref()))
    }
}

impl Keyed for EntryKey {
    fn position(&self) -> Position {
        self.position
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

impl Hash for EntryKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.position.0);
    }
}

impl<'a> Borrow<dyn Keyed + 'a> for EntryKey {
    fn borrow(&self) -> &(dyn Keyed + 'a) {
        self
    }
}

/// Spreads positions over a hash table. A position holds hash bits already, but its upper ones are
/// the slot, which the keys of a shard have partly in common; one multiplication brings the hash
/// bits up.
#[derive(Default, Clone, Copy)]
pub(super) struct PositionHasher(u64);

/// The hash builder of [`PositionHasher`].
pub(super) type PositionHash = BuildHasherDefault<PositionHasher>;

impl Hasher for PositionHasher {
    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn write_u64(&mut self, position: u64) {
        self.0 = position;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Positions arrive through `write_u64`; folding keeps any other use correct.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

/// A value as the store holds it.
#[derive(Clone)]
pub(super) struct Entry {
    bytes: Slice,
    version: Version,
    life: Life,
}

impl Entry {
    /// A copy of `value`.
    pub(super) fn copy(value: &Value, version: Version, expires_at: Option<u64>) -> Self {
        Self {
            bytes: Slice::copy(&value.bytes),
            version,
            life: Life::new(expires_at, value.form),
        }
    }

    /// Decides against other records of the key.
    pub(super) const fn version(&self) -> Version {
        self.version
    }

    /// When it expires, in hybrid milliseconds.
    pub(super) fn expires_at(&self) -> Option<u64> {
        self.life.expires_at()
    }

    /// Whether it is past its expiry.
    pub(super) fn is_expired(&self, now_millis: u64) -> bool {
        self.expires_at().is_some_and(|at| at <= now_millis)
    }

    /// Whether the order of expiry has its key, at its expiry or before.
    pub(super) const fn is_awaited(&self) -> bool {
        self.life.0 & Life::AWAITED > 0
    }

    /// Notes that the order of expiry has its key.
    pub(super) const fn await_expiry(&mut self) {
        self.life.0 |= Life::AWAITED;
    }

    /// The length of the value.
    pub(super) fn value_bytes(&self) -> usize {
        self.bytes.as_ref().len()
    }

    /// What it costs under a key of `key_bytes`.
    pub(super) fn cost(&self, key_bytes: usize) -> usize {
        entry_cost(key_bytes, self.value_bytes(), self.expires_at().is_some())
    }

    /// The record as it travels. Allocates, so it is called after the lock is released.
    pub(super) fn into_record(self) -> Record {
        let (expires_at, form) = (self.expires_at(), self.life.form());
        let value = Value {
            bytes: Bytes::from_owner(self.bytes),
            form,
        };
        Record {
            version: self.version,
            expires_at,
            body: Body::Value(value),
        }
    }
}

/// When a value expires, in hybrid milliseconds, and two facts in the bits above, which keeps an entry small.
#[derive(Clone, Copy)]
struct Life(u64);

impl Life {
    const TEXT: u64 = 1 << 63;
    const AWAITED: u64 = 1 << 62;
    /// No hybrid time reaches it: it has 48 bits of milliseconds.
    const NEVER: u64 = Self::AWAITED - 1;

    fn new(expires_at: Option<u64>, form: Form) -> Self {
        // What is further away than any hybrid time is further away in either form.
        let at = expires_at.map_or(Self::NEVER, |at| at.min(Self::NEVER - 1));
        Self(match form {
            Form::Text => at | Self::TEXT,
            Form::Bytes => at,
        })
    }

    fn expires_at(self) -> Option<u64> {
        let at = self.0 & Self::NEVER;
        (at != Self::NEVER).then_some(at)
    }

    const fn form(self) -> Form {
        if self.0 & Self::TEXT > 0 {
            Form::Text
        } else {
            Form::Bytes
        }
    }
}
