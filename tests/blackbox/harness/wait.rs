//! Conditions with deadlines.

use std::time::{Duration, Instant};

/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(25);

/// Waits until `attempt` succeeds and returns what it found.
///
/// # Panics
/// When it has not within `deadline`; the message tells the last reason.
pub(crate) async fn until<T>(
    what: &str,
    deadline: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        let reason = match attempt().await {
            Ok(found) => return found,
            Err(reason) => reason,
        };
        assert!(
            Instant::now() < end,
            "{what}: not within {deadline:?}: {reason}"
        );
        tokio::time::sleep(POLL).await;
    }
}

/// Looks again and again for `duration`, to see that something stays as it is.
///
/// # Panics
/// At the first look that fails.
pub(crate) async fn holds(
    what: &str,
    duration: Duration,
    mut attempt: impl AsyncFnMut() -> Result<(), String>,
) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        if let Err(reason) = attempt().await {
            panic!("{what}: {reason}");
        }
        tokio::time::sleep(POLL).await;
    }
}
