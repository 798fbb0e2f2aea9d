//! Membership at scale: many production agents on a network in virtual time, beside foca with its plain defaults.
//!
//! - [`peer`]: the machines, and the production agent as one; [`plain`]: foca as it comes.
//! - [`network`]: what they run on, and what is counted there.
//! - [`table`]: the figures as a table, and its place in a document.

pub mod network;
pub mod peer;
pub mod plain;
pub mod table;

use std::{num::NonZeroU32, time::Duration};

use shard_cache_membership::agent::{AgentError, Now};

use self::{
    network::{Network, Traffic},
    peer::{Peer, Production},
    plain::Plain,
};

/// Shares of datagrams that are lost, in percent.
pub const LOSSES: [u8; 4] = [0, 10, 20, 30];

/// Over which the nodes start.
const START_SPREAD: Duration = Duration::from_secs(1);
const JOIN_LIMIT: Duration = Duration::from_secs(60);
const CRASH_LIMIT: Duration = Duration::from_secs(60);
const SPLIT_LIMIT: Duration = Duration::from_secs(60);
const HEAL_LIMIT: Duration = Duration::from_secs(120);
/// Between a change and the time that is measured.
const SETTLE: Duration = Duration::from_secs(5);
/// How long traffic and false downs are counted.
const MEASURED: Duration = Duration::from_secs(20);

/// Whose membership is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Variant {
    /// The production agent, profile `lan`.
    Production,
    /// `foca::Config::simple()`.
    Simple,
    /// `foca::Config::new_lan(nodes)`.
    Lan,
}

impl Variant {
    /// All of them, as columns of the table.
    pub const ALL: [Self; 3] = [Self::Production, Self::Simple, Self::Lan];

    /// Its title.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Production => "production agent",
            Self::Simple => "foca `simple()`",
            Self::Lan => "foca `new_lan()`",
        }
    }

    fn peer(
        self,
        network: &mut Network,
        own: u16,
        nodes: u16,
    ) -> Result<Box<dyn Peer>, AgentError> {
        let now: Now = network.clock();
        let rng = network.fork_rng();
        let size = NonZeroU32::new(u32::from(nodes)).unwrap_or(NonZeroU32::MIN);
        Ok(match self {
            Self::Production => Box::new(Production::new(own, nodes, rng, now)?),
            Self::Simple => {
                let config = foca::Config::simple();
                Box::new(Plain::new(own, nodes, config, rng, now))
            }
            Self::Lan => {
                let config = foca::Config::new_lan(size);
                Box::new(Plain::new(own, nodes, config, rng, now))
            }
        })
    }
}

/// How long something took, or that it did not happen in time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Took {
    /// So long.
    Time(Duration),
    /// Longer than this; then so large a share of beliefs was still wrong.
    Beyond(Duration, f64),
}

impl Took {
    /// Runs until no belief is wrong any more, of so many at first.
    fn until_none(
        network: &mut Network,
        limit: Duration,
        all: usize,
        wrong: impl Fn(&Network) -> usize,
    ) -> Self {
        match network.run_until(limit, |network| wrong(network) == 0) {
            Some(taken) => Self::Time(taken),
            None => Self::Beyond(limit, wrong(network) as f64 / all.max(1) as f64),
        }
    }
}

/// What was seen with a share of datagrams lost.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct UnderLoss {
    /// Running nodes that came to be held for down, per node and hour.
    pub false_downs: f64,
    /// Datagrams that a node sent in a second.
    pub datagrams: f64,
    /// Bytes in them.
    pub bytes: f64,
    /// Bytes of whole states that a node sent in a second.
    pub state_bytes: f64,
}

/// What was seen of one variant.
#[derive(Clone, PartialEq, Debug)]
pub struct Figures {
    /// From the first start until everyone knew everyone.
    pub join: Took,
    /// From a crash until half, 99 % and all of those that knew the node held it for down.
    pub crash: [Took; 3],
    /// From a cut through the middle until each half knew only itself.
    pub split: Took,
    /// From its end until everyone knew everyone.
    pub heal: Took,
    /// For each of [`LOSSES`].
    pub losses: Vec<UnderLoss>,
    /// Differs if anything happened otherwise.
    pub trace: u64,
}

