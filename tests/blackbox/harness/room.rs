//! Who may use the machine: tests that measure, load or kill run alone, the others beside each other.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::const_new(());

/// A test's place on the machine, until it is dropped.
pub(crate) enum Room {
    /// Nothing else runs.
    Alone {
        _place: RwLockWriteGuard<'static, ()>,
    },
    /// Other tests that share run too.
    Shared {
        _place: RwLockReadGuard<'static, ()>,
    },
}

impl Room {
    /// Waits until no other test runs.
    pub(crate) async fn alone() -> Self {
        Self::Alone {
            _place: MACHINE.write().await,
        }
    }

    /// Waits until no test runs alone.
    pub(crate) async fn shared() -> Self {
        Self::Shared {
            _place: MACHINE.read().await,
        }
    }
}
