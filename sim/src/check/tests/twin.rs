//! A small replicated register that keeps the promises, and the histories that its clients see.
//!
//! Three nodes own every key. Requests travel message by message with random delays and losses: a write is stamped by a
//! hybrid clock, sent to all, acknowledged at W stores and stamped anew above what it meets; a read asks R nodes, takes
//! the newest and stores it on W nodes before it answers; what got lost is delivered later, or only by the final repair.
//! So unknown writes appear late or never, ONE and degraded writes become visible by and by, and values are seen under
//! the stamps that they had on the way. Nodes restart empty one at a time and copy from the others before they count;
//! evicted values leave their version behind.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use super::story::MILLI;
use crate::history::{
    Answer, Answered, Clocks, Consistency, Copy, Degrade, Event, Header, Held, History, Life, Mark,
    Operation, Outcome, Request, Unanswered, ValueId, Version,
};

const NODES: usize = 3;
const EPOCH_MILLIS: u64 = 1_000_000;
const SKEW_MILLIS: u64 = 40;
const DEADLINE: u64 = 60 * MILLI;

/// A small random number generator (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) const fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What a history is to contain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) operations: u64,
    pub(super) keys: u64,
    /// Share of messages that are lost, in percent.
    pub(super) loss: u64,
    /// Share of sets with a life, in percent.
    pub(super) mortal: u64,
    pub(super) evictions: u64,
    pub(super) restarts: u64,
    /// By how much recorded times may be off.
    pub(super) uncertainty_ns: u64,
    /// What the register does wrong; the history does not tell.
    pub(super) bug: Option<Bug>,
}

/// Something that a register may do wrong.
#[derive(Clone, core::marker::Copy, PartialEq, Eq, Debug)]
pub(super) enum Bug {
    /// A read answers before it has stored what it found.
    NoWriteBack,
    /// A write is acknowledged when one node has stored it.
    AcknowledgesEarly,
    /// A node that holds something newer says that it has stored what it refused.
    NewerIgnored,
    /// A delete removes the record instead of leaving a tombstone.
    NoTombstone,
    /// What is delivered late begins its life anew.
    LifeBegunAnew,
    /// Nobody looks at the expiry.
    NeverExpires,
    /// A node that restarted counts before it has copied anything.
    EmptyNodeCounts,
    /// A write that failed was sent all the same.
    FailedIsSent,
    /// Fewer owners will do, and the answer does not say so.
    DegradesSilently,
    /// Neither hints nor repair.
    NoRepair,
    /// What is evicted leaves no version behind.
    EvictsWithoutTrace,
}

#[derive(Clone, core::marker::Copy)]
struct Record {
    version: Version,
    value: Option<ValueId>,
    expires_millis: Option<u64>,
}

