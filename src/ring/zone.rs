//! Zones: failure domains that the owners of a slot are spread over.
//!
//! A zone belongs to one life of a node, because it is configured before the node starts. It travels with the ring
//! member wherever a ring is computed from, so that all who know the members know their zones.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::ring::RingMember;

/// Which zone: the hash of its name. Part of the peer contract.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ZoneId(pub u64);

impl ZoneId {
    /// The id of a zone name: its xxh3 hash with seed 0. The empty name is no zone.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        (!name.is_empty()).then(|| Self(xxh3_64(name.as_bytes())))
    }
}

/// A ring member and where it stands. Ordered by member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ZonedMember {
    /// Who it is.
    pub member: RingMember,
    /// Its zone; a member without one is a failure domain of its own.
    pub zone: Option<ZoneId>,
}

impl ZonedMember {
    /// The member in no zone.
    #[must_use]
    pub const fn without_zone(member: RingMember) -> Self {
        Self { member, zone: None }
    }
}
