//! The exchanges of this node's coordinator: where answers arrive, and where an ended exchange is settled, so that every
//! owner who is not known to hold an acknowledged write is owed a hint.

use std::sync::Arc;

use crate::{
    clock::{Clock, Monotonic},
    coordinator::{
        course::{Positions, ReplicaRequests},
        explanation::{Hint, ReplicaRequest},
        pending::{PendingFull, PendingTable, Schedule, Token, Woken},
        quorum::{ReadOutcome, ReadTally, WriteOutcome, WriteTally},
        traced::{Links, ReplicaSpans},
    },
    handoff::OwedHints,
    key::{Key, Slot},
    operation::{Answer, Failure, ReadAnswer, WriteAnswer},
    ring::{gates::GateCell, slot::Configuration},
    store::Record,
    telemetry::Metrics,
    trace::TraceParent,
    transport::Completions,
    version::DRIFT_MAX_MILLIS,
};

/// Independently locked parts of the table.
const LANES: usize = 16;
/// How often deadlines are looked at.
const SWEEP_INTERVAL: Monotonic = Monotonic::from_millis(2);
/// After so many looks at an empty table in a row they end until there is an exchange: requests that come one at a
/// time need not wake whoever sweeps, and a node without requests does nothing.
const SWEEPS_EMPTY_MAX: u32 = 50;

/// An exchange with the owners of one slot.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "lives in a cell of the table that is used again; a box would be an allocation per request"
)]
pub(super) enum Exchange {
    /// Storing a record.
    Write(WriteExchange),
    /// Reading a key.
    Read(ReadExchange),
}

/// One attempt to store a record.
#[derive(Debug)]
pub(super) struct WriteExchange {
    pub(super) tally: WriteTally,
    pub(super) key: Key,
    pub(super) record: Record,
    pub(super) slot: Slot,
    pub(super) configuration: Configuration,
    pub(super) debt: Debt,
    pub(super) requests: Option<Box<ReplicaRequests>>,
}

/// Whether owners without an answer are owed the record in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Debt {
    /// If any owner stored it.
    Owed,
    /// Not: a later attempt took its place; or it is what a read found, which reads and anti-entropy go on to bring there.
    None,
}

/// One read.
#[derive(Debug)]
pub(super) struct ReadExchange {
    pub(super) tally: ReadTally,
    /// The hedging delay has passed.
    pub(super) hedge_due: bool,
    /// Whoever is asked next is so because others are late.
    pub(super) is_hedging: bool,
    pub(super) requests: Option<Box<ReplicaRequests>>,
}

impl super::pending::Exchange for Exchange {
    type Answer = Answer;

    fn answer(&mut self, position: u8, answer: Answer) {
        if let Some(requests) = self.requests_mut() {
            requests.answered(position);
        }
        match self {
            Self::Write(write) => write.tally.answer(
                position,
                match answer {
                    Answer::Write(answer) => answer,
                    Answer::Failed(failure) => WriteAnswer::Failed(failure),
                    // An answer to another question: nobody knows what became of this one.
                    Answer::Read(_) => WriteAnswer::Failed(Failure::Broken),
                },
            ),
            Self::Read(read) => read.tally.answer(
                position,
                match answer {
                    Answer::Read(answer) => answer,
                    Answer::Failed(failure) => ReadAnswer::Failed(failure),
                    Answer::Write(_) => ReadAnswer::Failed(Failure::Broken),
                },
            ),
        }
    }

    fn stall(&mut self, position: u8) {
        match self {
            // All owners of a write have been asked already: there is nobody else to turn to.
            Self::Write(_) => {}
            Self::Read(read) => read.tally.stall(position),
        }
    }

    fn nudge(&mut self) {
        match self {
            Self::Write(_) => {}
            Self::Read(read) => read.hedge_due = true,
        }
    }

    fn is_actionable(&self) -> bool {
        match self {
            Self::Write(write) => write.tally.outcome() != WriteOutcome::Open,
            Self::Read(read) => read.hedge_due || read.tally.outcome() != ReadOutcome::Open,
        }
    }

    fn is_finished(&self) -> bool {
        match self {
            Self::Write(write) => write.tally.open() == 0,
            Self::Read(_) => false,
        }
    }

    fn outlives_caller(&self) -> bool {
        match self {
            Self::Write(_) => true,
            Self::Read(_) => false,
        }
    }

