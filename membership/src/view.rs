//! The view: what one node believes the members are. Level-triggered: whole views are published, never differences, and
//! a consumer rebuilds what it derives from one.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    identity::{BootId, NodeId},
    record::{NodeRecord, Phase},
};

/// What one node believes the members of the cluster are, itself included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Rises by one with every published change.
    pub version: u64,
    /// The node whose belief this is.
    pub own: NodeId,
    /// Sorted by node id; one entry per node id. Members that left or went down stay listed until forgotten.
    pub members: Vec<Member>,
}

/// One member as a view shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Who it is; stable over restarts.
    pub node_id: NodeId,
    /// Which life of its memory this is.
    pub boot_id: BootId,
    /// Where gossip reaches it (UDP).
    pub gossip_addr: SocketAddr,
    /// Where peer links reach it (TCP).
    pub peer_addr: SocketAddr,
    /// Whether it is believed to be up.
    pub liveness: Liveness,
    /// What it says of itself. Absent until its record has arrived; it may arrive after the member itself.
    pub record: Option<Arc<NodeRecord>>,
}

/// Whether a member is believed to be up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Liveness {
    /// Answers probes, as far as known.
    Alive,
    /// Missed probes; it may still refute that.
    Suspect,
    /// Declared down, or left.
    Down,
}

impl Liveness {
    /// The glossary's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }

    /// Whether the member takes part: alive, or suspect and not yet declared down.
    #[must_use]
    pub const fn is_present(self) -> bool {
        match self {
            Self::Alive | Self::Suspect => true,
            Self::Down => false,
        }
    }
}

impl Member {
    /// Whether it has left in order: it is down, and the last that it said of this life is that it leaves.
    #[must_use]
    pub fn has_left(&self) -> bool {
        let leaves =
            |record: &NodeRecord| record.phase == Phase::Leaving && record.boot_id == self.boot_id;
        self.liveness == Liveness::Down && self.record.as_deref().is_some_and(leaves)
    }
}

impl View {
    /// The member with this node id.
    #[must_use]
    pub fn member(&self, node_id: NodeId) -> Option<&Member> {
        self.members
            .binary_search_by_key(&node_id, |member| member.node_id)
            .ok()
            .and_then(|index| self.members.get(index))
    }

    /// The name of a member; its id, as long as its record is not known.
    #[must_use]
    pub fn name_of(&self, node_id: NodeId) -> String {
        let record = self.member(node_id).and_then(|it| it.record.as_ref());
        record.map_or_else(|| node_id.to_string(), |record| record.name.clone())
    }

    /// Members that are alive or suspect.
    pub fn present(&self) -> impl Iterator<Item = &Member> {
        self.members
            .iter()
            .filter(|member| member.liveness.is_present())
    }
}
