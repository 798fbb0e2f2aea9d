//! Connections: bytes in order, in both directions, until one end closes or is gone.
//!
//! What a kernel and HTTP/2 do is modelled as far as the node can tell: a segment that meets an ended process is reset,
//! one that meets a machine that is gone is lost; data sent into a cut waits; each end pings the other when nothing was
//! heard for a while and gives the connection up when the ping is not answered, with the times of the production
//! settings. A paused process accepts nothing and answers no ping, although its kernel still takes data for it. What has
//! been sent and not been taken by the other end is bounded, so that a writer waits for a slow reader.

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use shard_cache::clock::BoxFuture;

use super::{HostId, Nanos, Shared, World, connections::Standing};

/// Bytes that an end may have sent without their being taken.
const WINDOW_BYTES: usize = 1 << 20;
/// A quiet connection is pinged so often by who opened it, and given up when the answer takes as long again.
const CLIENT_KEEPALIVE: Nanos = 1_000_000_000;
/// As [`CLIENT_KEEPALIVE`], by who accepted it.
const SERVER_KEEPALIVE: Nanos = 5_000_000_000;

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
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    pub(super) const fn keepalive(self) -> Nanos {
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
        let id = state.connections.add(from, life, to);
        state.send(now, id, Side::Client, Payload::Open);
        drop(state);
        Some(self.duplex(id, Side::Client))
    }

    pub(super) fn duplex(self: &Arc<Self>, connection: ConnectionId, side: Side) -> Duplex {
        Duplex {
            half: Half {
                shared: Arc::clone(self),
                connection,
                side,
            },
        }
    }
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
        let Some(connection) = state.connections.get(*id) else {
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
        let Some(connection) = state.connections.get(self.half.connection) else {
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
        if let Some(connection) = state.connections.get(self.half.connection) {
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
        let Some(connection) = state.connections.get(self.connection) else {
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
            let Some(connection) = state.connections.get(self.connection) else {
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
