//! Connections: bytes in order, in both directions, until one end closes or is gone.
//!
//! What a kernel and HTTP/2 do is modelled as far as the node can tell: a segment that meets an ended process is reset,
//! one that meets a machine that is gone is lost; data sent into a cut waits; each end pings the other when nothing was
//! heard for a while and gives the connection up when the ping is not answered, with the times of the production
//! settings. A paused process accepts nothing and answers no ping, although its kernel still takes data for it. What has
//! been sent and not been taken by the other end is bounded, so that a writer waits for a slow reader.

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use shard_cache::clock::BoxFuture;

use super::{
    HostId, Nanos, Power, Shared, State, World,
    events::{Event, Events},
    network::Network,
};

/// Bytes that an end may have sent without their being taken.
const WINDOW_BYTES: usize = 1 << 20;
/// A quiet connection is pinged so often by who opened it, and given up when the answer takes as long again.
const CLIENT_KEEPALIVE: Nanos = 1_000_000_000;
/// As [`CLIENT_KEEPALIVE`], by who accepted it.
const SERVER_KEEPALIVE: Nanos = 5_000_000_000;
const MILLI: Nanos = 1_000_000;

/// Serves one connection to a host.
pub type Listener = Arc<dyn Fn(Duplex) -> BoxFuture<()> + Send + Sync>;

/// Names a connection, in the order in which they were opened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// An end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// Who opened it.
    Client,
    /// Who accepted it.
    Server,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    const fn keepalive(self) -> Nanos {
        match self {
            Self::Client => CLIENT_KEEPALIVE,
            Self::Server => SERVER_KEEPALIVE,
        }
    }
}

/// What travels.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) payload: Payload,
}

/// What is in a segment.
#[derive(Debug)]
pub(crate) enum Payload {
    Open,
    Accepted,
    Bytes(Bytes),
    Ping,
    Pong,
    /// The sender has closed its end, or has none.
    End,
}

/// All connections.
#[derive(Default)]
pub(crate) struct Connections {
    open: BTreeMap<ConnectionId, Connection>,
    opened: u64,
}

struct Connection {
    ends: [End; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Opening,
    Open,
    Ended,
}

struct End {
    host: HostId,
    life: u32,
    standing: Standing,
    inbox: VecDeque<Bytes>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Sent by this end and not taken by the other.
    in_flight_bytes: usize,
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

impl Connection {
    fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    fn hosts(&self, from: Side) -> (HostId, HostId) {
        (
            self.ends[from as usize].host,
            self.ends[from.other() as usize].host,
        )
    }
}

impl World {
    /// Connects from a host to an address. `None` when the address refuses.
    pub fn connect(&self, from: HostId, to: SocketAddr) -> BoxFuture<Option<Duplex>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let duplex = shared.open(from, to)?;
            let opened = poll_fn(|context| duplex.poll_opened(context)).await;
            opened.then_some(duplex)
        })
    }
}

impl Shared {
    fn open(self: &Arc<Self>, from: HostId, to: SocketAddr) -> Option<Duplex> {
        let now = self.now();
        let mut state = self.state();
        let place = state.hosts.iter().position(|host| host.address == to)?;
        let to = HostId(u16::try_from(place).unwrap_or(u16::MAX));
        let life = state.host(from).life;
        state.connections.opened += 1;
        let id = ConnectionId(state.connections.opened);
        let ends = [End::new(from, life), End::new(to, 0)];
        state.connections.open.insert(id, Connection { ends });
        state.send(now, id, Side::Client, Payload::Open);
        drop(state);
        Some(self.duplex(id, Side::Client))
    }

