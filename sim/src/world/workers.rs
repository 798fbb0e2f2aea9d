//! The seam for tasks.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use shard_cache::{clock::BoxFuture, workers::Workers};

use super::{HostId, Shared, World};

/// Tasks of one life of a host.
pub struct SimWorkers {
    shared: Arc<Shared>,
    host: HostId,
    life: u32,
    stopped: AtomicBool,
}

impl World {
    /// Where tasks of the present life of a host run.
    #[must_use]
    pub fn workers(&self, host: HostId) -> SimWorkers {
        SimWorkers {
            shared: Arc::clone(&self.shared),
            host,
            life: self.life(host),
            stopped: AtomicBool::new(false),
        }
    }
}

impl Workers for SimWorkers {
    fn spawn(&self, name: &'static str, task: BoxFuture<()>) {
        let is_current = self.shared.state().host(self.host).life == self.life;
        if is_current && !self.stopped.load(Ordering::Relaxed) {
            self.shared.spawn(self.host, name, true, task);
        }
    }

    fn stop(&self) -> BoxFuture<()> {
        if !self.stopped.swap(true, Ordering::Relaxed) {
            self.shared.end_tasks(self.host, true);
        }
        Box::pin(std::future::ready(()))
    }
}
