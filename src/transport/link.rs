//! One link: what is queued for a peer, what is in flight, and whether the peer answers. No I/O and no clock: the
//! stream's writer drains it, the stream's reader feeds it, and a monitor ticks it.
//!
//! Batches need no timer: whatever has been queued when the writer is ready goes out together, so they grow with load,
//! and a single operation waits for nothing. Replies keep the order of the operations, so the oldest operation in flight
//! is always the next to be answered.
//!
//! The breaker: without a connection it is open and operations are refused at once; with one whose oldest operation has
//! been unanswered for longer than the stall timeout, callers are told so that they can ask somebody else, and the peer
//! is asked last until it answers again.
//!
//! A peer that has not been heard for a while is sent an empty batch, so that its clock is known.

use std::{collections::VecDeque, sync::Arc, task::Waker, time::Duration};

use crate::{
    clock::Monotonic,
    operation::{Answer, Failure, Kind, Operation, ReadAnswer, WriteAnswer},
    sync::{
        Mutex,
        atomic::{AtomicU8, Ordering},
        lock,
    },
    telemetry::{PeerRequests, ReplicaOp, ReplicaOutcome},
    transport::{NotSent, Outlook, Reach},
};

/// Bytes of keys and values after which a batch is closed. One larger operation makes a batch of its own.
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Operations after which a batch is closed.
const BATCH_OPERATIONS_MAX: usize = 1024;
/// What an operation takes besides its key and value, roughly.
const OPERATION_OVERHEAD_BYTES: usize = 96;
/// Weight of a new measurement in the smoothed round trip, as a divisor (RFC 6298 uses the same 1/8).
const SMOOTHING: u32 = 8;

/// Of how many round trips one may be longer than what is taken for late.
const LATE_ONE_IN: u64 = 20;
/// With fewer measurements nobody knows what is late.
const LATE_SAMPLES_MIN: u32 = 32;
/// A measurement moves what is taken for late by this share of it, and this much, at most.
const LATE_STEP_SHARE: u64 = 32;
const LATE_STEP_NANOS: u64 = 2_000;

/// Between two round trips of a peer that are told of.
const SAMPLE_PAUSE: Duration = Duration::from_millis(100);
/// A peer that was not heard for so long is asked for its clock.
const QUIET_MAX: Duration = Duration::from_secs(2);

/// Limits of a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkLimits {
    /// Most bytes queued.
    pub(super) queue_bytes_max: usize,
    /// How long the oldest operation may be unanswered before the peer counts as stalled.
    pub(super) stall_timeout: Duration,
}

/// One link to a peer.
pub(super) struct Link {
    limits: LinkLimits,
    /// Counts how operations end.
    requests: Arc<PeerRequests>,
    state: Mutex<State>,
    /// [`State::reach`] as of the last change, for every request to look at.
    reach: AtomicU8,
}

#[derive(Default)]
struct State {
    /// Rises with every connection, so that the writer of an old one cannot drain the queue of a new one.
    session: u64,
    connected: bool,
    stalled: bool,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    in_flight: VecDeque<InFlight>,
    writer: Option<Waker>,
    round_trip: Duration,
    late: Late,
    /// When the peer was last heard on this connection.
    heard: Option<Monotonic>,
    /// When a round trip was last told of.
    sampled: Option<Monotonic>,
    probe: Probe,
}

/// Whether the peer is being asked for its clock.
#[derive(Clone, Copy, Default)]
enum Probe {
    #[default]
    None,
    Wanted,
    Sent(Monotonic),
}

/// An operation that waits to be sent.
pub(super) struct Queued {
    pub(super) operation: Operation,
    bytes: usize,
    at: Monotonic,
    reported: bool,
}

struct InFlight {
    token: u64,
    kind: ReplicaOp,
    at: Monotonic,
    reported: bool,
}

/// What the writer should do.
pub(super) enum Drained {
    /// Send these; none, to ask for the peer's clock.
    Batch(VecDeque<Queued>),
    /// Nothing is queued; the waker was kept.
    Empty,
    /// This connection is over.
    Closed,
}

/// The peer answered something that was not asked, or not in order. The connection must be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the peer answered token {answered:016x}, but {expected:016x?} was next")]
pub(super) struct OutOfOrder {
    answered: u64,
    expected: Option<u64>,
}

