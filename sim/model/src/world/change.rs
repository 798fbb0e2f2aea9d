//! Which config a node is in: first rings, adoption, joiners, restarts, settled configs, higher roots.

use super::{Data, Message, Node, World, list, message::Phase};
use crate::config::{Config, NodeId, Root, add};

impl World {
    /// Rule 14: a first ring forms, if no node has a config. Everybody is in its config, and its owners are full.
    pub fn form(&mut self, first: &[NodeId]) -> bool {
        if self.nodes.iter().any(|node| node.config.is_some()) {
            return false;
        }
        let root = Root {
            generation: 0,
            id: self.firsts.len() as u16,
        };
        let config = self.config(root, 1, first);
        self.firsts.push(config);
        for id in self.ids() {
            self.node_mut(id).config = Some(config);
            if first.contains(&id) {
                let node = self.node_mut(id);
                node.full = true;
                node.top = Some(config);
                self.note_full(config, id);
            }
        }
        self.note(|_| format!("a first ring forms: {config}"));
        true
    }

    /// Rule 1: whether a node may move to a config.
    #[must_use]
    pub fn may_adopt(&self, id: NodeId, config: &Config) -> bool {
        match self.node(id).config {
            None => false,
            Some(own) if !self.rules.numbered => own != *config && own.root == config.root,
            Some(own) => {
                let stale = self.rules.own_boot && self.names_older_boot(id, config);
                *config > own && config.root == own.root && !stale
            }
        }
    }

    fn names_older_boot(&self, id: NodeId, config: &Config) -> bool {
        config.names_node(id) && !config.names(self.member(id))
    }

    /// Rules 1 and 2: a node moves up to another config of its root.
    pub fn adopt(&mut self, id: NodeId, config: Config) -> bool {
        if !self.may_adopt(id, &config) {
            return false;
        }
        self.now += 1;
        let rules = self.rules;
        let node = self.node_mut(id);
        let left = node.config.expect("a node that may adopt has a config");
        if node.full || !rules.keep_preds {
            node.preds.clear();
            node.carry = node.full.then_some(left);
            add(&mut node.preds, left);
        } else if node.seen || node.preds.is_empty() || !rules.unseen_free {
            node.carry = None;
            add(&mut node.preds, left);
        }
        node.seen = false;
        node.full = false;
        node.covered.clear();
        node.begin_stay(config);
        self.note(|world| {
            let preds = list(&world.node(id).preds);
            format!("{id} adopts {config}, preds {preds}")
        });
        self.try_full(id);
        true
    }

    /// Rule 13: a node without a config asks one that has one.
    pub fn join(&mut self, joiner: NodeId, from: NodeId) -> bool {
        let source = self.node(from);
        let Some(config) = source.config else {
            return false;
        };
        if self.node(joiner).config.is_some() {
            return false;
        }
        let preds = source.preds_for_joiners();
        let joiner = self.member(joiner);
        // A config that already names the joiner: only as one that must still cover.
        if config.names(joiner) && preds.is_empty() {
            return false;
        }
        let full = source.full;
        self.network.push(Message::Joined {
            joiner,
            config,
            preds,
            full,
        });
        true
    }

    /// A node restarts: everything in memory is lost.
    pub fn crash(&mut self, id: NodeId) {
        self.now += 1;
        let node = self.node_mut(id);
        *node = Node {
            boot: node.boot + 1,
            stay: node.stay + 1,
            ..Node::default()
        };
        let boot = node.boot;
        for operation in &mut self.operations {
            if operation.coordinator.node == id && operation.phase != Phase::Done {
                operation.phase = Phase::Dead;
            }
        }
        self.note(|_| format!("{id} restarts empty, boot {boot}"));
    }

    /// Rule 15: a node learns, however late, that all owners of a config have become full in it.
    pub fn settle(&mut self, id: NodeId, config: Config) -> bool {
        let someone_is_full = self.fulls.iter().any(|full| full.config == config);
        let settled = self.settled(&config) || self.rules.drop_early && someone_is_full;
        if !settled {
            return false;
        }
        let member = self.member(id);
        let node = self.node_mut(id);
        let Some(own) = node.config else {
            return false;
        };
        if own.root != config.root || own < config {
            return false;
        }
        if own == config {
            node.covered.clear();
            if !config.names(member) {
                node.preds.clear();
                node.data = Data::default();
                node.top = None;
                node.carry = None;
                self.note(|_| format!("{id} drops its copy, {config} is settled"));
            }
        } else if !node.full && node.preds.iter().any(|pred| *pred < config) {
            node.preds.retain(|pred| *pred >= config);
            add(&mut node.preds, config);
            node.carry = None;
            self.note(|_| format!("{id} replaces preds below {config}, which is settled"));
        }
        true
    }

    /// Rule 17: a node meets a higher root and enters it like a joiner, without the old data.
    pub fn follow(&mut self, id: NodeId, from: NodeId) -> bool {
        let source = self.node(from);
        let (Some(own), Some(higher)) = (self.node(id).config, source.config) else {
            return false;
        };
        if higher.root <= own.root {
            return false;
        }
        let preds = source.preds_for_joiners();
        let full = source.full;
        self.now += 1;
        let drops = self.rules.root_drops;
        let node = self.node_mut(id);
        node.full = false;
        node.preds = preds;
        node.seen = full;
        node.covered.clear();
        node.carry = None;
        node.top = None;
        if drops {
            node.data = Data::default();
        }
        node.begin_stay(higher);
        self.note(|_| format!("{id} follows {from} into {higher}"));
        true
    }
}

impl Node {
    /// Enters a config; answers to pulls in the last one do not count here.
    pub(super) fn begin_stay(&mut self, config: Config) {
        self.config = Some(config);
        self.said.clear();
        self.stay += 1;
    }

    /// What its config may not cover, as far as it knows.
    fn preds_for_joiners(&self) -> Vec<Config> {
        if self.full {
            self.covered.clone()
        } else {
            self.preds.clone()
        }
    }
}
