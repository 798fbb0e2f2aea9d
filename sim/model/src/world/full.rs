//! How an owner becomes full: pulls, and the walk up the configs that their answers mention.

use super::{Message, Pulling, Said, World};
use crate::config::{Config, NodeId};

impl World {
    /// Rule 9: an owner that is not full asks a node for all that it holds.
    pub fn pull(&mut self, puller: NodeId, from: NodeId) -> bool {
        let by = self.member(puller);
        let node = self.node(puller);
        let Some(config) = node.config else {
            return false;
        };
        if puller == from || node.full || !config.names(by) {
            return false;
        }
        let stay = node.stay;
        let pulling = Pulling { by, stay, config };
        self.network.push(Message::Pull { pulling, from });
        true
    }

    /// What everyone said who answered in this config, and what the node says itself.
    pub(super) fn answers(&self, id: NodeId) -> Vec<Said> {
        let node = self.node(id);
        let mut answers = node.said.clone();
        answers.push(Said {
            member: self.member(id),
            preds: node.preds.clone(),
            top: node.top,
        });
        answers
    }

    /// How many owners of a config, memory intact, are among those who said something.
    pub(super) fn owners_in(&self, config: &Config, said: &[Said]) -> usize {
        let boots = self.rules.boots;
        let only_full = self.rules.only_full_sources;
        let owners = config.owners().iter().filter(|owner| {
            said.iter().any(|said| {
                said.member.node == owner.node
                    && (!boots || said.member.boot == owner.boot)
                    && (!only_full || said.top == Some(*config))
            })
        });
        owners.count()
    }

    fn is_covered(&self, config: &Config, said: &[Said]) -> bool {
        self.owners_in(config, said) >= config.cover(&self.rules)
    }

    /// Rules 9 to 12: an owner becomes full if what it was told allows it.
    pub(super) fn try_full(&mut self, id: NodeId) {
        let node = self.node(id);
        let Some(config) = node.config else {
            return;
        };
        if node.full || !config.names(self.member(id)) {
            return;
        }
        let answers = self.answers(id);
        let done = if !self.rules.transitive {
            let mut preds = node.preds.iter();
            !node.preds.is_empty() && preds.all(|pred| self.is_covered(pred, &answers))
        } else if self.rules.numbered {
            self.walk_up(self.firsts[usize::from(config.root.id)], &answers)
        } else {
            self.vouch_for_one_another(answers)
        };
        if done {
            self.make_full(id, config);
        }
    }

    /// Rule 11. The base is the highest config in which an answerer was full: its data covers everything below. If
    /// there is none, it is the first config of the root. Upwards from there, a config is passed when a cover of its owners
    /// answered whose mentions of higher configs can all be passed too.
    pub(super) fn walk_up(&self, first: Config, answers: &[Said]) -> bool {
        let mentions = answers.iter().flat_map(|said| {
            let preds = said.preds.iter().copied();
            preds.chain(said.top)
        });
        let mut mentioned: Vec<Config> = mentions.collect();
        mentioned.sort_unstable();
        mentioned.dedup();
        let base = if self.rules.discharge_blind {
            mentioned.last().copied()
        } else {
            answers.iter().filter_map(|said| said.top).max()
        };
        let Some(base) = base.or(self.rules.first_base.then_some(first)) else {
            return false;
        };
        let mut passed: Vec<Config> = vec![];
        for config in mentioned.iter().rev().filter(|config| **config >= base) {
            let passes = |said: &&Said| {
                let mut preds = said.preds.iter();
                preds.all(|pred| pred <= config || passed.contains(pred))
            };
            let good: Vec<Said> = answers.iter().filter(passes).cloned().collect();
            if self.is_covered(config, &good) {
                passed.push(*config);
            } else if !self.rules.choose {
                return false;
            }
        }
        passed.contains(&base)
    }

    /// The first sketch, without numbers: some answerers whose preds all have a cover among them.
    fn vouch_for_one_another(&self, answers: Vec<Said>) -> bool {
        let mut good = answers;
        good.retain(|said| !said.preds.is_empty());
        loop {
            let covered = |said: &Said| said.preds.iter().all(|pred| self.is_covered(pred, &good));
            let keep: Vec<bool> = good.iter().map(covered).collect();
            if keep.iter().all(|keep| *keep) {
                return !good.is_empty();
            }
            if !self.rules.choose {
                return false;
            }
            let mut keep = keep.into_iter();
            good.retain(|_| keep.next().expect("one for each"));
        }
    }

    pub(super) fn make_full(&mut self, id: NodeId, config: Config) {
        let keep_covered = self.rules.keep_covered;
        let node = self.node_mut(id);
        node.full = true;
        node.covered = if keep_covered {
            std::mem::take(&mut node.preds)
        } else {
            vec![]
        };
        node.preds.clear();
        node.carry = None;
        node.top = Some(config);
        self.note_full(config, id);
        self.note(|_| format!("{id} is full in {config}"));
    }
}
