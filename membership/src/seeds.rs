//! Whom to announce to, for ever: configured seeds and last-known peers that are not active.
//!
//! Without it a two-node split never heals, because foca stops all its timers when it is alone, and
//! a split longer than the down memory never heals, because each half has forgotten the other.
//!
//! Invariants: never gives up; seeds and peers are bounded; a round is bounded and rotates, so that
//! none is starved; a node is looked for at one address, its latest.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use crate::identity::NodeId;

/// Most seed addresses; further ones are ignored.
pub const SEEDS_MAX: usize = 256;
/// Most last-known peers; beyond it the one that was active longest ago goes.
const PEERS_MAX: usize = 512;
/// Most seeds announced to in a round.
const SEEDS_PER_ROUND_MAX: usize = 16;
/// Most last-known peers announced to in a round.
const PEERS_PER_ROUND_MAX: usize = 8;

/// Seeds, last-known peers, and where the rotation stands.
#[derive(Default, Debug)]
pub(crate) struct SeedLoop {
    seeds: Vec<SocketAddr>,
    peers: Peers,
    seed_cursor: usize,
    peer_cursor: usize,
}

/// Last-known peers, found by each of the three things that are asked of them: a mass join observes each of a thousand
/// members at once.
#[derive(Default, Debug)]
struct Peers {
    by_addr: BTreeMap<SocketAddr, Peer>,
    by_node: BTreeMap<NodeId, SocketAddr>,
    by_activity: BTreeSet<(Duration, SocketAddr)>,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    node_id: NodeId,
    last_active: Duration,
}

impl SeedLoop {
    /// Replaces the seeds. Returns those that are new.
    pub(crate) fn set_seeds(&mut self, seeds: &[SocketAddr], own: SocketAddr) -> Vec<SocketAddr> {
        let mut seen = BTreeSet::from([own]);
        let seeds: Vec<_> = seeds
            .iter()
            .copied()
            .filter(|seed| seen.insert(*seed))
            .take(SEEDS_MAX)
            .collect();
        let known = std::mem::replace(&mut self.seeds, seeds);
        self.seeds
            .iter()
            .copied()
            .filter(|seed| !known.contains(seed))
            .collect()
    }

    /// A peer is active at `addr`, and no longer anywhere else.
    pub(crate) fn observe(&mut self, addr: SocketAddr, node_id: NodeId, now: Duration) {
        self.peers.remove_node(node_id);
        self.peers.remove(addr);
        let last_active = now;
        self.peers.insert(
            addr,
            Peer {
                node_id,
                last_active,
            },
        );
        if self.peers.by_addr.len() > PEERS_MAX
            && let Some((_, oldest)) = self.peers.by_activity.first().copied()
        {
            self.peers.remove(oldest);
        }
    }

    /// The node left in order: nobody needs to look for it.
    pub(crate) fn forget(&mut self, node_id: NodeId) {
        self.peers.remove_node(node_id);
    }

    /// The addresses of one round.
    pub(crate) fn round(&mut self, is_active: impl Fn(SocketAddr) -> bool) -> Vec<SocketAddr> {
        let seeds: Vec<_> = self
            .seeds
            .iter()
            .copied()
            .filter(|at| !is_active(*at))
            .collect();
        let peers: Vec<_> = (self.peers.by_addr.keys().copied())
            .filter(|at| !is_active(*at) && !seeds.contains(at))
            .collect();
        let mut chosen = rotate(&seeds, &mut self.seed_cursor, SEEDS_PER_ROUND_MAX);
        chosen.extend(rotate(&peers, &mut self.peer_cursor, PEERS_PER_ROUND_MAX));
        chosen
    }
}

impl Peers {
    fn insert(&mut self, addr: SocketAddr, peer: Peer) {
        self.by_addr.insert(addr, peer);
        self.by_node.insert(peer.node_id, addr);
        self.by_activity.insert((peer.last_active, addr));
    }

    fn remove(&mut self, addr: SocketAddr) {
        if let Some(peer) = self.by_addr.remove(&addr) {
            self.by_node.remove(&peer.node_id);
            self.by_activity.remove(&(peer.last_active, addr));
        }
    }

    fn remove_node(&mut self, node_id: NodeId) {
        if let Some(addr) = self.by_node.get(&node_id).copied() {
            self.remove(addr);
        }
    }
}

fn rotate(all: &[SocketAddr], cursor: &mut usize, count_max: usize) -> Vec<SocketAddr> {
    if all.is_empty() {
        return Vec::new();
    }
    let count = count_max.min(all.len());
    let start = *cursor % all.len();
    *cursor = (start + count) % all.len();
    all.iter()
        .copied()
        .cycle()
        .skip(start)
        .take(count)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(index: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], index))
    }

    #[test]
    fn every_absent_peer_gets_its_turn_for_ever() {
        let mut seeds = SeedLoop::default();
        for index in 1..=20 {
            seeds.observe(addr(index), NodeId(u64::from(index)), Duration::ZERO);
        }
        for _ in 0..100 {
            let mut reached = BTreeSet::new();
            for _ in 0..3 {
                let round = seeds.round(|at| at == addr(3));
                assert!(round.len() <= PEERS_PER_ROUND_MAX);
                reached.extend(round);
            }
            assert_eq!(reached.len(), 19);
        }
    }

    #[test]
    fn own_address_and_repeats_are_no_seeds() {
        let mut seeds = SeedLoop::default();
        let new = seeds.set_seeds(&[addr(1), addr(2), addr(2), addr(3)], addr(1));
        assert_eq!(new, [addr(2), addr(3)]);
        assert_eq!(seeds.set_seeds(&[addr(3), addr(4)], addr(1)), [addr(4)]);
        assert_eq!(seeds.round(|_| false), [addr(3), addr(4)]);
        assert!(seeds.round(|_| true).is_empty());
    }

    #[test]
    fn a_moved_or_departed_peer_is_not_looked_for() {
        let mut seeds = SeedLoop::default();
        seeds.observe(addr(1), NodeId(1), Duration::ZERO);
        seeds.observe(addr(2), NodeId(1), Duration::ZERO);
        assert_eq!(seeds.round(|_| false), [addr(2)]);
        seeds.forget(NodeId(1));
        assert!(seeds.round(|_| false).is_empty());
    }

    #[test]
    fn an_address_that_another_node_took_over_is_that_nodes() {
        let mut seeds = SeedLoop::default();
        seeds.observe(addr(1), NodeId(1), Duration::ZERO);
        seeds.observe(addr(1), NodeId(2), Duration::ZERO);
        seeds.forget(NodeId(1));
        assert_eq!(seeds.round(|_| false), [addr(1)]);
        seeds.forget(NodeId(2));
        assert!(seeds.round(|_| false).is_empty());
    }

    #[test]
    fn peers_are_bounded_and_the_longest_absent_goes_first() {
        let mut seeds = SeedLoop::default();
        for index in 0..=PEERS_MAX {
            let port = u16::try_from(index + 1).unwrap();
            seeds.observe(
                addr(port),
                NodeId(index as u64),
                Duration::from_secs(index as u64),
            );
        }
        assert_eq!(seeds.peers.by_addr.len(), PEERS_MAX);
        assert_eq!(seeds.peers.by_node.len(), PEERS_MAX);
        assert_eq!(seeds.peers.by_activity.len(), PEERS_MAX);
        assert!(!seeds.peers.by_addr.contains_key(&addr(1)));
    }
}
