//! Threads that serve connections, each with a runtime of its own: what belongs to one connection never moves to another
//! thread, and nothing is stolen.

use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{exit::Failure, give_way::give_way};

/// Running threads. They are told to end when this is dropped, and not waited for.
pub(super) struct Lanes {
    runtimes: Vec<Handle>,
    _ended: DropGuard,
}

impl Lanes {
    /// Starts `threads` of them; none for one, because then the main thread serves everything without any hand-over.
    pub(super) fn start(threads: usize) -> Result<Self, Failure> {
        let ended = CancellationToken::new();
        let threads = if threads > 1 { threads } else { 0 };
        let runtimes = (0..threads)
            .map(|lane| start_lane(lane, ended.clone()))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            runtimes,
            _ended: ended.drop_guard(),
        })
    }

    /// The runtimes, to hand connections to.
    pub(super) fn runtimes(&self) -> Vec<Handle> {
        self.runtimes.clone()
    }
}

fn start_lane(lane: usize, ended: CancellationToken) -> Result<Handle, Failure> {
    let failed = |error| Failure::system("cannot start a thread for connections", &error);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .on_thread_park(give_way())
        .build()
        .map_err(failed)?;
    let handle = runtime.handle().clone();
    let run = move || {
        runtime.block_on(ended.cancelled());
        runtime.shutdown_background();
    };
    thread::Builder::new()
        .name(format!("lane-{lane}"))
        .spawn(run)
        .map_err(failed)?;
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_but_a_single_one_has_a_thread() {
        assert!(Lanes::start(1).unwrap().runtimes().is_empty());
        let lanes = Lanes::start(2).unwrap();
        let here = thread::current().id();
        for runtime in lanes.runtimes() {
            let (tell, hear) = std::sync::mpsc::channel();
            runtime.spawn(async move { tell.send(thread::current().id()) });
            assert_ne!(hear.recv().unwrap(), here);
        }
    }
}
