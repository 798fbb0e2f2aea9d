//! A node of production code on a host of the world.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use shard_cache::{
    clock::Entropy,
    config::Config,
    node::{Addresses, Advertised, CoreSeams, Node},
    telemetry::Machine,
};
use shard_cache_membership::{
    agent::AgentError,
    pump::Pump,
    resolver::{Resolution, Resolver},
};

use crate::{
    options::Options,
    peers::{self, SimDialer},
    plant::Plant,
    repeats::Repeats,
    world::{HostId, World},
};

/// Gossip and peer port of every node.
const PEER_PORT: u16 = 7946;

/// The address of the node with this index.
#[must_use]
pub fn address(index: u16) -> SocketAddr {
    let [high, low] = (index + 1).to_be_bytes();
    (Ipv4Addr::new(10, 0, high, low), PEER_PORT).into()
}

/// The name of the node with this index.
#[must_use]
pub fn name(index: u16) -> String {
    format!("node-{index}")
}

/// Seeds of a simulated node are addresses: there are no names.
struct NoNames;

impl Resolver for NoNames {
    fn resolve<'a>(&'a self, _name: &'a str) -> Resolution<'a> {
        Box::pin(std::future::ready(Err(std::io::ErrorKind::NotFound.into())))
    }
}

/// Starts a process of the node on its host, with an empty memory. `seed` decides about its boot id and all its random
/// choices.
///
/// # Errors
/// If the configuration is impossible.
pub fn start(
    world: &World,
    host: HostId,
    config: &Config,
    seed: u64,
) -> Result<Arc<Node>, AgentError> {
    build(world, host, config, seed, None, Repeats::default())
}

/// Starts a process of the node on its host as a run's options say, with a bug or without. What it sends is counted.
pub(crate) fn start_planted(
    world: &World,
    host: HostId,
    options: &Options,
    seed: u64,
    repeats: Repeats,
) -> Result<Arc<Node>, AgentError> {
    let mut config = options.config(host.0);
    if let Some(plant) = options.plant {
        plant.configure(&mut config);
    }
    build(world, host, &config, seed, options.plant, repeats)
}

fn build(
    world: &World,
    host: HostId,
    config: &Config,
    seed: u64,
    plant: Option<Plant>,
    repeats: Repeats,
) -> Result<Arc<Node>, AgentError> {
    world.switch_on(host);
    let peer = address(host.0);
    let addresses = Addresses {
        grpc: SocketAddr::new(peer.ip(), 8080),
        http: SocketAddr::new(peer.ip(), 8081),
        peer,
    };
    let advertised = Advertised {
        peer,
        host: peer.ip().to_string(),
    };
    let clock = world.clock(host);
    let seams = CoreSeams {
        clock: Arc::new(clock.clone()),
        entropy: Entropy::from_seed(seed),
        workers: Arc::new(world.workers(host)),
        dialer: Arc::new(SimDialer::new(world.clone(), host, repeats)),
        config: None,
        machine: Machine::default(),
    };
    let membership = |setup| {
        let (pump, handle, targets) =
            Pump::new(setup, peer, world.socket(host), clock, Arc::new(NoNames))?;
        world.spawn(host, "membership", Box::pin(pump.run()));
        Ok::<_, AgentError>((handle, targets))
    };
    let (node, loops) = Node::build(config, addresses, &advertised, seams, membership)?;
    world.listen(host, peers::listener(node.peer_parts(config), plant));
    node.run(loops);
    Ok(Arc::new(node))
}
