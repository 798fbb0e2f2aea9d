//! The configuration of a slot: which owners a request was meant for, in 20 bytes.
//!
//! Every peer request names the configuration it was planned under, and a replica refuses one that
//! it is not in, so that two sets of owners never both acknowledge. Configurations of a slot are
//! ordered by (root, number, owners) and are numbered by slot reconfiguration. In a ring without it
//! every owner list has number 1 and its hash, which covers the boot ids, identifies it.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Bootstrap, RingMember};

/// Seed of the root hash. Part of the peer contract.
const ROOT_HASH_SEED: u64 = 0x7368_6172_6452_4f54;
/// Seed of the owner list hash. Part of the peer contract.
const OWNERS_HASH_SEED: u64 = 0x7368_6172_644f_574e;
/// The only number there is without slot reconfiguration.
const FIRST_NUMBER: u32 = 1;
/// The only generation there is while no slot is declared lost.
const FIRST_GENERATION: u32 = 0;

/// One configuration of a slot, as requests carry it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SlotConfiguration {
    /// The line of descent of the slot's data: a hash of the bootstrap and the generation.
    pub root: u64,
    /// Its place among the configurations of the root; rises only.
    pub number: u32,
    /// Hash of the ordered owner list, boot ids included.
    pub owners: u64,
}

impl SlotConfiguration {
    /// The configuration that an owner list has in a ring without slot reconfiguration.
    pub(super) fn first<'a>(
        bootstrap: Bootstrap,
        owners: impl Iterator<Item = &'a RingMember>,
    ) -> Self {
        Self {
            root: root_hash(bootstrap, FIRST_GENERATION),
            number: FIRST_NUMBER,
            owners: owners_hash(owners),
        }
    }
}

/// Over the bootstrap's bytes and the generation, little endian.
fn root_hash(bootstrap: Bootstrap, generation: u32) -> u64 {
    let mut bytes = [0; Bootstrap::BYTES + 4];
    let (head, tail) = bytes.split_at_mut(Bootstrap::BYTES);
    head.copy_from_slice(&bootstrap.to_bytes());
    tail.copy_from_slice(&generation.to_le_bytes());
    xxh3_64_with_seed(&bytes, ROOT_HASH_SEED)
}

/// Over node id and boot id of each owner in falling score, little endian.
fn owners_hash<'a>(owners: impl Iterator<Item = &'a RingMember>) -> u64 {
    let bytes: Vec<u8> = owners.flat_map(|owner| owner.to_bytes()).collect();
    xxh3_64_with_seed(&bytes, OWNERS_HASH_SEED)
}
