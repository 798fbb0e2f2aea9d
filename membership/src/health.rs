//! Local health, after Lifeguard: a node that is itself slow distrusts its own suspicions.
//!
//! The score rises with late timers, incomplete probe cycles and refuted suspicions about
//! ourselves, and falls with quiet time. Unanswered probes do not raise it: without negative
//! acknowledgements a deaf node looks the same as one whose peers died, and detection must stay
//! quick for the second.

use std::time::Duration;

/// Highest score: the suspicion time is then nine times the configured one.
pub(crate) const SCORE_MAX: u8 = 8;
/// One point goes after such a quiet time.
const DECAY: Duration = Duration::from_secs(2);

/// The score and when it last moved.
#[derive(Default, Debug)]
pub(crate) struct LocalHealth {
    score: u8,
    moved: Duration,
}

impl LocalHealth {
    pub(crate) const fn score(&self) -> u8 {
        self.score
    }

    /// Something spoke for our own slowness.
    pub(crate) fn raise(&mut self, now: Duration) {
        self.score = (self.score + 1).min(SCORE_MAX);
        self.moved = now;
    }

    /// Lets quiet time heal.
    pub(crate) fn decay(&mut self, now: Duration) {
        if self.score > 0 && now.saturating_sub(self.moved) >= DECAY {
            self.score -= 1;
            self.moved = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_is_bounded_and_heals_with_quiet_time() {
        let mut health = LocalHealth::default();
        for _ in 0..20 {
            health.raise(Duration::from_secs(1));
        }
        assert_eq!(health.score(), SCORE_MAX);
        health.decay(Duration::from_secs(2));
        assert_eq!(health.score(), SCORE_MAX);
        for second in 1..=20 {
            health.decay(Duration::from_secs(1 + 2 * second));
        }
        assert_eq!(health.score(), 0);
    }
}
