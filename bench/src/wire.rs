//! The cheap generator: a protocol as a state machine, and the socket that it talks through. All requests that are due
//! go out in one write, all answers that are there come in one read.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};

use thiserror::Error;
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    net::TcpStream,
};

use crate::{
    lane::{Lane, Shared},
    operation::{Ended, Operation},
    timer::Timer,
};

/// Size of the read buffer at first, in bytes; it grows only for a message that is larger.
const READ_BYTES: usize = 256 * 1024;

/// Names a request while it is outstanding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket(pub(crate) u32);

/// A request has ended.
#[derive(Debug)]
pub(crate) struct Completed {
    pub(crate) ticket: Ticket,
    pub(crate) ended: Ended,
}

/// Why a connection cannot go on.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum Broken {
    /// The peer did what the protocol does not allow.
    #[error("the peer broke the protocol: {0}")]
    Protocol(&'static str),
    /// A header block made no sense.
    #[error("{0}")]
    Headers(String),
}

impl Broken {
    pub(crate) const fn protocol(what: &'static str) -> Self {
        Self::Protocol(what)
    }
}

/// A protocol, without I/O.
pub(crate) trait Session {
    /// What is to be sent.
    fn out(&mut self) -> &mut Vec<u8>;
    /// How many more requests the peer takes now.
    fn room(&self) -> usize;
    /// Whether this connection takes no more requests for good.
    fn is_closing(&self) -> bool;
    /// Sends a request.
    fn start(&mut self, ticket: Ticket, operation: &Operation);
    /// Its answer is not waited for any more.
    fn abandon(&mut self, ticket: Ticket);
    /// Takes what was received, as far as it is whole, and says how many bytes that were.
    fn receive(&mut self, input: &[u8], done: &mut Vec<Completed>) -> Result<usize, Broken>;
}

/// Makes the requests of one lane until the run is over, on one connection after the other if they break.
pub(crate) async fn drive<S: Session>(
    shared: Rc<Shared>,
    mut lane: Lane,
    addresses: Vec<SocketAddr>,
    session: impl Fn() -> S,
) -> io::Result<()> {
    let mut timer = Timer::new()?;
    while !shared.is_over(Instant::now()) {
        match connect(&addresses).await {
            Ok(stream) => {
                let mut conversation = Conversation::new(stream, session(), &mut lane, &mut timer);
                let end = poll_fn(|cx| conversation.poll(&shared, cx)).await?;
                conversation.close(&shared);
                if end == End::Over {
                    break;
                }
            }
            Err(_refused) => lane.unreachable(&shared).await,
        }
    }
    lane.give_up(&shared);
    Ok(())
}

/// Connects to the first address that answers.
pub(crate) async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match tokio::time::timeout(crate::lane::CONNECT_TIMEOUT, TcpStream::connect(address)).await
        {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_elapsed) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// How a conversation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// The run is over.
    Over,
    /// The connection is.
    Closed,
}

/// One connection at work.
struct Conversation<'a, S> {
    stream: TcpStream,
    session: S,
    lane: &'a mut Lane,
    timer: &'a mut Timer,
    input: Vec<u8>,
    /// Where unread input begins and ends.
    unread: (usize, usize),
    /// How much of what is to be sent is.
    sent: usize,
    done: Vec<Completed>,
    broken: bool,
}

impl<'a, S: Session> Conversation<'a, S> {
    fn new(stream: TcpStream, session: S, lane: &'a mut Lane, timer: &'a mut Timer) -> Self {
        Self {
            stream,
            session,
            lane,
            timer,
            input: vec![0; READ_BYTES],
            unread: (0, 0),
            sent: 0,
            done: Vec::new(),
            broken: false,
        }
    }

    fn poll(&mut self, shared: &Shared, cx: &mut Context<'_>) -> Poll<io::Result<End>> {
        loop {
            let read = self.read(shared, cx);
            let now = Instant::now();
            self.start(shared, now);
            self.write(cx);
            if self.broken {
                return Poll::Ready(Ok(End::Closed));
            }
            if read {
                continue;
            }
            if self.session.is_closing() && self.lane.is_idle() {
                return Poll::Ready(Ok(End::Closed));
            }
            if self.lane.is_finished(shared, now) {
                return Poll::Ready(Ok(End::Over));
            }
            match self.wait(shared, now, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads once and takes what came; says whether anything did.
    fn read(&mut self, shared: &Shared, cx: &mut Context<'_>) -> bool {
        self.make_room();
        let (from, to) = self.unread;
        let mut buffer = ReadBuf::new(&mut self.input[to..]);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                self.unread.1 += buffer.filled().len();
            }
            Poll::Ready(_ended) => {
                self.broken = true;
                return false;
            }
        }
        let input = &self.input[from..self.unread.1];
        match self.session.receive(input, &mut self.done) {
            Ok(taken) => self.unread.0 += taken,
            Err(broken) => {
                shared.note(&broken.to_string());
                self.broken = true;
            }
        }
        let now = Instant::now();
        for Completed { ticket, ended } in self.done.drain(..) {
            self.lane.end(shared, ticket, ended, now);
        }
        true
    }

    fn make_room(&mut self) {
        let (from, to) = self.unread;
        if from == to {
            self.unread = (0, 0);
        } else if to == self.input.len() {
            if from == 0 {
                self.input.resize(to * 2, 0);
            } else {
                self.input.copy_within(from..to, 0);
                self.unread = (0, to - from);
            }
        }
    }

    /// Starts what is due, as far as there is room.
    fn start(&mut self, shared: &Shared, now: Instant) {
        let mut room = self.session.room();
        while room > 0
            && let Some((ticket, operation)) = self.lane.begin(shared, now)
        {
            self.session.start(ticket, &operation);
            room = self.session.room();
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) {
        loop {
            let out = self.session.out();
            if self.sent == out.len() {
                out.clear();
                self.sent = 0;
                return;
            }
            match Pin::new(&mut self.stream).poll_write(cx, &out[self.sent..]) {
                Poll::Ready(Ok(count)) if count > 0 => self.sent += count,
                Poll::Ready(_failed) => {
                    self.broken = true;
                    return;
                }
                Poll::Pending => return,
            }
        }
    }

    /// Waits for the next request that is due, or the next look at deadlines. Ready: look again at once.
    fn wait(
        &mut self,
        shared: &Shared,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.lane.sweep_is_due(now) {
            for ticket in self.lane.expire(shared, now) {
                self.session.abandon(ticket);
            }
            if self.session.out().len() > self.sent {
                return Poll::Ready(Ok(()));
            }
        }
        let wake = self.lane.wakes_at(shared, now, self.session.room() > 0);
        ready!(self.timer.poll(wake, now, cx))?;
        Poll::Ready(Ok(()))
    }

    /// What was outstanding has no answer.
    fn close(self, shared: &Shared) {
        self.lane.interrupt(shared, Instant::now());
    }
}
