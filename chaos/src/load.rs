//! Writers of unique keys at a bounded rate. Some keys are later deleted or overwritten, soon or after a while, so that
//! there is something to resurrect. A key belongs to one writer, which does one thing at a time; a key with a write of
//! unknown outcome is left alone for good.

use std::{collections::VecDeque, time::Duration};

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    history::{Action, Outcome},
    session::Session,
};

/// Keys that wait, per writer, for being deleted or overwritten: about ten seconds' worth, so that many live through the
/// begin or the end of a fault.
const WAITING_KEYS: usize = 40;
/// Attempts at a write, each under a fresh key.
const ATTEMPTS_MAX: u32 = 3;
/// How long a value lives that is written with an end.
const LIFE: Duration = Duration::from_secs(5);
/// Bytes that a value is filled up to.
const VALUE_BYTES: usize = 96;

/// How much load.
#[derive(Clone, Debug)]
pub(crate) struct LoadOptions {
    /// Begins every key.
    pub(crate) run: String,
    /// Writers beside each other.
    pub(crate) writers: usize,
    /// Writes per second, of all writers together.
    pub(crate) rate: u32,
    /// What follows a request that failed.
    pub(crate) retry: Retry,
}

/// What follows a request that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Retry {
    /// A write that surely failed is tried again, twice at most, each time under a fresh key; a read is not.
    FreshKeys,
    /// A read or a write is tried again once, at once, at another node.
    ElsewhereOnce,
}

/// Load that goes on until it is stopped.
#[derive(Debug)]
pub(crate) struct Load {
    stop: CancellationToken,
    writers: JoinSet<()>,
}

impl Load {
    /// Starts the writers.
    #[must_use]
    pub(crate) fn start(session: &Session, options: &LoadOptions) -> Self {
        let stop = CancellationToken::new();
        let mut writers = JoinSet::new();
        let pause = Duration::from_secs_f64(options.writers as f64 / f64::from(options.rate));
        for number in 0..options.writers {
            let writer = Writer {
                name: format!("{}-{number}", options.run),
                turn: number,
                retry: options.retry,
                next_key: 0,
                session: session.clone(),
                waiting: VecDeque::new(),
            };
            writers.spawn(writer.run(pause, stop.clone()));
        }
        Self { stop, writers }
    }

    /// Stops, after the requests under way.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while self.writers.join_next().await.is_some() {}
    }
}

/// A key that is to be changed once more.
struct Waiting {
    key: String,
    /// The round that overwrites it; none deletes it.
    round: Option<&'static str>,
}

/// What is written.
#[derive(Clone, Copy)]
struct Change {
    /// The round whose value is set; none deletes.
    round: Option<&'static str>,
    /// How long the value lives; for ever without.
    life: Option<Duration>,
}

struct Writer {
    name: String,
    turn: usize,
    retry: Retry,
    next_key: usize,
    session: Session,
    waiting: VecDeque<Waiting>,
}

impl Writer {
    async fn run(mut self, pause: Duration, stop: CancellationToken) {
        let mut ticks = interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let due = self.waiting.len() > WAITING_KEYS;
            let waiting = if due { self.waiting.pop_front() } else { None };
            match waiting {
                Some(waiting) => self.change(waiting).await,
                None => self.create().await,
            }
        }
    }

    /// Writes a fresh key; after a write that surely failed another one, and never the same again.
    async fn create(&mut self) {
        let attempts = match self.retry {
            Retry::FreshKeys => ATTEMPTS_MAX,
            Retry::ElsewhereOnce => 1,
        };
        for attempt in 1..=attempts {
            let number = self.next_key;
            self.next_key += 1;
            let key = format!("{}-{number}", self.name);
            let change = Change {
                round: Some("v1"),
                life: (number % 10 == 5).then_some(LIFE),
            };
            let written = self.write(&key, change, attempt).await;
            match written.outcome {
                Outcome::Ok => {
                    if number.is_multiple_of(2) {
                        self.read_own(&key, written.value.as_deref()).await;
                    }
                    self.plan(number, key).await;
                    return;
                }
                Outcome::Failed => {}
                Outcome::Unknown => return,
            }
        }
    }

    /// Decides what becomes of a key: of ten, two are changed at once, three later, one expires, and four stay.
    async fn plan(&mut self, number: usize, key: String) {
        let (round, soon) = match number % 10 {
            0 => (None, true),
            1 => (Some("v2"), true),
            2 | 3 => (None, false),
            4 => (Some("v2"), false),
            _ => return,
        };
        let waiting = Waiting { key, round };
        if soon {
            self.change(waiting).await;
        } else {
            self.waiting.push_back(waiting);
        }
    }

    async fn change(&mut self, waiting: Waiting) {
        let Waiting { key, round } = waiting;
        let written = self.write(&key, Change { round, life: None }, 1).await;
        if written.outcome == Outcome::Ok {
            self.read_own(&key, written.value.as_deref()).await;
        }
    }

    async fn write(&mut self, key: &str, change: Change, attempt: u32) -> Written {
        let node = self.node();
        let Change { round, life } = change;
        let value = round.map(|round| filled(key, round));
        let first = self.write_at(node, key, (value, life), attempt).await;
        if first.outcome == Outcome::Ok || self.retry == Retry::FreshKeys {
            return first;
        }
        let other = self.session.pick_other(self.turn, node);
        // Another value: what is read has to name the write that it saw.
        let value = round.map(|round| filled(key, &format!("{round} again")));
        let second = self.write_at(other, key, (value, life), 2).await;
        let outcome = match (first.outcome, second.outcome) {
            // The first attempt may still be applied: the key is left alone, also where the second succeeded.
            (Outcome::Unknown, _) => Outcome::Unknown,
            (Outcome::Ok | Outcome::Failed, outcome) => outcome,
        };
        Written { outcome, ..second }
    }

    async fn write_at(
        &self,
        node: usize,
        key: &str,
        (value, life): (Option<String>, Option<Duration>),
        attempt: u32,
    ) -> Written {
        let ttl_ms = life.and_then(|life| u64::try_from(life.as_millis()).ok());
        let action = value
            .clone()
            .map_or(Action::Delete, |value| Action::Set { value, ttl_ms });
        let (outcome, _) = self.session.attempt(node, key, action, attempt).await;
        Written { outcome, value }
    }

    /// Reads a key at another node than it was written at. The judge decides later; what can never be legal is said at
    /// once.
    async fn read_own(&mut self, key: &str, expected: Option<&str>) {
        let node = self.node();
        let read = || Action::Get { found: None };
        let (mut outcome, mut found) = self.session.attempt(node, key, read(), 1).await;
        if outcome != Outcome::Ok && self.retry == Retry::ElsewhereOnce {
            let other = self.session.pick_other(self.turn, node);
            (outcome, found) = self.session.attempt(other, key, read(), 2).await;
        }
        if outcome == Outcome::Ok && found.as_deref() != expected {
            eprintln!("VIOLATION: {key} at node {node} is {found:?} instead of {expected:?}");
        }
    }

    fn node(&mut self) -> usize {
        self.turn += 1;
        self.session.pick(self.turn)
    }
}

/// What became of a write, and the value that was written last.
struct Written {
    outcome: Outcome,
    value: Option<String>,
}

fn filled(key: &str, round: &str) -> String {
    let value = format!("{key} {round} ");
    format!("{value:.<VALUE_BYTES$}")
}
