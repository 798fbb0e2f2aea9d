//! Slots to repair: those of which this node, as others have told it, lacks records that they no longer owe.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::{
    slot_set::SlotSet,
    sync::{Mutex, lock},
};

/// The slots of this node that have to be compared with those of other owners. Clones are equal. Bounded by the number of
/// slots.
#[derive(Clone, Default)]
pub struct RepairMarks {
    slots: Arc<Mutex<SlotSet>>,
    /// Notified when there are some.
    pub added: Arc<Notify>,
}

impl RepairMarks {
    /// Marks slots.
    pub fn add(&self, slots: &SlotSet) {
        if slots.is_empty() {
            return;
        }
        lock(&self.slots).extend(slots.iter());
        self.added.notify_one();
    }

    /// All of them, once.
    #[must_use]
    pub fn take(&self) -> SlotSet {
        std::mem::take(&mut *lock(&self.slots))
    }
}

#[cfg(all(test, not(feature = "race")))]
mod tests {
    use super::*;
    use crate::key::Slot;

    fn set(slots: &[u16]) -> SlotSet {
        slots.iter().copied().map(Slot).collect()
    }

    #[tokio::test]
    async fn marks_add_up_and_are_taken_once() {
        let marks = RepairMarks::default();
        marks.add(&set(&[]));
        assert!(marks.take().is_empty());
        marks.add(&set(&[1, 5]));
        marks.clone().add(&set(&[5, 9]));
        // Also by who begins to wait only now.
        marks.added.notified().await;
        assert_eq!(marks.take(), set(&[1, 5, 9]));
        assert_eq!(marks.take(), set(&[]));
    }
}
