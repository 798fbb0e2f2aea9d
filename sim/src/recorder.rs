//! Notes the history of a run while it happens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    history::{Answer, Event, Header, History, Mark, Operation, OwnerCopy},
    world::World,
};

/// The history so far. Clones are the same.
#[derive(Clone)]
pub struct Recorder {
    history: Arc<Mutex<History>>,
}

impl Recorder {
    /// A history that only has its header.
    #[must_use]
    pub fn new(header: Header) -> Self {
        let history = History {
            header,
            ..History::default()
        };
        Self {
            history: Arc::new(Mutex::new(history)),
        }
    }

    /// Notes that something happened now.
    pub fn mark(&self, world: &World, event: Event) {
        world.note(|| format!("{event:?}"));
        let at_ns = world.now();
        self.history().marks.push(Mark { at_ns, event });
    }

    /// Notes an operation that has completed.
    pub fn operation(&self, world: &World, operation: Operation) {
        let version = operation.answered().map(|answered| match answered.answer {
            Answer::Written { version, .. } | Answer::Hit { version, .. } => Some(version),
            Answer::Miss { version } => version,
        });
        let version = version.flatten().unwrap_or_default();
        let words = [
            operation.id,
            version.millis,
            u64::from(version.counter),
            version.writer,
        ];
        world.note_words(&words, || format!("{operation:?}"));
        self.history().operations.push(operation);
    }

    /// Notes what a node holds.
    pub fn copy(&self, copy: OwnerCopy) {
        self.history().copies.push(copy);
    }

    /// Operations noted so far.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.history().operations.len()
    }

    /// Looks at the operations that were noted after the first `count`. Returns how many there are now.
    pub fn operations_after(&self, count: usize, mut look: impl FnMut(&Operation)) -> usize {
        let history = self.history();
        history.operations.iter().skip(count).for_each(&mut look);
        history.operations.len()
    }

    /// The history as it is now.
    #[must_use]
    pub fn take(&self) -> History {
        std::mem::take(&mut *self.history())
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
