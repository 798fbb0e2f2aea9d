//! When the requests of one connection are due.

use std::time::{Duration, Instant};

use crate::plan::{Pace, Plan};

/// The schedule of one lane.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Schedule {
    /// Whenever there is room.
    Closed,
    /// The first after `offset`, and then one every `interval`, counted from the start.
    Open {
        start: Instant,
        offset: f64,
        interval: f64,
        made: u64,
    },
}

impl Schedule {
    /// The part of a lane: request `k` of all is due at `k / rate`, and goes to lane `k mod lanes`.
    pub(crate) fn new(plan: &Plan, lane: usize, start: Instant) -> Self {
        match plan.pace {
            Pace::Closed => Self::Closed,
            Pace::Open { rate } => Self::Open {
                start,
                offset: lane as f64 / rate,
                interval: plan.connections as f64 / rate,
                made: 0,
            },
        }
    }

    /// When the next request is due; in a closed loop, now.
    pub(crate) fn due(&self, now: Instant) -> Instant {
        match self {
            Self::Closed => now,
            Self::Open {
                start,
                offset,
                interval,
                made,
            } => {
                let seconds = offset + interval * *made as f64;
                // Within the bounds of a plan no schedule reaches the end of time.
                Duration::try_from_secs_f64(seconds)
                    .ok()
                    .and_then(|after| start.checked_add(after))
                    .unwrap_or(*start)
            }
        }
    }

    /// The next one is made.
    pub(crate) const fn advance(&mut self) {
        match self {
            Self::Closed => {}
            Self::Open { made, .. } => *made += 1,
        }
    }

    pub(crate) const fn is_open(&self) -> bool {
        match self {
            Self::Closed => false,
            Self::Open { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lanes_together_keep_the_rate_and_no_two_requests_are_due_at_once() {
        let plan = Plan {
            pace: Pace::Open { rate: 500.0 },
            connections: 3,
            ..Plan::default()
        };
        let start = Instant::now();
        let mut due = Vec::new();
        for lane in 0..3 {
            let mut schedule = Schedule::new(&plan, lane, start);
            while schedule.due(start) < start + Duration::from_secs(2) {
                due.push(schedule.due(start) - start);
                schedule.advance();
            }
        }
        due.sort_unstable();
        assert_eq!(due.len(), 1000);
        for (number, due) in due.iter().enumerate() {
            let expected = Duration::from_millis(2) * u32::try_from(number).unwrap();
            assert!(
                due.abs_diff(expected) < Duration::from_micros(1),
                "{number}: {due:?}"
            );
        }
    }
}
