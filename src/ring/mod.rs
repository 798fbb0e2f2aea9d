//! The ring: which members own which slot.
//!
//! A [`Ring`] is an immutable value, computed from the shape of the cluster, the bootstrap and the
//! members with their zones alone, so that every node (and every client) that knows these computes the
//! same owners.
//! A [`roster::Roster`] decides which members those are. Requests take one ring and keep it; a
//! change swaps the whole ring.
//!
//! Invariants: a slot has `min(replication_factor, members)` owners, each once, in falling score; they
//! lie in as many zones as they can, and are the best that do; the first has the highest score of all
//! members; the result does not depend on the order in which members are given; adding or removing a
//! member changes only the owner lists that it enters or leaves, and one other member of them, which
//! makes room or takes its place: the others stay, in their order.

use std::collections::HashMap;

use shard_cache_membership::identity::{BootId, NodeId};
use xxhash_rust::xxh3::Xxh3;

use crate::key::{Key, Slot};

pub mod gates;
pub mod orders;
mod placement;
pub mod roster;
mod score;
pub mod slot;
pub mod table;
pub mod zone;

pub use slot::SlotConfiguration;
use zone::{ZoneId, ZonedMember};

/// Most members that a ring has. Beyond it the lowest node ids are taken.
pub const MEMBERS_MAX: usize = 4096;

/// Seed of the ring hash. Part of the peer contract.
const RING_HASH_SEED: u64 = 0x7368_6172_6452_4e47;

/// What is the same for all rings of a cluster. Cluster-wide: a joiner with another shape is
/// refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Shape {
    /// Number of slots; at least 1.
    pub slots: u16,
    /// Owners per slot when there are enough members; at least 1.
    pub replication_factor: u8,
}

/// A member of the ring in one life of its memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RingMember {
    /// Who it is; decides what it owns.
    pub node_id: NodeId,
    /// Which life of its memory owns it.
    pub boot_id: BootId,
}

impl RingMember {
    /// Node id and boot id, little endian: the form that is hashed.
    fn to_bytes(self) -> [u8; 16] {
        pair_to_bytes(self.node_id.0, self.boot_id.0)
    }
}

/// The forming of a cluster's first ring; tells two clusters apart. Ordered: the older one is
/// smaller, and wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Bootstrap {
    /// When the ring was formed, in milliseconds since the Unix epoch by the former's clock.
    pub formed_millis: u64,
    /// Boot id of the node that formed it.
    pub former: BootId,
}

impl Bootstrap {
    /// Length of the encoded form.
    pub const BYTES: usize = 16;

    /// The form in which a node announces it, as its record's attachment: both fields, little
    /// endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        pair_to_bytes(self.formed_millis, self.former.0)
    }

    /// The bootstrap that an attachment holds; `None` when it holds none (it is empty, or of
    /// another length).
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (formed, former) = bytes.split_first_chunk::<8>()?;
        let former = former.try_into().ok()?;
        Some(Self {
            formed_millis: u64::from_le_bytes(*formed),
            former: BootId(u64::from_le_bytes(former)),
        })
    }
}

fn pair_to_bytes(first: u64, second: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    let (head, tail) = bytes.split_at_mut(8);
    head.copy_from_slice(&first.to_le_bytes());
    tail.copy_from_slice(&second.to_le_bytes());
    bytes
}

/// Slots and their owners. Immutable; look-ups are O(1).
#[derive(Clone, Debug)]
pub struct Ring {
    shape: Shape,
    bootstrap: Bootstrap,
    /// Sorted by node id; one per node id.
    members: Box<[RingMember]>,
    /// Per member its zone.
    zones: Box<[Option<ZoneId>]>,
    owner_count: u8,
    /// `owner_count` indices into `members` per slot, in falling score.
    owners: Box<[u16]>,
    /// Per slot the index into `configurations`: equal owner lists share theirs.
    lists: Box<[u16]>,
    configurations: Box<[SlotConfiguration]>,
    /// Per member the number of slots that it owns.
    owned: Box<[u32]>,
    hash: u64,
}

impl Ring {
    /// Computes the ring. Members may come in any order. Of several with one node id the lowest
    /// boot id counts, and of more than [`MEMBERS_MAX`] the lowest node ids; a shape field of 0
    /// counts as 1. Without members no slot has owners.
    #[must_use]
    pub fn build(shape: Shape, bootstrap: Bootstrap, mut zoned: Vec<ZonedMember>) -> Self {
        let shape = Shape {
            slots: shape.slots.max(1),
            replication_factor: shape.replication_factor.max(1),
        };
        zoned.sort_unstable();
        zoned.dedup_by_key(|zoned| zoned.member.node_id);
        zoned.truncate(MEMBERS_MAX);
        let members: Box<[_]> = zoned.iter().map(|zoned| zoned.member).collect();
        let owner_count = u8::try_from(members.len())
            .unwrap_or(u8::MAX)
            .min(shape.replication_factor);
        let owners = placement::place_slots(shape.slots, &zoned, usize::from(owner_count));
        let mut owned = vec![0; members.len()];
        for &index in &owners {
            owned[usize::from(index)] += 1;
        }
        let (lists, configurations) = configure_slots(
            shape.slots,
            bootstrap,
            &members,
            &owners,
            usize::from(owner_count),
        );
        Self {
            hash: ring_hash(shape, bootstrap, &zoned),
            shape,
            bootstrap,
            members,
            zones: zoned.iter().map(|zoned| zoned.zone).collect(),
            owner_count,
            owners: owners.into(),
            lists: lists.into(),
            configurations: configurations.into(),
            owned: owned.into(),
        }
    }

