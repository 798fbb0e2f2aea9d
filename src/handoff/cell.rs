//! What requests go by, shared by those who carry them out and those who change it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use crate::{
    key::Slot,
    ring::{Ring, gates::GateCell},
    slot_set::SlotSet,
    sync::{Mutex, lock},
};

/// The ring in use, the slots as this node is in them, and news of their changes.
#[derive(Clone)]
pub struct RingCell {
    /// The ring; `None` before the first.
    pub ring: Arc<ArcSwapOption<Ring>>,
    /// The slots.
    pub gates: Arc<GateCell>,
    /// Notified after every change of either.
    pub changed: Arc<Notify>,
    /// Slots of which a peer has another idea.
    pub doubts: Doubts,
}

impl RingCell {
    /// Without a ring, for so many slots.
    #[must_use]
    pub fn new(slots: u16) -> Self {
        Self {
            ring: Arc::default(),
            gates: Arc::new(GateCell::new(slots)),
            changed: Arc::default(),
            doubts: Doubts::default(),
        }
    }
}

/// Slots in which an owner answered from another configuration: whoever keeps the slots asks about them. Bounded by the
/// number of slots.
#[derive(Clone, Default)]
pub struct Doubts {
    slots: Arc<Mutex<SlotSet>>,
    /// Notified when there are some.
    pub noted: Arc<Notify>,
}

impl Doubts {
    /// Notes that an owner answered from another configuration of the slot.
    pub fn note(&self, slot: Slot) {
        if lock(&self.slots).insert(slot) {
            self.noted.notify_one();
        }
    }

    /// All of them, once.
    #[must_use]
    pub fn take(&self) -> SlotSet {
        std::mem::take(&mut *lock(&self.slots))
    }
}
