//! The end of a schedule: faults are over, and what must happen then.

use super::{Explorer, letters};
use crate::{
    config::{NodeId, OWNERS_MAX},
    world::{KEYS, Request, Violation, World},
};

/// Messages that a calm phase handles at most before it looks again.
const DRAINED_MAX: usize = 5001;
/// Rounds of calm within which every owner must become full.
const CALM_ROUNDS: usize = 8;

impl Explorer {
    /// All agree on one ring, and messages flow: every owner must become full, and reads must be answered.
    pub(super) fn calm(&mut self) {
        if self.world.violation.is_some() {
            return;
        }
        // What is still under way arrives last of all.
        let late = std::mem::take(&mut self.world.network);
        let at = self.random.below(self.rings.len());
        let mut ring = self.rings[at].clone();
        if ring.len() < OWNERS_MAX {
            ring = self.world.ids().take(OWNERS_MAX).collect();
        }
        self.world
            .note(|_| format!("-- calm, ring {}", letters(&ring)));
        if !self.become_full(&ring) {
            return;
        }
        if self.mode.must_not_lose() && self.world.roots() > 1 {
            self.world.violation.get_or_insert(Violation::FalseLoss);
        }
        for message in late {
            self.world.deliver(message);
            self.world.network.clear();
        }
        self.read_all();
    }

    /// False if the schedule ends here.
    fn become_full(&mut self, ring: &[NodeId]) -> bool {
        for _ in 1..CALM_ROUNDS {
            let Some(done) = self.calm_round(ring) else {
                return false;
            };
            if done {
                return true;
            }
            let nodes = self.nodes();
            for id in self.world.ids() {
                if self.world.declare(id, nodes) {
                    break;
                }
            }
        }
        let done = self.calm_round(ring);
        if done == Some(false) {
            self.world.violation.get_or_insert(Violation::NotFull);
        }
        done == Some(true)
    }

    /// Everybody goes where the highest node is, or to the ring's config above it, and everybody pulls from everybody.
    /// Whether all owners are full then; nothing if nobody has a config.
    fn calm_round(&mut self, ring: &[NodeId]) -> Option<bool> {
        let world = &mut self.world;
        let configured = world.ids().filter(|id| world.node(*id).config.is_some());
        let highest = configured.max_by_key(|id| world.node(*id).config)?;
        for id in world.ids() {
            world.join(id, highest);
        }
        drain(world);
        for id in world.ids() {
            world.follow(id, highest);
        }
        let above = world.node(highest).config?;
        let wanted = world.config(above.root, above.number + 1, ring);
        let config = if above.owners() == wanted.owners() {
            above
        } else {
            wanted
        };
        for id in world.ids() {
            world.adopt(id, config);
        }
        for id in world.ids() {
            for from in world.ids() {
                world.pull(id, from);
            }
        }
        drain(world);
        Some(ring.iter().all(|id| {
            let node = world.node(*id);
            node.full && node.config == Some(config)
        }))
    }

    fn read_all(&mut self) {
        let coordinator = self.any_node();
        for key in 0..KEYS as u8 {
            let read = self.world.start(coordinator, key, Request::Read);
            drain(&mut self.world);
            if read.is_some_and(|read| self.world.operation(read).done_at.is_none()) {
                self.world.violation.get_or_insert(Violation::NoQuorum);
            }
        }
    }
}

/// Delivers what is under way, the latest first.
fn drain(world: &mut World) {
    for _ in 0..DRAINED_MAX {
        let Some(message) = world.network.pop() else {
            return;
        };
        world.deliver(message);
    }
}
