//! What is going to happen: one heap, ordered by time and then by when it was decided.

use std::{cmp::Reverse, collections::BinaryHeap, net::SocketAddr, task::Waker};

use bytes::Bytes;

use super::{
    HostId, Nanos,
    streams::{ConnectionId, Segment, Side},
};

/// Something that happens at a moment.
#[derive(Debug)]
pub(crate) enum Event {
    /// A sleeping task is due.
    Timer { slot: u32, generation: u32 },
    /// A paused host goes on.
    Resume { host: HostId },
    /// A datagram arrives.
    Datagram {
        to: HostId,
        from: SocketAddr,
        bytes: Bytes,
    },
    /// A segment of a connection arrives.
    Segment {
        connection: ConnectionId,
        toward: Side,
        segment: Segment,
    },
    /// An end of a connection looks whether the other one is still there.
    Keepalive {
        connection: ConnectionId,
        side: Side,
    },
}

struct Scheduled {
    at: Nanos,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// The heap.
#[derive(Default)]
pub(crate) struct Events {
    heap: BinaryHeap<Reverse<Scheduled>>,
    sequence: u64,
}

impl Events {
    pub(crate) fn push(&mut self, at: Nanos, event: Event) {
        self.sequence += 1;
        self.heap.push(Reverse(Scheduled {
            at,
            sequence: self.sequence,
            event,
        }));
    }

    pub(crate) fn pop_due(&mut self, deadline: Nanos) -> Option<(Nanos, Event)> {
        if self.heap.peek()?.0.at > deadline {
            return None;
        }
        let Reverse(Scheduled { at, event, .. }) = self.heap.pop()?;
        Some((at, event))
    }
}

/// Who sleeps. A timer that was dropped leaves its event behind, which then finds a later generation.
#[derive(Default)]
pub(crate) struct Timers {
    slots: Vec<TimerSlot>,
    free: Vec<u32>,
}

#[derive(Default)]
struct TimerSlot {
    generation: u32,
    waker: Option<Waker>,
}

impl Timers {
    pub(crate) fn add(&mut self, waker: Waker) -> (u32, u32) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(TimerSlot::default());
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let entry = &mut self.slots[slot as usize];
        entry.waker = Some(waker);
        (slot, entry.generation)
    }

    pub(crate) fn update(&mut self, (slot, generation): (u32, u32), waker: &Waker) {
        let entry = &mut self.slots[slot as usize];
        if entry.generation == generation {
            match &mut entry.waker {
                Some(held) => held.clone_from(waker),
                None => entry.waker = Some(waker.clone()),
            }
        }
    }

    /// The waker of a timer that is due; the slot stays taken until [`Timers::release`].
    pub(crate) fn fire(&mut self, slot: u32, generation: u32) -> Option<Waker> {
        let entry = &mut self.slots[slot as usize];
        if entry.generation == generation {
            entry.waker.take()
        } else {
            None
        }
    }

    pub(crate) fn release(&mut self, (slot, generation): (u32, u32)) {
        let entry = &mut self.slots[slot as usize];
        if entry.generation == generation {
            entry.generation = entry.generation.wrapping_add(1);
            entry.waker = None;
            self.free.push(slot);
        }
    }
}
