//! Reads and writes, as their coordinators see them.

use std::fmt;

use super::{Answer, Entry, Message, Phase, Request, Version, Vote, World};
use crate::config::{Config, Member, NodeId, Root};

/// Attempts of an operation at most, after the first.
const RETRIES_MAX: u8 = 7;

/// An operation, by its place in the list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OpId(pub u16);

impl fmt::Display for OpId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "operation {}", self.0)
    }
}

/// What a retry does with the version of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stamp {
    /// It keeps it.
    Kept,
    /// It takes a new one from its clock.
    New,
}

/// An operation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Operation {
    /// The node that does it, in one life.
    pub coordinator: Member,
    /// The key.
    pub key: u8,
    /// What it does.
    pub request: Request,
    /// The config of this attempt.
    pub config: Config,
    /// Writes: the version of what is written.
    pub version: Version,
    /// The number of this attempt.
    pub attempt: u8,
    /// The answers of this attempt that count.
    pub votes: Vec<Vote>,
    /// How far it is.
    pub phase: Phase,
    /// When it began.
    pub began: u32,
    /// When it was acknowledged, or returned.
    pub done_at: Option<u32>,
    /// Reads: what it returned.
    pub found: Option<Entry>,
    /// What was known when it began, in each root.
    pub bounds: Vec<(Root, Version)>,
}

impl Operation {
    /// Whether it may still be done.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Done | Phase::Dead)
    }

    /// What was known in its root when it began.
    pub(super) fn bound(&self) -> Version {
        let mut bounds = self.bounds.iter();
        let bound = bounds.find(|(root, _)| *root == self.config.root);
        bound.map_or(Version::NONE, |(_, version)| *version)
    }
}

impl World {
    /// An operation.
    #[must_use]
    pub fn operation(&self, id: OpId) -> &Operation {
        &self.operations[usize::from(id.0)]
    }

    pub(super) fn operation_mut(&mut self, id: OpId) -> &mut Operation {
        &mut self.operations[usize::from(id.0)]
    }

    /// A node begins an operation under its own config, and asks all owners.
    pub fn start(&mut self, coordinator: NodeId, key: u8, request: Request) -> Option<OpId> {
        let member = self.member(coordinator);
        let bounds = self.bounds_of(key);
        let node = self.node_mut(coordinator);
        let config = node.config?;
        let version = Version {
            counter: node.clock + 1,
            writer: member,
        };
        if request != Request::Read {
            node.clock += 1;
        }
        self.now += 1;
        let id = OpId(self.operations.len() as u16);
        self.operations.push(Operation {
            coordinator: member,
            key,
            request,
            config,
            version,
            attempt: 0,
            votes: vec![],
            phase: match request {
                Request::Read => Phase::Read,
                Request::Write | Request::Delete => Phase::Write,
            },
            began: self.now,
            done_at: None,
            found: None,
            bounds,
        });
        let named = key + 1;
        self.note(|_| match request {
            Request::Read => format!("{id}: {coordinator} reads k{named} under {config}"),
            Request::Write => {
                format!("{id}: {coordinator} writes k{named} as {version} under {config}")
            }
            Request::Delete => {
                format!("{id}: {coordinator} deletes k{named} as {version} under {config}")
            }
        });
        self.send(id);
        Some(id)
    }

    /// What an open operation asks an owner in its present attempt.
    #[must_use]
    pub fn request(&self, id: OpId, at: NodeId) -> Option<Message> {
        let operation = self.operation(id);
        let (attempt, config, key) = (operation.attempt, operation.config, operation.key);
        let store = |entry, back| Message::Store {
            operation: id,
            attempt,
            config,
            key,
            entry,
            at,
            back,
        };
        match operation.phase {
            Phase::Read => Some(Message::Fetch {
                operation: id,
                attempt,
                config,
                key,
                at,
            }),
            Phase::Write => {
                let entry = Entry {
                    version: operation.version,
                    by: id,
                    tombstone: operation.request == Request::Delete,
                };
                Some(store(entry, false))
            }
            Phase::WriteBack(entry) => Some(store(entry, true)),
            Phase::Done | Phase::Dead => None,
        }
    }

    fn send(&mut self, id: OpId) {
        for owner in self.operation(id).config.owners().to_vec() {
            let request = self.request(id, owner.node);
            self.network.extend(request);
        }
    }

