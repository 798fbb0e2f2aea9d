//! A network of membership machines alone, in virtual time: one event heap, seeded latency and loss, a cut between two
//! groups. Much lighter than a world of whole nodes, so that a thousand fit.

use std::{cmp::Reverse, collections::BinaryHeap, net::SocketAddr, ops::Range, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use shard_cache_membership::agent::Now;

use super::peer::{Change, Peer, addr, index};
use crate::world::clock::EPOCH_MILLIS;

const LATENCY_NANOS: Range<u64> = 200_000..1_200_000;
/// How often `run_until` looks at its condition.
const SLICE: Duration = Duration::from_millis(10);

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Datagrams sent, whether they arrived or not.
    pub datagrams: u64,
    /// Bytes in them, without headers of UDP and IP.
    pub bytes: u64,
    /// Bytes of whole states that were exchanged.
    pub state_bytes: u64,
    /// Times that a running and reachable node came to be held for down by somebody.
    pub false_downs: u64,
}

/// What one node believes of another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Belief {
    Unknown,
    Present,
    Down,
}

struct Node {
    peer: Option<Box<dyn Peer>>,
    group: u8,
    wake: Option<Duration>,
    beliefs: Vec<Belief>,
    /// How many it believes to be present, apart from itself.
    present: usize,
    /// How many hold it for down.
    down_for: usize,
}

/// The network.
pub struct Network {
    now: Duration,
    traffic: Traffic,
    /// Share of datagrams that are lost.
    pub loss: f64,
    nodes: Vec<Node>,
    heap: BinaryHeap<Reverse<Event>>,
    scheduled: u64,
    rng: SmallRng,
    /// Folds when what happened to whom.
    trace: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: Duration,
    sequence: u64,
    node: u16,
    what: What,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Wake,
    Datagram {
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    /// A whole state; the answer goes back if it is asked for.
    State {
        from: u16,
        bytes: Vec<u8>,
        answer: bool,
    },
}

impl Network {
    /// So many nodes, none of which runs.
    #[must_use]
    pub fn new(seed: u64, count: u16) -> Self {
        let node = |_| Node {
            peer: None,
            group: 0,
            wake: None,
            beliefs: vec![Belief::Unknown; usize::from(count)],
            present: 0,
            down_for: 0,
        };
        Self {
            now: Duration::ZERO,
            traffic: Traffic::default(),
            loss: 0.0,
            nodes: (0..count).map(node).collect(),
            heap: BinaryHeap::new(),
            scheduled: 0,
            rng: SmallRng::seed_from_u64(seed),
            trace: seed,
        }
    }

    /// The time.
    #[must_use]
    pub const fn clock(&self) -> Now {
        Now {
            monotonic: self.now,
            wall_millis: EPOCH_MILLIS.saturating_add(self.now.as_millis() as u64),
        }
    }

    /// What was counted so far.
    #[must_use]
    pub const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// A number that differs if anything happened otherwise.
    #[must_use]
    pub const fn trace(&self) -> u64 {
        self.trace
    }

    /// Randomness for a peer.
    pub fn fork_rng(&mut self) -> SmallRng {
        SmallRng::from_rng(&mut self.rng)
    }

    /// Starts a node.
    pub fn start(&mut self, node: u16, peer: Box<dyn Peer>) {
        self.nodes[usize::from(node)].peer = Some(peer);
        self.drain(node);
    }

    /// Ends a node without a word.
    pub fn kill(&mut self, node: u16) {
        let node = &mut self.nodes[usize::from(node)];
        node.peer = None;
        node.wake = None;
    }

    /// Nodes of different groups do not reach each other.
    pub fn set_group(&mut self, node: u16, group: u8) {
        self.nodes[usize::from(node)].group = group;
    }

    /// How many beliefs of running nodes are missing for everyone to know everyone.
    #[must_use]
    pub fn unseen(&self) -> usize {
        let running = self.nodes.iter().filter(|node| node.peer.is_some());
        running
            .map(|node| self.nodes.len() - 1 - node.present)
            .sum()
    }

    /// How many running nodes believe the node to be present.
    #[must_use]
    pub fn seen_by(&self, node: u16) -> usize {
        let running = self.nodes.iter().filter(|node| node.peer.is_some());
        running
            .filter(|other| other.beliefs[usize::from(node)] == Belief::Present)
            .count()
    }

    /// How many beliefs there are in presence on the other side: of those before `middle`, and of those from it on.
    #[must_use]
    pub fn seen_across(&self, middle: u16) -> usize {
        let middle = usize::from(middle);
        let seen = self.nodes.iter().enumerate().map(|(index, node)| {
            let (low, high) = node.beliefs.split_at(middle.min(node.beliefs.len()));
            let across = if index < middle { high } else { low };
            let present = across.iter().filter(|belief| **belief == Belief::Present);
            present.count()
        });
        seen.sum()
    }

