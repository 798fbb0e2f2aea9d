//! With whom to exchange the full member state, and when.
//!
//! Gossip alone leaves holes that take minutes to close in a mass join. At once at join and at
//! first contact, a few seconds later, then every `push_pull_min..push_pull_max` with one random
//! present member.
//!
//! Invariant: the queue is bounded and holds each target once.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use rand::{RngExt, rngs::SmallRng};

/// Most targets that wait.
pub const PUSH_PULL_TARGETS_MAX: usize = 32;
/// The first periodic exchange after a contact, in milliseconds.
const FOLLOW_UP_MILLIS: std::ops::Range<u64> = 1_500..4_000;

/// Targets that are due, and the time of the next periodic one.
#[derive(Debug)]
pub(crate) struct PushPullSchedule {
    due: VecDeque<SocketAddr>,
    next: Duration,
    interval_min: Duration,
    interval_max: Duration,
}

impl PushPullSchedule {
    pub(crate) fn new(min: Duration, max: Duration, now: Duration, rng: &mut SmallRng) -> Self {
        let mut schedule = Self {
            due: VecDeque::new(),
            next: now,
            interval_min: min,
            interval_max: max,
        };
        schedule.follow_up(now, rng);
        schedule
    }

    /// Makes a target due. False if the queue is full.
    pub(crate) fn request(&mut self, target: SocketAddr) -> bool {
        if self.due.contains(&target) {
            return true;
        }
        if self.due.len() >= PUSH_PULL_TARGETS_MAX {
            return false;
        }
        self.due.push_back(target);
        true
    }

    /// The next periodic exchange comes soon: much is new.
    pub(crate) fn follow_up(&mut self, now: Duration, rng: &mut SmallRng) {
        let soon = Duration::from_millis(rng.random_range(FOLLOW_UP_MILLIS)).min(self.interval_max);
        self.next = now + soon;
    }

    /// Whether the periodic exchange is due; if so, schedules the next.
    pub(crate) fn take_periodic(&mut self, now: Duration, rng: &mut SmallRng) -> bool {
        if now < self.next {
            return false;
        }
        let (min, max) = (as_millis(self.interval_min), as_millis(self.interval_max));
        self.next = now + Duration::from_millis(rng.random_range(min..=max));
        true
    }

    pub(crate) const fn next_deadline(&self) -> Duration {
        self.next
    }

    pub(crate) fn take_due(&mut self) -> Option<SocketAddr> {
        self.due.pop_front()
    }
}

fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn periodic_exchanges_keep_to_their_interval() {
        let (min, max) = (Duration::from_secs(10), Duration::from_secs(30));
        let mut rng = SmallRng::seed_from_u64(1);
        let mut schedule = PushPullSchedule::new(min, max, Duration::ZERO, &mut rng);
        assert!(schedule.next_deadline() <= Duration::from_secs(4));
        let mut last = schedule.next_deadline();
        assert!(schedule.take_periodic(last, &mut rng));
        for _ in 0..100 {
            let next = schedule.next_deadline();
            assert!((min..=max).contains(&(next - last)));
            assert!(!schedule.take_periodic(next - Duration::from_nanos(1), &mut rng));
            assert!(schedule.take_periodic(next, &mut rng));
            last = next;
        }
    }

    #[test]
    fn the_queue_is_bounded_and_without_repeats() {
        let mut rng = SmallRng::seed_from_u64(1);
        let second = Duration::from_secs(1);
        let mut schedule = PushPullSchedule::new(second, second, Duration::ZERO, &mut rng);
        for port in 1..=PUSH_PULL_TARGETS_MAX as u16 {
            let target = SocketAddr::from(([10, 0, 0, 1], port));
            assert!(schedule.request(target) && schedule.request(target));
        }
        assert!(!schedule.request(SocketAddr::from(([10, 0, 0, 2], 1))));
        assert_eq!(
            std::iter::from_fn(|| schedule.take_due()).count(),
            PUSH_PULL_TARGETS_MAX
        );
    }
}
