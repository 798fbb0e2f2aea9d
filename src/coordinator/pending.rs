//! The table of exchanges under way: one entry per attempt, found by a token that travels with every peer operation.
//!
//! A client request waits on its entry with one future; the answers of peers are put into the entry by whoever reads
//! them from a link; a coarse sweep ends entries whose deadline has passed. There is no task, channel or timer per
//! operation. An entry lives until all its owners have answered *or* its deadline has passed, *and* its caller has let
//! go of it: so the copies that did not decide the quorum are still accounted for after the caller has its answer.
//!
//! Invariants: an entry that is to be settled is handed back exactly once, by the call that ended it; a token of an ended
//! entry is never matched again (its generation differs); a caller is always woken by what decides its entry.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use crate::{
    clock::Monotonic,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        lock,
    },
};

/// Exchanges that one lane of the table holds at most; more are refused before anything is sent.
const LANE_ENTRIES_MAX: usize = 1 << 16;

/// Something that owners answer.
pub trait Exchange {
    /// What an owner answers.
    type Answer;

    /// Takes the answer of the owner at `position`.
    fn answer(&mut self, position: u8, answer: Self::Answer);

    /// Notes that the owner at `position` is late.
    fn stall(&mut self, position: u8);

    /// Notes that the hedging delay has passed without a decision.
    fn nudge(&mut self);

    /// Whether the caller has something to do: the outcome is known, or another owner must be asked.
    fn is_actionable(&self) -> bool;

    /// Whether no more answers are waited for.
    fn is_finished(&self) -> bool;

    /// Whether answers still matter after the caller has let go.
    fn outlives_caller(&self) -> bool;

    /// Whether something is left to do for it once it has ended.
    fn is_to_be_settled(&self) -> bool;
}

/// Names an entry of a table and an owner position in it. Travels with the operation and comes back with the answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Token(u64);

impl Token {
    const OWNER_BITS: u32 = 8;
    const LANE_BITS: u32 = 8;
    const INDEX_BITS: u32 = 16;

    const fn new(lane: usize, index: usize, generation: u32) -> Self {
        let lane = (lane as u64 & 0xff) << Self::OWNER_BITS;
        let index = (index as u64 & 0xffff) << (Self::OWNER_BITS + Self::LANE_BITS);
        let generation =
            (generation as u64) << (Self::OWNER_BITS + Self::LANE_BITS + Self::INDEX_BITS);
        Self(lane | index | generation)
    }

    /// The token for the operation sent to the owner at `position`.
    #[must_use]
    pub const fn for_owner(self, position: u8) -> Self {
        Self((self.0 & !0xff) | position as u64)
    }

    /// The packed form, as it travels.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The token of a packed form. Every 64-bit value is one; most match no entry.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    const fn owner(self) -> u8 {
        (self.0 & 0xff) as u8
    }

    const fn lane(self) -> usize {
        ((self.0 >> Self::OWNER_BITS) & 0xff) as usize
    }

    const fn index(self) -> usize {
        ((self.0 >> (Self::OWNER_BITS + Self::LANE_BITS)) & 0xffff) as usize
    }

    const fn generation(self) -> u32 {
        (self.0 >> (Self::OWNER_BITS + Self::LANE_BITS + Self::INDEX_BITS)) as u32
    }
}

/// The table is full: nothing was sent, the request surely had no effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{LANE_ENTRIES_MAX} exchanges are under way in this lane, which is the most it holds")]
pub struct PendingFull;

/// When an exchange is ended, and when its owners should be helped along.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The exchange ends here, whatever has been answered.
    pub deadline: Monotonic,
    /// If it is undecided here, [`Exchange::nudge`] is called once.
    pub nudge_at: Option<Monotonic>,
}

impl Schedule {
    fn next(self) -> Monotonic {
        self.nudge_at
            .map_or(self.deadline, |nudge_at| nudge_at.min(self.deadline))
    }
}

/// Exchanges under way.
pub struct PendingTable<E> {
    lanes: Box<[Mutex<Lane<E>>]>,
    next_lane: AtomicUsize,
    entries: AtomicUsize,
    /// Whether whoever sweeps waits in `sweeper` for an entry.
    idle: AtomicBool,
    sweeper: Mutex<Option<Waker>>,
}

struct Lane<E> {
    cells: Vec<Cell<E>>,
    free: Vec<usize>,
    /// No deadline or nudge of the lane is earlier than this.
    earliest: Option<Monotonic>,
}

struct Cell<E> {
    generation: u32,
    entry: Option<Entry<E>>,
}

