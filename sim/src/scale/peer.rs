//! What the network of [`super::network`] carries: machines that take datagrams and time; and the production agent as
//! one of them.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use rand::rngs::SmallRng;
use shard_cache_membership::{
    agent::{Agent, AgentError, Input, Now},
    config::{AgentConfig, Profile},
    identity::{BootId, NodeId, NodeIdentity},
    record::{NodeRecord, Phase},
};

/// Nodes that all others know from the start.
pub const SEEDS: u16 = 3;

/// One peer's belief in another has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// The other.
    pub of: u16,
    /// Whether it is now believed to take part.
    pub is_present: bool,
}

/// One member of the network, as a machine: after every input all outputs are taken.
pub trait Peer {
    /// A datagram has arrived.
    fn receive(&mut self, now: Now, from: SocketAddr, bytes: &[u8]);
    /// The deadline has come.
    fn wake(&mut self, now: Now);
    /// When to wake it at the latest.
    fn deadline(&self) -> Option<Duration>;
    /// The next datagram to send.
    fn next_datagram(&mut self) -> Option<(SocketAddr, Vec<u8>)>;
    /// How beliefs have changed since this was last asked.
    fn changes(&mut self) -> Vec<Change>;
    /// Whom to exchange whole states with now.
    fn exchange_due(&mut self) -> Option<SocketAddr> {
        None
    }
    /// The whole state.
    fn export_state(&self) -> Vec<u8> {
        Vec::new()
    }
    /// Takes in the whole state of another.
    fn merge_state(&mut self, _now: Now, _bytes: &[u8]) {}
}

/// Where a node is reached.
#[must_use]
pub fn addr(index: u16) -> SocketAddr {
    let [high, low] = index.to_be_bytes();
    SocketAddr::from(([10, 0, high, low], 7946))
}

/// The node at an address of [`addr`].
#[must_use]
pub fn index(addr: SocketAddr) -> Option<u16> {
    match addr.ip() {
        IpAddr::V4(ip) => {
            let [_, _, high, low] = ip.octets();
            Some(u16::from_be_bytes([high, low]))
        }
        IpAddr::V6(_) => None,
    }
}

/// The production agent with the profile for one data centre.
pub struct Production {
    agent: Agent,
    own: u16,
    present: Vec<bool>,
}

impl Production {
    /// One of so many.
    ///
    /// # Errors
    /// If the agent refuses its configuration.
    pub fn new(own: u16, nodes: u16, rng: SmallRng, now: Now) -> Result<Self, AgentError> {
        let name = format!("node-{own}");
        let node_id = NodeId::of_name(&name);
        let boot_id = BootId(u64::from(own) + 1);
        let identity = NodeIdentity {
            addr: addr(own),
            node_id,
            bump: now.wall_millis,
            renews: 0,
            boot_id,
            peer_port: addr(own).port(),
            protocol_min: 1,
            protocol_max: 1,
        };
        let record = NodeRecord {
            node_id,
            boot_id,
            bump: 0,
            sequence: 0,
            name,
            zone: "zone-a".to_owned(),
            grpc_addr: format!("{}:8080", addr(own).ip()),
            http_addr: format!("{}:8081", addr(own).ip()),
            phase: Phase::Active,
            attachment: Vec::new(),
        };
        let config = AgentConfig::of_profile(Profile::Lan, "scale");
        let mut agent = Agent::new(config, identity, record, rng, now)?;
        // Seeds are never refused.
        let _ = agent.handle(now, Input::Seeds((0..SEEDS.min(nodes)).map(addr).collect()));
        Ok(Self {
            agent,
            own,
            present: vec![false; usize::from(nodes)],
        })
    }
}

impl Peer for Production {
    fn receive(&mut self, now: Now, from: SocketAddr, payload: &[u8]) {
        let _ = self.agent.handle(now, Input::Datagram { from, payload });
    }

    fn wake(&mut self, now: Now) {
        let _ = self.agent.handle(now, Input::Time);
    }

    fn deadline(&self) -> Option<Duration> {
        self.agent.next_deadline()
    }

    fn next_datagram(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let datagram = self.agent.next_datagram()?;
        Some((datagram.to, datagram.bytes))
    }

    fn changes(&mut self) -> Vec<Change> {
        let Some(view) = self.agent.view() else {
            return Vec::new();
        };
        let mut present = vec![false; self.present.len()];
        for member in view.present() {
            let of = index(member.gossip_addr).filter(|of| *of != self.own);
            if let Some(place) = of.and_then(|of| present.get_mut(usize::from(of))) {
                *place = true;
            }
        }
        let former = std::mem::replace(&mut self.present, present);
        let pairs = (0..).zip(former.iter().zip(&self.present));
        pairs
            .filter(|(_, (before, after))| before != after)
            .map(|(of, (_, after))| Change {
                of,
                is_present: *after,
            })
            .collect()
    }

    fn exchange_due(&mut self) -> Option<SocketAddr> {
        self.agent.push_pull_due()
    }

    fn export_state(&self) -> Vec<u8> {
        self.agent.export_state()
    }

    fn merge_state(&mut self, now: Now, bytes: &[u8]) {
        // A refusal is counted by the agent, and shows as members that stay unknown.
        let _ = self.agent.handle(now, Input::MergeState(bytes));
    }
}
