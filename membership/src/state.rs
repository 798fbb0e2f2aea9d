//! The full member state that two nodes exchange in a push-pull.
//!
//! Invariant: what `decode` returns is bounded and of our cluster; its members and records are not
//! yet checked.

use serde::{Deserialize, Serialize};

use crate::{
    envelope::ClusterHash, identity::NodeIdentity, record::BorrowedRecord, view::Liveness,
};

/// Largest encoded state, in bytes.
pub const STATE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most members in a state.
pub const STATE_MEMBERS_MAX: usize = 8192;

const FORMAT: u8 = 1;
const WIRE: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<STATE_BYTES_MAX>,
> = bincode::config::standard().with_limit::<STATE_BYTES_MAX>();

/// Everything that a node knows of the members, itself first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct State<'a> {
    format: u8,
    cluster: u64,
    pub(crate) members: Vec<MemberState>,
    #[serde(borrow)]
    pub(crate) records: Vec<BorrowedRecord<'a>>,
}

/// One member as SWIM knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct MemberState {
    pub(crate) identity: NodeIdentity,
    pub(crate) incarnation: u16,
    liveness: u8,
}

/// Why a state was refused. Nothing of it was taken in; asking again is safe.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StateError {
    /// More bytes than any state may have.
    #[error("the state has {bytes} bytes; at most {STATE_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// More members than any state may have.
    #[error("the state has {members} members; at most {STATE_MEMBERS_MAX} are allowed")]
    TooManyMembers {
        /// Their number.
        members: usize,
    },
    /// Not a state at all, or torn.
    #[error("the bytes are no member state")]
    Malformed,
    /// A format of another release.
    #[error("state format {format} is not known here")]
    UnknownFormat {
        /// The format's number.
        format: u8,
    },
    /// The state of another cluster.
    #[error("the state is of another cluster")]
    ForeignCluster,
}

impl MemberState {
    pub(crate) const fn new(identity: NodeIdentity, incarnation: u16, liveness: Liveness) -> Self {
        let liveness = match liveness {
            Liveness::Alive => 0,
            Liveness::Suspect => 1,
            Liveness::Down => 2,
        };
        Self {
            identity,
            incarnation,
            liveness,
        }
    }

    /// Absent for a number that no release of this format writes.
    pub(crate) const fn liveness(&self) -> Option<Liveness> {
        match self.liveness {
            0 => Some(Liveness::Alive),
            1 => Some(Liveness::Suspect),
            2 => Some(Liveness::Down),
            _ => None,
        }
    }
}

impl MemberState {
    /// Whether this says something new to a node that knows `known` of the same address. What foca
    /// would ignore is left out beforehand, because applying updates costs one scan of the member
    /// table each. A member that is down and not known is no news either: nodes would remind each
    /// other of the forgotten for ever.
    pub(crate) fn is_news_to(&self, known: Option<&Self>) -> bool {
        let (Some(said), Some(known)) = (self.liveness(), known) else {
            return known.is_none() && self.liveness().is_some_and(Liveness::is_present);
        };
        if self.identity != known.identity {
            return self.identity.outranks(&known.identity);
        }
        match (known.liveness(), said) {
            (Some(Liveness::Down), _) => false,
            (_, Liveness::Down) => true,
            (Some(Liveness::Alive), Liveness::Suspect) => self.incarnation >= known.incarnation,
            (_, Liveness::Alive | Liveness::Suspect) => self.incarnation > known.incarnation,
        }
    }
}

impl<'a> State<'a> {
    pub(crate) const fn new(
        cluster: ClusterHash,
        members: Vec<MemberState>,
        records: Vec<BorrowedRecord<'a>>,
    ) -> Self {
        Self {
            format: FORMAT,
            cluster: cluster.0,
            members,
            records,
        }
    }

    /// Whose state it is.
    pub(crate) fn exporter(&self) -> Option<&NodeIdentity> {
        self.members.first().map(|member| &member.identity)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        bincode::serde::encode_to_vec(self, WIRE).expect("a vector takes any plain value")
    }