struct Entry<E> {
    exchange: E,
    schedule: Schedule,
    waker: Option<Waker>,
    /// The caller may still look.
    held: bool,
    /// No more answers are waited for: the deadline has passed.
    expired: bool,
}

impl<E: Exchange> PendingTable<E> {
    /// An empty table of `lanes` independently locked lanes (1 to 256).
    #[must_use]
    pub fn new(lanes: usize) -> Self {
        let lanes = lanes.clamp(1, 256);
        Self {
            lanes: (0..lanes)
                .map(|_| {
                    Mutex::new(Lane {
                        cells: Vec::new(),
                        free: Vec::new(),
                        earliest: None,
                    })
                })
                .collect(),
            next_lane: AtomicUsize::new(0),
            entries: AtomicUsize::new(0),
            idle: AtomicBool::new(false),
            sweeper: Mutex::new(None),
        }
    }

    /// Exchanges under way.
    pub fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Whether no exchange is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts an exchange in and returns its token, held by the caller until [`PendingTable::release`].
    ///
    /// # Errors
    /// [`PendingFull`] when the lane is full; the exchange is dropped.
    pub fn insert(&self, exchange: E, schedule: Schedule) -> Result<Token, PendingFull> {
        let lane_index = self.next_lane.fetch_add(1, Ordering::Relaxed) % self.lanes.len();
        let mut lane = lock(&self.lanes[lane_index]);
        let index = match lane.free.pop() {
            Some(index) => index,
            None if lane.cells.len() < LANE_ENTRIES_MAX => {
                lane.cells.push(Cell {
                    generation: 0,
                    entry: None,
                });
                lane.cells.len() - 1
            }
            None => return Err(PendingFull),
        };
        lane.watch(schedule.next());
        let cell = &mut lane.cells[index];
        cell.entry = Some(Entry {
            exchange,
            schedule,
            waker: None,
            held: true,
            expired: false,
        });
        let token = Token::new(lane_index, index, cell.generation);
        // In one total order with what `Occupied` does: either it sees this entry, or we see that it waits.
        let before = self.entries.fetch_add(1, Ordering::SeqCst);
        drop(lane);
        if before == 0 && self.idle.load(Ordering::SeqCst) {
            self.wake_sweeper();
        }
        Ok(token)
    }

    fn wake_sweeper(&self) {
        self.idle.store(false, Ordering::SeqCst);
        let waker = lock(&self.sweeper).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until an exchange is under way. Cancel-safe. Meant for whoever sweeps, so that an idle table costs
    /// nothing; of several that wait, only the last is woken.
    pub const fn occupied(&self) -> Occupied<'_, E> {
        Occupied { table: self }
    }

    /// Puts an owner's answer in. Returns the exchange if this ended it and it is to be settled; a token that matches nothing
    /// is ignored.
    pub fn answer(&self, token: Token, answer: E::Answer) -> Option<E> {
        self.update(token, |exchange| exchange.answer(token.owner(), answer))
    }

    /// Notes that an owner is late.
    pub fn stall(&self, token: Token) {
        // A stall never finishes an exchange.
        drop(self.update(token, |exchange| exchange.stall(token.owner())));
    }

    /// Looks at an exchange that the caller holds, and may change it (to note whom it asks). `None` once it is gone.
    pub fn inspect<R>(&self, token: Token, look: impl FnOnce(&mut E) -> R) -> Option<R> {
        let mut lane = lock(self.lane(token)?);
        lane.entry(token).map(|entry| look(&mut entry.exchange))
    }

