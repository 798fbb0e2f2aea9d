//! Every schedule up to a depth, on small instances: three or four nodes, one key, three rings, two numbers above the first,
//! a write acknowledged by the last W owners, then a read at any time. A step is: a node adopts a config, a pull with its
//! answer, an operation at one owner. Breadth first; worlds that were seen before are left out.

use std::{
    collections::{HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use crate::{
    config::{Config, NodeId, Root},
    rules::Rules,
    world::{Message, OpId, Phase, Request, World},
};

/// The numbers above the first.
const NUMBERS: [u8; 2] = [2, 3];
/// Operations: a write before all, and a read.
const OPERATIONS_MAX: usize = 2;
/// No further layer is begun with more worlds than this.
const WORLDS_MAX: usize = 500_000;

/// A small world: how many nodes, and the owners of the first config and of those that may follow, by letter.
pub struct Instance {
    nodes: usize,
    rings: [&'static str; 3],
}

/// All instances.
pub const INSTANCES: [Instance; 4] = [
    Instance {
        nodes: 4,
        rings: ["ABC", "ABD", "BCD"],
    },
    Instance {
        nodes: 4,
        rings: ["ABC", "AD", "BCD"],
    },
    Instance {
        nodes: 3,
        rings: ["AB", "A", "ABC"],
    },
    Instance {
        nodes: 4,
        rings: ["ABC", "CD", "ABD"],
    },
];

/// What was found.
#[derive(Clone, Debug)]
pub struct Explored {
    /// The rings of the instance.
    pub rings: [&'static str; 3],
    /// Worlds that differ.
    pub worlds: usize,
    /// Every schedule of so many steps was tried.
    pub depth: usize,
    /// The first violation, and after how many steps.
    pub violation: Option<(usize, String)>,
}

/// Tries every schedule of up to `depth` steps, or until too many worlds are known.
#[must_use]
pub fn explore(rules: Rules, instance: &Instance, depth: usize) -> Explored {
    let rings = instance.rings.map(nodes);
    let mut seen = HashSet::new();
    let mut layer = vec![first(rules, instance.nodes, &rings[0])];
    let mut explored = Explored {
        rings: instance.rings,
        worlds: 0,
        depth: 0,
        violation: None,
    };
    while explored.depth < depth {
        let mut next = vec![];
        for successor in layer.iter().flat_map(|world| successors(world, &rings)) {
            if let Some(violation) = &successor.violation {
                explored.violation = Some((explored.depth + 1, violation.to_string()));
                explored.worlds = seen.len();
                return explored;
            }
            if seen.insert(fingerprint(&successor)) {
                next.push(successor);
            }
        }
        layer = next;
        explored.depth += 1;
        if layer.is_empty() || seen.len() > WORLDS_MAX {
            break;
        }
    }
    explored.worlds = seen.len();
    explored
}

fn nodes(letters: &str) -> Vec<NodeId> {
    letters
        .bytes()
        .map(|letter| NodeId(letter - b'A'))
        .collect()
}

/// The world in which the last W owners have acknowledged a write.
fn first(rules: Rules, nodes: usize, ring: &[NodeId]) -> World {
    let mut world = World::new(rules, nodes, ring);
    world.start(ring[0], 0, Request::Write);
    let sent = std::mem::take(&mut world.network);
    let quorum = ring.len() / 2 + 1;
    for message in sent.into_iter().rev().take(quorum) {
        at_once(&mut world, message);
    }
    world
}

fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    for node in &world.nodes {
        (node.config, node.full, &node.preds, node.carry).hash(&mut hasher);
        (node.top, node.data, &node.said, node.seen).hash(&mut hasher);
    }
    for operation in &world.operations {
        (operation.config, operation.version, &operation.votes).hash(&mut hasher);
        (operation.phase, operation.request, &operation.bounds).hash(&mut hasher);
    }
    world.bounds.hash(&mut hasher);
    hasher.finish()
}

/// Delivers what the step sent, and the answers to it.
fn at_once(world: &mut World, message: Message) {
    world.network.clear();
    world.deliver(message);
    while let Some(message) = world.network.pop() {
        if matches!(message, Message::Pulled { .. } | Message::Answered { .. }) {
            world.deliver(message);
        }
    }
}

fn successors(world: &World, rings: &[Vec<NodeId>; 3]) -> Vec<World> {
    let mut successors = vec![];
    adoptions_and_pulls(world, rings, &mut successors);
    let last = OpId(world.operations.len() as u16 - 1);
    if world.operation(last).phase != Phase::Done {
        operate(world, last, &mut successors);
    } else if world.operations.len() < OPERATIONS_MAX {
        begin_reads(world, &mut successors);
    }
    successors
}

fn adoptions_and_pulls(world: &World, rings: &[Vec<NodeId>; 3], successors: &mut Vec<World>) {
    let root = Root {
        generation: 0,
        id: 0,
    };
    let numbered = |number| {
        rings
            .iter()
            .map(move |ring| world.config(root, number, ring))
    };
    let configs: Vec<Config> = NUMBERS.into_iter().flat_map(numbered).collect();
    for id in world.ids() {
        for config in &configs {
            if world.may_adopt(id, config) {
                let mut successor = world.clone();
                successor.adopt(id, *config);
                successors.push(successor);
            }
        }
        for from in world.ids() {
            if world.node(from).config != world.node(id).config && world.rules.sealed {
                continue;
            }
            let mut successor = world.clone();
            successor.network.clear();
            if successor.pull(id, from)
                && let Some(pull) = successor.network.pop()
            {
                at_once(&mut successor, pull);
                successors.push(successor);
            }
        }
    }
}

/// One more owner does its part of an operation.
fn operate(world: &World, id: OpId, successors: &mut Vec<World>) {
    let operation = world.operation(id);
    for owner in operation.config.owners() {
        if operation.votes.iter().any(|vote| vote.node == owner.node) {
            continue;
        }
        let Some(request) = world.request(id, owner.node) else {
            continue;
        };
        let mut successor = world.clone();
        at_once(&mut successor, request);
        let after = successor.operation(id);
        // A refusal changes nothing that is worth following.
        if after.votes.len() != operation.votes.len() || after.phase != operation.phase {
            successors.push(successor);
        }
    }
}

/// A read may begin under any config in use.
fn begin_reads(world: &World, successors: &mut Vec<World>) {
    let mut tried = HashSet::new();
    for id in world.ids() {
        if tried.insert(world.node(id).config) {
            let mut successor = world.clone();
            successor.start(id, 0, Request::Read);
            successor.network.clear();
            successors.push(successor);
        }
    }
}