    fn is_to_be_settled(&self) -> bool {
        match self {
            Self::Write(write) => {
                write.requests.is_some() || write.is_owed() && write.tally.owed().next().is_some()
            }
            Self::Read(read) => read.requests.is_some(),
        }
    }
}

impl Exchange {
    const fn requests_mut(&mut self) -> Option<&mut Box<ReplicaRequests>> {
        match self {
            Self::Write(write) => write.requests.as_mut(),
            Self::Read(read) => read.requests.as_mut(),
        }
    }

    /// Whom it has asked, and what they have answered by now; times count from `since`.
    fn explained(&self, since: Monotonic) -> Vec<ReplicaRequest> {
        match self {
            Self::Write(write) => {
                let Some(requests) = &write.requests else {
                    return Vec::new();
                };
                let version = write.record.version;
                let reply = |position| write.tally.reply(position, version);
                let is_owed = write.is_owed();
                let hint = |position| {
                    if is_owed && write.tally.owed().any(|owed| owed == position) {
                        Hint::Due
                    } else {
                        Hint::None
                    }
                };
                requests.explained(since, reply, hint)
            }
            Self::Read(read) => {
                let Some(requests) = &read.requests else {
                    return Vec::new();
                };
                let reply = |position| read.tally.reply(position);
                requests.explained(since, reply, |_| Hint::None)
            }
        }
    }
}

impl WriteExchange {
    /// Whether owners without an answer are owed the record, as far as it is known by now.
    fn is_owed(&self) -> bool {
        self.debt == Debt::Owed && self.tally.stored() > 0
    }
}

/// The exchanges of one node.
pub struct Ledger {
    pending: PendingTable<Exchange>,
    hints: Arc<OwedHints>,
    gates: Arc<GateCell>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Ledger {
    /// An empty ledger whose debts go to `hints`.
    #[must_use]
    pub fn new(
        hints: Arc<OwedHints>,
        gates: Arc<GateCell>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            pending: PendingTable::new(LANES),
            hints,
            gates,
            clock,
            metrics,
        }
    }

    /// Ends exchanges whose deadline has passed, for as long as the node runs.
    pub async fn sweep(self: Arc<Self>) {
        let mut empty = 0;
        loop {
            if self.pending.is_empty() {
                empty += 1;
            } else {
                empty = 0;
            }
            if empty >= SWEEPS_EMPTY_MAX {
                self.pending.occupied().await;
                empty = 0;
            }
            self.clock.sleep(SWEEP_INTERVAL).await;
            for ended in self.pending.sweep(self.clock.monotonic()) {
                self.settle(&ended);
            }
        }
    }

    /// Exchanges that are not settled yet.
    pub fn under_way(&self) -> usize {
        self.pending.len()
    }

    /// Begins an exchange. It is held until the returned value is dropped.
    pub(super) fn begin(
        &self,
        mut exchange: Exchange,
        schedule: Schedule,
    ) -> Result<HeldExchange<'_>, PendingFull> {
        let requests = exchange.requests_mut();
        let spans = requests.and_then(|requests| requests.spans.as_ref());
        let links = spans.map(ReplicaSpans::links);
        let token = self
            .pending
            .insert(exchange, schedule)
            .inspect_err(|_full| {
                self.metrics.pending_full.inc();
            })?;
        Ok(HeldExchange {
            ledger: self,
            token,
            links,
        })
    }

    /// Returns the owners for whom a hint is kept.
    fn settle(&self, exchange: &Exchange) -> Positions {
        match exchange {
            Exchange::Write(write) => {
                let kept = if write.is_owed() {
                    self.owe(write)
                } else {
                    Positions::default()
                };
                if let Some(requests) = &write.requests {
                    requests.report(|position| write.tally.explain(position), kept);
                }
                kept
            }
            Exchange::Read(read) => {
                let kept = Positions::default();
                if let Some(requests) = &read.requests {
                    requests.report(|position| read.tally.explain(position), kept);
                }
                kept
            }
        }
    }

    fn owe(&self, write: &WriteExchange) -> Positions {
        let mut kept = Positions::default();
        let owed: Vec<u8> = write.tally.owed().collect();
        if owed.is_empty() {
            return kept;
        }
        // A slot that was declared lost meanwhile has another root: data never crosses.
        if self.gates.root(write.slot) != Some(write.configuration.id().root) {
            return kept;
        }
        for position in owed {
            if let Some(owner) = write.configuration.owners().get(usize::from(position))
                && self.hints.owe(owner.node_id, &write.key, &write.record)
            {
                kept.insert(position);
                if let Some(spans) = write.requests.as_ref().and_then(|it| it.spans.as_ref()) {
                    let origins = self.hints.origins();
                    origins.note(owner.node_id, &write.key, spans.parent());
                }
            }
        }
        kept
    }

    /// An answer that rests on a version too far ahead of our clock is refused like any stamp: one owner with a bad clock
    /// must not decide for the others.
    fn is_ahead(&self, answer: &Answer) -> bool {
        let version = match answer {
            Answer::Write(WriteAnswer::Newer { version, .. }) => Some(*version),
            Answer::Read(ReadAnswer::Miss { absence, .. }) => absence.version(),
            Answer::Read(ReadAnswer::Holds { held, .. }) => Some(held.version()),
            Answer::Write(_) | Answer::Read(_) | Answer::Failed(_) => None,
        };
        let Some(version) = version else {
            return false;
        };
        let latest = self.clock.wall_millis().saturating_add(DRIFT_MAX_MILLIS);
        version.stamp.millis() > latest
    }
}

