//! What operations go by: the configuration of every slot and how this node stands in it, as one immutable value. Requests
//! take one and keep it; a change publishes another.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;

use super::slot::{Carry, Configuration, SlotConfiguration, Vote};
use crate::key::{Key, Slot};

/// The slots of one node at one moment.
#[derive(Clone, Default, Debug)]
pub struct Gates {
    gates: Box<[Option<Gate>]>,
}

/// One slot.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub(super) configuration: Configuration,
    pub(super) is_owner: bool,
    pub(super) is_full: bool,
    pub(super) carry: Option<Carry>,
    /// The slot is about to move: nothing is answered.
    pub(super) is_closed: bool,
}

impl Gates {
    pub(super) fn new(gates: impl Iterator<Item = Option<Gate>>) -> Self {
        Self {
            gates: gates.collect(),
        }
    }

    /// The key's slot.
    #[must_use]
    pub fn slot(&self, key: &Key) -> Slot {
        // A table has at least one slot, and at most as many as a u16 counts.
        key.slot(u16::try_from(self.gates.len()).unwrap_or(u16::MAX).max(1))
    }

    /// The slot's configuration; `None` before this node has one.
    #[must_use]
    pub fn configuration(&self, slot: Slot) -> Option<&Configuration> {
        Some(&self.gate(slot)?.configuration)
    }

    /// The root of the slot's data, as requests carry it.
    #[must_use]
    pub fn root(&self, slot: Slot) -> Option<u64> {
        Some(self.configuration(slot)?.id().root)
    }

    /// How an answer under `asked` counts; `None` when it must not be given (rule 4).
    #[must_use]
    pub fn vote(&self, slot: Slot, asked: SlotConfiguration) -> Option<Vote> {
        let gate = self.gate(slot)?;
        let may = gate.is_owner && !gate.is_closed && gate.configuration.id() == asked;
        may.then_some(Vote {
            is_full: gate.is_full,
            carry: gate.carry,
        })
    }

    fn gate(&self, slot: Slot) -> Option<&Gate> {
        self.gates.get(slot.index())?.as_ref()
    }
}

/// The present gates of a node, shared by requests and by the one who changes them.
///
/// An operation asks for a [`vote`](Self::vote), does its work at the store, and answers only if the slot
/// [`is still`](Self::is_still) in that configuration. Whoever closes a slot first and then takes the lock of the store
/// that the operation has to take, finds either what the operation did or that it will not be answered.
#[derive(Default)]
pub struct GateCell {
    gates: ArcSwap<Gates>,
    /// Slots in which operations were answered as carrying owner.
    carried: Box<[AtomicBool]>,
}

impl GateCell {
    /// Without configurations.
    #[must_use]
    pub fn new(slots: u16) -> Self {
        Self {
            gates: ArcSwap::default(),
            carried: (0..slots).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// The gates as they are now, to be kept for one attempt.
    #[must_use]
    pub fn load(&self) -> Arc<Gates> {
        self.gates.load_full()
    }

    /// The slot's configuration.
    #[must_use]
    pub fn configuration(&self, slot: Slot) -> Option<Configuration> {
        self.gates.load().configuration(slot).cloned()
    }

    /// The root of the slot's data, as requests carry it.
    #[must_use]
    pub fn root(&self, slot: Slot) -> Option<u64> {
        self.gates.load().root(slot)
    }

    /// How an answer under `asked` would count; `None` when it must not be given.
    #[must_use]
    pub fn vote(&self, slot: Slot, asked: SlotConfiguration) -> Option<Vote> {
        let vote = self.gates.load().vote(slot, asked)?;
        if !vote.is_full
            && vote.carry.is_some()
            && let Some(carried) = self.carried.get(slot.index())
        {
            carried.store(true, Ordering::Release);
        }
        Some(vote)
    }

    /// Whether an answer under `asked` may be given now that the work is done.
    #[must_use]
    pub fn is_still(&self, slot: Slot, asked: SlotConfiguration) -> bool {
        self.gates.load().vote(slot, asked).is_some()
    }

    /// Puts other gates in place.
    pub fn publish(&self, gates: Gates) {
        self.gates.store(Arc::new(gates));
    }

    /// Whether operations were answered as carrying owner since this was last asked. For a slot that is closed.
    #[must_use]
    pub fn take_carried(&self, slot: Slot) -> bool {
        let carried = self.carried.get(slot.index());
        carried.is_some_and(|carried| carried.swap(false, Ordering::Acquire))
    }
}
