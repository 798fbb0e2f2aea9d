//! Tasks. Each belongs to one life of a host: it is not run while the host is paused and dropped where it stands when the
//! host crashes.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use rand::seq::SliceRandom as _;
use shard_cache::clock::BoxFuture;

use super::{HostId, Shared, State};
use crate::logs;

/// Names a task: its slot and how often the slot was used before.
pub(crate) type TaskId = (u32, u32);

/// Tasks that were woken and have not run since.
#[derive(Default)]
pub(crate) struct ReadyList {
    woken: Mutex<Vec<TaskId>>,
}

impl ReadyList {
    fn push(&self, task: TaskId) {
        self.woken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(task);
    }

    fn take_into(&self, tasks: &mut Vec<TaskId>) {
        tasks.append(&mut self.woken.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

struct TaskWaker {
    task: TaskId,
    queued: AtomicBool,
    ready: Arc<ReadyList>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.push(self.task);
        }
    }
}

/// All tasks.
#[derive(Default)]
pub(crate) struct Tasks {
    slots: Vec<TaskSlot>,
    free: Vec<u32>,
}

struct TaskSlot {
    generation: u32,
    task: Option<Task>,
}

struct Task {
    host: HostId,
    name: &'static str,
    /// Ends with the node's workers.
    is_worker: bool,
    /// Absent while it runs.
    future: Option<BoxFuture<()>>,
    waker: Arc<TaskWaker>,
}

impl Tasks {
    fn add(&mut self, task: impl FnOnce(TaskId) -> Task) -> TaskId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(TaskSlot {
                generation: 0,
                task: None,
            });
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let entry = &mut self.slots[slot as usize];
        let id = (slot, entry.generation);
        entry.task = Some(task(id));
        id
    }

    fn get(&mut self, (slot, generation): TaskId) -> Option<&mut Task> {
        let entry = &mut self.slots[slot as usize];
        if entry.generation == generation {
            entry.task.as_mut()
        } else {
            None
        }
    }

    fn remove(&mut self, (slot, generation): TaskId) -> Option<Task> {
        let entry = &mut self.slots[slot as usize];
        if entry.generation != generation {
            return None;
        }
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(slot);
        entry.task.take()
    }

    /// Takes tasks of a host out; the caller drops them without the lock.
    fn remove_of(&mut self, host: HostId, workers_only: bool) -> Vec<Option<Task>> {
        let of_host = |task: &Task| task.host == host && (task.is_worker || !workers_only);
        let ids: Vec<TaskId> = (0u32..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.task.as_ref().is_some_and(of_host))
            .map(|(index, slot)| (index, slot.generation))
            .collect();
        ids.into_iter().map(|id| self.remove(id)).collect()
    }

    pub(crate) fn count(&self, host: HostId) -> usize {
        let tasks = self.slots.iter().filter_map(|slot| slot.task.as_ref());
        tasks.filter(|task| task.host == host).count()
    }
}

impl Shared {
    pub(crate) fn spawn(
        &self,
        host: HostId,
        name: &'static str,
        is_worker: bool,
        future: BoxFuture<()>,
    ) {
        let mut state = self.state();
        if !state.host(host).is_running() {
            // Dropped without the lock.
            drop(state);
            drop(future);
            return;
        }
        let id = state.tasks.add(|task| Task {
            host,
            name,
            is_worker,
            future: Some(future),
            waker: Arc::new(TaskWaker {
                task,
                queued: AtomicBool::new(true),
                ready: Arc::clone(&self.ready),
            }),
        });
        drop(state);
        self.ready.push(id);
    }

    /// Runs tasks until none is ready. Those that became ready together run in an order that the seed draws. They are
    /// sorted by their ids first, so that the order in which something wakes its waiters does not matter.
    pub(crate) fn run_ready(&self) {
        let mut batch = Vec::new();
        loop {
            self.ready.take_into(&mut batch);
            if batch.is_empty() {
                return;
            }
            if batch.len() > 1 {
                batch.sort_unstable();
                batch.shuffle(&mut self.state().order);
            }
            for task in batch.drain(..) {
                self.run_task(task);
            }
        }
    }

    fn run_task(&self, id: TaskId) {
        let Some((mut future, waker)) = self.take_to_run(id) else {
            return;
        };
        let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
        let mut state = self.state();
        let ended = match poll {
            Poll::Ready(()) => state.tasks.remove(id),
            Poll::Pending => match state.tasks.get(id) {
                Some(task) => {
                    task.future = Some(future);
                    return;
                }
                None => None,
            },
        };
        drop(state);
        drop(ended);
    }

    fn take_to_run(&self, id: TaskId) -> Option<(BoxFuture<()>, Waker)> {
        let mut state = self.state();
        let State {
            tasks,
            hosts,
            trace,
            ..
        } = &mut *state;
        let task = tasks.get(id)?;
        let host = &mut hosts[usize::from(task.host.0)];
        if host.is_paused() {
            // Stays queued: it runs when the host goes on.
            host.defer(id);
            return None;
        }
        task.waker.queued.store(false, Ordering::Relaxed);
        trace.poll(task.host, id.0);
        logs::enter(task.host, self.now());
        Some((task.future.take()?, Waker::from(Arc::clone(&task.waker))))
    }

    /// Ends all tasks of a host, or just its workers.
    pub(crate) fn end_tasks(&self, host: HostId, workers_only: bool) {
        let ended = self.state().tasks.remove_of(host, workers_only);
        drop(ended);
    }

    pub(crate) fn resume(&self, host: HostId) {
        let now = self.now();
        let deferred = self.state().host_mut(host).resume(now);
        for task in deferred {
            self.ready.push(task);
        }
    }
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {:?}", self.name, self.host)
    }
}
