//! The seam for tasks: where background work runs. Every task is owned by the node that started it and ends with it.

use std::fmt;

use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::clock::BoxFuture;

/// Where background tasks run.
pub trait Workers: Send + Sync + 'static {
    /// Starts a task that ends when its future does or when the node stops. `name` is for logs.
    fn spawn(&self, name: &'static str, task: BoxFuture<()>);

    /// Ends all tasks and waits until they have ended. Tasks started afterwards end at once.
    fn stop(&self) -> BoxFuture<()>;
}

/// Tasks on a tokio runtime.
pub struct TokioWorkers {
    runtime: Handle,
    tasks: TaskTracker,
    stopped: CancellationToken,
}

impl TokioWorkers {
    /// Tasks on the runtime that this is called from.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn current() -> Self {
        Self {
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            stopped: CancellationToken::new(),
        }
    }
}

impl Workers for TokioWorkers {
    fn spawn(&self, name: &'static str, task: BoxFuture<()>) {
        let stopped = self.stopped.clone();
        let task = async move {
            tokio::select! {
                biased;
                () = stopped.cancelled() => tracing::trace!(name, "task stopped"),
                () = task => tracing::trace!(name, "task ended"),
            }
        };
        // The tracker owns the handle: `stop` waits for it.
        drop(self.tasks.spawn_on(task, &self.runtime));
    }

    fn stop(&self) -> BoxFuture<()> {
        self.stopped.cancel();
        self.tasks.close();
        let tasks = self.tasks.clone();
        Box::pin(async move { tasks.wait().await })
    }
}

impl fmt::Debug for TokioWorkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokioWorkers({} tasks)", self.tasks.len())
    }
}
