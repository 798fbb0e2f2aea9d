//! Random schedules: adoption of any plausible ring at any time, stale boots too, pulls, operations by stale coordinators,
//! loss, duplication and reordering of messages, restarts, late settlement, declared losses; then calm, in which every owner
//! must become full and reads must be answered. Every choice comes from one seed.

mod calm;

use crate::{
    config::{Config, Member, NodeId, OWNERS_MAX},
    random::Random,
    rules::Rules,
    world::{KEYS, OpId, Request, Stamp, Violation, World},
};

/// Operations of a schedule at most.
const OPERATIONS_MAX: usize = 60;
/// Messages under way at most; others are lost.
const MESSAGES_MAX: usize = 80;

/// How memory is lost.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// In words.
    pub name: &'static str,
    /// Restarts in all.
    pub crashes: u32,
    /// A restart only when the newest full config is settled, intact, and every node knows of earlier ones.
    pub spaced: bool,
    /// Losses may be declared.
    pub declare: bool,
}

impl Mode {
    /// Whether a loss may never be declared here: at most one memory is lost at a time, of owner sets of three.
    #[must_use]
    pub fn must_not_lose(&self) -> bool {
        self.crashes <= 1 || self.spaced
    }
}

/// All modes, by the number that the command line knows.
pub const MODES: [Mode; 4] = [
    Mode {
        name: "no loss of memory",
        crashes: 0,
        spaced: false,
        declare: false,
    },
    Mode {
        name: "one loss of memory",
        crashes: 1,
        spaced: false,
        declare: true,
    },
    Mode {
        name: "losses one at a time",
        crashes: 6,
        spaced: true,
        declare: true,
    },
    Mode {
        name: "losses at will",
        crashes: 5,
        spaced: false,
        declare: true,
    },
];

/// Whether a schedule tells what happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Log {
    /// It does, in [`World::log`].
    Kept,
    /// It does not.
    None,
}

/// Runs the schedule of a seed.
#[must_use]
pub fn schedule(rules: Rules, mode: Mode, seed: u64, log: Log) -> World {
    let (mut explorer, steps) = Explorer::new(rules, mode, seed, log);
    for _ in 0..steps {
        if explorer.world.violation.is_some() {
            return explorer.world;
        }
        explorer.step();
        if explorer
            .world
            .nodes
            .iter()
            .all(|node| node.config.is_none())
        {
            return explorer.world;
        }
    }
    explorer.calm();
    explorer.world
}

/// In how many of a hundred steps something happens.
struct Rates {
    adopt: usize,
    pull: usize,
    operate: usize,
    /// Of messages that would arrive.
    lose: usize,
    /// Of messages that arrive.
    double: usize,
}

struct Explorer {
    world: World,
    random: Random,
    mode: Mode,
    /// The owners that nodes may want.
    rings: Vec<Vec<NodeId>>,
    rates: Rates,
    keys: usize,
    /// The highest number that is made.
    numbers: u8,
    crashes: u32,
    last_crashed: Option<NodeId>,
}

impl Explorer {
    /// A world, and how many steps are made in it. The order of choices is part of the meaning of a seed.
    fn new(rules: Rules, mode: Mode, seed: u64, log: Log) -> (Self, usize) {
        let seed = seed.wrapping_mul(8).wrapping_add(u64::from(mode.crashes));
        let mut random = Random::new(seed);
        let nodes = 3 + random.below(4);
        let sizes_differ = mode.crashes == 0 || mode.crashes == 5;
        let rings = rings(&mut random, nodes, sizes_differ);
        let mut world = World::new(rules, nodes, &rings[0]);
        if log == Log::Kept {
            let rings: Vec<String> = rings.iter().map(|ring| letters(ring)).collect();
            world.log = Some(vec![format!(
                "     {nodes} nodes, rings {}",
                rings.join(", ")
            )]);
        }
        let steps = 40 + random.below(400);
        let keys = 1 + random.below(KEYS);
        let rates = Rates {
            adopt: 1 + random.below(10),
            pull: 5 + random.below(25),
            operate: 2 + random.below(10),
            lose: random.below(20),
            double: if random.percent(15) {
                45
            } else {
                random.below(8)
            },
        };
        let numbers = 8 + random.below(24) as u8;
        let explorer = Self {
            world,
            random,
            mode,
            rings,
            rates,
            keys,
            numbers,
            crashes: 0,
            last_crashed: None,
        };
        (explorer, steps)
    }

    fn nodes(&self) -> usize {
        self.world.nodes.len()
    }

    fn any_node(&mut self) -> NodeId {
        NodeId(self.random.below(self.nodes()) as u8)
    }

    fn step(&mut self) {
        let (id, other) = (self.any_node(), self.any_node());
        let adopt = self.rates.adopt;
        let pull = adopt + self.rates.pull;
        let operate = pull + self.rates.operate;
        let choice = self.random.below(100);
        if choice < adopt {
            let Some(config) = self.world.node(id).config else {
                self.world.join(id, other);
                return;
            };
            self.change_config(id, config, other);
        } else if choice < pull {
            self.pull(id, other);
        } else if choice < operate {
            self.operate(id);
        } else if choice < operate + 4 {
            self.retry();
        } else if choice < operate + 10 {
            self.befall(id);
        } else if !self.world.network.is_empty() {
            self.deliver();
        }
        while self.world.network.len() > MESSAGES_MAX {
            let at = self.random.below(self.world.network.len());
            self.world.network.swap_remove(at);
        }
        if self.mode.must_not_lose() && self.world.roots() > 1 {
            self.world.violation.get_or_insert(Violation::FalseLoss);
        }
    }

