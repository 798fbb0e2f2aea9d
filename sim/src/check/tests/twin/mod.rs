//! A small replicated register that keeps the promises, and the histories that its clients see.
//!
//! Three nodes own every key. Requests travel message by message with random delays and losses: a write is stamped by a
//! hybrid clock, sent to all, acknowledged at W stores and stamped anew above what it meets; a read asks R nodes, takes
//! the newest and stores it on W nodes before it answers; what got lost is delivered later, or only by the final repair.
//! So unknown writes appear late or never, ONE and degraded writes become visible by and by, and values are seen under
//! the stamps that they had on the way. Nodes restart empty one at a time and copy from the others before they count;
//! evicted values leave their version behind.

mod nodes;
mod plan;
mod read_back;
mod requests;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

pub(super) use self::plan::{Bug, Dice, Plan};
use super::story::MILLI;
use crate::history::{
    Clocks, Consistency, Degrade, Event, Header, History, Life, Mark, Operation, Outcome, Request,
    Unanswered, ValueId, Version,
};

const NODES: usize = 3;
const EPOCH_MILLIS: u64 = 1_000_000;
const SKEW_MILLIS: u64 = 40;
const DEADLINE: u64 = 60 * MILLI;

#[derive(Clone, Copy)]
struct Record {
    version: Version,
    value: Option<ValueId>,
    expires_millis: Option<u64>,
}

#[derive(Clone, Copy)]
enum Step {
    Begin,
    /// The write of this stamp arrives at a node.
    Store(usize, Record),
    Stored(usize, Record),
    /// Met something newer.
    Newer(Record, Version),
    Ask(usize),
    Answered(Option<Record>),
    Deadline,
}

enum Due {
    Operation(usize, Step),
    /// What got lost arrives after all.
    Hint(usize, u64, Record),
    Evict,
    Crash(usize),
    Recover(usize),
}

struct Running {
    operation: Operation,
    key: u64,
    epoch: u64,
    record: Option<Record>,
    stored: Vec<usize>,
    answers: Vec<Option<Record>>,
    /// The read's value is being stored before the answer.
    is_writing_back: bool,
    is_over: bool,
}

struct Node {
    records: BTreeMap<u64, Record>,
    clock: (u64, u32),
    ahead_millis: u64,
    boot_id: u64,
    is_up: bool,
    evicted: u64,
}

struct Twin {
    dice: Dice,
    plan: Plan,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    due: BTreeMap<u64, Due>,
    nodes: Vec<Node>,
    running: Vec<Running>,
    history: History,
    epoch: u64,
    now: u64,
    next: u64,
}

/// A legal history.
pub(super) fn legal_history(seed: u64, plan: Plan) -> History {
    let mut twin = Twin::new(seed, plan);
    twin.run();
    twin.finish()
}

impl Twin {
    fn new(seed: u64, plan: Plan) -> Self {
        let mut dice = Dice::new(seed);
        let nodes = (0..NODES as u64).map(|number| Node {
            records: BTreeMap::new(),
            clock: (0, 0),
            ahead_millis: dice.below(2 * SKEW_MILLIS),
            boot_id: number + 1,
            is_up: true,
            evicted: 0,
        });
        let nodes = nodes.collect();
        let header = Header {
            seed: Some(seed),
            clocks: Clocks {
                uncertainty_ns: plan.uncertainty_ns,
                bound_ns: SKEW_MILLIS * MILLI,
                epoch_millis: Some(EPOCH_MILLIS),
                // Nobody stamps anew after the deadline, at which unknown operations complete.
                stamps_within_ns: Some(0),
            },
            tombstone_life_ns: Some(4 * 3_600_000 * MILLI),
            ..Header::default()
        };
        let mut twin = Self {
            dice,
            plan,
            queue: BinaryHeap::new(),
            due: BTreeMap::new(),
            nodes,
            running: Vec::new(),
            history: History {
                header,
                ..History::default()
            },
            epoch: 0,
            now: 0,
            next: 0,
        };
        for node in 0..NODES {
            let boot_id = node as u64 + 1;
            twin.mark(Event::Boot {
                node: node as u32,
                boot_id,
            });
        }
        let span = plan.operations * 4 * MILLI;
        for id in 0..plan.operations {
            twin.draw(id, span);
        }
        for _ in 0..plan.evictions {
            let at = twin.dice.below(span);
            twin.at(at, Due::Evict);
        }
        for restart in 0..plan.restarts {
            let at = (restart + 1) * span / (plan.restarts + 1);
            let node = twin.dice.below(NODES as u64) as usize;
            twin.at(at, Due::Crash(node));
            twin.at(at + 200 * MILLI, Due::Recover(node));
            if plan.in_pairs {
                let other = (node + 1) % NODES;
                twin.at(at + 50 * MILLI, Due::Crash(other));
                twin.at(at + 210 * MILLI, Due::Recover(other));
            }
        }
        twin
    }

