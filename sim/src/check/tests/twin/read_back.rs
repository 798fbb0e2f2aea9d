//! The end of a history: repair, reading everything back, the copies.

use super::{super::story::MILLI, Bug, NODES, Record, Twin};
use crate::history::{Consistency, Degrade, Event, Held, History, OwnerCopy, Request};

impl Twin {
    /// Repairs everything, reads every key back at every node, and looks at the copies.
    pub(super) fn finish(mut self) -> History {
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
                self.history.copies.push(OwnerCopy {
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