    /// A node moves to the config of another, or to one of its own making.
    fn change_config(&mut self, id: NodeId, config: Config, other: NodeId) {
        match self.world.node(other).config {
            Some(seen) if seen.root > config.root => {
                self.world.follow(id, other);
            }
            Some(seen) if self.random.percent(60) => {
                self.world.adopt(id, seen);
            }
            _ if config.number < self.numbers => {
                let made = self.make_config(config);
                self.world.adopt(id, made);
            }
            _ => {}
        }
    }

    /// The next config after one, perhaps with a stale idea of who has restarted.
    fn make_config(&mut self, after: Config) -> Config {
        let at = self.random.below(self.rings.len());
        let made = self
            .world
            .config(after.root, after.number + 1, &self.rings[at]);
        if !self.random.percent(10) {
            return made;
        }
        let stale = |owner: &Member| Member {
            boot: if !self.mode.spaced || self.last_crashed == Some(owner.node) {
                owner.boot.saturating_sub(1)
            } else {
                owner.boot
            },
            ..*owner
        };
        let owners: Vec<Member> = made.owners().iter().map(stale).collect();
        self.world.config_of(made.root, made.number, &owners)
    }

    fn pull(&mut self, id: NodeId, other: NodeId) {
        if self.world.node(id).config.is_none() {
            self.world.join(id, other);
        } else if self.random.percent(30) {
            for from in self.world.ids() {
                self.world.pull(id, from);
            }
        } else {
            self.world.pull(id, other);
        }
    }

    fn operate(&mut self, id: NodeId) {
        let key = self.random.below(self.keys) as u8;
        let reads = self.random.percent(50);
        let deletes = self.random.percent(35);
        let request = match (reads, deletes) {
            (true, _) => Request::Read,
            (false, false) => Request::Write,
            (false, true) => Request::Delete,
        };
        if self.world.operations.len() < OPERATIONS_MAX {
            self.world.start(id, key, request);
        }
    }

    fn retry(&mut self) {
        let ids = (0..self.world.operations.len() as u16).map(OpId);
        let open: Vec<OpId> = ids
            .filter(|id| self.world.operation(*id).is_open())
            .collect();
        if !open.is_empty() {
            let id = open[self.random.below(open.len())];
            let stamp = if self.random.percent(20) {
                Stamp::New
            } else {
                Stamp::Kept
            };
            self.world.retry(id, stamp);
        }
    }

    /// A restart, news of a settled config, a declared loss, or a clock that is ahead.
    fn befall(&mut self, id: NodeId) {
        let often = if self.mode.spaced { 100 } else { 20 };
        match self.random.below(4) {
            0 if self.crashes < self.mode.crashes && self.random.percent(often) => {
                if !self.mode.spaced || may_crash(&self.world) {
                    self.crashes += 1;
                    self.last_crashed = Some(id);
                    self.world.crash(id);
                }
            }
            1 => {
                let own = self.world.node(id).config;
                if let (Some(config), true) = (own, self.random.percent(60)) {
                    self.world.settle(id, config);
                } else if !self.world.fulls.is_empty() {
                    let at = self.random.below(self.world.fulls.len());
                    self.world.settle(id, self.world.fulls[at].config);
                }
            }
            2 if self.mode.declare => {
                let majority = self.nodes() / 2 + 1;
                self.world.declare(id, majority);
            }
            _ => {
                let ahead = self.random.below(3) as u16;
                self.world.node_mut(id).clock += ahead;
            }
        }
    }

    fn deliver(&mut self) {
        let at = self.random.below(self.world.network.len());
        if self.random.percent(self.rates.lose) {
            self.world.network.swap_remove(at);
        } else if self.random.percent(self.rates.double) {
            let message = self.world.network[at].clone();
            self.world.deliver(message);
        } else {
            let message = self.world.network.swap_remove(at);
            self.world.deliver(message);
        }
    }
}

/// The owners that nodes may want: two to five plausible sets, of three nodes or, where sizes may differ, sometimes fewer.
fn rings(random: &mut Random, nodes: usize, sizes_differ: bool) -> Vec<Vec<NodeId>> {
    let count = 2 + random.below(4);
    let small = random.percent(30) && sizes_differ;
    let mut ring = || {
        let size = if small {
            1 + random.below(OWNERS_MAX)
        } else {
            OWNERS_MAX
        };
        let mut ring: Vec<NodeId> = (0..nodes as u8).map(NodeId).collect();
        for at in (1..ring.len()).rev() {
            ring.swap(at, random.below(at + 1));
        }
        ring.truncate(size);
        ring.sort_unstable();
        ring
    };
    (0..count).map(|_| ring()).collect()
}

/// The newest config is settled and intact, and no config in use names a dead boot.
fn may_crash(world: &World) -> bool {
    let Some(full) = world.fulls.iter().max_by_key(|full| full.config) else {
        return false;
    };
    let newest = full.config;
    let is_alive = |owner: &Member| world.member(owner.node) == *owner;
    let all_alive = |config: Config| config.owners().iter().all(is_alive);
    let known = world
        .nodes
        .iter()
        .all(|node| node.config.is_some_and(all_alive));
    known
        && world.settled(&newest)
        && newest.owners().iter().all(|owner| {
            let node = world.node(owner.node);
            is_alive(owner) && node.full && node.config == Some(newest)
        })
}

fn letters(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect()
}
