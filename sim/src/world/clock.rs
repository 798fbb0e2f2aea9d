//! The time seams of a node: clocks that drift, are skewed and step, and sleeping through the world's heap.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use shard_cache::clock::{BoxFuture, Clock, Monotonic};
use shard_cache_membership::{agent, pump::Time};

use super::{HostId, Nanos, Shared, World, events::Event, nanos};

/// Unix time when every world begins, in milliseconds.
pub const EPOCH_MILLIS: u64 = 1_800_000_000_000;
const NANOS_PER_MILLI: i64 = 1_000_000;
const MILLION: i64 = 1_000_000;

/// How a host's clocks differ from true time.
#[derive(Default, Debug)]
pub(crate) struct HostClock {
    /// True time at which the monotonic clock began.
    origin: AtomicU64,
    /// How much faster than true time both clocks go, in parts per million. Fixed for a life.
    drift_ppm: AtomicI64,
    wall_offset_nanos: AtomicI64,
}

impl HostClock {
    pub(crate) fn restart(&self, now: Nanos) {
        self.origin.store(now, Ordering::Relaxed);
    }

    fn monotonic(&self, now: Nanos) -> Nanos {
        let elapsed = now.saturating_sub(self.origin.load(Ordering::Relaxed));
        let drift = i128::from(elapsed) * i128::from(self.drift_ppm.load(Ordering::Relaxed));
        // Rounded towards zero: monotonic, since the drift is far below one.
        u64::try_from(i128::from(elapsed) + drift / i128::from(MILLION)).unwrap_or(0)
    }

    fn wall_millis(&self, now: Nanos) -> u64 {
        let true_nanos = i128::from(now);
        let drift = true_nanos * i128::from(self.drift_ppm.load(Ordering::Relaxed));
        let offset = i128::from(self.wall_offset_nanos.load(Ordering::Relaxed));
        let shown = true_nanos + drift / i128::from(MILLION) + offset;
        let millis = i128::from(EPOCH_MILLIS) + shown.div_euclid(i128::from(NANOS_PER_MILLI));
        u64::try_from(millis).unwrap_or(0)
    }

    /// True time that passes while the clock shows `duration`, rounded up so that a sleeper never wakes early.
    fn true_duration(&self, duration: Nanos) -> Nanos {
        let speed = i128::from(MILLION + self.drift_ppm.load(Ordering::Relaxed));
        let scaled = i128::from(duration) * i128::from(MILLION);
        u64::try_from((scaled + speed - 1) / speed + 1).unwrap_or(u64::MAX)
    }
}

impl World {
    /// Sets how fast a host's clocks go, in parts per million above true time. Only while its process does not run.
    pub fn set_drift(&self, host: HostId, drift_ppm: i64) {
        let clock = self.shared.state().host(host).clock();
        clock.drift_ppm.store(drift_ppm, Ordering::Relaxed);
    }

    /// Sets how far a host's wall clock is ahead of true time, apart from its drift. Setting it anew is a step.
    pub fn set_wall_offset(&self, host: HostId, offset_millis: i64) {
        let clock = self.shared.state().host(host).clock();
        clock
            .wall_offset_nanos
            .store(offset_millis * NANOS_PER_MILLI, Ordering::Relaxed);
    }
}

/// The clocks of one host.
#[derive(Clone)]
pub struct SimClock {
    shared: Arc<Shared>,
    clock: Arc<HostClock>,
}

impl SimClock {
    pub(crate) const fn new(shared: Arc<Shared>, clock: Arc<HostClock>) -> Self {
        Self { shared, clock }
    }

    fn after(&self, duration: Duration) -> SimSleep {
        let span = self.clock.true_duration(nanos(duration));
        let deadline = self.shared.now().saturating_add(span);
        SimSleep::new(Arc::clone(&self.shared), deadline)
    }
}

impl Clock for SimClock {
    fn monotonic(&self) -> Monotonic {
        Duration::from_nanos(self.clock.monotonic(self.shared.now()))
    }

    fn wall_millis(&self) -> u64 {
        self.clock.wall_millis(self.shared.now())
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(self.after(duration))
    }
}

impl Time for SimClock {
    fn now(&self) -> agent::Now {
        agent::Now {
            monotonic: self.monotonic(),
            wall_millis: self.wall_millis(),
        }
    }

    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send {
        self.after(deadline.saturating_sub(self.monotonic()))
    }
}

/// Completes at a moment of true time.
pub struct SimSleep {
    shared: Arc<Shared>,
    deadline: Nanos,
    timer: Option<(u32, u32)>,
}

impl SimSleep {
    pub(crate) const fn new(shared: Arc<Shared>, deadline: Nanos) -> Self {
        Self {
            shared,
            deadline,
            timer: None,
        }
    }
}

impl Future for SimSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.shared.now() >= self.deadline {
            return Poll::Ready(());
        }
        let timer = {
            let mut state = self.shared.state();
            match self.timer {
                Some(timer) => {
                    state.timers.update(timer, context.waker());
                    timer
                }
                None => {
                    let (slot, generation) = state.timers.add(context.waker().clone());
                    state
                        .events
                        .push(self.deadline, Event::Timer { slot, generation });
                    (slot, generation)
                }
            }
        };
        self.timer = Some(timer);
        Poll::Pending
    }
}

impl Drop for SimSleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.shared.state().timers.release(timer);
        }
    }
}