    /// Equal on every node for the same shape, bootstrap and members, boot ids and zones included.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// The slot's owners in falling score. Empty for a slot beyond the shape.
    #[must_use]
    pub fn owners(&self, slot: Slot) -> Owners<'_> {
        let count = usize::from(self.owner_count);
        let start = slot.index() * count;
        Owners {
            members: &self.members,
            indices: self.owners.get(start..start + count).unwrap_or_default(),
        }
    }

    /// Owners per slot: the replication factor, or fewer while there are fewer members.
    #[must_use]
    pub const fn owner_count(&self) -> u8 {
        self.owner_count
    }

    /// The slot's configuration. A slot beyond the shape has that of an empty owner list.
    #[must_use]
    pub fn configuration(&self, slot: Slot) -> SlotConfiguration {
        self.lists
            .get(slot.index())
            .and_then(|&list| self.configurations.get(usize::from(list)))
            .copied()
            .unwrap_or_else(|| SlotConfiguration::first(self.bootstrap, std::iter::empty()))
    }

    /// The root that the configurations of all slots share.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.configuration(Slot(0)).root
    }

    /// The members, sorted by node id.
    #[must_use]
    pub const fn members(&self) -> &[RingMember] {
        &self.members
    }

    /// The members with their zones, sorted by node id: what [`build`](Self::build) takes.
    pub fn zoned_members(&self) -> impl ExactSizeIterator<Item = ZonedMember> {
        let members = self.members.iter().zip(&self.zones);
        members.map(|(&member, &zone)| ZonedMember { member, zone })
    }

    /// The shape that it was built with.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// The bootstrap that it descends from.
    #[must_use]
    pub const fn bootstrap(&self) -> Bootstrap {
        self.bootstrap
    }

    /// The key's slot.
    #[must_use]
    pub fn slot(&self, key: &Key) -> Slot {
        key.slot(self.shape.slots)
    }

    /// The member's index in [`members`](Self::members); `None` when it is not in the ring.
    #[must_use]
    pub fn position(&self, node_id: NodeId) -> Option<u16> {
        let index = self
            .members
            .binary_search_by_key(&node_id, |member| member.node_id)
            .ok()?;
        u16::try_from(index).ok()
    }

    /// Number of slots that the node is an owner of.
    #[must_use]
    pub fn owned_slots(&self, node_id: NodeId) -> u32 {
        self.position(node_id)
            .map_or(0, |index| self.owned[usize::from(index)])
    }

    /// The node's score for the slot, whether or not it is in the ring.
    #[must_use]
    pub fn score(node_id: NodeId, slot: Slot) -> u64 {
        score::score(node_id, slot)
    }
}

/// The owners of one slot, in falling score.
#[derive(Clone, Copy, Debug)]
pub struct Owners<'a> {
    members: &'a [RingMember],
    indices: &'a [u16],
}

impl<'a> Owners<'a> {
    /// Indices into the ring's members.
    #[must_use]
    pub const fn indices(self) -> &'a [u16] {
        self.indices
    }

    /// Number of owners.
    #[must_use]
    pub const fn len(self) -> usize {
        self.indices.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.indices.is_empty()
    }

    /// The owners, the first one first.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a RingMember> {
        self.indices
            .iter()
            .map(move |&index| &self.members[usize::from(index)])
    }

    /// The node's place among the owners, from 0; `None` when it is not one.
    #[must_use]
    pub fn place(self, node_id: NodeId) -> Option<usize> {
        self.iter().position(|owner| owner.node_id == node_id)
    }
}

/// Per slot the index of its configuration, and the configurations: one for each different owner
/// list.
fn configure_slots(
    slots: u16,
    bootstrap: Bootstrap,
    members: &[RingMember],
    owners: &[u16],
    count: usize,
) -> (Vec<u16>, Vec<SlotConfiguration>) {
    let mut configurations = Vec::new();
    let mut known: HashMap<&[u16], u16> = HashMap::new();
    let mut next = 0..=u16::MAX;
    let lists = (0..usize::from(slots))
        .map(|slot| {
            let indices = &owners[slot * count..(slot + 1) * count];
            *known.entry(indices).or_insert_with(|| {
                let list = Owners { members, indices };
                configurations.push(SlotConfiguration::first(bootstrap, list.iter()));
                next.next()
                    .expect("there are no more owner lists than slots, which fit a u16")
            })
        })
        .collect();
    (lists, configurations)
}

/// Over the shape, the bootstrap, node id and boot id of each member in rising node id, and then node id and zone of each
/// that has a zone, little endian. Where nobody has one, nothing is added.
fn ring_hash(shape: Shape, bootstrap: Bootstrap, zoned: &[ZonedMember]) -> u64 {
    let mut hasher = Xxh3::with_seed(RING_HASH_SEED);
    hasher.update(&shape.slots.to_le_bytes());
    hasher.update(&[shape.replication_factor]);
    hasher.update(&bootstrap.to_bytes());
    for zoned in zoned {
        hasher.update(&zoned.member.to_bytes());
    }
    for zoned in zoned {
        if let Some(zone) = zoned.zone {
            hasher.update(&pair_to_bytes(zoned.member.node_id.0, zone.0));
        }
    }
    hasher.digest()
}

#[cfg(test)]
mod tests;
