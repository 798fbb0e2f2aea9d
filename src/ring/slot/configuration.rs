//! Configurations: numbered owners of a slot.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ring::{Bootstrap, RingMember};

/// Seed of the root hash. Part of the peer contract.
const ROOT_HASH_SEED: u64 = 0x7368_6172_6452_4f54;
/// Seed of the owner list hash. Part of the peer contract.
const OWNERS_HASH_SEED: u64 = 0x7368_6172_644f_574e;
/// The number of the configurations that a first ring makes.
const FIRST_NUMBER: u32 = 1;

/// One configuration of a slot in 20 bytes, as requests carry it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SlotConfiguration {
    /// The line of descent of the slot's data: a hash of its [`Root`].
    pub root: u64,
    /// Its place among the configurations of the root; rises only.
    pub number: u32,
    /// Hash of the ordered owner list, boot ids included.
    pub owners: u64,
}

impl SlotConfiguration {
    /// The configuration that an owner list has in the first ring of a cluster.
    pub(in crate::ring) fn first<'a>(
        bootstrap: Bootstrap,
        owners: impl Iterator<Item = &'a RingMember>,
    ) -> Self {
        Self {
            root: Root::first(bootstrap).hash(),
            number: FIRST_NUMBER,
            owners: owners_hash(owners),
        }
    }
}

/// A line of descent of a slot's data. It changes only when the slot is declared lost, and data never crosses roots.
///
/// Ordered: the older bootstrap is higher, then the later generation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Root {
    /// The forming of the cluster's first ring.
    pub bootstrap: Bootstrap,
    /// How often the slot was declared lost.
    pub generation: u32,
    /// Hash of the owners of its first configuration; 0 in generation 0, where they follow from the first ring. Tells two
    /// declarations of one loss apart.
    pub first_owners: u64,
    /// The number of its first configuration.
    pub first_number: u32,
}

impl Root {
    /// The root of a cluster in which nothing was lost yet.
    #[must_use]
    pub const fn first(bootstrap: Bootstrap) -> Self {
        Self {
            bootstrap,
            generation: 0,
            first_owners: 0,
            first_number: FIRST_NUMBER,
        }
    }

    /// What is left of it in requests: over the bootstrap's bytes, the generation and, in generations after the first, the
    /// hash of the first owners and the first number, little endian.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut bytes = [0; Bootstrap::BYTES + 4 + 8 + 4];
        bytes[..16].copy_from_slice(&self.bootstrap.to_bytes());
        bytes[16..20].copy_from_slice(&self.generation.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.first_owners.to_le_bytes());
        bytes[28..].copy_from_slice(&self.first_number.to_le_bytes());
        let length = if self.generation == 0 {
            20
        } else {
            bytes.len()
        };
        xxh3_64_with_seed(&bytes[..length], ROOT_HASH_SEED)
    }

    /// The root that follows when a slot is declared lost in `configuration` of this one.
    pub(super) fn after_loss(&self, configuration: &Configuration) -> Self {
        Self {
            bootstrap: self.bootstrap,
            generation: self.generation.saturating_add(1),
            first_owners: configuration.id().owners,
            first_number: configuration.number(),
        }
    }
}

impl PartialOrd for Root {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Root {
    fn cmp(&self, other: &Self) -> Ordering {
        // The older bootstrap is the smaller one, and wins.
        other
            .bootstrap
            .cmp(&self.bootstrap)
            .then_with(|| self.generation.cmp(&other.generation))
            .then_with(|| self.first_owners.cmp(&other.first_owners))
            .then_with(|| self.first_number.cmp(&other.first_number))
    }
}

/// Numbered owners of a slot. Configurations of a slot are totally ordered by root, number and owners.
///
/// Cheap to clone: equal ones are usually one allocation.
#[derive(Clone)]
pub struct Configuration(Arc<Parts>);

struct Parts {
    root: Root,
    number: u32,
    owners: Box<[RingMember]>,
    id: SlotConfiguration,
}

impl Configuration {
    /// The configuration with this number and these owners, in falling score.
    #[must_use]
    pub fn new(root: Root, number: u32, owners: impl Into<Box<[RingMember]>>) -> Self {
        let owners = owners.into();
        let id = SlotConfiguration {
            root: root.hash(),
            number,
            owners: owners_hash(owners.iter()),
        };
        Self(Arc::new(Parts {
            root,
            number,
            owners,
            id,
        }))
    }

