//! What operations go by: the configuration of every slot and how this node stands in it, as one immutable value. Requests
//! take one and keep it; a change publishes another.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;

use super::slot::{Carry, Configuration, SlotConfiguration, Vote};
use crate::{
    key::{Key, Slot},
    slot_set::SlotSet,
};

/// Slots whose gates are copied together when one of them changes.
const CHUNK_SLOTS: usize = 64;

/// The slots of one node at one moment.
///
/// Cheap to change: gates that did not change are shared with the value before.
#[derive(Clone, Default, Debug)]
pub struct Gates {
    slots: u16,
    chunks: Box<[Arc<[Option<Gate>]>]>,
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
    pub(super) fn new(slots: u16, gate: impl Fn(Slot) -> Option<Gate>) -> Self {
        let gates: Vec<_> = (0..slots).map(|slot| gate(Slot(slot))).collect();
        Self {
            slots,
            chunks: gates.chunks(CHUNK_SLOTS).map(Arc::from).collect(),
        }
    }

    /// The same with other gates for some slots.
    pub(super) fn with(&self, changed: &SlotSet, gate: impl Fn(Slot) -> Option<Gate>) -> Self {
        let mut chunks = self.chunks.clone();
        for slot in changed.iter() {
            let (chunk, place) = place_of(slot);
            if let Some(held) = chunks
                .get_mut(chunk)
                .and_then(|chunk| Arc::make_mut(chunk).get_mut(place))
            {
                *held = gate(slot);
            }
        }
        Self {
            slots: self.slots,
            chunks,
        }
    }

    /// All slots.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.slots).map(Slot)
    }

    /// The key's slot.
    #[must_use]
    pub fn slot(&self, key: &Key) -> Slot {
        key.slot(self.slots.max(1))
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

    /// Whether this node owns the slot and covers every write acknowledged in lower configurations.
    #[must_use]
    pub fn is_full(&self, slot: Slot) -> bool {
        self.gate(slot)
            .is_some_and(|gate| gate.is_owner && gate.is_full)
    }

    fn gate(&self, slot: Slot) -> Option<&Gate> {
        let (chunk, place) = place_of(slot);
        self.chunks.get(chunk)?.get(place)?.as_ref()
    }
}

const fn place_of(slot: Slot) -> (usize, usize) {
    (slot.index() / CHUNK_SLOTS, slot.index() % CHUNK_SLOTS)
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

    /// Brings the gates of some slots into the processor's cache, all at once. Changes nothing.
    pub fn look_ahead(&self, slots: impl Iterator<Item = Slot>) {
        let gates = self.gates.load();
        let fulls = slots.filter(|slot| gates.is_full(*slot)).count();
        std::hint::black_box(fulls);
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

#[cfg(test)]
mod tests {
    use shard_cache_membership::identity::{BootId, NodeId};

    use super::*;
    use crate::ring::{
        Bootstrap, Ring, RingMember, Shape,
        slot::{Quorums, Root},
        table::SlotTable,
        zone::ZonedMember,
    };

    const SLOTS: u16 = 200;
    const BOOTSTRAP: Bootstrap = Bootstrap {
        formed_millis: 1,
        former: BootId(1),
    };
    const OWN: RingMember = RingMember {
        node_id: NodeId(1),
        boot_id: BootId(1),
    };

    fn gate(number: u32) -> Option<Gate> {
        Some(Gate {
            configuration: Configuration::new(Root::first(BOOTSTRAP), number, Vec::new()),
            is_owner: true,
            is_full: true,
            carry: None,
            is_closed: false,
        })
    }

    fn set(slots: impl IntoIterator<Item = u16>) -> SlotSet {
        slots.into_iter().map(Slot).collect()
    }

    #[test]
    fn a_change_is_in_the_new_gates_only_and_the_rest_is_shared() {
        let before = Gates::new(SLOTS, |slot| gate(u32::from(slot.0)));
        let changed = set([3, 130, 131]);
        let after = before.with(&changed, |slot| gate(u32::from(slot.0) + 1000));
        let numbers = |gates: &Gates| -> Vec<Option<u32>> {
            let slots = (0..=SLOTS).map(Slot);
            slots
                .map(|slot| Some(gates.configuration(slot)?.number()))
                .collect()
        };
        let expected = |more: u32| -> Vec<Option<u32>> {
            let of = |slot: u16| {
                let more = if changed.contains(Slot(slot)) {
                    more
                } else {
                    0
                };
                (slot < SLOTS).then_some(u32::from(slot) + more)
            };
            (0..=SLOTS).map(of).collect()
        };
        assert_eq!(numbers(&before), expected(0));
        assert_eq!(numbers(&after), expected(1000));
        let is_shared = |chunk: usize| Arc::ptr_eq(&before.chunks[chunk], &after.chunks[chunk]);
        assert_eq!([0, 1, 2, 3].map(is_shared), [false, true, false, true]);
    }

    #[test]
    fn a_slot_that_there_is_not_changes_nothing() {
        let after = Gates::new(3, |_| None).with(&set([3, 500]), |_| gate(1));
        assert!((0..600).all(|slot| after.configuration(Slot(slot)).is_none()));
    }

    #[test]
    fn a_closed_slot_is_open_again_in_the_next_gates_and_no_others_follow() {
        let quorums = Quorums {
            replication_factor: 1,
            write_quorum: 1,
        };
        let shape = Shape {
            slots: SLOTS,
            replication_factor: 1,
        };
        let mut table = SlotTable::new(SLOTS, OWN, quorums);
        table.form(&Ring::build(
            shape,
            BOOTSTRAP,
            vec![ZonedMember::without_zone(OWN)],
        ));
        let is_open = |gates: &Gates, slot: u16| {
            let asked = gates.configuration(Slot(slot)).map(Configuration::id);
            asked.is_some_and(|asked| gates.vote(Slot(slot), asked).is_some())
        };
        let all = table.refresh(&table.gates(), &SlotSet::new());
        assert!(all.is_some_and(|gates| (0..SLOTS).all(|slot| is_open(&gates, slot))));
        let closed = table.refresh(&table.gates(), &set([7])).unwrap_or_default();
        assert_eq!(
            [6, 7, 8].map(|slot| is_open(&closed, slot)),
            [true, false, true]
        );
        let opened = table.refresh(&closed, &SlotSet::new()).unwrap_or_default();
        assert!(is_open(&opened, 7));
        assert!(table.refresh(&opened, &SlotSet::new()).is_none());
    }
}
