//! From counters to utilisation. Pure: whoever reads the counters says when.
//!
//! Utilisation is the larger of two shares:
//!
//! - of the CPUs that the process may run on, the share that was not idle, whoever used it. Waiting
//!   for a disk is idle: the CPU was to be had. Time that a hypervisor gave to others (steal) is
//!   busy: it was wanted here and not to be had, and what is idle is all the room there is.
//! - of the quota of the process's cgroup, or of a cgroup above it, the share that was used up.

use std::{collections::VecDeque, time::Duration};

use crate::clock::Monotonic;

/// What has been counted since the machine started.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Counters {
    /// The CPUs that the process may run on.
    pub cpus: Vec<CpuTime>,
    /// The cgroups with a quota that the process is in, on any level.
    pub groups: Vec<GroupTime>,
}

/// One CPU's time, in units of the machine's choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuTime {
    /// Its number.
    pub id: u32,
    /// Time in use or stolen.
    pub busy: u64,
    /// Time to be had.
    pub idle: u64,
}

/// One cgroup's CPU time.
#[derive(Clone, PartialEq, Debug)]
pub struct GroupTime {
    /// What tells it from others, such as its path.
    pub group: String,
    /// CPU time that it has used.
    pub used: Duration,
    /// How many CPUs its quota is worth; above 0.
    pub quota_cpus: f64,
}

/// How busy the CPU is, 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Utilization {
    /// Between the last two readings.
    pub recent: f64,
    /// Over the window. What was before the first reading counts as idle, so that the work of
    /// starting does not count as overload.
    pub windowed: f64,
}

/// Turns readings into utilisation over a window.
#[derive(Debug)]
pub struct Meter {
    window: Duration,
    last: Option<(Monotonic, Counters)>,
    /// Newest last; together about as long as the window.
    intervals: VecDeque<Interval>,
}

/// What was used between two readings.
#[derive(Clone, Copy, Debug)]
struct Interval {
    length: Duration,
    machine: f64,
    group: f64,
}

impl Meter {
    /// A meter that looks back so far.
    #[must_use]
    pub const fn new(window: Duration) -> Self {
        Self {
            window,
            last: None,
            intervals: VecDeque::new(),
        }
    }

    /// Takes a reading and tells the utilisation and the time since the reading before. `None` for
    /// the first one, or when no time has passed.
    pub fn observe(&mut self, now: Monotonic, read: Counters) -> Option<(Utilization, Duration)> {
        let (then, before) = self.last.replace((now, read))?;
        let (_, read) = self.last.as_ref()?;
        let length = now.saturating_sub(then);
        if length.is_zero() {
            return None;
        }
        let interval = Interval {
            length,
            machine: machine_share(&before.cpus, &read.cpus),
            group: group_share(&before.groups, &read.groups, length),
        };
        self.intervals.push_back(interval);
        self.forget();
        let utilization = Utilization {
            recent: interval.machine.max(interval.group),
            windowed: self
                .mean(|interval| interval.machine)
                .max(self.mean(|interval| interval.group)),
        };
        Some((utilization, length))
    }

    /// Drops what is older than the window as a whole.
    fn forget(&mut self) {
        let mut total: Duration = self.intervals.iter().map(|interval| interval.length).sum();
        while let Some(oldest) = self.intervals.front() {
            total = total.saturating_sub(oldest.length);
            if total < self.window {
                return;
            }
            self.intervals.pop_front();
        }
    }

    fn mean(&self, share: impl Fn(&Interval) -> f64) -> f64 {
        let mut left = self.window;
        let mut sum = 0.0;
        for interval in self.intervals.iter().rev() {
            let counted = interval.length.min(left);
            left = left.saturating_sub(counted);
            sum += share(interval) * counted.as_secs_f64();
        }
        (sum / self.window.as_secs_f64()).clamp(0.0, 1.0)
    }
}

/// CPUs that are in one of the readings only have come or gone meanwhile and do not count. The
/// kernel's counters of waiting may run backwards a little.
fn machine_share(before: &[CpuTime], after: &[CpuTime]) -> f64 {
    let (mut busy, mut idle) = (0, 0);
    for cpu in after {
        if let Some(earlier) = before.iter().find(|earlier| earlier.id == cpu.id) {
            busy += cpu.busy.saturating_sub(earlier.busy);
            idle += cpu.idle.saturating_sub(earlier.idle);
        }
    }
    let total = busy + idle;
    if total == 0 {
        0.0
    } else {
        busy as f64 / total as f64
    }
}

