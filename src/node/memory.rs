//! The task that looks at resident memory and has the store hold as much as fits.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Clock,
    overload::{
        memory::{INTERVAL, MemoryGuard},
        system::MemorySource,
    },
    store::Store,
};

/// Values that are evicted before others have their turn on the thread.
const STEP_VALUES: usize = 2048;
/// Steps between two readings: what they take together is about the interval of readings.
const STEPS_MAX: usize = 8;
const STEP_PAUSE: Duration = Duration::from_millis(1);

/// Watches resident memory for as long as the node runs.
pub(super) struct MemoryWatch {
    pub(super) source: Box<dyn MemorySource>,
    pub(super) store: Arc<Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limit_bytes: u64,
}

impl MemoryWatch {
    /// Where resident memory cannot be read, the limit stays what it is.
    pub(super) async fn run(mut self) {
        let mut guard = MemoryGuard::new(self.limit_bytes);
        let mut pause = INTERVAL;
        loop {
            self.clock.sleep(pause).await;
            if let Some(resident) = self.source.resident_bytes() {
                self.observe(&mut guard, resident);
            }
            pause = if self.shrink().await {
                INTERVAL
            } else {
                STEP_PAUSE
            };
        }
    }

    fn observe(&self, guard: &mut MemoryGuard, resident: u64) {
        let before = guard.is_lowered();
        let allowed = guard.step(resident, self.store.stats().memory_bytes as u64);
        self.store
            .allow_bytes(usize::try_from(allowed).unwrap_or(usize::MAX));
        match (before, guard.is_lowered()) {
            (false, true) => tracing::info!(
                resident,
                allowed,
                "resident memory is above max_memory: entries get less room"
            ),
            (true, false) => tracing::info!(resident, "entries have all of max_memory again"),
            (true, true) | (false, false) => {}
        }
    }

    /// Whether the store has come down to what it is allowed.
    async fn shrink(&mut self) -> bool {
        for _ in 0..STEPS_MAX {
            if self.store.shrink(STEP_VALUES) < STEP_VALUES {
                return true;
            }
            self.clock.sleep(STEP_PAUSE).await;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future as _,
        pin::pin,
        sync::atomic::{AtomicU32, Ordering::Relaxed},
        task::{Context, Waker},
    };

    use bytes::Bytes;

    use super::*;
    use crate::{
        clock::{BoxFuture, Monotonic},
        key::Key,
        store::{Body, Form, Limits, Record, Value},
        version::{Stamp, Version},
    };

    const LIMIT: usize = 64 << 20;

    /// Time that passes by sleeping, for so many sleeps.
    struct SleepsLeft(AtomicU32);

    impl Clock for SleepsLeft {
        fn monotonic(&self) -> Monotonic {
            Monotonic::from_millis(0)
        }

        fn wall_millis(&self) -> u64 {
            0
        }

        fn sleep(&self, _duration: Duration) -> BoxFuture<()> {
            let left = self.0.load(Relaxed);
            self.0.store(left.saturating_sub(1), Relaxed);
            if left > 0 {
                Box::pin(std::future::ready(()))
            } else {
                Box::pin(std::future::pending())
            }
        }
    }

    /// A process in which entries take twice what they count; one that cannot be read without a store.
    struct Wasteful(Option<Arc<Store>>);

    impl MemorySource for Wasteful {
        fn resident_bytes(&mut self) -> Option<u64> {
            let store = self.0.as_ref()?;
            Some(2 * store.stats().memory_bytes as u64)
        }
    }

    fn full_store() -> Arc<Store> {
        let store = Store::new(Limits {
            capacity_entries: 1 << 20,
            memory_bytes: LIMIT,
            tombstone_bytes: 0,
            tombstone_life_millis: 1,
            ghosts: 1000,
            slots: 256,
        });
        for number in 0..80 {
            let value = Value {
                bytes: vec![0; 1 << 20].into(),
                form: Form::Bytes,
            };
            let record = Record {
                version: Version::new(Stamp::new(1, 0), 1),
                expires_at: None,
                body: Body::Value(value),
            };
            store.write(&Key::new(Bytes::from(format!("{number}"))), record, 0);
        }
        assert!(store.stats().memory_bytes > LIMIT * 9 / 10);
        Arc::new(store)
    }

    fn watch(store: &Arc<Store>, source: Wasteful, sleeps: u32) {
        let watch = MemoryWatch {
            source: Box::new(source),
            store: Arc::clone(store),
            clock: Arc::new(SleepsLeft(AtomicU32::new(sleeps))),
            limit_bytes: LIMIT as u64,
        };
        let run = pin!(watch.run());
        assert!(
            run.poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
    }

    #[test]
    fn a_store_gives_way_to_what_is_resident_and_gets_its_room_back() {
        let store = full_store();
        watch(&store, Wasteful(Some(Arc::clone(&store))), 30);
        let used = store.stats().memory_bytes;
        // 64 MiB, a fortieth and 40 MiB.
        assert!(2 * used <= LIMIT + LIMIT / 40 + (40 << 20), "{used}");
        assert!(used > LIMIT / 4, "{used}");
        assert!(store.allowed_bytes() < LIMIT);
        store.clear();
        watch(&store, Wasteful(Some(Arc::clone(&store))), 2000);
        assert_eq!(store.allowed_bytes(), LIMIT);
    }

    #[test]
    fn what_cannot_be_read_changes_nothing() {
        let store = full_store();
        let used = store.stats().memory_bytes;
        watch(&store, Wasteful(None), 60);
        assert_eq!(
            (store.stats().memory_bytes, store.allowed_bytes()),
            (used, LIMIT)
        );
    }
}
