//! What machines and HTTP/2 make of segments: the state of connections, and how it changes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::Waker,
};

use bytes::Bytes;

use super::{
    HostId, Nanos, Power, Shared, State, World,
    events::{Event, Events},
    network::Network,
    streams::{ConnectionId, Listener, Payload, Segment, Side},
};

const MILLI: Nanos = 1_000_000;

/// All connections.
#[derive(Default)]
pub(crate) struct Connections {
    open: BTreeMap<ConnectionId, Connection>,
    opened: u64,
}

pub(super) struct Connection {
    ends: [End; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    Opening,
    Open,
    Ended,
}

pub(super) struct End {
    host: HostId,
    life: u32,
    pub(super) standing: Standing,
    pub(super) inbox: VecDeque<Bytes>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// Sent by this end and not taken by the other.
    pub(super) in_flight_bytes: usize,
    /// When the last segment sent by this end arrives.
    last_arrival: Nanos,
    /// Sent by this end into a cut.
    held: VecDeque<Segment>,
    last_heard: Nanos,
    pinged_at: Option<Nanos>,
}

impl End {
    const fn new(host: HostId, life: u32) -> Self {
        Self {
            host,
            life,
            standing: Standing::Opening,
            inbox: VecDeque::new(),
            reader: None,
            writer: None,
            in_flight_bytes: 0,
            last_arrival: 0,
            held: VecDeque::new(),
            last_heard: 0,
            pinged_at: None,
        }
    }

    fn end(&mut self) -> [Option<Waker>; 2] {
        self.standing = Standing::Ended;
        [self.reader.take(), self.writer.take()]
    }
}

impl Connections {
    /// A connection that is being opened.
    pub(super) fn add(&mut self, from: HostId, life: u32, to: HostId) -> ConnectionId {
        self.opened += 1;
        let id = ConnectionId(self.opened);
        let ends = [End::new(from, life), End::new(to, 0)];
        self.open.insert(id, Connection { ends });
        id
    }