/// Operations that ended without an answer.
pub(super) struct Severed {
    /// They were not sent, or they were and nobody knows what became of them.
    pub(super) tokens: Vec<(u64, Failure)>,
}

impl Link {
    pub(super) fn new(limits: LinkLimits, requests: Arc<PeerRequests>) -> Self {
        Self {
            limits,
            requests,
            state: Mutex::new(State::default()),
            reach: AtomicU8::new(Reach::Down as u8),
        }
    }

    /// Queues an operation and wakes the writer if the queue was empty.
    pub(super) fn submit(&self, operation: Operation, now: Monotonic) -> Result<(), NotSent> {
        let bytes = operation.kind.payload_bytes() + OPERATION_OVERHEAD_BYTES;
        let kind = kind_of(&operation);
        let mut state = lock(&self.state);
        if !state.connected {
            self.count(kind, ReplicaOutcome::Unreachable);
            return Err(NotSent::Disconnected);
        }
        if state.queued_bytes + bytes > self.limits.queue_bytes_max {
            self.count(kind, ReplicaOutcome::Unreachable);
            return Err(NotSent::QueueFull {
                queued_bytes: state.queued_bytes,
                queue_bytes_max: self.limits.queue_bytes_max,
            });
        }
        state.queued_bytes += bytes;
        state.queue.push_back(Queued {
            operation,
            bytes,
            at: now,
            reported: false,
        });
        let writer = if state.queue.len() == 1 {
            state.writer.take()
        } else {
            None
        };
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        Ok(())
    }

    /// Begins a connection; what the previous one left behind is severed. Operations are accepted after
    /// [`Link::accept`].
    pub(super) fn open(&self) -> (u64, Severed) {
        let mut state = lock(&self.state);
        let severed = state.sever(&self.requests);
        self.publish(&state);
        state.session += 1;
        (state.session, severed)
    }

    /// The peer has answered the connection: operations are accepted from now on.
    pub(super) fn accept(&self, session: u64) {
        let mut state = lock(&self.state);
        if state.session == session {
            state.connected = true;
            self.publish(&state);
        }
    }

    /// Ends a connection. Operations on it are answered by what is returned.
    pub(super) fn close(&self, session: u64) -> Severed {
        let mut state = lock(&self.state);
        if state.session != session {
            return Severed { tokens: Vec::new() };
        }
        state.session += 1;
        let severed = state.sever(&self.requests);
        self.publish(&state);
        severed
    }

    /// The next batch for the writer of `session`.
    pub(super) fn drain(&self, session: u64, waker: &Waker, now: Monotonic) -> Drained {
        let mut state = lock(&self.state);
        if state.session != session {
            return Drained::Closed;
        }
        if state.queue.is_empty() {
            if let Probe::Wanted = state.probe {
                state.probe = Probe::Sent(now);
                return Drained::Batch(VecDeque::new());
            }
            match &mut state.writer {
                Some(writer) => writer.clone_from(waker),
                None => state.writer = Some(waker.clone()),
            }
            return Drained::Empty;
        }
        let State {
            queue,
            queued_bytes,
            in_flight,
            ..
        } = &mut *state;
        let (mut operations, mut batch_bytes) = (0, 0);
        for queued in queue.iter() {
            let is_full =
                batch_bytes + queued.bytes > BATCH_BYTES_MAX || operations >= BATCH_OPERATIONS_MAX;
            if is_full && operations > 0 {
                break;
            }
            operations += 1;
            batch_bytes += queued.bytes;
            in_flight.push_back(InFlight {
                token: queued.operation.token,
                kind: kind_of(&queued.operation),
                at: now,
                reported: queued.reported,
            });
        }
        *queued_bytes -= batch_bytes;
        // Nearly always all of it goes: then what is queued changes hands as a whole, and the next will be as many. What is
        // left of a long queue stays where it is.
        Drained::Batch(if operations == queue.len() {
            std::mem::replace(queue, VecDeque::with_capacity(operations))
        } else {
            queue.drain(..operations).collect()
        })
    }