    fn draw(&mut self, id: u64, span: u64) {
        let dice = &mut self.dice;
        let life = if dice.percent(self.plan.mortal) {
            Life::AfterNs((1 + dice.below(400)) * MILLI)
        } else {
            Life::Never
        };
        let request = match dice.below(10) {
            0..4 => Request::Set {
                value: ValueId(id + 1),
                life,
            },
            4 => Request::Delete,
            _ => Request::Get,
        };
        let consistency = match dice.below(10) {
            0 | 1 => Consistency::One,
            2 => Consistency::All,
            _ => Consistency::Quorum,
        };
        let degrade = if dice.percent(10) {
            Degrade::Accept
        } else {
            Degrade::Refuse
        };
        let at = 100 * MILLI + dice.below(span);
        let (node, key) = (dice.below(NODES as u64), dice.below(self.plan.keys));
        self.start(at, id, (node as u32, key), (request, consistency, degrade));
    }

    fn start(
        &mut self,
        at: u64,
        id: u64,
        (node, key): (u32, u64),
        (request, consistency, degrade): (Request, Consistency, Degrade),
    ) {
        let operation = Operation {
            id,
            client: (id % 8) as u32,
            node,
            key: format!("key{key}"),
            request,
            consistency,
            degrade,
            invoked_ns: at,
            completed_ns: at,
            outcome: Outcome::Unknown(Unanswered::default()),
        };
        self.running.push(Running {
            operation,
            key,
            epoch: 0,
            record: None,
            stored: Vec::new(),
            answers: Vec::new(),
            is_writing_back: false,
            is_over: false,
        });
        let index = self.running.len() - 1;
        let begin = at + self.dice.below(MILLI);
        self.at(begin, Due::Operation(index, Step::Begin));
    }

    fn at(&mut self, at: u64, due: Due) {
        self.next += 1;
        self.queue.push(Reverse((at, self.next)));
        self.due.insert(self.next, due);
    }

    fn mark(&mut self, event: Event) {
        self.history.marks.push(Mark {
            at_ns: self.now,
            event,
        });
    }

    fn run(&mut self) {
        while let Some(Reverse((at, number))) = self.queue.pop() {
            self.now = at;
            match self.due.remove(&number) {
                Some(Due::Operation(index, step)) => self.step(index, step),
                Some(Due::Hint(node, key, record)) => {
                    let record = if self.has(Bug::LifeBegunAnew) {
                        let expires_millis = record.expires_millis.map(|at| at + 5_000);
                        Record {
                            expires_millis,
                            ..record
                        }
                    } else {
                        record
                    };
                    if self.nodes[node].is_up && !self.has(Bug::NoRepair) {
                        let _held_is_newer = self.store(node, key, record);
                    }
                }
                Some(Due::Evict) => self.evict(),
                Some(Due::Crash(node)) => self.crash(node),
                Some(Due::Recover(node)) => self.recover(node),
                None => {}
            }
        }
    }
}
