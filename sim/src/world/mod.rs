//! The world: one thread, one heap of events on a nanosecond clock, and everything that happens in order.
//!
//! ```text
//! events (heap) ─► dispatch: a timer, a datagram, a segment, a resume ─► wakes tasks ─► tasks run until none is ready
//!      ▲                                                                                   │
//!      └──────────────── sleep, send, connect ◄────────────────────────────────────────────┘
//! ```
//!
//! - `executor`: tasks that belong to hosts; a crash drops them where they stand.
//! - `events`: the heap and the timers in it.
//! - `trace`: a hash over everything that happens, in order.
//! - [`clock`], [`workers`], [`datagrams`], [`streams`]: the seams of a node, served from here.
//! - `connections`: what machines make of the segments of [`streams`].
//! - `hosts`: who is up, paused, and what time it is there; [`network`]: paths between them.
//!
//! Invariants: nothing here reads a clock, a thread or an unordered map of the machine; tasks that became ready together
//! run in an order that follows from the seed alone; the lock of the state is never held while foreign code runs,
//! dropping futures included.

pub mod clock;
mod connections;
pub mod datagrams;
mod events;
mod executor;
mod hosts;
pub mod network;
pub mod streams;
mod trace;
pub mod workers;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{SeedableRng as _, rngs::SmallRng};
use shard_cache::clock::BoxFuture;

use clock::{SimClock, SimSleep};
use connections::Connections;
use events::{Event, Events, Timers};
use executor::{ReadyList, Tasks};
use hosts::Host;
pub use hosts::{HostId, Power};
use network::Network;
use streams::Listener;
use trace::Trace;

/// Sets the choices of the order of tasks apart from those of the network.
const ORDER: u64 = 0x6f72_6465_7221_2121;

/// Nanoseconds since the world began.
pub type Nanos = u64;

/// A duration in nanoseconds; what does not fit is cut.
#[must_use]
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One simulated world. Clones are the same world.
#[derive(Clone)]
pub struct World {
    shared: Arc<Shared>,
}

/// What tasks and seams hold of the world.
pub(crate) struct Shared {
    now: AtomicU64,
    ready: Arc<ReadyList>,
    state: Mutex<State>,
}

/// Everything that changes.
pub(crate) struct State {
    events: Events,
    timers: Timers,
    tasks: Tasks,
    hosts: Vec<Host>,
    network: Network,
    connections: Connections,
    trace: Trace,
    rng: SmallRng,
    /// Draws the order of tasks that became ready together. Apart from `rng`, so that the network does not depend on how
    /// many there are.
    order: SmallRng,
}

impl World {
    /// A world without hosts, whose choices all follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            events: Events::default(),
            timers: Timers::default(),
            tasks: Tasks::default(),
            hosts: Vec::new(),
            network: Network::default(),
            connections: Connections::default(),
            trace: Trace::new(seed),
            rng: SmallRng::seed_from_u64(seed),
            order: SmallRng::seed_from_u64(seed ^ ORDER),
        };
        Self {
            shared: Arc::new(Shared {
                now: AtomicU64::new(0),
                ready: Arc::default(),
                state: Mutex::new(state),
            }),
        }
    }

    /// Adds a host at an address, switched off.
    pub fn add_host(&self, address: SocketAddr) -> HostId {
        let mut state = self.shared.state();
        let host = HostId(u16::try_from(state.hosts.len()).unwrap_or(u16::MAX));
        state.hosts.push(Host::new(address));
        let hosts = state.hosts.len();
        state.network.grow(hosts);
        host
    }

    /// True time since the world began.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.shared.now()
    }

    /// Runs until `deadline`; what is due then has happened.
    pub fn run_until(&self, deadline: Nanos) {
        loop {
            self.shared.run_ready();
            let next = {
                let mut state = self.shared.state();
                match state.events.pop_due(deadline) {
                    Some((at, event)) => {
                        self.shared.now.store(at, Ordering::Relaxed);
                        state.trace.event(at, &event);
                        event
                    }
                    None => break,
                }
            };
            self.shared.dispatch(next);
        }
        let now = self.now();
        self.shared.now.store(now.max(deadline), Ordering::Relaxed);
    }

    /// Starts a task on a host. It ends with its future or with the present life of the host.
    pub fn spawn(&self, host: HostId, name: &'static str, task: BoxFuture<()>) {
        self.shared.spawn(host, name, false, task);
    }

    /// Completes when true time has come to `deadline`.
    #[must_use]
    pub fn sleep_until(&self, deadline: Nanos) -> SimSleep {
        SimSleep::new(Arc::clone(&self.shared), deadline)
    }

    /// Completes after `duration` of true time.
    #[must_use]
    pub fn sleep(&self, duration: Duration) -> SimSleep {
        self.sleep_until(self.now().saturating_add(nanos(duration)))
    }

    /// The clocks of a host.
    #[must_use]
    pub fn clock(&self, host: HostId) -> SimClock {
        let state = self.shared.state();
        SimClock::new(Arc::clone(&self.shared), state.host(host).clock())
    }

    /// Looks at the network or changes it.
    pub fn network<R>(&self, look: impl FnOnce(&mut Network) -> R) -> R {
        let released = {
            let mut state = self.shared.state();
            let result = look(&mut state.network);
            let released = state.network.take_healed();
            (result, released)
        };
        let (result, healed) = released;
        if healed {
            self.shared.release_held();
        }
        result
    }

    /// Serves connections to a host, for its present life.
    pub fn listen(&self, host: HostId, listener: Listener) {
        self.shared.state().host_mut(host).listen(listener);
    }

    /// A hash over everything that has happened.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.shared.state().trace.hash()
    }

    /// Events that have happened.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.shared.state().trace.events()
    }

    /// Prints every event from now on.
    pub fn print_events(&self) {
        self.shared.state().trace.print();
    }

    /// Notes something that a scenario did, so that it is part of the trace.
    pub fn note(&self, what: impl FnOnce() -> String) {
        let now = self.now();
        self.shared.state().trace.note(now, what());
    }

    /// As [`World::note`], by a few numbers; the text is only made when it is printed.
    pub fn note_words(&self, words: &[u64], what: impl FnOnce() -> String) {
        let now = self.now();
        self.shared.state().trace.note_words(now, words, what);
    }

    /// Tasks that live on a host.
    #[must_use]
    pub fn tasks(&self, host: HostId) -> usize {
        self.shared.state().tasks.count(host)
    }
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Nanos {
        self.now.load(Ordering::Relaxed)
    }

    fn dispatch(self: &Arc<Self>, event: Event) {
        match event {
            Event::Timer { slot, generation } => {
                let waker = self.state().timers.fire(slot, generation);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Event::Resume { host } => self.resume(host),
            Event::Datagram { to, from, bytes } => self.datagram_arrives(to, from, bytes),
            Event::Segment {
                connection,
                toward,
                segment,
            } => self.segment_arrives(connection, toward, segment),
            Event::Keepalive { connection, side } => self.keepalive_due(connection, side),
        }
    }
}

impl State {
    pub(crate) fn host(&self, host: HostId) -> &Host {
        &self.hosts[usize::from(host.0)]
    }

    pub(crate) fn host_mut(&mut self, host: HostId) -> &mut Host {
        &mut self.hosts[usize::from(host.0)]
    }
}