#[derive(Clone, core::marker::Copy)]
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

    /// A node's hybrid time in milliseconds.
    fn hybrid(&self, node: usize) -> u64 {
        let clock = &self.nodes[node];
        let wall = EPOCH_MILLIS + self.now / MILLI + clock.ahead_millis - SKEW_MILLIS;
        wall.max(clock.clock.0)
    }

    /// The time by which expiry is judged.
    fn judging(&self, node: usize) -> u64 {
        if self.has(Bug::NeverExpires) {
            return 0;
        }
        self.hybrid(node)
    }

    fn stamp(&mut self, node: usize, above: Version) -> Version {
        let now = self.hybrid(node);
        let clock = &mut self.nodes[node].clock;
        let next = (clock.0, clock.1 + 1).max((above.millis, above.counter + 1));
        *clock = next.max((now, 0));
        Version::new(clock.0, clock.1, self.nodes[node].boot_id)
    }

    fn has(&self, bug: Bug) -> bool {
        self.plan.bug == Some(bug)
    }

    /// Stores what is newer; else says what is held.
    fn store(&mut self, node: usize, key: u64, record: Record) -> Result<(), Version> {
        if self.has(Bug::NoTombstone) && record.value.is_none() {
            self.nodes[node].records.remove(&key);
            return Ok(());
        }
        let own = &mut self.nodes[node];
        own.clock = own
            .clock
            .max((record.version.millis, record.version.counter));
        match own.records.get(&key) {
            Some(held) if held.version > record.version => Err(held.version),
            Some(held) if held.version == record.version => Ok(()),
            Some(_) | None => {
                own.records.insert(key, record);
                Ok(())
            }
        }
    }

    fn step(&mut self, index: usize, step: Step) {
        let (key, is_over) = (self.running[index].key, self.running[index].is_over);
        match step {
            Step::Begin => self.begin(index),
            Step::Store(node, record) => {
                if !self.counts(index, node) {
                    return;
                }
                let answer = match self.store(node, key, record) {
                    Ok(()) => Step::Stored(node, record),
                    Err(_)
                        if self.running[index].is_writing_back || self.has(Bug::NewerIgnored) =>
                    {
                        Step::Stored(node, record)
                    }
                    Err(newer) => Step::Newer(record, newer),
                };
                self.send(index, answer);
            }
            Step::Ask(node) => {
                if self.counts(index, node) {
                    let now = self.judging(node);
                    let held = self.nodes[node].records.get(&key);
                    let answer = held.map(|record| match record.expires_millis {
                        Some(expires) if expires <= now => Record {
                            value: None,
                            ..*record
                        },
                        Some(_) | None => *record,
                    });
                    self.send(index, Step::Answered(answer));
                }
            }
            Step::Stored(..) | Step::Newer(..) | Step::Answered(_) | Step::Deadline if is_over => {}
            Step::Stored(node, record) => self.stored(index, node, record),
            Step::Newer(record, newer) => self.restamp(index, record, newer),
            Step::Answered(answer) => self.answered(index, answer),
            Step::Deadline => self.give_up(index),
        }
    }

    /// A node answers only in the configuration in which the operation began.
    fn counts(&self, index: usize, node: usize) -> bool {
        self.nodes[node].is_up && self.running[index].epoch == self.epoch
    }

    fn send(&mut self, index: usize, step: Step) {
        if !self.dice.percent(self.plan.loss) {
            let at = self.now + self.dice.below(8 * MILLI);
            self.at(at, Due::Operation(index, step));
        }
    }

    fn begin(&mut self, index: usize) {
        let request = self.running[index].operation.request;
        let node = self.running[index].operation.node as usize;
        self.running[index].epoch = self.epoch;
        if !self.nodes[node].is_up || self.dice.percent(3) {
            let outcome = Outcome::Failed(Unanswered::default());
            self.end(index, outcome);
            if !self.has(Bug::FailedIsSent) {
                return;
            }
        }
        let deadline = self.now + DEADLINE;
        self.at(deadline, Due::Operation(index, Step::Deadline));
        let (value, life) = match request {
            Request::Get => {
                let first = self.dice.below(NODES as u64) as usize;
                // Asking all finds a quorum in spite of losses; the answer takes the first R.
                for offset in 0..NODES {
                    self.send(index, Step::Ask((first + offset) % NODES));
                }
                return;
            }
            Request::Delete => (None, Life::Never),
            Request::Set { value, life } => (Some(value), life),
        };
        let version = self.stamp(node, Version::default());
        let expires_millis = match life {
            Life::AfterNs(ns) => Some(version.millis + ns / MILLI),
            Life::Never | Life::Unrecorded => None,
        };
        let record = Record {
            version,
            value,
            expires_millis,
        };
        self.send_to_all(index, record);
    }

    fn send_to_all(&mut self, index: usize, record: Record) {
        let key = self.running[index].key;
        self.running[index].record = Some(record);
        self.running[index].stored.clear();
        for node in 0..NODES {
            self.send(index, Step::Store(node, record));
            if self.dice.percent(50) {
                let at = self.now + (10 + self.dice.below(500)) * MILLI;
                self.at(at, Due::Hint(node, key, record));
            }
        }
    }

    fn required(&self, index: usize) -> usize {
        let is_write = self.running[index].operation.request.is_write();
        if is_write && self.has(Bug::AcknowledgesEarly) {
            return 1;
        }
        match self.running[index].operation.consistency {
            Consistency::One => 1,
            Consistency::Quorum => 2,
            Consistency::All => NODES,
        }
    }

    fn stored(&mut self, index: usize, node: usize, record: Record) {
        let required = self.required(index);
        let running = &mut self.running[index];
        let present = running.record.map(|record| record.version);
        if present != Some(record.version) || running.stored.contains(&node) {
            return;
        }
        running.stored.push(node);
        if running.is_writing_back {
            if running.stored.len() >= 2 {
                self.read_done(index, false);
            }
        } else if running.stored.len() >= required {
            self.written(index, false);
        }
    }

    fn restamp(&mut self, index: usize, record: Record, newer: Version) {
        let running = &self.running[index];
        let node = running.operation.node as usize;
        if running.record.map(|record| record.version) == Some(record.version) {
            let version = self.stamp(node, newer);
            self.send_to_all(index, Record { version, ..record });
        }
    }

    fn answered(&mut self, index: usize, answer: Option<Record>) {
        let required = self.required(index);
        let running = &mut self.running[index];
        if running.is_writing_back {
            return;
        }
        running.answers.push(answer);
        if running.answers.len() < required {
            return;
        }
        let newest = newest(&running.answers);
        running.record = newest;
        let Some(record) = newest else {
            return self.read_done(index, false);
        };
        let holders = running.answers.iter().flatten();
        let holders = holders
            .filter(|held| held.version == record.version)
            .count();
        let is_one = running.operation.consistency == Consistency::One;
        if is_one || holders >= 2 || self.plan.bug == Some(Bug::NoWriteBack) {
            return self.read_done(index, false);
        }
        running.is_writing_back = true;
        for node in 0..NODES {
            self.send(index, Step::Store(node, record));
        }
    }

    /// At the deadline fewer will do, where that is accepted.
    fn give_up(&mut self, index: usize) {
        let running = &mut self.running[index];
        let is_silent = self.plan.bug == Some(Bug::DegradesSilently);
        let accepts = is_silent || running.operation.degrade == Degrade::Accept;
        let is_read = running.operation.request == Request::Get;
        if accepts && is_read && !running.answers.is_empty() && !running.is_writing_back {
            running.record = newest(&running.answers);
            self.read_done(index, !is_silent);
        } else if accepts && !is_read && !running.stored.is_empty() {
            self.written(index, !is_silent);
        } else {
            self.end(index, Outcome::Unknown(Unanswered::default()));
        }
    }

    fn written(&mut self, index: usize, degraded: bool) {
        let running = &self.running[index];
        let answer = Answer::Written {
            version: running
                .record
                .map(|record| record.version)
                .unwrap_or_default(),
            replaced: None,
        };
        let stored = running.stored.len();
        // Whoever acknowledges early believes that it was enough.
        let believed = if self.has(Bug::AcknowledgesEarly) {
            NODES
        } else {
            stored
        };
        let took_part = Some(believed as u8);
        self.answer(index, answer, degraded, took_part);
    }

    fn read_done(&mut self, index: usize, degraded: bool) {
        let running = &self.running[index];
        let now = self.judging(running.operation.node as usize);
        let answer = match running.record {
            Some(Record {
                version,
                value: Some(value),
                expires_millis,
            }) if expires_millis.is_none_or(|expires| expires > now) => Answer::Hit {
                value,
                version,
                expires_in_ns: expires_millis.map(|expires| (expires - now) * MILLI),
            },
            record => Answer::Miss {
                version: record.map(|record| record.version),
            },
        };
        let took_part = Some(running.answers.len() as u8);
        self.answer(index, answer, degraded, took_part);
    }

    fn answer(&mut self, index: usize, answer: Answer, degraded: bool, took_part: Option<u8>) {
        let answered = Answered {
            answer,
            degraded,
            took_part,
            owners: Some(NODES as u8),
        };
        self.end(index, Outcome::Ok(answered));
    }

    fn end(&mut self, index: usize, outcome: Outcome) {
        let running = &mut self.running[index];
        running.is_over = true;
        running.operation.completed_ns = self.now + 1;
        running.operation.outcome = outcome;
    }

    fn evict(&mut self) {
        let node = self.dice.below(NODES as u64) as usize;
        let key = self.dice.below(self.plan.keys);
        let own = &mut self.nodes[node];
        let (boot_id, before) = (own.boot_id, own.evicted);
        let is_evicted = own
            .records
            .get_mut(&key)
            .is_some_and(|record| record.value.take().is_some());
        if is_evicted {
            if self.plan.bug == Some(Bug::EvictsWithoutTrace) {
                own.records.remove(&key);
            }
            own.evicted += 1;
            let total = before + 1;
            self.mark(Event::Evictions {
                node: node as u32,
                boot_id,
                total,
            });
        }
    }

    fn crash(&mut self, node: usize) {
        self.epoch += 1;
        self.nodes[node].is_up = false;
        self.nodes[node].records.clear();
        self.nodes[node].evicted = 0;
        let fault = format!("crash {}", self.epoch);
        self.mark(Event::FaultBegin {
            fault,
            nodes: vec![node as u32],
        });
        self.mark(Event::Crash { node: node as u32 });
    }

    /// Comes back empty and copies everything before it counts.
    fn recover(&mut self, node: usize) {
        let boot_id = self.epoch * 10 + node as u64 + 10;
        self.mark(Event::Boot {
            node: node as u32,
            boot_id,
        });
        self.nodes[node].boot_id = boot_id;
        if !self.has(Bug::EmptyNodeCounts) {
            self.merge_from_others(node);
        }
        self.nodes[node].is_up = true;
        let fault = format!("crash {}", self.epoch);
        self.mark(Event::FaultEnd { fault });
        self.mark(Event::Settled);
    }

    fn merge_from_others(&mut self, node: usize) {
        for other in (0..NODES).filter(|other| *other != node) {
            for (key, record) in self.nodes[other].records.clone() {
                let _held_is_newer = self.store(node, key, record);
            }
        }
    }

    /// Repairs everything, reads every key back at every node, and looks at the copies.
    fn finish(mut self) -> History {
        for node in 0..NODES {
            if !self.has(Bug::NoRepair) {
                self.merge_from_others(node);
            }
        }
        let nodes = (0..NODES as u32).collect();
        self.mark(Event::Healed { nodes });
        self.now += 61_000 * MILLI;
        self.plan.loss = 0;
        let mut id = self.plan.operations;
        // Reading repairs what it reads.
        let read_back = if self.has(Bug::NoRepair) {
            0
        } else {
            self.plan.keys
        };
        for key in 0..read_back {
            for node in 0..NODES as u32 {
                let terms = (Request::Get, Consistency::Quorum, Degrade::Refuse);
                self.start(self.now + id * MILLI, id, (node, key), terms);
                id += 1;
            }
        }
        self.run();
        for key in 0..self.plan.keys {
            for node in 0..NODES {
                let held = match self.nodes[node].records.get(&key) {
                    None => Held::Nothing,
                    Some(Record {
                        version,
                        value: Some(value),
                        ..
                    }) => Held::Value {
                        value: *value,
                        version: *version,
                    },
                    Some(Record { version, .. }) => Held::Gone { version: *version },
                };
                self.history.copies.push(Copy {
                    at_ns: self.now,
                    node: node as u32,
                    key: format!("key{key}"),
                    held,
                });
            }
        }
        let off = self.plan.uncertainty_ns;
        for running in self.running {
            let mut operation = running.operation;
            // A recorder's clock is off by up to the uncertainty, either way.
            let mut blur = |at: u64| (at + self.dice.below(2 * off + 1)).saturating_sub(off);
            operation.invoked_ns = blur(operation.invoked_ns);
            operation.completed_ns = blur(operation.completed_ns).max(operation.invoked_ns);
            self.history.operations.push(operation);
        }
        self.history
    }
}

/// The newest of some answers; of one version, one without a value when in doubt.
fn newest(answers: &[Option<Record>]) -> Option<Record> {
    let held = answers.iter().flatten();
    held.copied()
        .max_by_key(|record| (record.version, record.value.is_none()))
}
