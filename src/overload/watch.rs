//! The task that reads the CPU and publishes the pressure.

use std::{sync::Arc, time::Duration};

use super::{
    Admission,
    control::{self, Controller, Pressure},
    meter::{Meter, Utilization},
    system::CpuSource,
};
use crate::clock::Clock;

/// Readings in a row that fail before the watch gives up; a process that is short of file descriptors may fail for a while.
const FAILURES_MAX: u32 = 10;

/// Watches the CPU for as long as the node runs.
pub struct CpuWatch {
    source: Box<dyn CpuSource>,
    admission: Arc<Admission>,
    clock: Arc<dyn Clock>,
    meter: Meter,
    controller: Controller,
    interval: Duration,
}

impl CpuWatch {
    /// Keeps the utilisation over `window` at the threshold that `admission` goes by, as far as shedding can.
    #[must_use]
    pub fn new(
        source: Box<dyn CpuSource>,
        admission: Arc<Admission>,
        clock: Arc<dyn Clock>,
        window: Duration,
    ) -> Self {
        let threshold = admission.cpu_threshold();
        Self {
            source,
            admission,
            clock,
            meter: Meter::new(window.max(control::WINDOW_MIN)),
            controller: Controller::new(threshold, window),
            interval: control::interval(window),
        }
    }

    /// Reads and publishes. Ends where the CPU cannot be read: what is not known is no reason to shed.
    pub async fn run(mut self) {
        let mut pressure = Pressure::default();
        let mut failures = 0;
        while failures < FAILURES_MAX {
            if self.observe(&mut pressure) {
                failures = 0;
            } else {
                failures += 1;
            }
            self.clock.sleep(self.interval).await;
        }
        self.admission.publish(0.0, Pressure::default());
        tracing::warn!("CPU utilisation cannot be read: requests are not shed for the CPU");
    }

    /// One reading. Returns whether there was one.
    fn observe(&mut self, pressure: &mut Pressure) -> bool {
        let Some(counters) = self.source.read() else {
            return false;
        };
        let observed = self.meter.observe(self.clock.monotonic(), counters);
        if let Some((used, length)) = observed {
            self.controller.aim(self.admission.cpu_threshold());
            let next = self.controller.step(used, length);
            tell(*pressure, next, used);
            *pressure = next;
            self.admission.publish(used.windowed, next);
        }
        true
    }
}

/// Logs the beginning and the end of shedding.
fn tell(before: Pressure, now: Pressure, used: Utilization) {
    let sheds = |pressure: Pressure| pressure > Pressure::default();
    let utilization = used.windowed;
    match (sheds(before), sheds(now)) {
        (false, true) => {
            tracing::warn!(
                utilization,
                "shedding begins: the CPU is above cpu_threshold"
            );
        }
        (true, false) => tracing::info!(utilization, "shedding for the CPU has ended"),
        (true, true) | (false, false) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    };

    use super::*;
    use crate::{
        clock::{BoxFuture, Monotonic},
        overload::{
            Class,
            meter::{Counters, CpuTime},
        },
    };

    /// Time that passes only by sleeping; tells the test when it does.
    #[derive(Default)]
    struct SleepClock(AtomicU64);

    impl Clock for SleepClock {
        fn monotonic(&self) -> Monotonic {
            Monotonic::from_millis(self.0.load(Ordering::SeqCst))
        }

        fn wall_millis(&self) -> u64 {
            0
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<()> {
            self.0
                .fetch_add(duration.as_millis() as u64, Ordering::SeqCst);
            // Gives the test its turn.
            Box::pin(async {
                let mut told = false;
                std::future::poll_fn(move |_| {
                    if std::mem::replace(&mut told, true) {
                        std::task::Poll::Ready(())
                    } else {
                        std::task::Poll::Pending
                    }
                })
                .await;
            })
        }
    }

    /// A machine that is wholly busy or wholly idle.
    struct Switched {
        clock: Arc<SleepClock>,
        busy: Arc<AtomicBool>,
        counted: Mutex<(u64, u64, u64)>,
    }

    impl CpuSource for Switched {
        fn read(&mut self) -> Option<Counters> {
            let now = self.clock.0.load(Ordering::SeqCst);
            let mut counted = self.counted.lock().unwrap();
            let passed = now - counted.0;
            counted.0 = now;
            if self.busy.load(Ordering::SeqCst) {
                counted.1 += passed;
            } else {
                counted.2 += passed;
            }
            let (_, busy, idle) = *counted;
            Some(Counters {
                cpus: vec![CpuTime { id: 0, busy, idle }],
                groups: Vec::new(),
            })
        }
    }

    struct Nothing;

    impl CpuSource for Nothing {
        fn read(&mut self) -> Option<Counters> {
            None
        }
    }

    #[test]
    fn a_busy_cpu_sheds_and_an_idle_one_does_not() {
        let clock = Arc::new(SleepClock::default());
        let busy = Arc::new(AtomicBool::new(true));
        let admission = Admission::new(10, 0.8);
        let source = Switched {
            clock: Arc::clone(&clock),
            busy: Arc::clone(&busy),
            counted: Mutex::default(),
        };
        let watch = CpuWatch::new(
            Box::new(source),
            Arc::clone(&admission),
            Arc::clone(&clock) as Arc<dyn Clock>,
            Duration::from_secs(1),
        );
        let mut run = Box::pin(watch.run());
        let mut readings = |count| {
            for _ in 0..count {
                assert!(futures_util::FutureExt::now_or_never(run.as_mut()).is_none());
            }
        };
        readings(50);
        assert_eq!(admission.cpu_utilization(), 1.0);
        assert_eq!(admission.cpu_pressure(), 1.0);
        let shed = |class| {
            let refused = |_: &usize| admission.admit(class).is_err();
            (0..100).filter(refused).count()
        };
        assert!((94..=95).contains(&shed(Class::Read)));
        assert!((94..=95).contains(&shed(Class::Write)));
        busy.store(false, Ordering::SeqCst);
        readings(13);
        assert_eq!((shed(Class::Read), shed(Class::Write)), (0, 0));
        assert_eq!(admission.cpu_utilization(), 0.0);
    }

    #[test]
    fn where_nothing_can_be_read_nothing_is_shed() {
        let clock = Arc::new(SleepClock::default());
        let admission = Admission::new(10, 0.1);
        let watch = CpuWatch::new(
            Box::new(Nothing),
            Arc::clone(&admission),
            clock,
            Duration::from_secs(1),
        );
        // Of a time when it could be read.
        admission.publish(1.0, Pressure::new(1.0));
        let mut run = Box::pin(watch.run());
        let ended = (0..100).any(|_| futures_util::FutureExt::now_or_never(run.as_mut()).is_some());
        assert!(ended, "there is nothing to watch");
        let refused = |_: &i32| admission.admit(Class::Write).is_err();
        assert_eq!((0..20).filter(refused).count(), 0);
    }
}
