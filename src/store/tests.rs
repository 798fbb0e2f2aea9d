//! The store against a naive twin, and the laws that its callers rely on.

mod causes;
mod laws;
mod room;
mod time;
mod twin;

use std::collections::BTreeMap;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{totals::Amount, *};
use crate::version::{Stamp, Version};

const SLOTS: u16 = 4;
const LIFE_MILLIS: u64 = 500;
const NOW: u64 = 1000;

/// Limits that nothing here reaches.
const AMPLE: Limits = Limits {
    capacity_entries: 1000,
    memory_bytes: 1 << 20,
    tombstone_bytes: 1 << 20,
    tombstone_life_millis: LIFE_MILLIS,
    ghosts: 1000,
    slots: SLOTS,
};

fn key(name: &str) -> Key {
    Key::new(Bytes::copy_from_slice(name.as_bytes()))
}

fn numbered(number: usize) -> Key {
    key(&format!("key-{number}"))
}

/// A store with all 64 shards that holds values of `entries` times the cost of `value` under a key
/// of 8 bytes.
fn sharded(entries: usize) -> Store {
    let memory_bytes = entries * (8 + 5 + ENTRY_OVERHEAD_BYTES);
    Store::new(Limits {
        capacity_entries: 1 << 20,
        memory_bytes,
        slots: 1024,
        ..AMPLE
    })
}

fn padded(number: usize) -> Key {
    key(&format!("{number:08}"))
}

fn version(millis: u64) -> Version {
    Version::new(Stamp::new(millis, 0), 1)
}

fn value(millis: u64) -> Record {
    sized(millis, 5)
}

fn sized(millis: u64, bytes: usize) -> Record {
    let value = Value {
        bytes: vec![b'v'; bytes].into(),
        form: Form::Text,
    };
    Record {
        version: version(millis),
        expires_at: None,
        body: Body::Value(value),
    }
}

fn expiring(millis: u64, expires_at: u64) -> Record {
    Record {
        expires_at: Some(expires_at),
        ..value(millis)
    }
}

fn tombstone(millis: u64) -> Record {
    Record {
        version: version(millis),
        expires_at: None,
        body: Body::Tombstone,
    }
}

/// The one record that a version of a key stands for, in tests that draw versions: value or
/// tombstone, with or without expiry, of some length.
fn drawn(key: &Key, version: Version) -> Record {
    let dice = xxh3_64_with_seed(
        &version.stamp.raw().to_le_bytes(),
        key.hash() ^ version.writer,
    );
    if dice % 10 < 3 {
        return Record {
            version,
            expires_at: None,
            body: Body::Tombstone,
        };
    }
    let expires_at = (dice % 10 < 6).then_some(version.stamp.millis() + (dice >> 8) % 400);
    let bytes = vec![b'v'; (dice >> 16) as usize % 300].into();
    let form = if dice >> 32 & 1 == 0 {
        Form::Text
    } else {
        Form::Bytes
    };
    Record {
        version,
        expires_at,
        body: Body::Value(Value { bytes, form }),
    }
}

/// Deleted, expired or below the floor.
fn missed(millis: u64) -> Lookup {
    Lookup::Miss(Absence::Gone(version(millis)))
}

/// Was here and went.
fn haunted(millis: u64) -> Lookup {
    Lookup::Miss(Absence::Ghost(version(millis)))
}

impl Store {
    /// Panics unless all shards agree with themselves and the totals with the shards.
    fn audit(&self) {
        let (mut values, mut tombstones) = (Amount::default(), Amount::default());
        for shard in &self.shards {
            let shard = lock(shard);
            shard.audit();
            values += shard.held().0;
            tombstones += shard.held().1;
        }
        assert_eq!(self.totals.values.get(), values);
        assert_eq!(self.totals.tombstones.get(), tombstones);
        assert!(values.entries <= self.limits.capacity_entries);
        assert!(values.bytes <= self.limits.memory_bytes);
        assert!(tombstones.bytes <= self.limits.tombstone_bytes);
    }

    /// Everything that a scan in pages of `bytes_max` returns.
    fn scan_all(&self, slots: &SlotSet, bytes_max: usize, now_millis: u64) -> Vec<(Key, Record)> {
        let (mut records, mut cursor) = (Vec::new(), Some(0));
        while let Some(from) = cursor {
            let page = self.scan(slots, from, bytes_max, &Inventory::nothing(), now_millis);
            assert!(page.next_cursor.is_none_or(|next| next > from || from == 0));
            records.extend(page.records);
            cursor = page.next_cursor;
        }
        records
    }
}

fn by_name(records: Vec<(Key, Record)>) -> BTreeMap<Vec<u8>, Record> {
    records
        .into_iter()
        .map(|(key, record)| (key.bytes().to_vec(), record))
        .collect()
}
