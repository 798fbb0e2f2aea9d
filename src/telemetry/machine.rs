//! Figures of the process that neither the node nor `/proc` has: those of the asynchronous runtimes
//! and of the allocator. Whoever runs the node names the sources; without any, they are not shown.

use tokio::runtime::Handle;

/// How the allocator's figures are read; `None` when it refuses.
pub type AllocatorReader = fn() -> Option<AllocatorFigures>;

/// Where the figures come from.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// The runtimes that the node runs on, with a name for each.
    pub runtimes: Vec<(String, Handle)>,
    /// The global allocator, where it can tell.
    pub allocator: Option<AllocatorReader>,
}

impl Machine {
    /// The figures of every runtime, as they are now.
    #[must_use]
    pub fn runtime_figures(&self) -> Vec<RuntimeFigures> {
        let runtimes = self.runtimes.iter();
        runtimes
            .map(|(name, handle)| RuntimeFigures::read(name, handle))
            .collect()
    }

    /// The allocator's figures, as they are now.
    #[must_use]
    pub fn allocator_figures(&self) -> Option<AllocatorFigures> {
        self.allocator.and_then(|read| read())
    }
}

/// What a runtime tells of itself.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RuntimeFigures {
    /// Its name.
    pub name: String,
    /// Its threads.
    pub workers: u64,
    /// Time that they have spent on tasks, in seconds.
    pub busy_seconds: f64,
    /// Tasks that were woken from outside and wait for their turn.
    pub queue_depth: u64,
    /// Tasks that have not ended.
    pub tasks: u64,
    /// Times that a thread went to sleep for want of work.
    pub parks: u64,
}

impl RuntimeFigures {
    fn read(name: &str, handle: &Handle) -> Self {
        let metrics = handle.metrics();
        let workers = metrics.num_workers();
        let busy = (0..workers).map(|worker| metrics.worker_total_busy_duration(worker));
        Self {
            name: name.to_owned(),
            workers: workers as u64,
            busy_seconds: busy.map(|busy| busy.as_secs_f64()).sum(),
            queue_depth: metrics.global_queue_depth() as u64,
            tasks: metrics.num_alive_tasks() as u64,
            parks: (0..workers)
                .map(|worker| metrics.worker_park_count(worker))
                .sum(),
        }
    }
}

/// What an allocator tells of itself, in jemalloc's terms: allocated is part of active, active and
/// metadata are part of resident, resident is part of mapped; retained comes on top.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AllocatorFigures {
    /// Bytes that the program has asked for and not given back.
    pub allocated_bytes: u64,
    /// Bytes of the pages that these are on.
    pub active_bytes: u64,
    /// Bytes that the allocator keeps for itself.
    pub metadata_bytes: u64,
    /// Bytes of physical memory, at most.
    pub resident_bytes: u64,
    /// Bytes of address space in use.
    pub mapped_bytes: u64,
    /// Bytes of address space that are kept without memory behind them.
    pub retained_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_tells_of_its_threads_and_tasks() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        drop(runtime.spawn(std::future::pending::<()>()));
        let machine = Machine {
            runtimes: vec![("main".to_owned(), runtime.handle().clone())],
            allocator: Some(|| None),
        };
        let figures = machine.runtime_figures();
        assert_eq!(
            (
                figures[0].name.as_str(),
                figures[0].workers,
                figures[0].tasks
            ),
            ("main", 1, 1)
        );
        assert_eq!(machine.allocator_figures(), None);
    }
}
