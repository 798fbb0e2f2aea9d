//! The locks and atomics of concurrent structures. Under the feature `race` they are shuttle's, so that the models in
//! `tests/race/` explore interleavings of the production code; otherwise they are std's.

#[cfg(not(feature = "race"))]
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, atomic};

#[cfg(feature = "race")]
pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard, atomic};
#[cfg(feature = "race")]
pub(crate) use std::sync::{PoisonError, TryLockError};

/// Locks, also after a panic of another holder: the structures behind these locks are left consistent at every point
/// where they can panic, and one failed request must not take a shard of the store with it.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same, unless somebody holds it.
pub(crate) fn try_lock<T: ?Sized>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}
