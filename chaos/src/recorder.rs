//! Where operations and marks are written down while they happen: in memory for the verdict, and line by line in a file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::Context as _;

use crate::history::{
    Action, FaultMark, FaultState, History, Operation, Outcome, Purpose, Record, Run,
};

/// Records a run. Shared by everything that takes part in it.
#[derive(Debug)]
pub(crate) struct Recorder {
    origin: Instant,
    acked: AtomicUsize,
    refused: AtomicUsize,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    history: History,
    file: Option<BufWriter<File>>,
    /// The first failure to write the file; later lines are not tried.
    failure: Option<std::io::Error>,
}

impl Recorder {
    /// Begins a run, now.
    ///
    /// # Errors
    /// The file cannot be created.
    pub(crate) fn begin(run: Run, file: Option<&Path>) -> anyhow::Result<Self> {
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("cannot create {}", path.display()))
        };
        let recorder = Self {
            origin: Instant::now(),
            acked: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            book: Mutex::new(Book {
                file: file.map(create).transpose()?.map(BufWriter::new),
                ..Book::default()
            }),
        };
        recorder.push(Record::Run(run));
        Ok(recorder)
    }

    /// Microseconds since the run began.
    #[must_use]
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Writes one line down.
    pub(crate) fn push(&self, record: Record) {
        if let Record::Operation(operation) = &record
            && operation.action.is_write()
            && operation.purpose != Purpose::Wipe
        {
            let counter = match operation.outcome {
                Outcome::Ok => &self.acked,
                Outcome::Failed | Outcome::Unknown => &self.refused,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let mut book = self.book();
        if book.failure.is_none()
            && let Some(file) = &mut book.file
        {
            let line = serde_json::to_string(&record).map_err(std::io::Error::from);
            book.failure = line.and_then(|line| writeln!(file, "{line}")).err();
        }
        book.history.push(record);
    }

    /// Notes that a fault changed its state, now.
    pub(crate) fn mark(&self, fault: &str, state: FaultState) {
        self.mark_at(fault, state, self.now_us());
    }

    /// Notes that a fault changed its state at a time.
    pub(crate) fn mark_at(&self, fault: &str, state: FaultState, at_us: u64) {
        self.push(Record::Fault(FaultMark {
            fault: fault.to_owned(),
            state,
            at_us,
        }));
    }

    /// Notes that every node lost its memory at some time since `from_us`: whatever was written before is gone, and must
    /// not come back. Called when the nodes are there again.
    pub(crate) fn wiped(&self, from_us: u64) {
        let ended_us = self.now_us();
        for key in self.keys() {
            self.push(Record::Operation(Operation {
                key,
                action: Action::Delete,
                node: 0,
                begun_us: from_us,
                ended_us,
                outcome: Outcome::Ok,
                version: None,
                error: None,
                purpose: Purpose::Wipe,
                attempt: 1,
            }));
        }
    }

    /// Writes acknowledged so far, and writes that failed or are of unknown outcome.
    #[must_use]
    pub(crate) fn writes(&self) -> (usize, usize) {
        (
            self.acked.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed),
        )
    }

    /// How many marks there are.
    #[cfg(test)]
    pub(crate) fn marks(&self) -> usize {
        self.book().history.marks.len()
    }

    /// Every key that was written to, whatever became of it.
    #[must_use]
    pub(crate) fn keys(&self) -> Vec<String> {
        let book = self.book();
        let writes = book
            .history
            .operations
            .iter()
            .filter(|o| o.action.is_write());
        let mut keys: Vec<String> = writes.map(|write| write.key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// What was last acknowledged of each key between two times (`None` for a delete), where nothing else was written to it
    /// since, and nothing of unknown outcome. Keys that expire are left out.
    #[must_use]
    pub(crate) fn last_written(
        &self,
        from_us: u64,
        to_us: u64,
    ) -> BTreeMap<String, Option<String>> {
        let book = self.book();
        let mut last = BTreeMap::new();
        let mut unsure = BTreeSet::new();
        for write in book
            .history
            .operations
            .iter()
            .filter(|it| it.action.is_write())
        {
            let is_inside = write.begun_us >= from_us && write.ended_us <= to_us;
            let expires = matches!(
                write.action,
                Action::Set {
                    ttl_ms: Some(_),
                    ..
                }
            );
            if expires
                || write.outcome == Outcome::Unknown
                || (!is_inside && write.ended_us > to_us)
            {
                unsure.insert(write.key.clone());
            } else if is_inside && write.outcome == Outcome::Ok {
                let value = match &write.action {
                    Action::Set { value, .. } => Some(value.clone()),
                    Action::Delete | Action::Get { .. } => None,
                };
                last.insert(write.key.clone(), value);
            }
        }
        last.retain(|key, _| !unsure.contains(key));
        last
    }

    /// The 99th percentile of the time that requests took which began and ended between two times, in milliseconds.
    #[must_use]
    pub(crate) fn p99_ms(&self, from_us: u64, to_us: u64) -> f64 {
        let book = self.book();
        let inside = book.history.operations.iter();
        let inside = inside.filter(|it| it.begun_us >= from_us && it.ended_us <= to_us);
        let mut took: Vec<u64> = inside.map(|it| it.ended_us - it.begun_us).collect();
        took.sort_unstable();
        let place = (took.len() * 99).div_ceil(100).saturating_sub(1);
        took.get(place).map_or(0.0, |took| *took as f64 / 1e3)
    }

    /// Takes the history out and completes the file.
    ///
    /// # Errors
    /// The file could not be written.
    pub(crate) fn finish(&self) -> anyhow::Result<History> {
        let mut book = self.book();
        if let Some(mut file) = book.file.take() {
            file.flush().context("cannot write the history")?;
        }
        match book.failure.take() {
            Some(failure) => Err(failure).context("cannot write the history"),
            None => Ok(std::mem::take(&mut book.history)),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
