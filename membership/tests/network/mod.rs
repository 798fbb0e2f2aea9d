//! A network of production agents in virtual time: one event heap, seeded latency and loss, cuts
//! between groups.
//!
//! Everything that happens is folded into `trace`, so that two runs can be compared event by event.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test network has no one to report to")]

use std::{cmp::Reverse, collections::BinaryHeap, net::SocketAddr, sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use shard_cache_membership::{
    agent::{Agent, Input, Now},
    config::AgentConfig,
    identity::{BootId, NodeId, NodeIdentity},
    record::{NodeRecord, Phase},
    view::{Liveness, View},
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Unix time at the start of every run.
const EPOCH_MILLIS: u64 = 1_800_000_000_000;
const LATENCY_NANOS: std::ops::Range<u64> = 200_000..1_200_000;
/// How often `run_until` looks at its condition.
const SLICE: Duration = Duration::from_millis(10);

pub struct Network {
    pub now: Duration,
    pub trace: u64,
    pub events: u64,
    pub loss: f64,
    /// Off: no push-pull gets through, as if the peer port were blocked.
    pub push_pull: bool,
    nodes: Vec<Node>,
    heap: BinaryHeap<Reverse<Event>>,
    scheduled: u64,
    rng: SmallRng,
}

struct Node {
    addr: SocketAddr,
    agent: Option<Agent>,
    view: Option<Arc<View>>,
    group: u8,
    wall_offset_millis: i64,
    wake: Option<Duration>,
    boots: u64,
    stalled_until: Duration,
    rivals: Vec<SocketAddr>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: Duration,
    sequence: u64,
    node: usize,
    what: What,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Wake,
    Datagram {
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    /// A peer's state; the answer goes back if it asks for one.
    State {
        from: usize,
        bytes: Vec<u8>,
        answer: bool,
    },
}

pub fn name(index: usize) -> String {
    format!("node-{index}")
}

pub fn node_id(index: usize) -> NodeId {
    NodeId::of_name(&name(index))
}

fn addr(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (index >> 8) as u8, (index & 255) as u8], 7946))
}

pub fn record(name: &str) -> NodeRecord {
    NodeRecord {
        node_id: NodeId::of_name(name),
        boot_id: BootId(0),
        bump: 0,
        sequence: 0,
        name: name.to_owned(),
        zone: "zone-a".to_owned(),
        grpc_addr: "10.0.0.1:8080".to_owned(),
        http_addr: "10.0.0.1:8081".to_owned(),
        phase: Phase::Active,
        attachment: Vec::new(),
    }
}

pub fn identity(addr: SocketAddr, name: &str, boot: u64, bump: u64) -> NodeIdentity {
    NodeIdentity {
        addr,
        node_id: NodeId::of_name(name),
        bump,
        renews: 0,
        boot_id: BootId(boot),
        peer_port: addr.port(),
        protocol_min: 1,
        protocol_max: 1,
    }
}

