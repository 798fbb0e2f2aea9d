//! The seam for tasks: where background work runs. Every task is owned by the node that started it and ends with it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

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

/// Tasks on a tokio runtime, and connections on others.
pub struct TokioWorkers {
    runtime: Handle,
    lanes: Lanes,
    tasks: TaskTracker,
    stopped: CancellationToken,
}

/// Where connections are served: on each lane, one runtime of one thread, in turn. What belongs to one connection stays on
/// its thread.
#[derive(Clone)]
pub struct Lanes {
    runtimes: Arc<[Handle]>,
    next: Arc<AtomicUsize>,
    tasks: TaskTracker,
    stopped: CancellationToken,
}

impl Lanes {
    /// Starts a task on the next lane. It ends when its future does or when the node stops.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let stopped = self.stopped.clone();
        let task = async move {
            tokio::select! {
                biased;
                () = stopped.cancelled_owned() => {}
                () = task => {}
            }
        };
        // The tracker owns the handle: stopping the workers waits for it.
        drop(
            self.tasks
                .spawn_on(task, &self.runtimes[next % self.runtimes.len()]),
        );
    }
}

impl TokioWorkers {
    /// Tasks on the runtime that this is called from.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn current() -> Self {
        Self::with_lanes(Vec::new())
    }

    /// Tasks on the runtime that this is called from, and connections on `runtimes` in turn, or on the same one without any.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn with_lanes(mut runtimes: Vec<Handle>) -> Self {
        let runtime = Handle::current();
        if runtimes.is_empty() {
            runtimes.push(runtime.clone());
        }
        let (tasks, stopped) = (TaskTracker::new(), CancellationToken::new());
        Self {
            runtime,
            lanes: Lanes {
                runtimes: runtimes.into(),
                next: Arc::new(AtomicUsize::new(0)),
                tasks: tasks.clone(),
                stopped: stopped.clone(),
            },
            tasks,
            stopped,
        }
    }

    /// Where connections are served.
    #[must_use]
    pub fn lanes(&self) -> Lanes {
        self.lanes.clone()
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
