//! What both generators have in common: which requests are due on one connection, which are outstanding, and how they
//! ended.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    operation::{Ended, Operation},
    pace::Schedule,
    plan::Plan,
    recorder::{Recorder, Sample},
    wire::Ticket,
    workload::Workload,
};

/// How long a connection attempt may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a node could not be reached.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Pause before a key is tried again while keys are loaded.
const RELOAD_PAUSE: Duration = Duration::from_millis(5);
/// How often deadlines are looked at, as a share of the deadline, and its bounds.
const SWEEPS_PER_TIMEOUT: u32 = 50;
const SWEEP_MIN: Duration = Duration::from_millis(1);
const SWEEP_MAX: Duration = Duration::from_millis(50);
/// Most different messages about connections that are kept.
const NOTES_MAX: usize = 16;

/// What the lanes of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) recorder: RefCell<Recorder>,
    /// Requests that are due from here on are not made.
    pub(crate) end: Cell<Option<Instant>>,
    /// Everything that is outstanding is given up.
    pub(crate) abandon: Cell<bool>,
    pub(crate) timeout: Duration,
    notes: RefCell<BTreeMap<String, u64>>,
}

impl Shared {
    pub(crate) fn new(plan: &Plan, recorder: Recorder) -> Self {
        Self {
            recorder: RefCell::new(recorder),
            end: Cell::new(None),
            abandon: Cell::new(false),
            timeout: plan.timeout,
            notes: RefCell::new(BTreeMap::new()),
        }
    }

    /// Whether nothing more is due.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.abandon.get() || self.end.get().is_some_and(|end| now >= end)
    }

    /// Something about a connection that people should know.
    pub(crate) fn note(&self, text: &str) {
        let mut notes = self.notes.borrow_mut();
        if notes.len() < NOTES_MAX || notes.contains_key(text) {
            *notes.entry(text.to_owned()).or_default() += 1;
        }
    }

    pub(crate) fn notes(&self) -> BTreeMap<String, u64> {
        self.notes.borrow().clone()
    }
}

/// The requests of one connection.
#[derive(Debug)]
pub(crate) struct Lane {
    workload: Workload,
    schedule: Schedule,
    /// Tickets that are in use have a request.
    outstanding: Vec<Option<Outstanding>>,
    free: Vec<Ticket>,
    exhausted: bool,
    /// Nothing begins before this.
    paused: Option<Instant>,
    next_sweep: Instant,
    sweep: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    operation: Operation,
    due: Instant,
    sent: Instant,
}

impl Lane {
    pub(crate) fn new(
        plan: &Plan,
        workload: Workload,
        schedule: Schedule,
        outstanding: usize,
        now: Instant,
    ) -> Self {
        let tickets = u32::try_from(outstanding).unwrap_or(u32::MAX);
        Self {
            workload,
            schedule,
            outstanding: vec![None; outstanding],
            free: (0..tickets).rev().map(Ticket).collect(),
            exhausted: false,
            paused: None,
            next_sweep: now,
            sweep: (plan.timeout / SWEEPS_PER_TIMEOUT).clamp(SWEEP_MIN, SWEEP_MAX),
        }
    }

    /// Takes the next request, if one is due and may be outstanding.
    pub(crate) fn begin(&mut self, shared: &Shared, now: Instant) -> Option<(Ticket, Operation)> {
        let due = self.schedule.due(now);
        self.paused = self.paused.filter(|until| *until > now);
        let idle = self.exhausted || self.paused.is_some() || self.free.is_empty();
        if idle || due > now || shared.is_over(due) {
            return None;
        }
        let Some(operation) = self.workload.next() else {
            self.exhausted = true;
            return None;
        };
        let ticket = self.free.pop()?;
        self.schedule.advance();
        self.outstanding[ticket.0 as usize] = Some(Outstanding {
            operation,
            due,
            sent: now,
        });
        Some((ticket, operation))
    }