    /// Takes answers of the peer, in order, and hands each to `complete`. No answers are those to an empty batch. Returns
    /// how long it took at most since the last of what is answered was sent, if anything is; now and then only, because
    /// whoever wants to know compares clocks, which costs more than an answer.
    pub(super) fn answered(
        &self,
        answers: impl IntoIterator<Item = (u64, Answer)>,
        now: Monotonic,
        mut complete: impl FnMut(u64, Answer),
    ) -> Result<Option<Duration>, OutOfOrder> {
        let mut quickest: Option<Duration> = None;
        for (token, answer) in answers {
            let mut state = lock(&self.state);
            let expected = state
                .in_flight
                .front()
                .map(|in_flight| (in_flight.token, in_flight.kind, in_flight.at));
            match expected {
                Some((expected, kind, at)) if expected == token => {
                    state.in_flight.pop_front();
                    let taken = now.saturating_sub(at);
                    self.requests.duration.observe(taken);
                    self.count(kind, outcome_of(&answer));
                    state.measure(taken);
                    self.publish(&state);
                    state.heard = Some(now);
                    quickest = Some(quickest.map_or(taken, |quickest| quickest.min(taken)));
                }
                Some((expected, ..)) => {
                    return Err(OutOfOrder {
                        answered: token,
                        expected: Some(expected),
                    });
                }
                None => {
                    return Err(OutOfOrder {
                        answered: token,
                        expected: None,
                    });
                }
            }
            drop(state);
            complete(token, answer);
        }
        match quickest {
            Some(quickest) => Ok(self.is_sample_due(now).then_some(quickest)),
            None => Ok(self.probed(now)),
        }
    }

    fn count(&self, kind: ReplicaOp, outcome: ReplicaOutcome) {
        self.requests.ended.get((kind, outcome)).inc();
    }

    fn is_sample_due(&self, now: Monotonic) -> bool {
        let mut state = lock(&self.state);
        let is_due = state
            .sampled
            .is_none_or(|last| now.saturating_sub(last) >= SAMPLE_PAUSE);
        if is_due {
            state.sampled = Some(now);
        }
        is_due
    }

    /// The answer to an empty batch has come. Returns how long it took; `None` if none was sent.
    fn probed(&self, now: Monotonic) -> Option<Duration> {
        let mut state = lock(&self.state);
        let Probe::Sent(at) = state.probe else {
            return None;
        };
        state.probe = Probe::None;
        state.heard = Some(now);
        Some(now.saturating_sub(at))
    }

    /// Has an empty batch sent if the peer was not heard for a while and nothing is under way that it will answer.
    pub(super) fn probe_if_quiet(&self, now: Monotonic) {
        let mut state = lock(&self.state);
        let is_quiet = state
            .heard
            .is_none_or(|heard| now.saturating_sub(heard) >= QUIET_MAX);
        let is_idle = state.queue.is_empty() && state.in_flight.is_empty();
        if !(state.connected && is_quiet && is_idle && matches!(state.probe, Probe::None)) {
            return;
        }
        state.probe = Probe::Wanted;
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Looks whether the peer is late. Returns the tokens that have become late since the last look.
    pub(super) fn tick(&self, now: Monotonic) -> Vec<u64> {
        let mut state = lock(&self.state);
        let oldest = match (state.in_flight.front(), state.queue.front()) {
            (Some(in_flight), _) => in_flight.at,
            (None, Some(queued)) => queued.at,
            (None, None) => {
                state.stalled = false;
                self.publish(&state);
                return Vec::new();
            }
        };
        state.stalled = now.saturating_sub(oldest) > self.limits.stall_timeout;
        self.publish(&state);
        if !state.stalled {
            return Vec::new();
        }
        let State {
            in_flight, queue, ..
        } = &mut *state;
        let mut tokens = Vec::new();
        for sent in in_flight.iter_mut().filter(|sent| !sent.reported) {
            sent.reported = true;
            tokens.push(sent.token);
        }
        // What waits behind a stalled peer is late as well.
        for queued in queue.iter_mut().filter(|queued| !queued.reported) {
            queued.reported = true;
            tokens.push(queued.operation.token);
        }
        tokens
    }

    pub(super) fn reach(&self) -> Reach {
        match self.reach.load(Ordering::Acquire) {
            up if up == Reach::Up as u8 => Reach::Up,
            stalled if stalled == Reach::Stalled as u8 => Reach::Stalled,
            _ => Reach::Down,
        }
    }

    fn publish(&self, state: &State) {
        self.reach.store(state.reach() as u8, Ordering::Release);
    }

    pub(super) fn outlook(&self, now: Monotonic) -> Outlook {
        let state = lock(&self.state);
        let unanswered = state.in_flight.front();
        let unanswered = unanswered.map_or(Duration::ZERO, |it| now.saturating_sub(it.at));
        Outlook {
            reach: state.reach(),
            round_trip: state.round_trip.max(unanswered),
            late_after: state.late.after(),
        }
    }
}

/// What is taken for late: the 95th percentile of the round trips, found by steps as in Ma, Muthukrishnan and Sandler,
/// "Frugal streaming for estimating quantiles" (2013), section 3: nineteen times as far up for one that is longer as down
/// for one that is not.
#[derive(Clone, Copy, Default)]
struct Late {
    nanos: u64,
    samples: u32,
}

impl Late {
    fn measure(&mut self, sample: Duration) {
        let sample = u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX);
        if self.samples == 0 {
            self.nanos = sample.saturating_mul(2);
        }
        self.samples = self.samples.saturating_add(1);
        let step = self.nanos / LATE_STEP_SHARE + LATE_STEP_NANOS;
        self.nanos = if sample > self.nanos {
            // Not past the sample itself: one that is far off counts as much as any other.
            self.nanos.saturating_add(step).min(sample)
        } else {
            self.nanos.saturating_sub(step / (LATE_ONE_IN - 1))
        };
    }