impl Network {
    pub fn new(seed: u64, count: usize) -> Self {
        let node = |index| Node {
            addr: addr(index),
            agent: None,
            view: None,
            group: 0,
            wall_offset_millis: 0,
            wake: None,
            boots: 0,
            stalled_until: Duration::ZERO,
            rivals: Vec::new(),
        };
        Self {
            now: Duration::ZERO,
            trace: seed,
            events: 0,
            loss: 0.0,
            push_pull: true,
            nodes: (0..count).map(node).collect(),
            heap: BinaryHeap::new(),
            scheduled: 0,
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// Starts a process for the node, with a new boot id and node 0 as its only seed.
    pub fn start(&mut self, index: usize, config: &AgentConfig) -> BootId {
        self.start_as(index, index, config)
    }

    /// The same at the place of node `index`, with the name of another.
    pub fn start_as(&mut self, index: usize, named: usize, config: &AgentConfig) -> BootId {
        let now = self.clock(index);
        let rng = SmallRng::from_rng(&mut self.rng);
        let node = &mut self.nodes[index];
        node.boots += 1;
        let boot = (index as u64 + 1) * 1000 + node.boots;
        node.rivals.clear();
        let identity = identity(node.addr, &name(named), boot, now.wall_millis);
        let record = record(&name(named));
        node.agent = Some(Agent::new(config.clone(), identity, record, rng, now).unwrap());
        self.input(index, Input::Seeds(vec![addr(0)]));
        BootId(boot)
    }

    /// Starts all nodes, spread over a second.
    pub fn start_all(&mut self, config: &AgentConfig) {
        let step = Duration::from_secs(1) / u32::try_from(self.nodes.len()).unwrap();
        for index in 0..self.nodes.len() {
            self.start(index, config);
            self.run_for(step);
        }
    }

    /// Starts some of the nodes, each by its own name.
    pub fn start_all_named(&mut self, nodes: &[usize], config: &AgentConfig) {
        for &index in nodes {
            self.start(index, config);
            self.run_for(Duration::from_millis(100));
        }
    }

    /// Where the node's process was told to ask for a rival.
    pub fn rivals_of(&self, index: usize) -> &[SocketAddr] {
        &self.nodes[index].rivals
    }

    /// Where peer links reach the node's place.
    pub fn peer_addr(&self, index: usize) -> SocketAddr {
        self.nodes[index].addr
    }

    /// What a process of another name would export that has the node's address.
    pub fn state_of_stranger_at(&mut self, index: usize, config: &AgentConfig) -> Vec<u8> {
        let now = self.clock(index);
        let identity = identity(self.nodes[index].addr, "stranger", 77, now.wall_millis);
        let rng = SmallRng::from_rng(&mut self.rng);
        let stranger = Agent::new(config.clone(), identity, record("stranger"), rng, now);
        stranger.unwrap().export_state()
    }

    pub fn kill(&mut self, index: usize) {
        self.nodes[index].agent = None;
        self.nodes[index].view = None;
        self.nodes[index].wake = None;
    }

    /// Stops the process (as SIGSTOP does); what arrives waits in its socket.
    pub fn stall(&mut self, index: usize, duration: Duration) {
        self.nodes[index].stalled_until = self.now + duration;
    }

    /// Nodes of different groups do not reach each other.
    pub fn set_group(&mut self, index: usize, group: u8) {
        self.nodes[index].group = group;
    }

    pub fn set_wall_offset(&mut self, index: usize, millis: i64) {
        self.nodes[index].wall_offset_millis = millis;
    }

    pub fn input(&mut self, index: usize, input: Input<'_>) {
        let now = self.clock(index);
        if let Some(agent) = &mut self.nodes[index].agent {
            agent.handle(now, input).unwrap();
            self.drain(index);
        }
    }

    pub fn agent(&self, index: usize) -> &Agent {
        self.nodes[index].agent.as_ref().unwrap()
    }

    /// The views of all running nodes.
    pub fn views(&self) -> impl Iterator<Item = &Arc<View>> {
        self.nodes.iter().filter_map(|node| node.view.as_ref())
    }

    /// Whether every running node sees so many present members, itself included, each with its
    /// record.
    pub fn all_see(&self, present: usize) -> bool {
        self.views().all(|view| {
            view.present().count() == present && view.present().all(|it| it.record.is_some())
        })
    }

    /// How many running nodes hold the node for down.
    pub fn count_down(&self, index: usize) -> usize {
        let node_id = NodeId::of_name(&name(index));
        let is_down = |view: &&Arc<View>| {
            view.member(node_id)
                .is_some_and(|member| member.liveness == Liveness::Down)
        };
        self.views().filter(is_down).count()
    }

    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self
            .heap
            .peek()
            .is_some_and(|Reverse(event)| event.at <= end)
        {
            let Reverse(event) = self.heap.pop().unwrap();
            self.deliver(event);
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

    fn clock(&self, index: usize) -> Now {
        let millis = EPOCH_MILLIS + u64::try_from(self.now.as_millis()).unwrap();
        let wall_millis = millis.saturating_add_signed(self.nodes[index].wall_offset_millis);
        Now {
            monotonic: self.now,
            wall_millis,
        }
    }

    fn deliver(&mut self, event: Event) {
        let Event {
            at,
            node: index,
            what,
            ..
        } = event;
        self.now = at;
        if at < self.nodes[index].stalled_until {
            return self.hold_back(at, index, what);
        }
        let now = self.clock(index);
        let node = &mut self.nodes[index];
        let Some(agent) = &mut node.agent else { return };
        match what {
            What::Wake => {
                if node.wake != Some(at) {
                    return;
                }
                node.wake = None;
                agent.handle(now, Input::Time).unwrap();
                self.note(1, index, &[]);
            }
            What::Datagram { from, bytes } => {
                agent
                    .handle(
                        now,
                        Input::Datagram {
                            from,
                            payload: &bytes,
                        },
                    )
                    .unwrap();
                self.note(2, index, &bytes);
            }
            What::State {
                from,
                bytes,
                answer,
            } => {
                agent.handle(now, Input::MergeState(&bytes)).unwrap();
                if answer {
                    let bytes = agent.export_state();
                    self.send_state(index, from, bytes, false);
                }
                self.note(3, index, &bytes);
            }
        }
        self.drain(index);
    }

    /// Delivers an event to a stalled process when it runs again: datagrams before timers, as the
    /// driver has it.
    fn hold_back(&mut self, at: Duration, index: usize, what: What) {
        let node = &mut self.nodes[index];
        let until = node.stalled_until;
        if what != What::Wake {
            self.push(until, index, what);
        } else if node.wake == Some(at) {
            let after_datagrams = until + Duration::from_nanos(1);
            node.wake = Some(after_datagrams);
            self.push(after_datagrams, index, What::Wake);
        }
    }

    /// Takes an agent's effects into the heap.
    fn drain(&mut self, index: usize) {
        let (from, group) = (self.nodes[index].addr, self.nodes[index].group);
        while let Some(datagram) = self.nodes[index]
            .agent
            .as_mut()
            .and_then(Agent::next_datagram)
        {
            let lost = self.loss > 0.0 && self.rng.random_bool(self.loss);
            let target = self
                .find(datagram.to)
                .filter(|to| self.nodes[*to].group == group);
            if let (Some(to), false) = (target, lost) {
                self.schedule(
                    to,
                    What::Datagram {
                        from,
                        bytes: datagram.bytes,
                    },
                );
            }
        }
        while let Some(target) = self.nodes[index]
            .agent
            .as_mut()
            .and_then(Agent::push_pull_due)
        {
            if let Some(to) = self.find(target) {
                let bytes = self.agent(index).export_state();
                self.send_state(index, to, bytes, true);
            }
        }
        let node = &mut self.nodes[index];
        let Some(agent) = &mut node.agent else { return };
        node.rivals.extend(agent.rival_due());
        if let Some(view) = agent.view() {
            let former = node.view.as_ref().map_or(0, |view| view.version);
            assert_eq!(view.version, former + 1, "view versions rise by one");
            node.view = Some(view);
        }
        let deadline = agent.next_deadline().map(|deadline| deadline.max(self.now));
        if let Some(at) = deadline
            && deadline != node.wake
        {
            node.wake = deadline;
            self.push(at, index, What::Wake);
        }
    }

    fn send_state(&mut self, from: usize, to: usize, bytes: Vec<u8>, answer: bool) {
        let reachable = self.push_pull && self.nodes[from].group == self.nodes[to].group;
        if reachable && self.nodes[to].agent.is_some() {
            self.schedule(
                to,
                What::State {
                    from,
                    bytes,
                    answer,
                },
            );
        }
    }

    fn find(&self, addr: SocketAddr) -> Option<usize> {
        let [_, _, high, low] = match addr.ip() {
            std::net::IpAddr::V4(ip) => ip.octets(),
            std::net::IpAddr::V6(_) => return None,
        };
        let index = (usize::from(high) << 8) | usize::from(low);
        (index < self.nodes.len()).then_some(index)
    }

    fn schedule(&mut self, node: usize, what: What) {
        let latency = Duration::from_nanos(self.rng.random_range(LATENCY_NANOS));
        self.push(self.now + latency, node, what);
    }

    fn push(&mut self, at: Duration, node: usize, what: What) {
        self.scheduled += 1;
        self.heap.push(Reverse(Event {
            at,
            sequence: self.scheduled,
            node,
            what,
        }));
    }

    fn note(&mut self, kind: u64, index: usize, bytes: &[u8]) {
        self.events += 1;
        let when = u64::try_from(self.now.as_nanos()).unwrap();
        let what = xxh3_64_with_seed(bytes, kind << 32 | index as u64);
        let step = [when.to_le_bytes(), what.to_le_bytes()].concat();
        self.trace = xxh3_64_with_seed(&step, self.trace);
    }
}