impl Completions for Ledger {
    fn complete(&self, token: u64, mut answer: Answer) {
        if self.is_ahead(&answer) {
            self.metrics.hlc_rejected.inc();
            answer = Answer::Failed(Failure::Ahead);
        }
        if let Some(ended) = self.pending.answer(Token::from_raw(token), answer) {
            self.settle(&ended);
        }
    }

    fn stall(&self, token: u64) {
        self.pending.stall(Token::from_raw(token));
    }
}

/// An exchange that its caller still looks at. Dropping it lets go: a write goes on until its owners have answered or
/// its deadline has passed, a read ends.
pub(super) struct HeldExchange<'a> {
    ledger: &'a Ledger,
    token: Token,
    links: Option<Links>,
}

impl HeldExchange<'_> {
    /// The token for the operation sent to the owner at `position`.
    pub(super) fn token(&self, position: u8) -> u64 {
        self.token.for_owner(position).raw()
    }

    /// The span that the owner at `position` hangs its own below; only for sampled requests.
    pub(super) fn trace(&self, position: u8) -> Option<Box<TraceParent>> {
        self.links.as_ref().map(|links| links.to_owner(position))
    }

    /// Waits until there is something to do. Cancel-safe.
    pub(super) async fn wait(&self) -> Woken {
        self.ledger.pending.wait(self.token).await
    }

    /// Notes that an operation was not sent.
    pub(super) fn not_sent(&self, position: u8) {
        self.ledger
            .complete(self.token(position), Answer::Failed(Failure::NotSent));
    }

    /// Whom it has asked, and what they have answered by now; times count from `since`. Empty unless that is noted.
    pub(super) fn requests(&self, since: Monotonic) -> Vec<ReplicaRequest> {
        let explained = self
            .ledger
            .pending
            .inspect(self.token, |exchange| exchange.explained(since));
        explained.unwrap_or_default()
    }

    /// Lets go. Returns the owners for whom a hint is kept; `None` while answers are waited for, or when nothing was left to
    /// settle.
    pub(super) fn let_go(self) -> Option<Positions> {
        self.release()
    }

    fn release(&self) -> Option<Positions> {
        let ended = self.ledger.pending.release(self.token)?;
        Some(self.ledger.settle(&ended))
    }

    /// Looks at a write.
    pub(super) fn write<R>(&self, look: impl FnOnce(&mut WriteExchange) -> R) -> Option<R> {
        self.ledger
            .pending
            .inspect(self.token, |exchange| match exchange {
                Exchange::Write(write) => Some(look(write)),
                Exchange::Read(_) => None,
            })
            .flatten()
    }

    /// Looks at a read.
    pub(super) fn read<R>(&self, look: impl FnOnce(&mut ReadExchange) -> R) -> Option<R> {
        self.ledger
            .pending
            .inspect(self.token, |exchange| match exchange {
                Exchange::Read(read) => Some(look(read)),
                Exchange::Write(_) => None,
            })
            .flatten()
    }
}

impl Drop for HeldExchange<'_> {
    fn drop(&mut self) {
        self.release();
    }
}
