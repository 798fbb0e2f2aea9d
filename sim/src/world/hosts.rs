//! Hosts: a machine with one process of the node on it.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, task::Waker, time::Duration};

use bytes::Bytes;

use super::{
    HostId as Id, Nanos, World, clock::HostClock, events::Event, executor::TaskId, nanos,
    streams::Listener,
};

/// Datagrams that a socket holds; further ones are lost, as in a kernel.
const SOCKET_DATAGRAMS_MAX: usize = 512;

/// A host, by its place in the world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostId(pub u16);

/// What runs on a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Power {
    /// The process runs.
    Running,
    /// The process has ended: its machine refuses connections and resets those that are left.
    Ended,
    /// The machine is gone: it says nothing at all.
    Gone,
}

/// One host.
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    pub(crate) power: Power,
    /// Rises with every start of the process.
    pub(crate) life: u32,
    paused_until: Option<Nanos>,
    deferred: Vec<TaskId>,
    clock: Arc<HostClock>,
    pub(crate) listener: Option<Listener>,
    pub(crate) datagrams: VecDeque<(SocketAddr, Bytes)>,
    pub(crate) datagram_reader: Option<Waker>,
}

impl Host {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            power: Power::Ended,
            life: 0,
            paused_until: None,
            deferred: Vec::new(),
            clock: Arc::default(),
            listener: None,
            datagrams: VecDeque::new(),
            datagram_reader: None,
        }
    }

    pub(crate) fn clock(&self) -> Arc<HostClock> {
        Arc::clone(&self.clock)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.power == Power::Running
    }

    pub(crate) const fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    pub(crate) const fn paused_until(&self) -> Option<Nanos> {
        self.paused_until
    }

    pub(crate) fn defer(&mut self, task: TaskId) {
        self.deferred.push(task);
    }

    pub(crate) fn listen(&mut self, listener: Listener) {
        self.listener = Some(listener);
    }

    /// Goes on if the pause is over.
    pub(crate) fn resume(&mut self, now: Nanos) -> Vec<TaskId> {
        if self.paused_until.is_none_or(|until| until > now) {
            return Vec::new();
        }
        self.paused_until = None;
        std::mem::take(&mut self.deferred)
    }

    pub(crate) fn take_datagram(&mut self, from: SocketAddr, bytes: Bytes) -> Option<Waker> {
        if !self.is_running() || self.datagrams.len() >= SOCKET_DATAGRAMS_MAX {
            return None;
        }
        self.datagrams.push_back((from, bytes));
        self.datagram_reader.take()
    }
}

impl World {
    /// Starts a process on a host that has none.
    pub fn switch_on(&self, host: Id) {
        let now = self.now();
        let mut state = self.shared.state();
        let host = state.host_mut(host);
        host.power = Power::Running;
        host.life += 1;
        host.clock.restart(now);
        host.paused_until = None;
    }

    /// Ends the process on a host, without any shutdown: its tasks are dropped where they stand. An ended process leaves
    /// a machine that resets its connections; a machine that is gone leaves silence.
    pub fn crash(&self, host: Id, power: Power) {
        {
            let mut state = self.shared.state();
            let host = state.host_mut(host);
            host.power = power;
            host.paused_until = None;
            host.deferred.clear();
            host.datagrams.clear();
            host.datagram_reader = None;
            host.listener = None;
        }
        self.shared.end_tasks(host, false);
    }

    /// The host's process stands still for so long. Its clocks go on.
    pub fn pause(&self, host: Id, duration: Duration) {
        let until = self.now() + nanos(duration);
        let mut state = self.shared.state();
        state.host_mut(host).paused_until = Some(until);
        state.events.push(until, Event::Resume { host });
    }

    /// What runs on a host.
    #[must_use]
    pub fn power(&self, host: Id) -> Power {
        self.shared.state().host(host).power
    }

    /// Whether a host's process stands still.
    #[must_use]
    pub fn is_paused(&self, host: Id) -> bool {
        self.shared.state().host(host).is_paused()
    }

    /// How often a process was started on a host.
    #[must_use]
    pub fn life(&self, host: Id) -> u32 {
        self.shared.state().host(host).life
    }
}
