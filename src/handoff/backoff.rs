//! Pauses between attempts that fail. Each is up to twice as long as the one before, up to a bound, and drawn from the
//! upper half, so that nodes that fail together do not try again together ("equal jitter": Brooker, "Exponential
//! Backoff and Jitter", AWS Architecture Blog, 2015). Pure: time and randomness are parameters.

use std::time::Duration;

use rand::{Rng, RngExt as _};

use crate::clock::Monotonic;

/// Longest pause after a first failure.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// When something that has failed may be tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    pause_max: Duration,
    /// The longest pause after the next failure.
    next: Duration,
    due: Monotonic,
}

impl Backoff {
    /// Nothing has failed. No pause will be longer than `pause_max`.
    pub(super) const fn new(pause_max: Duration) -> Self {
        Self {
            pause_max,
            next: PAUSE_MIN,
            due: Duration::ZERO,
        }
    }

    /// Whether the pause is over.
    pub(super) fn is_due(&self, now: Monotonic) -> bool {
        now >= self.due
    }

    /// Whether something has failed and nothing has succeeded since.
    pub(super) fn is_failing(&self) -> bool {
        self.due > Duration::ZERO
    }

    /// It failed. Returns how long to wait.
    pub(super) fn fail(&mut self, now: Monotonic, rng: &mut impl Rng) -> Duration {
        let longest = self.next.min(self.pause_max);
        let pause = longest.mul_f64(rng.random_range(0.5..=1.0));
        self.next = longest * 2;
        self.due = now + pause;
        pause
    }

    /// It succeeded.
    pub(super) const fn succeed(&mut self) {
        *self = Self::new(self.pause_max);
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_the_bound_and_are_never_less_than_half_of_it() {
        for seed in 0..100 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut backoff = Backoff::new(SECOND);
            for longest in [100, 200, 400, 800, 1000, 1000, 1000].map(Duration::from_millis) {
                let pause = backoff.fail(SECOND, &mut rng);
                assert!(
                    pause >= longest / 2 && pause <= longest,
                    "{pause:?} {longest:?}"
                );
            }
        }
    }

    #[test]
    fn it_is_due_when_the_pause_is_over_and_at_once_after_a_success() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(SECOND);
        assert!(backoff.is_due(Duration::ZERO) && !backoff.is_failing());
        let pause = backoff.fail(SECOND, &mut rng);
        assert!(!backoff.is_due(SECOND + pause - Duration::from_nanos(1)));
        assert!(backoff.is_due(SECOND + pause) && backoff.is_failing());
        backoff.succeed();
        assert!(backoff.is_due(SECOND) && !backoff.is_failing());
        assert!(backoff.fail(SECOND, &mut rng) <= PAUSE_MIN);
    }

    #[test]
    fn nodes_that_fail_together_try_again_at_different_times() {
        let pause = |seed| Backoff::new(SECOND).fail(SECOND, &mut StdRng::seed_from_u64(seed));
        assert_ne!(pause(1), pause(2));
    }
}
