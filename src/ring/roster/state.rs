//! What a node hands over to one that has no ring yet: the bootstrap and the members with their
//! zones, as it travels in push-pull.
//!
//! Decoding trusts nothing: length, member count, order and trailing bytes are checked, and junk is
//! an error.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shard_cache_membership::identity::{BootId, NodeId};

use crate::ring::{
    Bootstrap, MEMBERS_MAX, RingMember, Shape,
    zone::{ZoneId, ZonedMember},
};

/// Longest encoded state, in bytes: every integer at its longest.
pub const STATE_BYTES_MAX: usize = 64 + 40 * MEMBERS_MAX;

const CODEC: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<STATE_BYTES_MAX>,
> = bincode::config::standard().with_limit::<STATE_BYTES_MAX>();

/// A roster as one node hands it to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RosterState {
    pub(super) shape: Shape,
    pub(super) bootstrap: Bootstrap,
    /// The members are those that the ring was formed with.
    pub(super) is_first: bool,
    /// Those of the ring, and those that were in it and are away; sorted by node id; at least one, at most
    /// [`MEMBERS_MAX`].
    pub(super) members: Vec<StateMember>,
}

impl RosterState {
    /// The members, in the lives that the roster knows.
    pub fn lives(&self) -> impl Iterator<Item = RingMember> + '_ {
        self.members.iter().map(|told| told.zoned.member)
    }
}

/// One member. Its absence travels as an age, because monotonic clocks have no common
/// origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct StateMember {
    pub(super) zoned: ZonedMember,
    pub(super) absent_for: Option<Duration>,
    /// A ring did without it while it was away.
    pub(super) is_dismissed: bool,
}

/// Bytes that are no roster state.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StateError {
    /// Longer than any state can be.
    #[error("a roster state of {length} bytes, more than the {STATE_BYTES_MAX} allowed")]
    TooLong {
        /// Bytes given.
        length: usize,
    },
    /// Cut off, or not an encoding of a state.
    #[error("a malformed roster state: {reason}")]
    Malformed {
        /// What the codec says.
        reason: String,
    },
    /// A state, and something behind it.
    #[error("{count} bytes behind a roster state")]
    TrailingBytes {
        /// Bytes left over.
        count: usize,
    },
    /// A shape that no ring has.
    #[error("a roster state of {slots} slots and replication factor {replication_factor}")]
    Shape {
        /// Its number of slots.
        slots: u16,
        /// Its replication factor.
        replication_factor: u8,
    },
    /// No members, or more than a ring has.
    #[error("a roster state of {count} members, not 1 to {MEMBERS_MAX}")]
    MemberCount {
        /// Members named.
        count: usize,
    },
    /// Members that do not rise strictly by node id.
    #[error("a roster state whose members are not in order")]
    MemberOrder,
}

impl RosterState {
    /// The bootstrap that it descends from.
    #[must_use]
    pub const fn bootstrap(&self) -> Bootstrap {
        self.bootstrap
    }

    /// The form in which it travels; at most [`STATE_BYTES_MAX`] bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        bincode::serde::encode_to_vec(Wire::from(self), CODEC)
            .expect("integers and vectors of known length always encode")
    }

    /// Reads the travelling form.
    ///
    /// # Errors
    /// [`StateError`] for anything but exactly one well-formed state.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        if bytes.len() > STATE_BYTES_MAX {
            return Err(StateError::TooLong {
                length: bytes.len(),
            });
        }
        let (wire, read): (Wire, usize) =
            bincode::serde::decode_from_slice(bytes, CODEC).map_err(|error| {
                StateError::Malformed {
                    reason: error.to_string(),
                }
            })?;
        if read < bytes.len() {
            return Err(StateError::TrailingBytes {
                count: bytes.len() - read,
            });
        }
        wire.try_into()
    }
}

/// The encoded fields, in order.
#[derive(Serialize, Deserialize)]
struct Wire {
    slots: u16,
    replication_factor: u8,
    formed_millis: u64,
    former: BootId,
    is_first: bool,
    members: Vec<WireMember>,
}

#[derive(Serialize, Deserialize)]
struct WireMember {
    node_id: NodeId,
    boot_id: BootId,
    absent_for_nanos: Option<u64>,
    zone: Option<ZoneId>,
    is_dismissed: bool,
}

impl From<&RosterState> for Wire {
    fn from(state: &RosterState) -> Self {
        Self {
            slots: state.shape.slots,
            replication_factor: state.shape.replication_factor,
            formed_millis: state.bootstrap.formed_millis,
            former: state.bootstrap.former,
            is_first: state.is_first,
            members: state.members.iter().map(WireMember::from).collect(),
        }
    }
}

impl From<&StateMember> for WireMember {
    fn from(entry: &StateMember) -> Self {
        Self {
            node_id: entry.zoned.member.node_id,
            boot_id: entry.zoned.member.boot_id,
            absent_for_nanos: entry
                .absent_for
                .map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)),
            zone: entry.zoned.zone,
            is_dismissed: entry.is_dismissed,
        }
    }
}

impl TryFrom<Wire> for RosterState {
    type Error = StateError;

    fn try_from(wire: Wire) -> Result<Self, StateError> {
        let Wire {
            slots,
            replication_factor,
            formed_millis,
            former,
            is_first,
            members,
        } = wire;
        if slots == 0 || replication_factor == 0 {
            return Err(StateError::Shape {
                slots,
                replication_factor,
            });
        }
        if members.is_empty() || members.len() > MEMBERS_MAX {
            return Err(StateError::MemberCount {
                count: members.len(),
            });
        }
        if !members.is_sorted_by(|lower, higher| lower.node_id < higher.node_id) {
            return Err(StateError::MemberOrder);
        }
        Ok(Self {
            shape: Shape {
                slots,
                replication_factor,
            },
            bootstrap: Bootstrap {
                formed_millis,
                former,
            },
            is_first,
            members: members.into_iter().map(StateMember::from).collect(),
        })
    }
}

impl From<WireMember> for StateMember {
    fn from(wire: WireMember) -> Self {
        Self {
            zoned: ZonedMember {
                member: RingMember {
                    node_id: wire.node_id,
                    boot_id: wire.boot_id,
                },
                zone: wire.zone,
            },
            absent_for: wire.absent_for_nanos.map(Duration::from_nanos),
            is_dismissed: wire.is_dismissed,
        }
    }
}