    /// Runs for so long.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(Reverse(next)) = self.heap.peek()
            && next.at <= end
        {
            if let Some(Reverse(event)) = self.heap.pop() {
                self.deliver(event);
            }
        }
        self.now = end;
    }

    /// Runs until the condition holds; the time that took, or nothing within the limit.
    pub fn run_until(
        &mut self,
        limit: Duration,
        condition: impl Fn(&Self) -> bool,
    ) -> Option<Duration> {
        let start = self.now;
        while !condition(self) {
            if self.now - start >= limit {
                return None;
            }
            self.run_for(SLICE);
        }
        Some(self.now - start)
    }

    fn deliver(&mut self, event: Event) {
        let Event { at, node, what, .. } = event;
        self.now = at;
        let now = self.clock();
        let receiver = &mut self.nodes[usize::from(node)];
        let Some(peer) = &mut receiver.peer else {
            return;
        };
        let (kind, size) = match what {
            What::Wake => {
                if receiver.wake != Some(at) {
                    return;
                }
                receiver.wake = None;
                peer.wake(now);
                (1, 0)
            }
            What::Datagram { from, bytes } => {
                peer.receive(now, from, &bytes);
                (2, bytes.len())
            }
            What::State {
                from,
                bytes,
                answer,
            } => {
                peer.merge_state(now, &bytes);
                if answer {
                    let state = peer.export_state();
                    self.send_state(node, from, state, false);
                }
                (3, bytes.len())
            }
        };
        let step = at.as_nanos() as u64 ^ u64::from(node) << 48 ^ (size as u64) << 32 ^ kind;
        self.trace = (self.trace ^ step)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
        self.drain(node);
    }

    /// Takes a peer's effects into the heap.
    fn drain(&mut self, node: u16) {
        let mut sent = Vec::new();
        let mut exchanges = Vec::new();
        let Some(peer) = &mut self.nodes[usize::from(node)].peer else {
            return;
        };
        while let Some(datagram) = peer.next_datagram() {
            sent.push(datagram);
        }
        while let Some(target) = peer.exchange_due() {
            exchanges.push((target, peer.export_state()));
        }
        let changes = peer.changes();
        let deadline = peer.deadline().map(|deadline| deadline.max(self.now));
        for (to, bytes) in sent {
            self.send(node, to, bytes);
        }
        for (target, state) in exchanges {
            if let Some(to) = index(target) {
                self.send_state(node, to, state, true);
            }
        }
        for change in changes {
            self.believe(node, change);
        }
        let sender = &mut self.nodes[usize::from(node)];
        if let Some(at) = deadline
            && deadline != sender.wake
        {
            sender.wake = deadline;
            self.push(at, node, What::Wake);
        }
    }

    fn believe(&mut self, node: u16, change: Change) {
        let group = self.nodes[usize::from(node)].group;
        let belief = if change.is_present {
            Belief::Present
        } else {
            Belief::Down
        };
        let believer = &mut self.nodes[usize::from(node)];
        let Some(place) = believer.beliefs.get_mut(usize::from(change.of)) else {
            return;
        };
        let former = std::mem::replace(place, belief);
        believer.present += usize::from(belief == Belief::Present);
        believer.present -= usize::from(former == Belief::Present);
        let other = &mut self.nodes[usize::from(change.of)];
        other.down_for -= usize::from(former == Belief::Down);
        let is_false = belief == Belief::Down && other.peer.is_some() && other.group == group;
        self.traffic.false_downs += u64::from(is_false && other.down_for == 0);
        other.down_for += usize::from(belief == Belief::Down);
    }

    fn send(&mut self, from: u16, to: SocketAddr, bytes: Vec<u8>) {
        self.traffic.datagrams += 1;
        self.traffic.bytes += bytes.len() as u64;
        let is_lost = self.loss > 0.0 && self.rng.random_bool(self.loss);
        if let (Some(to), false) = (index(to).filter(|to| self.reaches(from, *to)), is_lost) {
            let from = addr(from);
            self.schedule(to, What::Datagram { from, bytes });
        }
    }

    fn send_state(&mut self, from: u16, to: u16, bytes: Vec<u8>, answer: bool) {
        if self.reaches(from, to) {
            self.traffic.state_bytes += bytes.len() as u64;
            let what = What::State {
                from,
                bytes,
                answer,
            };
            self.schedule(to, what);
        }
    }

    fn reaches(&self, from: u16, to: u16) -> bool {
        let group = self.nodes[usize::from(from)].group;
        let target = self.nodes.get(usize::from(to));
        target.is_some_and(|target| target.peer.is_some() && target.group == group)
    }

    fn schedule(&mut self, node: u16, what: What) {
        let latency = Duration::from_nanos(self.rng.random_range(LATENCY_NANOS));
        self.push(self.now + latency, node, what);
    }

    fn push(&mut self, at: Duration, node: u16, what: What) {
        self.scheduled += 1;
        self.heap.push(Reverse(Event {
            at,
            sequence: self.scheduled,
            node,
            what,
        }));
    }
}
