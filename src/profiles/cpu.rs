//! Where CPU time goes.

use std::time::Duration;

use pprof::{ProfilerGuard, ProfilerGuardBuilder};

use super::{ProfileError, encoded, forget_names};

/// Samples per second of CPU time: not a divisor of what programs do by the clock.
const FREQUENCY_HZ: i32 = 99;

/// Takes samples of the stacks of all threads that run, from its begin until it is dropped. Only one at a time: the
/// system has one timer for it.
pub(crate) struct CpuProfiler(ProfilerGuard<'static>);

impl CpuProfiler {
    /// Begins.
    ///
    /// # Errors
    /// Another one is at work, or the system refuses.
    pub(crate) fn begin() -> Result<Self, ProfileError> {
        let profiler = ProfilerGuardBuilder::default().frequency(FREQUENCY_HZ);
        Ok(Self(profiler.build()?))
    }

    /// Ends, and gives what was seen. Names functions, which takes a second of a core: not for a thread that serves.
    ///
    /// # Errors
    /// The samples cannot be read.
    pub(crate) fn finish(self, lasted: Duration) -> Result<Vec<u8>, ProfileError> {
        let report = self.0.report().build();
        forget_names();
        let mut profile = report?.pprof()?;
        // Without the time that it took to begin and to end.
        profile.duration_nanos = i64::try_from(lasted.as_nanos()).unwrap_or(i64::MAX);
        encoded(&profile)
    }
}