    pub(super) fn get(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.open.get_mut(&id)
    }
}

impl Connection {
    pub(super) fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    fn hosts(&self, from: Side) -> (HostId, HostId) {
        (
            self.ends[from as usize].host,
            self.ends[from.other() as usize].host,
        )
    }
}

impl Shared {
    pub(crate) fn segment_arrives(
        self: &Arc<Self>,
        id: ConnectionId,
        toward: Side,
        segment: Segment,
    ) {
        let now = self.now();
        let mut state = self.state();
        let wakers = match state.admit(now, id, toward, &segment) {
            Admitted::Lost => return,
            Admitted::Accepted(listener) => {
                let place = state.connections.open.get(&id).map(|connection| {
                    let (server, _client) = connection.hosts(Side::Server);
                    server
                });
                drop(state);
                if let Some(place) = place {
                    let served = listener(self.duplex(id, Side::Server));
                    self.spawn(place, "connection", false, served);
                }
                return;
            }
            Admitted::Later(at) => {
                let event = Event::Segment {
                    connection: id,
                    toward,
                    segment,
                };
                state.events.push(at, event);
                return;
            }
            Admitted::Taken => state.take(now, id, toward, segment.payload),
        };
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    pub(crate) fn keepalive_due(&self, id: ConnectionId, side: Side) {
        let now = self.now();
        let mut state = self.state();
        let Some(connection) = state.connections.get(id) else {
            return;
        };
        let end = connection.end(side);
        let (host, life) = (end.host, end.life);
        let (standing, pinged_at, heard) = (end.standing, end.pinged_at, end.last_heard);
        let host = state.host(host);
        if standing != Standing::Open || host.life != life || !host.is_running() {
            return;
        }
        if let Some(until) = host.paused_until() {
            state.watch(until + MILLI, id, side);
            return;
        }
        let keepalive = side.keepalive();
        match pinged_at {
            Some(at) if now >= at + keepalive => {
                let wakers = state.end(now, id, side);
                drop(state);
                wakers.into_iter().flatten().for_each(Waker::wake);
            }
            Some(at) => state.watch(at + keepalive, id, side),
            None if now < heard + keepalive => state.watch(heard + keepalive, id, side),
            None => {
                state.send(now, id, side, Payload::Ping);
                if let Some(connection) = state.connections.get(id) {
                    connection.end(side).pinged_at = Some(now);
                }
                state.watch(now + keepalive, id, side);
            }
        }
    }

    /// Resets every connection between two hosts: what is under way is lost, and both ends learn it at once.
    fn reset(&self, one: HostId, other: HostId) {
        let mut wakers = Vec::new();
        self.state().connections.open.retain(|_, connection| {
            let (from, to) = connection.hosts(Side::Client);
            let is_between = (from, to) == (one, other) || (from, to) == (other, one);
            if is_between {
                wakers.extend(connection.ends.iter_mut().flat_map(End::end));
            }
            !is_between
        });
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Sends what waited for cuts that are over.
    pub(crate) fn release_held(&self) {
        let now = self.now();
        let mut state = self.state();
        let State {
            connections,
            network,
            events,
            rng,
            ..
        } = &mut *state;
        for (id, connection) in &mut connections.open {
            for side in [Side::Client, Side::Server] {
                let (from, to) = connection.hosts(side);
                let path = network.path(from, to);
                if path.cut {
                    continue;
                }
                let end = connection.end(side);
                if end.held.is_empty() {
                    continue;
                }
                let again = now + Network::retransmission(rng);
                while let Some(segment) = end.held.pop_front() {
                    let at = again + path.segment(rng);
                    schedule(events, end, *id, side, at, segment);
                }
            }
        }
    }
}

impl World {
    /// Resets every connection between two hosts, while packets between them go on.
    pub fn reset(&self, one: HostId, other: HostId) {
        self.note(|| format!("connections between {one:?} and {other:?} are reset"));
        self.shared.reset(one, other);
    }
}

enum Admitted {
    /// Nobody is there, or what is there does not want it.
    Lost,
    /// The process stands still.
    Later(Nanos),
    /// A new connection.
    Accepted(Listener),
    /// For the end.
    Taken,
}

impl State {
    /// What the machine makes of a segment.
    fn admit(&mut self, now: Nanos, id: ConnectionId, toward: Side, segment: &Segment) -> Admitted {
        let Some(connection) = self.connections.get(id) else {
            return Admitted::Lost;
        };
        let end = connection.end(toward);
        let (place, life, standing) = (end.host, end.life, end.standing);
        let host = self.host(place);
        let is_end = matches!(segment.payload, Payload::End);
        match host.power {
            Power::Gone => {
                if let Some(connection) = self.connections.get(id) {
                    connection.end(toward).standing = Standing::Ended;
                }
                self.forget_if_over(id);
                return Admitted::Lost;
            }
            Power::Ended => {
                self.refuse(now, id, toward, is_end);
                return Admitted::Lost;
            }
            Power::Running => {}
        }
        if matches!(segment.payload, Payload::Open) {
            let (life, listener) = (host.life, host.listener.clone());
            return match listener {
                Some(listener) if standing == Standing::Opening => {
                    if let Some(connection) = self.connections.get(id) {
                        let end = connection.end(toward);
                        (end.life, end.standing, end.last_heard) = (life, Standing::Open, now);
                    }
                    self.send(now, id, toward, Payload::Accepted);
                    self.watch(now + toward.keepalive(), id, toward);
                    Admitted::Accepted(listener)
                }
                Some(_) | None => {
                    self.refuse(now, id, toward, is_end);
                    Admitted::Lost
                }
            };
        }
        if host.life != life || standing == Standing::Ended {
            self.refuse(now, id, toward, is_end);
            return Admitted::Lost;
        }
        match (&segment.payload, host.paused_until()) {
            (Payload::Ping | Payload::Pong, Some(until)) => Admitted::Later(until),
            _ => Admitted::Taken,
        }
    }

    /// What the process makes of a segment. Returns whom to wake.
    fn take(
        &mut self,
        now: Nanos,
        id: ConnectionId,
        toward: Side,
        payload: Payload,
    ) -> [Option<Waker>; 2] {
        let Some(connection) = self.connections.get(id) else {
            return [None, None];
        };
        let end = connection.end(toward);
        end.last_heard = now;
        match payload {
            Payload::Open => [None, None],
            Payload::Accepted => {
                end.standing = Standing::Open;
                let wakers = [end.reader.take(), end.writer.take()];
                self.watch(now + toward.keepalive(), id, toward);
                wakers
            }
            Payload::Bytes(bytes) => {
                end.inbox.push_back(bytes);
                [end.reader.take(), None]
            }
            Payload::Ping => {
                self.send(now, id, toward, Payload::Pong);
                [None, None]
            }
            Payload::Pong => {
                end.pinged_at = None;
                [None, None]
            }
            Payload::End => {
                let wakers = end.end();
                self.forget_if_over(id);
                wakers
            }
        }
    }

    /// Closes an end and tells the other.
    pub(super) fn end(&mut self, now: Nanos, id: ConnectionId, side: Side) -> [Option<Waker>; 2] {
        let Some(connection) = self.connections.get(id) else {
            return [None, None];
        };
        let end = connection.end(side);
        if end.standing == Standing::Ended {
            return [None, None];
        }
        let (place, wakers) = (end.host, end.end());
        if self.host(place).power != Power::Gone {
            self.send(now, id, side, Payload::End);
        }
        self.forget_if_over(id);
        wakers
    }

    fn refuse(&mut self, now: Nanos, id: ConnectionId, side: Side, is_end: bool) {
        if let Some(connection) = self.connections.get(id) {
            connection.end(side).standing = Standing::Ended;
        }
        if !is_end {
            self.send(now, id, side, Payload::End);
        }
        self.forget_if_over(id);
    }

    pub(super) fn forget_if_over(&mut self, id: ConnectionId) {
        let over = self.connections.open.get(&id).is_some_and(|connection| {
            let mut ends = connection.ends.iter();
            ends.all(|end| end.standing == Standing::Ended && end.inbox.is_empty())
        });
        if over {
            self.connections.open.remove(&id);
        }
    }

    pub(super) fn send(&mut self, now: Nanos, id: ConnectionId, from: Side, payload: Payload) {
        let Self {
            connections,
            network,
            events,
            rng,
            ..
        } = self;
        let Some(connection) = connections.get(id) else {
            return;
        };
        let (source, target) = connection.hosts(from);
        let path = network.path(source, target);
        let end = connection.end(from);
        let segment = Segment { payload };
        if path.cut {
            end.held.push_back(segment);
        } else {
            let at = now + path.segment(rng);
            schedule(events, end, id, from, at, segment);
        }
    }

    fn watch(&mut self, at: Nanos, connection: ConnectionId, side: Side) {
        self.events.push(at, Event::Keepalive { connection, side });
    }
}

/// Segments of one end arrive in the order in which they were sent.
fn schedule(
    events: &mut Events,
    end: &mut End,
    connection: ConnectionId,
    from: Side,
    at: Nanos,
    segment: Segment,
) {
    let at = at.max(end.last_arrival + 1);
    end.last_arrival = at;
    let event = Event::Segment {
        connection,
        toward: from.other(),
        segment,
    };
    events.push(at, event);
}