/// Measures one variant; calls `progress` after each step.
///
/// # Errors
/// If the agent refuses its configuration.
pub fn measure(
    variant: Variant,
    nodes: u16,
    seed: u64,
    progress: &mut dyn FnMut(&str),
) -> Result<Figures, AgentError> {
    let pairs = usize::from(nodes) * usize::from(nodes).saturating_sub(1);
    let (mut network, join) = joined(variant, nodes, seed)?;
    progress("join");
    let mut losses = vec![under_loss(&mut network, nodes)];
    let crash = crash(&mut network, nodes / 3);
    progress("crash");
    let mut trace = network.trace();
    for percent in &LOSSES[1..] {
        let (mut network, _) = joined(variant, nodes, seed)?;
        network.loss = f64::from(*percent) / 100.0;
        losses.push(under_loss(&mut network, nodes));
        trace = trace.rotate_left(1) ^ network.trace();
        progress("packet loss");
    }
    let (mut network, _) = joined(variant, nodes, seed)?;
    network.run_for(SETTLE);
    for node in nodes / 2..nodes {
        network.set_group(node, 1);
    }
    let middle = nodes / 2;
    let across = network.seen_across(middle);
    let split = Took::until_none(&mut network, SPLIT_LIMIT, across, |network| {
        network.seen_across(middle)
    });
    progress("partition");
    for node in 0..nodes {
        network.set_group(node, 0);
    }
    let heal = Took::until_none(&mut network, HEAL_LIMIT, pairs, Network::unseen);
    progress("heal");
    Ok(Figures {
        join,
        crash,
        split,
        heal,
        losses,
        trace: trace.rotate_left(1) ^ network.trace(),
    })
}

/// A network on which all nodes have been started, and how long they took to know each other.
fn joined(variant: Variant, nodes: u16, seed: u64) -> Result<(Network, Took), AgentError> {
    let mut network = Network::new(seed, nodes);
    let step = START_SPREAD / u32::from(nodes.max(1));
    for node in 0..nodes {
        let peer = variant.peer(&mut network, node, nodes)?;
        network.start(node, peer);
        network.run_for(step);
    }
    let pairs = usize::from(nodes) * usize::from(nodes).saturating_sub(1);
    let join = match Took::until_none(&mut network, JOIN_LIMIT, pairs, Network::unseen) {
        Took::Time(since_last) => Took::Time(START_SPREAD + since_last),
        beyond @ Took::Beyond(..) => beyond,
    };
    Ok((network, join))
}

fn under_loss(network: &mut Network, nodes: u16) -> UnderLoss {
    network.run_for(SETTLE);
    let before = network.traffic();
    network.run_for(MEASURED);
    let after = network.traffic();
    let node_seconds = f64::from(nodes) * MEASURED.as_secs_f64();
    let per_second = |count: fn(&Traffic) -> u64| {
        (count(&after) - count(&before)) as f64 / node_seconds.max(f64::EPSILON)
    };
    UnderLoss {
        false_downs: per_second(|traffic| traffic.false_downs) * 3600.0,
        datagrams: per_second(|traffic| traffic.datagrams),
        bytes: per_second(|traffic| traffic.bytes),
        state_bytes: per_second(|traffic| traffic.state_bytes),
    }
}

/// Ends a node without a word, and waits until half, 99 % and all of those that knew it hold it for down.
fn crash(network: &mut Network, victim: u16) -> [Took; 3] {
    network.kill(victim);
    let knew = network.seen_by(victim);
    let mut taken = Duration::ZERO;
    // So many still believe in it.
    [knew / 2, knew / 100, 0].map(|left| {
        let limit = CRASH_LIMIT.saturating_sub(taken);
        let wrong = |network: &Network| network.seen_by(victim).saturating_sub(left);
        match Took::until_none(network, limit, knew, wrong) {
            Took::Time(more) => {
                taken += more;
                Took::Time(taken)
            }
            Took::Beyond(more, share) => {
                taken += more;
                Took::Beyond(CRASH_LIMIT, share)
            }
        }
    })
}