    /// Waits until the exchange is actionable or its deadline has passed. Cancel-safe: the entry stays.
    pub fn wait(&self, token: Token) -> Wait<'_, E> {
        Wait { table: self, token }
    }

    /// The caller lets go. Returns the exchange if nothing more is waited for and it is to be settled; otherwise whoever ends
    /// it gets it.
    pub fn release(&self, token: Token) -> Option<E> {
        let mut lane = lock(self.lane(token)?);
        let entry = lane.entry(token)?;
        entry.held = false;
        entry.waker = None;
        let ended =
            entry.expired || entry.exchange.is_finished() || !entry.exchange.outlives_caller();
        if ended {
            self.take(&mut lane, token)
        } else {
            None
        }
    }

    /// Ends what is past its deadline and nudges what is past its nudge. Returns the ended exchanges that no caller
    /// holds and that are to be settled. Meant to be called every few milliseconds.
    pub fn sweep(&self, now: Monotonic) -> Vec<E> {
        let mut ended = Vec::new();
        for (lane_index, lane) in self.lanes.iter().enumerate() {
            let mut lane = lock(lane);
            if lane.earliest.is_none_or(|earliest| earliest > now) {
                continue;
            }
            let wakers = self.sweep_lane(&mut lane, lane_index, now, &mut ended);
            drop(lane);
            wakers.into_iter().for_each(Waker::wake);
        }
        ended
    }

    fn sweep_lane(
        &self,
        lane: &mut Lane<E>,
        lane_index: usize,
        now: Monotonic,
        ended: &mut Vec<E>,
    ) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let mut abandoned = Vec::new();
        lane.earliest = None;
        for index in 0..lane.cells.len() {
            let generation = lane.cells[index].generation;
            let Some(entry) = lane.cells[index].entry.as_mut() else {
                continue;
            };
            if entry.expired {
                continue;
            }
            if entry.schedule.deadline <= now {
                entry.expired = true;
                wakers.extend(entry.waker.take());
                if !entry.held {
                    abandoned.push(Token::new(lane_index, index, generation));
                }
                continue;
            }
            if entry.schedule.nudge_at.is_some_and(|at| at <= now) {
                entry.schedule.nudge_at = None;
                entry.exchange.nudge();
                if entry.exchange.is_actionable() {
                    wakers.extend(entry.waker.take());
                }
            }
            let next = entry.schedule.next();
            lane.watch(next);
        }
        for token in abandoned {
            ended.extend(self.take(lane, token));
        }
        wakers
    }

    fn update(&self, token: Token, change: impl FnOnce(&mut E)) -> Option<E> {
        let mut lane = lock(self.lane(token)?);
        let entry = lane.entry(token)?;
        change(&mut entry.exchange);
        let finished = entry.exchange.is_finished();
        let waker = if finished || entry.exchange.is_actionable() {
            entry.waker.take()
        } else {
            None
        };
        let ended = if finished && !entry.held {
            self.take(&mut lane, token)
        } else {
            None
        };
        drop(lane);
        if let Some(waker) = waker {
            waker.wake();
        }
        ended
    }

    fn take(&self, lane: &mut Lane<E>, token: Token) -> Option<E> {
        let cell = lane.cells.get_mut(token.index())?;
        // Most leave nothing to do and are dropped where they are: they are large to hand around.
        let ended = if cell.entry.as_ref()?.exchange.is_to_be_settled() {
            cell.entry.take().map(|entry| entry.exchange)
        } else {
            cell.entry = None;
            None
        };
        cell.generation = cell.generation.wrapping_add(1);
        lane.free.push(token.index());
        self.entries.fetch_sub(1, Ordering::SeqCst);
        ended
    }

    fn lane(&self, token: Token) -> Option<&Mutex<Lane<E>>> {
        self.lanes.get(token.lane())
    }
}

impl<E> Lane<E> {
    fn entry(&mut self, token: Token) -> Option<&mut Entry<E>> {
        let cell = self.cells.get_mut(token.index())?;
        if cell.generation == token.generation() {
            cell.entry.as_mut()
        } else {
            None
        }
    }

    fn watch(&mut self, at: Monotonic) {
        self.earliest = Some(self.earliest.map_or(at, |earliest| earliest.min(at)));
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// The exchange is actionable or finished.
    Actionable,
    /// The deadline has passed.
    Expired,
}

/// Waits for an exchange; see [`PendingTable::wait`].
pub struct Wait<'a, E> {
    table: &'a PendingTable<E>,
    token: Token,
}

impl<E: Exchange> Future for Wait<'_, E> {
    type Output = Woken;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Woken> {
        let Some(lane) = self.table.lane(self.token) else {
            return Poll::Ready(Woken::Expired);
        };
        let mut lane = lock(lane);
        let Some(entry) = lane.entry(self.token) else {
            return Poll::Ready(Woken::Expired);
        };
        if entry.exchange.is_actionable() || entry.exchange.is_finished() {
            return Poll::Ready(Woken::Actionable);
        }
        if entry.expired {
            return Poll::Ready(Woken::Expired);
        }
        match &mut entry.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => entry.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

/// Waits until a table is not empty; see [`PendingTable::occupied`].
pub struct Occupied<'a, E> {
    table: &'a PendingTable<E>,
}

impl<E: Exchange> Future for Occupied<'_, E> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        *lock(&self.table.sweeper) = Some(context.waker().clone());
        self.table.idle.store(true, Ordering::SeqCst);
        if self.table.entries.load(Ordering::SeqCst) == 0 {
            return Poll::Pending;
        }
        self.table.idle.store(false, Ordering::SeqCst);
        Poll::Ready(())
    }
}

#[cfg(all(test, not(feature = "race")))]
mod tests;
