//! What a thread that serves connections does before it sleeps: it gives way to others on its processor, once.
//!
//! Where nodes and callers share processors, most of what a sleeping thread waits for is written by threads that are
//! ready to run. Let these go first, and what they write is there when this one looks again: it does not sleep, nobody has
//! to wake it, which costs the writer more than the write, and it finds more to do at once. Giving way more than
//! once costs more than it saves.
//!
//! A thread that has much to compute takes a whole slice of the scheduler's each time, which requests should not wait for:
//! when that has happened a few times in a row, nothing is given for a while. Once means little: several of our kind may
//! have had their turns one after the other.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use crate::clock::{Clock as _, SystemClock};

/// Threads of our kind are done sooner; a slice of the scheduler's is longer.
const GIVEN_MAX: Duration = Duration::from_millis(1);
/// How many times in a row more may be taken.
const TAKEN_MAX: u32 = 3;
/// So long nothing is given then.
const PAUSE: Duration = Duration::from_secs(1);

/// To be called before a thread sleeps.
pub(super) fn give_way() -> impl Fn() + Send + Sync + 'static {
    let (clock, pause) = (SystemClock::new(), Pause::default());
    move || {
        let begun = clock.monotonic();
        if pause.is_over(begun) {
            thread::yield_now();
            pause.consider(begun, clock.monotonic());
        }
    }
}

/// Whether and until when nothing is given. One thread uses it: atomic because runtimes take nothing that cannot be shared.
#[derive(Default)]
struct Pause {
    /// Microseconds of the monotonic clock.
    until: AtomicU64,
    /// How many times in a row more was taken.
    taken: AtomicU32,
}

impl Pause {
    fn is_over(&self, now: Duration) -> bool {
        micros(now) >= self.until.load(Ordering::Relaxed)
    }

    fn consider(&self, begun: Duration, ended: Duration) {
        let taken = if ended.saturating_sub(begun) > GIVEN_MAX {
            self.taken.load(Ordering::Relaxed) + 1
        } else {
            0
        };
        let is_too_much = taken >= TAKEN_MAX;
        if is_too_much {
            let until = micros(ended.saturating_add(PAUSE));
            self.until.store(until, Ordering::Relaxed);
        }
        let taken = if is_too_much { 0 } else { taken };
        self.taken.store(taken, Ordering::Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_too_much_is_given_nothing_for_a_while() {
        let (at, pause) = (Duration::from_millis, Pause::default());
        assert!(pause.is_over(at(0)), "at first");
        pause.consider(at(0), at(1));
        assert!(pause.is_over(at(1)), "little was taken");
        pause.consider(at(10), at(12));
        pause.consider(at(20), at(22));
        pause.consider(at(30), at(30));
        pause.consider(at(40), at(42));
        pause.consider(at(50), at(52));
        assert!(pause.is_over(at(52)), "not in a row");
        pause.consider(at(60), at(62));
        assert!(!pause.is_over(at(62)));
        assert!(!pause.is_over(at(1_061)));
        assert!(pause.is_over(at(1_062)));
    }
}
