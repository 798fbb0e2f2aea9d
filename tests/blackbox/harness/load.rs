//! Concurrent writers of unique keys, at a bounded rate, that read back what they wrote and remember what became of every
//! request. Nothing is retried unless a test asks for it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use shard_cache_client::{CallOptions, Client, ClientError, Outcome, Ttl, Value, Written};
use tokio::task::JoinSet;

use super::until;

/// Attempts to read a key back when a read is not answered. A miss is an answer.
const READ_ATTEMPTS_MAX: u32 = 5;
/// Readers beside each other when all is read back.
const READERS: usize = 8;

/// Within which a test's phase of load has to get on, on a slow machine.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(90);

/// How much load.
#[derive(Clone, Copy)]
pub(crate) struct LoadOptions {
    /// Writers beside each other.
    pub(crate) writers: usize,
    /// What a writer waits between two pairs of a write and a read.
    pub(crate) pause: Duration,
}

/// A write that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Acked {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) stored: u32,
    pub(crate) at: Instant,
}

impl fmt::Display for Acked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} copies", self.key, self.stored)
    }
}

/// What a request did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Set,
    Get,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Index of the client.
    pub(crate) target: usize,
    pub(crate) op: Op,
    pub(crate) begun: Instant,
    pub(crate) took: Duration,
    /// Why it was not answered as it should have been, with the retry if there was one.
    pub(crate) failure: Option<Failure>,
    /// Whether it was tried again at another node.
    pub(crate) retried: bool,
}

/// What is done about a request that was not answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    Never,
    /// At once, at the next client; the second outcome counts.
    OnceElsewhere,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            target,
            op,
            took,
            failure,
            ..
        } = self;
        let what = failure
            .as_ref()
            .map_or_else(|| "ok".to_owned(), Failure::to_string);
        write!(f, "{op:?} at client {target} after {took:.1?}: {what}")
    }
}

/// Why a request was not answered as it should have been.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The node refused or could not be reached: surely not applied.
    NotApplied(String),
    /// Nobody knows.
    Unknown(String),
    /// A read missed an acknowledged write or found another value: never legal.
    Wrong(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotApplied(reason) => write!(f, "not applied: {reason}"),
            Self::Unknown(reason) => write!(f, "outcome unknown: {reason}"),
            Self::Wrong(reason) => write!(f, "wrong: {reason}"),
        }
    }
}

/// All that happened.
pub(crate) struct Report {
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) acked: Vec<Acked>,
}

impl Report {
    /// Attempts that pass the filter: those that succeeded, and the others.
    pub(crate) fn tally(&self, filter: impl Fn(&Attempt) -> bool) -> (usize, Vec<&Attempt>) {
        let (ok, failed): (Vec<_>, Vec<_>) = self
            .attempts
            .iter()
            .filter(|attempt| filter(attempt))
            .partition(|attempt| attempt.failure.is_none());
        (ok.len(), failed)
    }

    /// Reads that did not see an acknowledged write.
    pub(crate) fn wrong(&self) -> Vec<&Failure> {
        let failures = self
            .attempts
            .iter()
            .filter_map(|attempt| attempt.failure.as_ref());
        failures
            .filter(|failure| matches!(failure, Failure::Wrong(_)))
            .collect()
    }

    /// Acknowledged writes with fewer copies than these.
    pub(crate) fn acked_with_fewer_than(&self, copies: u32) -> Vec<&Acked> {
        self.acked
            .iter()
            .filter(|acked| acked.stored < copies)
            .collect()
    }
}