    fn after(self) -> Option<Duration> {
        (self.samples >= LATE_SAMPLES_MIN).then(|| Duration::from_nanos(self.nanos))
    }
}

impl State {
    const fn reach(&self) -> Reach {
        match (self.connected, self.stalled) {
            (false, _) => Reach::Down,
            (true, true) => Reach::Stalled,
            (true, false) => Reach::Up,
        }
    }

    fn measure(&mut self, sample: Duration) {
        self.stalled = false;
        self.late.measure(sample);
        self.round_trip = if self.round_trip.is_zero() {
            sample
        } else {
            self.round_trip - self.round_trip / SMOOTHING + sample / SMOOTHING
        };
    }

    fn sever(&mut self, requests: &PeerRequests) -> Severed {
        self.connected = false;
        self.stalled = false;
        self.queued_bytes = 0;
        self.heard = None;
        self.sampled = None;
        self.probe = Probe::None;
        let lost = |kind| {
            let ended = (kind, ReplicaOutcome::Unreachable);
            requests.ended.get(ended).inc();
        };
        let sent = self.in_flight.drain(..).map(|in_flight| {
            lost(in_flight.kind);
            (in_flight.token, Failure::Broken)
        });
        let mut tokens: Vec<_> = sent.collect();
        tokens.extend(self.queue.drain(..).map(|queued| {
            lost(kind_of(&queued.operation));
            (queued.operation.token, Failure::NotSent)
        }));
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
        Severed { tokens }
    }
}

/// What an operation is, as metrics name it.
pub(super) const fn kind_of(operation: &Operation) -> ReplicaOp {
    match operation.kind {
        Kind::Read { .. } => ReplicaOp::Read,
        Kind::Write { .. } => ReplicaOp::Write,
    }
}

/// How an operation ended, as metrics name it.
pub(super) const fn outcome_of(answer: &Answer) -> ReplicaOutcome {
    match answer {
        Answer::Write(WriteAnswer::Stored { .. })
        | Answer::Read(ReadAnswer::Miss { .. } | ReadAnswer::Holds { .. }) => ReplicaOutcome::Ok,
        Answer::Write(WriteAnswer::Newer { .. }) => ReplicaOutcome::Newer,
        Answer::Write(WriteAnswer::Failed(failure))
        | Answer::Read(ReadAnswer::Failed(failure))
        | Answer::Failed(failure) => match failure {
            Failure::WrongConfig => ReplicaOutcome::WrongConfig,
            Failure::Drift | Failure::Ahead => ReplicaOutcome::Drift,
            Failure::Shed => ReplicaOutcome::Shed,
            Failure::Expired => ReplicaOutcome::Expired,
            Failure::NotSent | Failure::Broken => ReplicaOutcome::Unreachable,
        },
    }
}

#[cfg(all(test, not(feature = "race")))]
mod tests;
