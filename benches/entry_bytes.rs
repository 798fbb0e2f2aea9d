//! What a million entries of 32 + 100 bytes take of resident memory beyond their keys and values: with the allocator of
//! the node, without and with an expiry, as written once and after each was written again.

use std::fs;

use bytes::Bytes;
use shard_cache::{
    key::Key,
    store::{Body, Form, Limits, Record, Store, Value},
    version::{Stamp, Version},
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ENTRIES: u64 = 1_000_000;
const KEY_BYTES: usize = 32;
const VALUE_BYTES: usize = 100;
const PAGE_BYTES: usize = 4096;

fn main() {
    for (name, expires) in [
        ("without expiry", None),
        ("with expiry", Some(u64::MAX >> 16)),
    ] {
        let before = resident_bytes();
        let store = Store::new(Limits {
            capacity_entries: usize::MAX,
            memory_bytes: usize::MAX,
            tombstone_bytes: usize::MAX,
            tombstone_life_millis: u64::MAX,
            ghosts: 1 << 16,
            slots: 16384,
        });
        for round in 1..=2 {
            for number in 0..ENTRIES {
                write(&store, number, round, expires.map(|at| at + round));
            }
            let per_entry = (resident_bytes() - before) as f64 / ENTRIES as f64;
            let beyond = per_entry - (KEY_BYTES + VALUE_BYTES) as f64;
            println!(
                "{name}, written {round} times: {beyond:.0} bytes per entry beyond key and value"
            );
        }
    }
}

fn write(store: &Store, number: u64, round: u64, expires_at: Option<u64>) {
    let key = Key::new(Bytes::from(format!("key-{number:028}")));
    assert_eq!(key.bytes().len(), KEY_BYTES);
    let record = Record {
        version: Version::new(Stamp::new(round, 0), 1),
        expires_at,
        body: Body::Value(Value {
            bytes: Bytes::from_static(&[7; VALUE_BYTES]),
            form: Form::Bytes,
        }),
    };
    store.write(&key, record, 0);
}

fn resident_bytes() -> usize {
    let memory = fs::read_to_string("/proc/self/statm").expect("the kernel tells");
    let pages = memory
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok());
    let pages: usize = pages.expect("the second number is that of resident pages");
    pages * PAGE_BYTES
}