    /// A request has ended.
    pub(crate) fn end(&mut self, shared: &Shared, ticket: Ticket, ended: Ended, now: Instant) {
        if let Some(request) = self.outstanding[ticket.0 as usize].take() {
            self.free.push(ticket);
            record(shared, request, now, &ended);
            if !matches!(ended, Ended::Ok(_)) && self.workload.retry(&request.operation) {
                self.exhausted = false;
                self.pause(now + RELOAD_PAUSE);
            }
        }
    }

    /// Nothing begins before this.
    pub(crate) const fn pause(&mut self, until: Instant) {
        self.paused = Some(until);
    }

    /// Whether nothing is outstanding.
    pub(crate) fn is_idle(&self) -> bool {
        self.free.len() == self.outstanding.len()
    }

    /// Whether nothing is outstanding and nothing more will be, or nobody waits for it.
    pub(crate) fn is_finished(&self, shared: &Shared, now: Instant) -> bool {
        if shared.abandon.get() {
            return true;
        }
        let over = self.exhausted || shared.is_over(self.schedule.due(now));
        over && self.is_idle()
    }

    pub(crate) fn sweep_is_due(&self, now: Instant) -> bool {
        now >= self.next_sweep
    }

    pub(crate) fn put_off_sweep(&mut self, now: Instant) {
        self.next_sweep = now + self.sweep;
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.schedule.is_open()
    }

    /// Ends all requests whose deadline has passed.
    pub(crate) fn expire(&mut self, shared: &Shared, now: Instant) -> Vec<Ticket> {
        self.put_off_sweep(now);
        let mut expired = Vec::new();
        for number in 0..self.outstanding.len() {
            if let Some(request) = self.outstanding[number]
                && now.saturating_duration_since(request.sent) >= shared.timeout
            {
                let ticket = Ticket(number as u32);
                self.end(shared, ticket, Ended::timed_out(), now);
                expired.push(ticket);
            }
        }
        expired
    }

    /// When there is something to do even if nothing is received.
    pub(crate) fn wakes_at(&self, shared: &Shared, now: Instant, room: bool) -> Instant {
        let due = self.schedule.due(now);
        let may_begin = room && !self.exhausted && !self.free.is_empty() && !shared.is_over(due);
        match self.paused {
            Some(until) if may_begin => until.max(due).min(self.next_sweep),
            None if may_begin && self.schedule.is_open() => due.min(self.next_sweep),
            Some(_) | None => self.next_sweep,
        }
    }

    /// The connection broke: what was outstanding may or may not have been done.
    pub(crate) fn interrupt(&mut self, shared: &Shared, now: Instant) {
        for number in 0..self.outstanding.len() {
            if self.outstanding[number].is_some() {
                let ended = Ended::interrupted("interrupted");
                self.end(shared, Ticket(number as u32), ended, now);
            }
        }
    }

    /// Nobody listens: what is due fails, and there is a pause. In a closed loop one request is, for each that might be
    /// outstanding.
    pub(crate) async fn unreachable(&mut self, shared: &Shared) {
        let now = Instant::now();
        let mut room = self.outstanding.len();
        while (self.schedule.is_open() || room > 0)
            && let Some((ticket, _)) = self.begin(shared, now)
        {
            self.end(shared, ticket, Ended::unreachable(), now);
            room = room.saturating_sub(1);
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }

    /// The run is over: what was due and could not be made surely was not.
    pub(crate) fn give_up(&mut self, shared: &Shared) {
        let Some(end) = shared.end.get() else {
            return;
        };
        self.interrupt(shared, Instant::now());
        if self.schedule.is_open() {
            while let Some((ticket, _)) = self.begin(shared, end) {
                self.end(shared, ticket, Ended::not_sent(), end);
            }
        }
    }
}

fn record(shared: &Shared, request: Outstanding, now: Instant, ended: &Ended) {
    shared.recorder.borrow_mut().record(
        &Sample {
            kind: request.operation.kind,
            due: request.due,
            sent: request.sent,
            ended: now,
        },
        ended,
    );
}