    /// The configuration that a first ring makes of a slot's owners.
    #[must_use]
    pub fn first(bootstrap: Bootstrap, owners: impl Into<Box<[RingMember]>>) -> Self {
        Self::new(Root::first(bootstrap), FIRST_NUMBER, owners)
    }

    /// Its root.
    #[must_use]
    pub fn root(&self) -> Root {
        self.0.root
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.0.number
    }

    /// Its owners, in falling score.
    #[must_use]
    pub fn owners(&self) -> &[RingMember] {
        &self.0.owners
    }

    /// As requests carry it.
    #[must_use]
    pub fn id(&self) -> SlotConfiguration {
        self.0.id
    }

    /// Whether it names the member, in its present life.
    #[must_use]
    pub fn names(&self, member: RingMember) -> bool {
        self.owners().contains(&member)
    }

    /// Whether it names an earlier life of the member: it is out of date, and nothing that the member may enter.
    #[must_use]
    pub fn names_former_self_of(&self, member: RingMember) -> bool {
        self.owners()
            .iter()
            .any(|owner| owner.node_id == member.node_id && owner.boot_id != member.boot_id)
    }

    /// Whether nothing in its root lies below it.
    #[must_use]
    pub fn is_first_of_root(&self) -> bool {
        self.number() == self.root().first_number
    }

    /// Whether a cluster began with it: an owner has missed nothing, because there was nothing before.
    #[must_use]
    pub fn is_first_of_cluster(&self) -> bool {
        self.root().generation == 0 && self.is_first_of_root()
    }
}

impl PartialEq for Configuration {
    fn eq(&self, other: &Self) -> bool {
        let (own, others) = (&*self.0, &*other.0);
        Arc::ptr_eq(&self.0, &other.0)
            || (own.id == others.id && own.root == others.root && own.owners == others.owners)
    }
}

impl Eq for Configuration {}

impl Hash for Configuration {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The owners' hash is one already, and all but unique.
        state.write_u64(self.0.id.owners ^ u64::from(self.0.number));
    }
}

impl PartialOrd for Configuration {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Configuration {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        let key = |of: &Self| (of.root(), of.number());
        key(self)
            .cmp(&key(other))
            .then_with(|| self.owners().cmp(other.owners()))
    }
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}[", self.root().generation, self.number())?;
        for (place, owner) in self.owners().iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{}/{}", owner.node_id, owner.boot_id)?;
        }
        f.write_str("]")
    }
}

/// How many owners of a configuration must take part: cluster-wide, as configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quorums {
    /// Owners of a slot when there are enough members.
    pub replication_factor: u8,
    /// Owners that store a write, of as many.
    pub write_quorum: u8,
}

impl Quorums {
    /// W for so many owners: as configured, or a majority while there are fewer than the replication factor.
    #[must_use]
    pub fn write(self, owners: usize) -> usize {
        if owners < usize::from(self.replication_factor) {
            owners / 2 + 1
        } else {
            usize::from(self.write_quorum).min(owners)
        }
    }

    /// The size of a cover of so many owners: it meets every write quorum and every other cover. The second half is what
    /// keeps two owners from each going their own way.
    #[must_use]
    pub fn cover(self, owners: usize) -> usize {
        let meets_writes = (owners + 1).saturating_sub(self.write(owners));
        meets_writes.max(owners / 2 + 1)
    }
}

/// Over node id and boot id of each owner in falling score, little endian.
fn owners_hash<'a>(owners: impl Iterator<Item = &'a RingMember>) -> u64 {
    let bytes: Vec<u8> = owners.flat_map(|owner| owner.to_bytes()).collect();
    xxh3_64_with_seed(&bytes, OWNERS_HASH_SEED)
}