    fn duplex(self: &Arc<Self>, connection: ConnectionId, side: Side) -> Duplex {
        Duplex {
            half: Half {
                shared: Arc::clone(self),
                connection,
                side,
            },
        }
    }

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
        let Some(connection) = state.connections.open.get_mut(&id) else {
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
                if let Some(connection) = state.connections.open.get_mut(&id) {
                    connection.end(side).pinged_at = Some(now);
                }
                state.watch(now + keepalive, id, side);
            }
        }
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
        let Some(connection) = self.connections.open.get_mut(&id) else {
            return Admitted::Lost;
        };
        let end = connection.end(toward);
        let (place, life, standing) = (end.host, end.life, end.standing);
        let host = self.host(place);
        let is_end = matches!(segment.payload, Payload::End);
        match host.power {
            Power::Gone => {
                if let Some(connection) = self.connections.open.get_mut(&id) {
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
                    if let Some(connection) = self.connections.open.get_mut(&id) {
                        let end = connection.end(toward);
                        (end.life, end.standing, end.last_heard) = (life, Standing::Open, now);
                    }
                    self.send(now, id, toward, Payload::Accepted);
                    self.watch(now + SERVER_KEEPALIVE, id, toward);
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
        let Some(connection) = self.connections.open.get_mut(&id) else {
            return [None, None];
        };
        let end = connection.end(toward);
        end.last_heard = now;
        match payload {
            Payload::Open => [None, None],
            Payload::Accepted => {
                end.standing = Standing::Open;
                let wakers = [end.reader.take(), end.writer.take()];
                self.watch(now + CLIENT_KEEPALIVE, id, toward);
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
    fn end(&mut self, now: Nanos, id: ConnectionId, side: Side) -> [Option<Waker>; 2] {
        let Some(connection) = self.connections.open.get_mut(&id) else {
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
        if let Some(connection) = self.connections.open.get_mut(&id) {
            connection.end(side).standing = Standing::Ended;
        }
        if !is_end {
            self.send(now, id, side, Payload::End);
        }
        self.forget_if_over(id);
    }

    fn forget_if_over(&mut self, id: ConnectionId) {
        let over = self.connections.open.get(&id).is_some_and(|connection| {
            let mut ends = connection.ends.iter();
            ends.all(|end| end.standing == Standing::Ended && end.inbox.is_empty())
        });
        if over {
            self.connections.open.remove(&id);
        }
    }

    fn send(&mut self, now: Nanos, id: ConnectionId, from: Side, payload: Payload) {
        let Self {
            connections,
            network,
            events,
            rng,
            ..
        } = self;
        let Some(connection) = connections.open.get_mut(&id) else {
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

/// One end of a connection. Dropping it closes the connection.
pub struct Duplex {
    half: Half,
}

impl Duplex {
    /// The sending half, which closes nothing when it is dropped.
    #[must_use]
    pub fn sender(&self) -> Half {
        self.half.clone()
    }

    /// Sends bytes at once.
    pub fn send(&self, bytes: Bytes) {
        self.half.send(bytes);
    }

    /// Waits until there is room to send. False when the connection is over.
    pub async fn writable(&self) -> bool {
        self.half.writable().await
    }

    /// The next bytes in the pieces in which they were sent; `None` when the connection is over.
    pub async fn receive(&self) -> Option<Bytes> {
        poll_fn(|context| self.poll_receive(context)).await
    }

    /// As [`Duplex::receive`].
    pub fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Half {
            shared,
            connection: id,
            side,
        } = &self.half;
        let mut state = shared.state();
        let Some(connection) = state.connections.open.get_mut(id) else {
            return Poll::Ready(None);
        };
        let end = connection.end(*side);
        if let Some(bytes) = end.inbox.pop_front() {
            let other = connection.end(side.other());
            other.in_flight_bytes = other.in_flight_bytes.saturating_sub(bytes.len());
            let writer = other.writer.take();
            drop(state);
            if let Some(writer) = writer {
                writer.wake();
            }
            return Poll::Ready(Some(bytes));
        }
        if end.standing == Standing::Ended {
            return Poll::Ready(None);
        }
        end.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn poll_opened(&self, context: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.half.shared.state();
        let Some(connection) = state.connections.open.get_mut(&self.half.connection) else {
            return Poll::Ready(false);
        };
        let end = connection.end(self.half.side);
        match end.standing {
            Standing::Open => Poll::Ready(true),
            Standing::Ended => Poll::Ready(false),
            Standing::Opening => {
                end.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Duplex {
    fn drop(&mut self) {
        let now = self.half.shared.now();
        let mut state = self.half.shared.state();
        let wakers = state.end(now, self.half.connection, self.half.side);
        if let Some(connection) = state.connections.open.get_mut(&self.half.connection) {
            connection.end(self.half.side).inbox.clear();
        }
        state.forget_if_over(self.half.connection);
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

/// The sending half of an end.
#[derive(Clone)]
pub struct Half {
    shared: Arc<Shared>,
    connection: ConnectionId,
    side: Side,
}

impl Half {
    /// Sends bytes at once.
    pub fn send(&self, bytes: Bytes) {
        let now = self.shared.now();
        let mut state = self.shared.state();
        let Some(connection) = state.connections.open.get_mut(&self.connection) else {
            return;
        };
        let end = connection.end(self.side);
        if end.standing != Standing::Open {
            return;
        }
        end.in_flight_bytes += bytes.len();
        state.send(now, self.connection, self.side, Payload::Bytes(bytes));
    }

    /// Waits until there is room to send. False when the connection is over.
    pub async fn writable(&self) -> bool {
        poll_fn(|context| {
            let mut state = self.shared.state();
            let Some(connection) = state.connections.open.get_mut(&self.connection) else {
                return Poll::Ready(false);
            };
            let end = connection.end(self.side);
            if end.standing == Standing::Ended {
                return Poll::Ready(false);
            }
            if end.in_flight_bytes < WINDOW_BYTES {
                return Poll::Ready(true);
            }
            end.writer = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}
