//! The seam for tasks: where background work runs. Every task is owned by the node that started it and ends with it.

use std::{
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, task::JoinError};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::clock::{BoxFuture, Clock, Monotonic};

/// Where background tasks run.
pub trait Workers: Send + Sync + 'static {
    /// Starts a task that ends when its future does or when the node stops. `name` says what it is there for.
    fn spawn(&self, name: &'static str, task: BoxFuture<()>);

    /// Ends all tasks and waits until they have ended. Tasks started afterwards end at once.
    fn stop(&self) -> BoxFuture<()>;
}

/// Tasks on a tokio runtime, and connections on others.
pub struct TokioWorkers {
    runtime: Handle,
    lanes: Lanes,
    tasks: TaskTracker,
    registry: TaskRegistry,
    stopped: CancellationToken,
}

/// Where connections are served: on each lane, one runtime of one thread, in turn. What belongs to one connection stays on
/// its thread.
#[derive(Clone)]
pub struct Lanes {
    runtimes: Arc<[Handle]>,
    next: Arc<AtomicUsize>,
    tasks: TaskTracker,
    registry: TaskRegistry,
    stopped: CancellationToken,
}

/// Which tasks run: each is in here from its start to its end.
#[derive(Clone)]
pub struct TaskRegistry {
    clock: Arc<dyn Clock>,
    book: Arc<Mutex<TaskBook>>,
}

#[derive(Default)]
struct TaskBook {
    begun: u64,
    running: BTreeMap<u64, Arc<Task>>,
}

struct Task {
    name: &'static str,
    begun_at: Monotonic,
    polls: AtomicU64,
    is_polled: AtomicBool,
}

/// A task, at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskView {
    /// Counts the tasks that were started.
    pub id: u64,
    /// What it is there for.
    pub name: &'static str,
    /// Since it was started.
    pub age: Duration,
    /// How often it went on.
    pub polls: u64,
    /// Whether it is on a thread, and does not wait.
    pub is_polled: bool,
}

impl TaskRegistry {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            book: Arc::default(),
        }
    }

    /// All tasks that have not ended, the oldest first.
    #[must_use]
    pub fn tasks(&self) -> Vec<TaskView> {
        let now = self.clock.monotonic();
        let view = |(id, task): (&u64, &Arc<Task>)| TaskView {
            id: *id,
            name: task.name,
            age: now.saturating_sub(task.begun_at),
            polls: task.polls.load(Ordering::Relaxed),
            is_polled: task.is_polled.load(Ordering::Relaxed),
        };
        self.book().running.iter().map(view).collect()
    }

    /// Does `work`, as a task that is in the registry until it ends or is dropped.
    async fn follow(self, name: &'static str, work: impl Future<Output = ()>) {
        let task = Arc::new(Task {
            name,
            begun_at: self.clock.monotonic(),
            polls: AtomicU64::new(0),
            is_polled: AtomicBool::new(false),
        });
        let _entry = self.enter(Arc::clone(&task));
        let mut work = pin!(work);
        poll_fn(|context| {
            // Nobody else writes these: a load and a store will do.
            let polls = task.polls.load(Ordering::Relaxed);
            task.polls.store(polls + 1, Ordering::Relaxed);
            task.is_polled.store(true, Ordering::Relaxed);
            let polled = work.as_mut().poll(context);
            task.is_polled.store(false, Ordering::Relaxed);
            polled
        })
        .await;
    }

    fn enter(&self, task: Arc<Task>) -> Entry {
        let mut book = self.book();
        book.begun += 1;
        let id = book.begun;
        book.running.insert(id, task);
        Entry {
            registry: self.clone(),
            id,
        }
    }

    fn book(&self) -> MutexGuard<'_, TaskBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a task in the registry.
struct Entry {
    registry: TaskRegistry,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.book().running.remove(&self.id);
    }
}

impl Lanes {
    /// Starts a task on the next lane. It ends when its future does or when the node stops. `name` is for
    /// [`TaskRegistry`].
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let stopped = self.stopped.clone();
        let task = self.registry.clone().follow(name, task);
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

/// Does work that keeps its thread for long, on a thread where no tasks are. Dropping the future does not end it.
///
/// # Errors
/// It has panicked, or the runtime ends.
pub async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    tokio::task::spawn_blocking(work).await
}

impl TokioWorkers {
    /// Tasks on the runtime that this is called from, and connections on `runtimes` in turn, or on the same one without any.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn with_lanes(clock: Arc<dyn Clock>, mut runtimes: Vec<Handle>) -> Self {
        let runtime = Handle::current();
        if runtimes.is_empty() {
            runtimes.push(runtime.clone());
        }
        let (tasks, stopped) = (TaskTracker::new(), CancellationToken::new());
        let registry = TaskRegistry::new(clock);
        Self {
            runtime,
            lanes: Lanes {
                runtimes: runtimes.into(),
                next: Arc::new(AtomicUsize::new(0)),
                tasks: tasks.clone(),
                registry: registry.clone(),
                stopped: stopped.clone(),
            },
            tasks,
            registry,
            stopped,
        }
    }

    /// Where connections are served.
    #[must_use]
    pub fn lanes(&self) -> Lanes {
        self.lanes.clone()
    }

    /// The tasks that run, those of connections included.
    #[must_use]
    pub fn registry(&self) -> TaskRegistry {
        self.registry.clone()
    }
}

impl Workers for TokioWorkers {
    fn spawn(&self, name: &'static str, task: BoxFuture<()>) {
        let stopped = self.stopped.clone();
        let task = self.registry.clone().follow(name, task);
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

impl fmt::Debug for TaskRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskRegistry({} tasks)", self.book().running.len())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test]
    async fn a_task_is_listed_until_it_ends() {
        let workers = TokioWorkers::with_lanes(Arc::new(SystemClock::new()), Vec::new());
        let (end, ended) = oneshot::channel::<()>();
        let (begin, begun) = oneshot::channel::<()>();
        let names = || -> Vec<&str> {
            let tasks = workers.registry().tasks();
            tasks.iter().map(|task| task.name).collect()
        };
        workers.lanes().spawn("connection", async move {
            begin.send(()).ok();
            ended.await.ok();
        });
        workers.spawn("endless", Box::pin(std::future::pending()));
        begun.await.unwrap();
        assert_eq!(names(), ["connection", "endless"]);
        assert_eq!(workers.registry().tasks()[0].polls, 1);
        end.send(()).unwrap();
        while names() != ["endless"] {
            tokio::task::yield_now().await;
        }
        workers.stop().await;
        assert_eq!(names(), [""; 0]);
    }
}
