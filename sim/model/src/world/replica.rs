//! What arrives at a node: pulls and their answers, reads and writes.

use super::{Answer, Data, Entry, Message, OpId, Pulling, Said, Vote, World, list};
use crate::config::{Config, Member, NodeId};

impl World {
    /// A message arrives. It may be one that has arrived before.
    pub fn deliver(&mut self, message: Message) {
        self.now += 1;
        match message {
            Message::Pull { pulling, from } => self.pull_arrives(pulling, from),
            Message::Pulled {
                pulling,
                said,
                data,
                full,
            } => self.pulled(pulling, said, &data, full),
            Message::Joined {
                joiner,
                config,
                preds,
                full,
            } => self.joined(joiner, config, preds, full),
            Message::Store {
                operation,
                attempt,
                config,
                key,
                entry,
                at,
                back,
            } => {
                let answer = self.store(at, &config, key, entry, back);
                self.reply(operation, attempt, at, answer);
            }
            Message::Fetch {
                operation,
                attempt,
                config,
                key,
                at,
            } => {
                let answer = self.fetch(at, &config, key);
                self.reply(operation, attempt, at, answer);
            }
            Message::Answered {
                operation,
                attempt,
                answer,
            } => self.answered(operation, attempt, answer),
        }
    }

    fn reply(&mut self, operation: OpId, attempt: u8, at: NodeId, answer: Answer) {
        self.note(|_| format!("{operation}: {at} {answer}"));
        self.network.push(Message::Answered {
            operation,
            attempt,
            answer,
        });
    }

    /// Rule 9: a node answers only while it is in the puller's config.
    fn pull_arrives(&mut self, pulling: Pulling, from: NodeId) {
        let Some(own) = self.node(from).config else {
            return;
        };
        if self.rules.sealed && own != pulling.config || own.root != pulling.config.root {
            return;
        }
        if self.rules.trace {
            self.node_mut(from).seen = true;
        }
        let node = self.node(from);
        let mut data = node.data;
        if !self.rules.tombstones {
            for entry in &mut data {
                *entry = entry.filter(|entry| !entry.tombstone);
            }
        }
        let preds = if node.full {
            vec![]
        } else {
            node.preds.clone()
        };
        let said = Said {
            member: self.member(from),
            preds,
            top: node.top,
        };
        let full = node.full && own == pulling.config;
        self.network.push(Message::Pulled {
            pulling,
            said,
            data,
            full,
        });
    }

    fn pulled(&mut self, pulling: Pulling, said: Said, data: &Data, full: bool) {
        let puller = pulling.by.node;
        let node = self.node(puller);
        let same_stay = node.config == Some(pulling.config) && node.stay == pulling.stay;
        if self.member(puller) != pulling.by || !same_stay || node.full {
            return;
        }
        for (key, entry) in data.iter().enumerate() {
            if let Some(entry) = entry {
                self.merge(puller, key, *entry);
            }
        }
        self.note(|_| {
            let (preds, top) = (list(&said.preds), list(said.top.as_slice()));
            let source = said.member;
            let config = pulling.config;
            format!("{puller} has the answer of {source} in {config}: preds {preds}, top {top}")
        });
        let node = self.node_mut(puller);
        node.said
            .retain(|other| other.member.node != said.member.node);
        node.said.push(said);
        // Rule 10.
        if full {
            self.make_full(puller, pulling.config);
        } else {
            self.try_full(puller);
        }
    }

    fn joined(&mut self, joiner: Member, config: Config, preds: Vec<Config>, full: bool) {
        if self.member(joiner.node) != joiner || self.node(joiner.node).config.is_some() {
            return;
        }
        self.note(|_| format!("{joiner} joins in {config}, preds {}", list(&preds)));
        let node = self.node_mut(joiner.node);
        node.preds = preds;
        node.seen = full;
        node.begin_stay(config);
    }

    /// Rule 4: whether a node stands behind answers under a config, and as what: full, carry or neither.
    fn standing(&self, id: NodeId, config: &Config) -> Option<(bool, Option<Config>)> {
        let node = self.node(id);
        let named = config.names(self.member(id));
        let counts = named || !self.rules.boots && config.names_node(id);
        if node.config != Some(*config) || !counts {
            return None;
        }
        let carry = node
            .carry
            .filter(|carry| !node.full && node.preds == [*carry]);
        // Without boots a restarted node takes up the standing of its former self.
        let full = node.full || !named;
        Some((full, carry))
    }

    /// Rule 2: what a node does here as carry counts for others.
    fn note_carry(&mut self, id: NodeId, carry: Option<Config>) {
        let trace = self.rules.trace;
        self.node_mut(id).seen |= trace && carry.is_some();
    }

    /// Rules 4, 6 and 7: a write, or what a read found.
    fn store(&mut self, at: NodeId, config: &Config, key: u8, entry: Entry, back: bool) -> Answer {
        let Some((full, carry)) = self.standing(at, config) else {
            let own = self.node(at).config;
            let foreign = self.rules.store_foreign;
            let stores = own.is_some_and(|own| own.root == config.root || foreign);
            if self.rules.store_wrong && stores {
                self.merge(at, usize::from(key), entry);
            }
            return Answer::WrongConfig;
        };
        self.note_carry(at, carry);
        match self.node(at).data[usize::from(key)] {
            Some(held) if held.version > entry.version && !back && self.rules.newer => {
                Answer::Newer(held.version)
            }
            _ => {
                self.merge(at, usize::from(key), entry);
                Answer::Ok(Vote {
                    node: at,
                    full,
                    carry,
                    held: None,
                })
            }
        }
    }

    /// Rules 4 and 7: a read.
    fn fetch(&mut self, at: NodeId, config: &Config, key: u8) -> Answer {
        let Some((full, carry)) = self.standing(at, config) else {
            return Answer::WrongConfig;
        };
        self.note_carry(at, carry);
        Answer::Ok(Vote {
            node: at,
            full,
            carry,
            held: self.node(at).data[usize::from(key)],
        })
    }

    /// Keeps the newer of what a node holds and what it is given.
    fn merge(&mut self, at: NodeId, key: usize, entry: Entry) {
        let node = self.node_mut(at);
        node.clock = node.clock.max(entry.version.counter);
        if node.data[key].is_none_or(|held| held.version < entry.version) {
            node.data[key] = Some(entry);
        }
    }
}
