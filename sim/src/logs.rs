//! What nodes log, with virtual time and the host that says it: for people who look into one run.

use std::{cell::Cell, fmt};

use tracing_subscriber::fmt::{format::Writer, time::FormatTime};

use crate::world::{HostId, Nanos};

thread_local! {
    /// The host whose task runs on this thread, and since when.
    static PRESENT: Cell<(HostId, Nanos)> = const { Cell::new((HostId(u16::MAX), 0)) };
}

/// Notes whose task runs now.
pub(crate) fn enter(host: HostId, now: Nanos) {
    PRESENT.set((host, now));
}

struct VirtualTime;

impl FormatTime for VirtualTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let (HostId(host), now) = PRESENT.get();
        write!(writer, "{now:>14} node-{host}")
    }
}

/// Prints what nodes log on this process's standard output, from `level` on ("info", "debug").
///
/// # Errors
/// If the level is none.
pub fn print(level: &str) -> Result<(), String> {
    let level: tracing_subscriber::filter::LevelFilter =
        level.parse().map_err(|_| format!("{level} is no level"))?;
    // A subscriber that is set already stays.
    let _set = tracing_subscriber::fmt()
        .with_timer(VirtualTime)
        .with_max_level(level)
        .with_ansi(false)
        .with_target(false)
        .try_init();
    Ok(())
}
