//! How far it is, on standard error: each second on a terminal, now and then elsewhere.

use std::{
    io::IsTerminal as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use crate::recorder::Recorder;

fn pace() -> Duration {
    let terminal = std::io::stderr().is_terminal();
    Duration::from_secs(if terminal { 1 } else { 10 })
}

/// Shows what became of the writes, for ever.
pub(crate) async fn show_writes(recorder: Arc<Recorder>) {
    loop {
        sleep(pace()).await;
        let (acked, refused) = recorder.writes();
        let seconds = recorder.now_us() / 1_000_000;
        eprintln!("{seconds:4} s: {acked} acknowledged, {refused} not");
    }
}

/// Shows how many of the keys are done, for ever.
pub(crate) async fn show_share(done: Arc<AtomicUsize>, keys: usize) {
    loop {
        sleep(pace()).await;
        eprintln!("  {} of {keys}", done.load(Ordering::Relaxed));
    }
}