/// The share of attempts that is not exceeded, of the slowest that pass the filter.
pub(crate) fn quantile(attempts: &[&Attempt], quantile: f64) -> Duration {
    let mut took: Vec<Duration> = attempts.iter().map(|attempt| attempt.took).collect();
    took.sort_unstable();
    let place = (took.len() as f64 * quantile).ceil() as usize;
    took.get(place.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

/// Load that goes on until it is finished.
pub(crate) struct Load {
    shared: Arc<Shared>,
    writers: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    acked_count: AtomicUsize,
    attempts: Mutex<Vec<Attempt>>,
    acked: Mutex<Vec<Acked>>,
}

impl Load {
    /// Starts the writers; each uses the clients in turn.
    pub(crate) fn start(clients: &[Client], options: LoadOptions) -> Self {
        Self::start_with(clients, options, Retry::Never)
    }

    /// As [`Self::start`]; what is not answered is tried once more at once, at the next client.
    pub(crate) fn start_retrying(clients: &[Client], options: LoadOptions) -> Self {
        Self::start_with(clients, options, Retry::OnceElsewhere)
    }

    fn start_with(clients: &[Client], options: LoadOptions, retry: Retry) -> Self {
        let shared = Arc::new(Shared::default());
        let mut writers = JoinSet::new();
        for number in 0..options.writers {
            let writer = Writer {
                number,
                clients: clients.to_vec(),
                shared: Arc::clone(&shared),
                call: CallOptions::default(),
                retry,
            };
            writers.spawn(writer.run(options.pause));
        }
        Self { shared, writers }
    }

    /// Writes acknowledged so far.
    pub(crate) fn acked(&self) -> usize {
        self.shared.acked_count.load(Ordering::Relaxed)
    }

    /// Waits until so many writes are acknowledged since the start.
    pub(crate) async fn wait_for(&self, wanted: usize) {
        until(
            "enough writes are acknowledged",
            PROGRESS_DEADLINE,
            async || match self.acked() {
                acked if acked >= wanted => Ok(()),
                acked => Err(format!("{acked} of {wanted}")),
            },
        )
        .await;
    }

    /// Waits until so many more writes are acknowledged than now.
    pub(crate) async fn wait_for_more(&self, writes: usize) {
        self.wait_for(self.acked() + writes).await;
    }

    /// Stops and waits for the requests under way.
    pub(crate) async fn finish(mut self) -> Report {
        self.shared.stopped.store(true, Ordering::Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ended.expect("a writer does not panic");
        }
        Report {
            attempts: std::mem::take(&mut *hold(&self.shared.attempts)),
            acked: std::mem::take(&mut *hold(&self.shared.acked)),
        }
    }
}

struct Writer {
    number: usize,
    clients: Vec<Client>,
    shared: Arc<Shared>,
    call: CallOptions,
    retry: Retry,
}

impl Writer {
    async fn run(self, pause: Duration) {
        let mut last: Option<(String, String)> = None;
        let mut round = 0;
        while !self.shared.stopped.load(Ordering::Relaxed) {
            round += 1;
            let key = format!("load-{}-{round}", self.number);
            let value = format!("value {round} of writer {}", self.number);
            if self
                .write((self.number + round) % self.clients.len(), &key, &value)
                .await
            {
                last = Some((key, value));
            }
            if let Some((key, value)) = &last {
                // At another node than it was written at.
                self.read((self.number + round + 1) % self.clients.len(), key, value)
                    .await;
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn write(&self, target: usize, key: &str, value: &str) -> bool {
        let begun = Instant::now();
        let mut outcome = self.set(target, key, value).await;
        let retried = outcome.is_err() && self.retry == Retry::OnceElsewhere;
        if retried {
            outcome = self.set(self.next(target), key, value).await;
        }
        let acked = outcome.is_ok();
        if let Ok(written) = &outcome {
            hold(&self.shared.acked).push(Acked {
                key: key.to_owned(),
                value: value.to_owned(),
                stored: written.stored,
                at: Instant::now(),
            });
            self.shared.acked_count.fetch_add(1, Ordering::Relaxed);
        }
        let failure = outcome.err().map(|error| failure(&error));
        self.note(target, Op::Set, begun, failure, retried);
        acked
    }

    async fn read(&self, target: usize, key: &str, expected: &str) {
        let begun = Instant::now();
        let mut outcome = self.clients[target].get(key, &self.call).await;
        let retried = outcome.is_err() && self.retry == Retry::OnceElsewhere;
        if retried {
            outcome = self.clients[self.next(target)].get(key, &self.call).await;
        }
        let failure = match outcome {
            Ok(read) => wrong(key, expected, read.hit.map(|hit| hit.value)).map(Failure::Wrong),
            Err(error) => Some(failure(&error)),
        };
        self.note(target, Op::Get, begun, failure, retried);
    }

    async fn set(&self, target: usize, key: &str, value: &str) -> Result<Written, ClientError> {
        let value = Value::from(value);
        self.clients[target]
            .set(key, value, Ttl::Default, &self.call)
            .await
    }

    fn next(&self, target: usize) -> usize {
        (target + 1) % self.clients.len()
    }

    fn note(&self, target: usize, op: Op, begun: Instant, failure: Option<Failure>, retried: bool) {
        let attempt = Attempt {
            target,
            op,
            begun,
            took: begun.elapsed(),
            failure,
            retried,
        };
        hold(&self.shared.attempts).push(attempt);
    }
}

/// Reads every acknowledged key at every client. Returns what is lost or wrong.
pub(crate) async fn read_back(clients: &[Client], acked: &[Acked]) -> Vec<String> {
    let mut readers = JoinSet::new();
    let share = acked.len().div_ceil(READERS).max(1);
    for keys in acked.chunks(share) {
        let (clients, keys) = (clients.to_vec(), keys.to_vec());
        readers.spawn(async move {
            let mut problems = Vec::new();
            for acked in &keys {
                for client in &clients {
                    problems.extend(check(client, acked).await);
                }
            }
            problems
        });
    }
    readers.join_all().await.into_iter().flatten().collect()
}

async fn check(client: &Client, acked: &Acked) -> Option<String> {
    let mut last = None;
    for _ in 0..READ_ATTEMPTS_MAX {
        match client.get(&acked.key, &CallOptions::default()).await {
            Ok(read) => {
                let found = read.hit.map(|hit| hit.value);
                return wrong(&acked.key, &acked.value, found)
                    .map(|problem| format!("{} (read at {})", problem, client.endpoint()));
            }
            Err(error) => last = Some(error),
        }
    }
    last.map(|error| {
        format!(
            "{} cannot be read at {}: {error}",
            acked.key,
            client.endpoint()
        )
    })
}

fn wrong(key: &str, expected: &str, found: Option<Value>) -> Option<String> {
    match found {
        Some(value) if value.as_bytes() == expected.as_bytes() => None,
        Some(value) => Some(format!("{key} is {value:?} instead of {expected:?}")),
        None => Some(format!("{key} is lost")),
    }
}

fn failure(error: &ClientError) -> Failure {
    match error.outcome() {
        Outcome::NotApplied => Failure::NotApplied(error.to_string()),
        Outcome::Unknown => Failure::Unknown(error.to_string()),
    }
}

/// The first few of a list, for messages.
pub(crate) fn some<T: fmt::Display>(all: &[T]) -> String {
    let shown: Vec<String> = all.iter().take(5).map(T::to_string).collect();
    format!("{} in all: {}", all.len(), shown.join("; "))
}

fn hold<T>(all: &Mutex<T>) -> MutexGuard<'_, T> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}
