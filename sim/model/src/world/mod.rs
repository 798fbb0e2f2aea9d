//! One slot, a handful of nodes, a bag of messages. Every public method that changes it is one atomic step; steps that a
//! rule forbids change nothing.
//!
//! - `change`: which config a node is in; `full`: how an owner becomes full; `loss`: a slot that is declared lost;
//! - `message`: what is under way; `replica`: what arrives at a node; `operation`: reads and writes by their coordinators;
//! - `judge`: what is acknowledged or returned, and whether it may be.

mod change;
mod full;
mod judge;
mod loss;
mod message;
mod operation;
mod replica;

pub use judge::{Bound, Violation};
pub use message::{Answer, Message, Phase, Pulling, Request, Vote};
pub use operation::{OpId, Operation, Stamp};

use std::fmt;

use crate::{
    config::{Config, Member, NodeId, Root},
    rules::Rules,
};

/// Keys of a world.
pub const KEYS: usize = 2;

/// What orders values of a key: a Lamport clock, then the writer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version {
    /// The writer's clock.
    pub counter: u16,
    /// The coordinator of the write, in one life.
    pub writer: Member,
}

impl Version {
    /// Below every version that was ever written.
    pub const NONE: Self = Self {
        counter: 0,
        writer: Member {
            node: NodeId(0),
            boot: 0,
        },
    };
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.counter, self.writer)
    }
}

/// A value or a tombstone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// Its version.
    pub version: Version,
    /// The operation that wrote it.
    pub by: OpId,
    /// Whether it is a tombstone.
    pub tombstone: bool,
}

/// What a node holds of each key.
pub type Data = [Option<Entry>; KEYS];

/// What an answerer of a pull said of itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Said {
    /// Who said it.
    pub member: Member,
    /// What its data may not cover.
    pub preds: Vec<Config>,
    /// The highest config in which its memory was full.
    pub top: Option<Config>,
}

/// What a node has in memory. All of it is lost in a crash, but for `boot`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Node {
    /// How often its memory was lost.
    pub boot: u8,
    /// The config that it is in.
    pub config: Option<Config>,
    /// Its data covers every write acknowledged below `config`.
    pub full: bool,
    /// Not full: configs below `config` whose acknowledged writes its data may not cover.
    pub preds: Vec<Config>,
    /// Full: the preds that it covered, kept for joiners until all owners are full.
    pub covered: Vec<Config>,
    /// The config that it left as a full owner, if nothing was added to `preds` since.
    pub carry: Option<Config>,
    /// The highest config in which its memory was full: the data covers everything below it.
    pub top: Option<Config>,
    /// Its copy of the slot.
    pub data: Data,
    /// Its Lamport clock.
    pub clock: u16,
    /// The answers to its pulls in this config.
    pub said: Vec<Said>,
    /// It did something here that counts for others: it answered a pull, or an operation as carry.
    pub seen: bool,
    /// Counts its stays in configs, so that late answers are known as such.
    pub stay: u16,
}

/// Which owners have become full in a config.
#[derive(Clone, Debug)]
pub struct FullIn {
    /// The config.
    pub config: Config,
    /// One bit for each node.
    nodes: u8,
}

/// The whole of it.
#[derive(Clone, Debug)]
pub struct World {
    /// The rule.
    pub rules: Rules,
    /// All nodes, A first.
    pub nodes: Vec<Node>,
    /// Messages under way.
    pub network: Vec<Message>,
    /// All operations that were ever begun.
    pub operations: Vec<Operation>,
    /// Steps so far: the time of the checks, which no node sees.
    pub now: u32,
    /// Who has become full, in the order of first cases.
    pub fulls: Vec<FullIn>,
    /// The first broken promise.
    pub violation: Option<Violation>,
    /// What happened in words, if wanted.
    pub log: Option<Vec<String>>,
    /// Reads that were answered.
    pub reads_done: u32,
    /// Writes that were acknowledged.
    pub writes_done: u32,
    /// What reads and writes must not fall below.
    pub bounds: Vec<Bound>,
    /// The first config of each root, by the root's id: nothing lies below it.
    firsts: Vec<Config>,
}

impl World {
    /// Nodes without a config.
    #[must_use]
    pub fn empty(rules: Rules, nodes: usize) -> Self {
        Self {
            rules,
            nodes: vec![Node::default(); nodes],
            network: vec![],
            operations: vec![],
            now: 0,
            fulls: vec![],
            violation: None,
            log: None,
            reads_done: 0,
            writes_done: 0,
            bounds: vec![],
            firsts: vec![],
        }
    }

    /// Nodes in a first config, whose owners are full.
    #[must_use]
    pub fn new(rules: Rules, nodes: usize, first: &[NodeId]) -> Self {
        let mut world = Self::empty(rules, nodes);
        world.form(first);
        world
    }

    /// All node ids, A first.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u8).map(NodeId)
    }

    /// One node.
    #[must_use]
    pub fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node.index()]
    }

    pub(crate) fn node_mut(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[node.index()]
    }

    /// The present life of a node.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Member {
        Member {
            node,
            boot: self.node(node).boot,
        }
    }

    /// The config of these nodes as they are now.
    #[must_use]
    pub fn config(&self, root: Root, number: u8, owners: &[NodeId]) -> Config {
        let owners: Vec<Member> = owners.iter().map(|node| self.member(*node)).collect();
        self.config_of(root, number, &owners)
    }

    /// The config of these owners; without a number where the rules know none.
    #[must_use]
    pub fn config_of(&self, root: Root, number: u8, owners: &[Member]) -> Config {
        let number = if self.rules.numbered { number } else { 0 };
        Config::new(root, number, owners)
    }

    /// Lines of descent so far.
    #[must_use]
    pub fn roots(&self) -> usize {
        self.firsts.len()
    }

    /// How often the slot was declared lost.
    #[must_use]
    pub fn losses(&self) -> usize {
        let declared = self.firsts.iter().filter(|first| first.root.generation > 0);
        declared.count()
    }

    /// Whether all owners of a config have become full in it.
    #[must_use]
    pub fn settled(&self, config: &Config) -> bool {
        let full = self.fulls.iter().find(|full| full.config == *config);
        full.is_some_and(|full| {
            let mut owners = config.owners().iter();
            owners.all(|owner| full.nodes & (1 << owner.node.0) != 0)
        })
    }

    fn note_full(&mut self, config: Config, node: NodeId) {
        let bit = 1 << node.0;
        match self.fulls.iter_mut().find(|full| full.config == config) {
            Some(full) => full.nodes |= bit,
            None => self.fulls.push(FullIn { config, nodes: bit }),
        }
    }

    /// Adds a line to the log, if there is one.
    pub(crate) fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.log.is_some() {
            let line = format!("{:4} {}", self.now, line(self));
            if let Some(log) = &mut self.log {
                log.push(line);
            }
        }
    }
}

/// A list of configs for the log.
pub(crate) fn list(configs: &[Config]) -> String {
    if configs.is_empty() {
        return "none".to_owned();
    }
    let words: Vec<_> = configs.iter().map(Config::to_string).collect();
    words.join(", ")
}
