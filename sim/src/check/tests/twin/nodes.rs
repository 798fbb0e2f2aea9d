//! What each node does by itself: clocks, storing, eviction, restarts.

use super::{super::story::MILLI, Bug, EPOCH_MILLIS, NODES, Record, SKEW_MILLIS, Twin};
use crate::history::{Event, Version};

impl Twin {
    /// A node's hybrid time in milliseconds.
    pub(super) fn hybrid(&self, node: usize) -> u64 {
        let clock = &self.nodes[node];
        let wall = EPOCH_MILLIS + self.now / MILLI + clock.ahead_millis - SKEW_MILLIS;
        wall.max(clock.clock.0)
    }

    /// The time by which expiry is judged.
    pub(super) fn judging(&self, node: usize) -> u64 {
        if self.has(Bug::NeverExpires) {
            return 0;
        }
        self.hybrid(node)
    }

    pub(super) fn stamp(&mut self, node: usize, above: Version) -> Version {
        let now = self.hybrid(node);
        let clock = &mut self.nodes[node].clock;
        let next = (clock.0, clock.1 + 1).max((above.millis, above.counter + 1));
        *clock = next.max((now, 0));
        Version::new(clock.0, clock.1, self.nodes[node].boot_id)
    }

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.plan.bug == Some(bug)
    }

    /// Stores what is newer; else says what is held.
    pub(super) fn store(&mut self, node: usize, key: u64, record: Record) -> Result<(), Version> {
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

    pub(super) fn evict(&mut self) {
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

    pub(super) fn crash(&mut self, node: usize) {
        self.epoch += 1;
        self.nodes[node].is_up = false;
        self.nodes[node].records.clear();
        self.nodes[node].evicted = 0;
        let fault = format!("crash of {node}");
        self.mark(Event::FaultBegin {
            fault,
            nodes: vec![node as u32],
        });
        self.mark(Event::Crash { node: node as u32 });
    }

    /// Comes back empty and copies everything before it counts.
    pub(super) fn recover(&mut self, node: usize) {
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
        let fault = format!("crash of {node}");
        self.mark(Event::FaultEnd { fault });
        if self.nodes.iter().all(|node| node.is_up) {
            self.mark(Event::Settled);
        }
    }

    pub(super) fn merge_from_others(&mut self, node: usize) {
        for other in (0..NODES).filter(|other| *other != node) {
            for (key, record) in self.nodes[other].records.clone() {
                let _held_is_newer = self.store(node, key, record);
            }
        }
    }
}
