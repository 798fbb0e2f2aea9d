//! What is counted per peer. A link resolves its peer's counters once, when it is made; an operation
//! then costs an index and an addition.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::metrics::counter::Counter;
use shard_cache_membership::identity::NodeId;

use super::{
    labels::{Handles, ReplicaOp, ReplicaOutcome},
    latencies::Latencies,
};

/// Peers whose counters are kept; as many as members are known at most. Beyond it those without a
/// link are forgotten, and begin at zero when they come back.
const PEERS_KEPT_MAX: usize = 4096;

/// What this node asked of one peer.
#[derive(Debug)]
pub struct PeerRequests {
    /// Requests to it, by how they ended.
    pub ended: Handles<(ReplicaOp, ReplicaOutcome), Counter>,
    /// Time from handing a request to the connection until it was answered.
    pub duration: Latencies,
}

impl Default for PeerRequests {
    fn default() -> Self {
        Self {
            ended: Handles::new(Counter::default),
            duration: Latencies::default(),
        }
    }
}

/// The counters of every peer.
#[derive(Debug, Default)]
pub struct Peers(Mutex<BTreeMap<NodeId, Arc<PeerRequests>>>);

impl Peers {
    /// The counters of a peer. Not for a request's path: whoever talks to the peer keeps them.
    #[must_use]
    pub fn of(&self, peer: NodeId) -> Arc<PeerRequests> {
        let mut known = self.lock();
        if known.len() >= PEERS_KEPT_MAX && !known.contains_key(&peer) {
            known.retain(|_, requests| Arc::strong_count(requests) > 1);
        }
        Arc::clone(known.entry(peer).or_default())
    }

    /// The counters of a peer, if it was ever talked to.
    pub(super) fn get(&self, peer: NodeId) -> Option<Arc<PeerRequests>> {
        self.lock().get(&peer).cloned()
    }

    /// Requests that ended in one way, to all peers together.
    #[must_use]
    pub fn total(&self, operation: ReplicaOp, outcome: ReplicaOutcome) -> u64 {
        let known = self.lock();
        let ended = known.values().map(|requests| &requests.ended);
        ended
            .map(|ended| ended.get((operation, outcome)).get())
            .sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Arc<PeerRequests>>> {
        // The map is whole whatever its last user was doing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_keeps_its_counters_over_links() {
        let (peers, peer) = (Peers::default(), NodeId(7));
        let (operation, outcome) = (ReplicaOp::Read, ReplicaOutcome::Ok);
        peers.of(peer).ended.get((operation, outcome)).inc();
        peers.of(peer).ended.get((operation, outcome)).inc();
        peers.of(NodeId(8)).ended.get((operation, outcome)).inc();
        assert_eq!(peers.total(operation, outcome), 3);
        assert!(peers.get(NodeId(9)).is_none());
    }

    #[test]
    fn peers_without_a_link_are_forgotten_when_there_are_too_many() {
        let peers = Peers::default();
        let linked = peers.of(NodeId(0));
        for peer in 1..=PEERS_KEPT_MAX as u64 {
            drop(peers.of(NodeId(peer)));
        }
        assert!(Arc::ptr_eq(&linked, &peers.of(NodeId(0))));
        assert!(peers.get(NodeId(1)).is_none());
    }
}