fn group_share(before: &[GroupTime], after: &[GroupTime], length: Duration) -> f64 {
    let share = |group: &GroupTime| {
        let earlier = before.iter().find(|earlier| earlier.group == group.group)?;
        let used = group.used.saturating_sub(earlier.used).as_secs_f64();
        // A quota is given out per period: a reading may catch a little more than a share of 1.
        Some((used / (group.quota_cpus * length.as_secs_f64())).min(1.0))
    };
    after.iter().filter_map(share).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(1);

    fn cpu(id: u32, busy: u64, idle: u64) -> CpuTime {
        CpuTime { id, busy, idle }
    }

    fn of_cpus(cpus: &[CpuTime]) -> Counters {
        Counters {
            cpus: cpus.to_vec(),
            groups: Vec::new(),
        }
    }

    fn of_group(used_millis: u64, quota_cpus: f64) -> Counters {
        Counters {
            cpus: vec![cpu(0, 0, used_millis)],
            groups: vec![GroupTime {
                group: "/a".to_owned(),
                used: Duration::from_millis(used_millis),
                quota_cpus,
            }],
        }
    }

    fn at(millis: u64) -> Monotonic {
        Monotonic::from_millis(millis)
    }

    #[test]
    fn what_is_not_idle_is_used() {
        let mut meter = Meter::new(WINDOW);
        assert_eq!(
            meter.observe(at(0), of_cpus(&[cpu(0, 5, 5), cpu(1, 100, 0)])),
            None
        );
        let (used, length) = meter
            .observe(at(1000), of_cpus(&[cpu(0, 105, 5), cpu(1, 150, 50)]))
            .unwrap();
        assert_eq!(length, WINDOW);
        assert_eq!((used.recent, used.windowed), (0.75, 0.75));
    }

    #[test]
    fn the_window_is_a_mean_over_time_and_starts_out_idle() {
        let mut meter = Meter::new(WINDOW);
        meter.observe(at(0), of_cpus(&[cpu(0, 0, 0)]));
        let mut reading = |millis, busy, idle| {
            let observed = meter.observe(at(millis), of_cpus(&[cpu(0, busy, idle)]));
            observed.unwrap().0
        };
        let first = reading(250, 250, 0);
        assert_eq!((first.recent, first.windowed), (1.0, 0.25));
        assert_eq!(reading(1000, 1000, 0).windowed, 1.0);
        // Half of the older busy interval is still in the window.
        let idle = reading(1500, 1000, 500);
        assert_eq!((idle.recent, idle.windowed), (0.0, 0.5));
        assert_eq!(reading(9000, 1000, 8000).windowed, 0.0);
    }

    #[test]
    fn the_quota_counts_where_it_is_tighter_than_the_machine() {
        let mut meter = Meter::new(WINDOW);
        meter.observe(at(0), of_group(0, 0.2));
        let (used, _) = meter.observe(at(1000), of_group(180, 0.2)).unwrap();
        assert!((used.recent - 0.9).abs() < 1e-9, "{used:?}");
        let (used, _) = meter.observe(at(2000), of_group(500, 0.2)).unwrap();
        assert_eq!(used.recent, 1.0, "never more than all of it");
    }

    #[test]
    fn cpus_and_groups_that_come_and_go_do_not_count() {
        let mut meter = Meter::new(WINDOW);
        meter.observe(at(0), of_cpus(&[cpu(0, 10, 10)]));
        let mut both = of_group(900, 0.2);
        both.cpus = vec![cpu(0, 10, 110), cpu(1, 9000, 0)];
        let (used, _) = meter.observe(at(1000), both).unwrap();
        assert_eq!(used.recent, 0.0);
        let (used, _) = meter
            .observe(at(2000), of_cpus(&[cpu(1, 9100, 0)]))
            .unwrap();
        assert_eq!(used.recent, 1.0);
    }

    #[test]
    fn without_time_or_counters_nothing_is_used() {
        let mut meter = Meter::new(WINDOW);
        meter.observe(at(5), of_cpus(&[cpu(0, 7, 7)]));
        assert_eq!(meter.observe(at(5), of_cpus(&[cpu(0, 7, 7)])), None);
        let (used, _) = meter.observe(at(6), of_cpus(&[cpu(0, 7, 6)])).unwrap();
        assert_eq!(used.recent, 0.0);
    }

    proptest! {
        #[test]
        fn utilisation_is_a_share_and_the_memory_is_bounded(
            readings in prop::collection::vec((1u64..3000, any::<u32>(), any::<u32>(), any::<u32>()), 1..60),
        ) {
            let mut meter = Meter::new(WINDOW);
            let mut millis = 0;
            for (step, busy, idle, used) in readings {
                millis += step;
                let mut read = of_group(u64::from(used), 0.5);
                read.cpus = vec![cpu(0, u64::from(busy), u64::from(idle))];
                if let Some((used, _)) = meter.observe(at(millis), read) {
                    prop_assert!((0.0..=1.0).contains(&used.recent), "{used:?}");
                    prop_assert!((0.0..=1.0).contains(&used.windowed), "{used:?}");
                }
                let kept: Duration = meter.intervals.iter().skip(1).map(|one| one.length).sum();
                prop_assert!(kept <= WINDOW);
            }
        }
    }
}