    /// Rules 6 and 8: the coordinator tries again, under its present config. A change of root ends the operation.
    pub fn retry(&mut self, id: OpId, stamp: Stamp) -> bool {
        let operation = self.operation(id);
        let coordinator = operation.coordinator;
        let alive = self.member(coordinator.node) == coordinator;
        if !alive || !operation.is_open() || operation.attempt >= RETRIES_MAX {
            return false;
        }
        let node = self.node(coordinator.node);
        let (config, clock) = (node.config.expect("kept since the start"), node.clock);
        let operation = self.operation_mut(id);
        if config.root != operation.config.root {
            operation.phase = Phase::Dead;
            return false;
        }
        operation.attempt += 1;
        operation.config = config;
        operation.votes.clear();
        if operation.phase == Phase::Write && stamp == Stamp::New {
            operation.version.counter = clock + 1;
            self.node_mut(coordinator.node).clock += 1;
        }
        self.note(|world| {
            let version = world.operation(id).version;
            format!("{id}: again under {config} as {version}")
        });
        self.send(id);
        true
    }

    /// Rule 5: whether the answers so far are enough.
    fn has_quorum(&self, operation: &Operation) -> bool {
        let need = operation.config.quorum();
        let votes = &operation.votes;
        if votes.len() < need {
            return false;
        }
        let full = votes.iter().filter(|vote| vote.full).count();
        if self.rules.all_full {
            return full >= need;
        }
        !self.rules.need_full || full > 0 || self.rules.carry && self.has_carry_quorum(votes)
    }

    fn has_carry_quorum(&self, votes: &[Vote]) -> bool {
        if self.rules.carry_is_full {
            return votes.iter().any(|vote| vote.carry.is_some());
        }
        let carried = votes.iter().filter_map(|vote| vote.carry);
        carried.clone().any(|config| {
            let count = if self.rules.carry_mixed {
                carried.clone().count()
            } else {
                let same =
                    |vote: &&Vote| vote.carry == Some(config) && config.names_node(vote.node);
                votes.iter().filter(same).count()
            };
            count >= config.cover(&self.rules)
        })
    }

    /// An answer reaches the coordinator.
    pub(super) fn answered(&mut self, id: OpId, attempt: u8, answer: Answer) {
        let operation = self.operation(id);
        let coordinator = operation.coordinator;
        let alive = self.member(coordinator.node) == coordinator;
        if operation.attempt != attempt || !operation.is_open() || !alive {
            return;
        }
        match answer {
            Answer::WrongConfig => {}
            Answer::Newer(version) => {
                let node = self.node_mut(coordinator.node);
                node.clock = node.clock.max(version.counter);
                self.retry(id, Stamp::New);
            }
            Answer::Ok(vote) => {
                let votes = &mut self.operation_mut(id).votes;
                if !votes.iter().any(|other| other.node == vote.node) {
                    votes.push(vote);
                }
                if self.has_quorum(self.operation(id)) {
                    self.proceed(id);
                }
            }
        }
    }

    /// The answers are enough for this phase.
    fn proceed(&mut self, id: OpId) {
        match self.operation(id).phase {
            Phase::Read => self.have_read(id),
            Phase::WriteBack(entry) => self.finish_read(id, Some(entry)),
            Phase::Write => self.finish_write(id),
            Phase::Done | Phase::Dead => {}
        }
    }

    /// Rule 7: the newest is returned, and stored on a write quorum before, unless it is there.
    fn have_read(&mut self, id: OpId) {
        let operation = self.operation(id);
        let held = operation.votes.iter().map(|vote| vote.held);
        let newest = held.clone().flatten().max_by_key(|entry| entry.version);
        let version = |entry: Option<Entry>| entry.map(|entry| entry.version);
        let holders = held
            .filter(|held| version(*held) == version(newest))
            .count();
        match newest {
            Some(entry) if holders < operation.config.quorum() && self.rules.write_back => {
                let operation = self.operation_mut(id);
                operation.phase = Phase::WriteBack(entry);
                operation.votes.clear();
                operation.attempt += 1;
                self.send(id);
            }
            _ => self.finish_read(id, newest),
        }
    }
}
