//! Asking a node who it is and whom it knows, without taking part: an exchange of states in which the asking side says
//! nothing. It asks so before anybody may know of it, because by then its name or address would already be contested.

use crate::{
    envelope::ClusterHash,
    identity::{NodeId, NodeIdentity},
    state::{State, StateError},
};

/// What a node answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inquired {
    /// Who answered.
    pub by: NodeIdentity,
    /// The other members that it knows, whether up or down.
    pub others: Vec<NodeIdentity>,
}

/// The state to send: of the cluster, and without any member.
#[must_use]
pub fn question(cluster_id: &str) -> Vec<u8> {
    State::new(ClusterHash::of_id(cluster_id), Vec::new(), Vec::new()).encode()
}

/// Reads the state that came back.
///
/// # Errors
/// If it is no state of this cluster, or names nobody.
pub fn answer(cluster_id: &str, bytes: &[u8]) -> Result<Inquired, StateError> {
    let state = State::decode(ClusterHash::of_id(cluster_id), bytes)?;
    let mut members = state.members.iter().map(|member| member.identity);
    let by = members.next().ok_or(StateError::Malformed)?;
    Ok(Inquired {
        by,
        others: members.collect(),
    })
}

impl Inquired {
    /// Everybody who is said to have this node id, the answering node included.
    pub fn named(&self, node_id: NodeId) -> impl Iterator<Item = &NodeIdentity> {
        let all = std::iter::once(&self.by).chain(&self.others);
        all.filter(move |member| member.node_id == node_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_nobody_and_only_its_cluster_reads_it() {
        let bytes = question("a");
        let state = State::decode(ClusterHash::of_id("a"), &bytes).unwrap();
        assert!(state.members.is_empty() && state.records.is_empty());
        assert_eq!(answer("a", &bytes), Err(StateError::Malformed));
        assert_eq!(answer("b", &bytes), Err(StateError::ForeignCluster));
    }
}