    pub(crate) fn decode(cluster: ClusterHash, bytes: &'a [u8]) -> Result<Self, StateError> {
        if bytes.len() > STATE_BYTES_MAX {
            return Err(StateError::TooLarge { bytes: bytes.len() });
        }
        match bytes.first() {
            None => return Err(StateError::Malformed),
            Some(&FORMAT) => {}
            Some(&format) => return Err(StateError::UnknownFormat { format }),
        }
        let (state, length): (Self, usize) = bincode::serde::borrow_decode_from_slice(bytes, WIRE)
            .map_err(|_| StateError::Malformed)?;
        if length != bytes.len() {
            return Err(StateError::Malformed);
        }
        if state.cluster != cluster.0 {
            return Err(StateError::ForeignCluster);
        }
        let members = state.members.len();
        if members > STATE_MEMBERS_MAX {
            return Err(StateError::TooManyMembers { members });
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::{BootId, NodeId};

    fn member(index: u64) -> MemberState {
        let identity = NodeIdentity {
            addr: "10.0.0.1:7946".parse().unwrap(),
            node_id: NodeId(index),
            bump: 1,
            renews: 0,
            boot_id: BootId(1),
            peer_port: 7946,
            protocol_min: 1,
            protocol_max: 1,
        };
        MemberState::new(identity, 0, Liveness::Suspect)
    }

    fn state(members: u64) -> State<'static> {
        State::new(
            ClusterHash(7),
            (0..members).map(member).collect(),
            Vec::new(),
        )
    }

    #[test]
    fn a_state_survives_the_wire_and_other_clusters_refuse_it() {
        let bytes = state(3).encode();
        assert_eq!(State::decode(ClusterHash(7), &bytes), Ok(state(3)));
        assert_eq!(
            State::decode(ClusterHash(8), &bytes),
            Err(StateError::ForeignCluster)
        );
        let longer = [bytes.as_slice(), b"x"].concat();
        assert_eq!(
            State::decode(ClusterHash(7), &longer),
            Err(StateError::Malformed)
        );
        for length in 1..bytes.len() {
            let torn = State::decode(ClusterHash(7), &bytes[..length]);
            assert_eq!(torn, Err(StateError::Malformed));
        }
        assert_eq!(
            State::decode(ClusterHash(7), b"\x02"),
            Err(StateError::UnknownFormat { format: 2 })
        );
    }

    #[test]
    fn only_what_swim_would_take_in_is_news() {
        use Liveness::{Alive, Down, Suspect};
        let at = |incarnation, liveness| MemberState {
            incarnation,
            ..MemberState::new(member(1).identity, 0, liveness)
        };
        assert!(at(0, Alive).is_news_to(None) && at(0, Suspect).is_news_to(None));
        assert!(!at(0, Down).is_news_to(None));
        assert!(!at(1, Alive).is_news_to(Some(&at(1, Alive))));
        assert!(at(2, Alive).is_news_to(Some(&at(1, Suspect))));
        assert!(at(1, Suspect).is_news_to(Some(&at(1, Alive))));
        assert!(!at(0, Suspect).is_news_to(Some(&at(1, Alive))));
        assert!(at(0, Down).is_news_to(Some(&at(9, Suspect))));
        assert!(!at(9, Alive).is_news_to(Some(&at(0, Down))));
        let mut newer = at(0, Alive);
        newer.identity.bump += 1;
        assert!(newer.is_news_to(Some(&at(9, Down))) && !at(9, Down).is_news_to(Some(&newer)));
    }

    #[test]
    fn states_over_their_bounds_are_refused() {
        let large = vec![FORMAT; STATE_BYTES_MAX + 1];
        assert!(matches!(
            State::decode(ClusterHash(7), &large),
            Err(StateError::TooLarge { .. })
        ));
        let many = state(STATE_MEMBERS_MAX as u64 + 1).encode();
        assert!(matches!(
            State::decode(ClusterHash(7), &many),
            Err(StateError::TooManyMembers { .. })
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn junk_is_refused_without_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(first) = bytes.first_mut() {
                *first = FORMAT;
            }
            prop_assert!(State::decode(ClusterHash(7), &bytes).is_err());
        }
    }
}
