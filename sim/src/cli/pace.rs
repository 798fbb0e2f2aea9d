//! How fast runs are: simulated time by the processor time that it took, because other programs share the machine.

use std::{
    fs,
    time::{Duration, Instant},
};

/// A stretch of work of this thread.
pub struct Pace {
    begun: Duration,
}

impl Pace {
    /// Begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self { begun: present() }
    }

    /// Processor time since the begin; elapsed time where the system does not tell.
    #[must_use]
    pub fn took(&self) -> Duration {
        present().saturating_sub(self.begun)
    }
}

/// How many times faster than real time.
#[must_use]
pub fn speed(simulated: Duration, took: Duration) -> f64 {
    simulated.as_secs_f64() / took.as_secs_f64().max(0.001)
}

fn present() -> Duration {
    of_processor().unwrap_or_else(of_machine)
}

/// Processor time of this thread so far, as Linux tells it: the first figure, in nanoseconds.
fn of_processor() -> Option<Duration> {
    let figures = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = figures.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

#[allow(
    clippy::disallowed_methods,
    reason = "runs are timed on the machine's clock; nothing in a run depends on it"
)]
fn of_machine() -> Duration {
    static BEGUN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    BEGUN.get_or_init(Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_simulated_time_by_processor_time() {
        let seconds = Duration::from_secs;
        assert!((speed(seconds(300), seconds(2)) - 150.0).abs() < 1e-9);
        let pace = Pace::begin();
        let sum = (0..50_000_000_u64).fold(0, |sum, it| std::hint::black_box(sum ^ it));
        assert!(sum < u64::MAX && pace.took() > Duration::ZERO);
    }
}
