//! Links of bare frames over TCP: a length of four bytes, then an encoded message. What h2, hyper and tonic do for a stream
//! that is open for good is a third of what a quorum write costs beside its front; here one task reads and writes a
//! connection, and whatever is queued when it can be written goes out in one write.
//!
//! A connection begins with [`PREAMBLE`] in both directions, by which the peer port tells it from HTTP/2. Whoever has nothing to say sends an
//! empty frame each second, and closes a connection that is silent for longer, so that a silent cut is noticed.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures_core::Stream;
use prost::{Message, encoding};
use shard_cache_proto::peer;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::io::poll_read_buf;
use tonic::Status;

use crate::{
    clock::{BoxFuture, Clock},
    transport::{
        MESSAGE_BYTES_MAX,
        dial::{LinkConnection, Replies},
        streams::{NextBatch, Outgoing},
    },
};

/// What a connection of frames begins with.
pub(crate) const PREAMBLE: [u8; 8] = *b"SCFRAME1";
/// Between two looks at a connection. At each, a side that has sent nothing since the last one sends an empty frame.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Looks in a row without a word until the other side is given up.
const SILENT_LOOKS_MAX: u32 = 2;
/// `operations` in `Batch`, as in `proto/shardcache/peer/v1/peer.proto`.
const BATCH_OPERATIONS_TAG: u32 = 4;
/// Bytes in front of a message.
const LENGTH_BYTES: usize = 4;
/// Bytes that are written together; what is queued beyond waits in the link, where it is bounded.
const WRITE_BYTES_MAX: usize = 256 * 1024;
/// Room that is made for each read.
const READ_BYTES: usize = 16 * 1024;
/// Bytes of a reply to a write, about: the most common one.
const REPLY_BYTES: usize = 16;
/// Most operations or replies of a message that room is made for before they are read.
const EXPECTED_MAX: usize = 64;

/// A connection on which frames go both ways. No message is read while too much waits to be written.
pub(crate) struct Frames<S> {
    socket: S,
    incoming: BytesMut,
    outgoing: BytesMut,
    /// Something was read since the last look.
    heard: bool,
    /// Something was sent since the last look.
    spoke: bool,
}

impl<S> Frames<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self {
            socket,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            heard: false,
            spoke: false,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// Queues a message.
    pub(crate) fn send(&mut self, message: &impl Message) {
        self.spoke = true;
        let length = message.encoded_len();
        self.outgoing.reserve(LENGTH_BYTES + length);
        // A message is far below 4 GiB: batches are bounded.
        self.outgoing
            .put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        message.encode_raw(&mut self.outgoing);
    }

    /// Queues a batch, one operation after the other: nothing holds all of them in their encoded form but the buffer that is
    /// written.
    fn send_batch(&mut self, batch: NextBatch) {
        self.spoke = true;
        let begin = self.outgoing.len();
        self.outgoing.put_u32(0);
        let (head, operations) = batch.parts();
        head.encode_raw(&mut self.outgoing);
        for operation in operations {
            encoding::message::encode(BATCH_OPERATIONS_TAG, &operation, &mut self.outgoing);
        }
        // A message is far below 4 GiB: batches are bounded.
        let length = self.outgoing.len() - begin - LENGTH_BYTES;
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        self.outgoing[begin..begin + LENGTH_BYTES].copy_from_slice(&length);
    }

    /// Whether more should wait until something has been written.
    pub(crate) fn is_full(&self) -> bool {
        self.outgoing.len() >= WRITE_BYTES_MAX
    }

    /// Writes what is queued as far as the connection takes it.
    pub(crate) fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let written = Pin::new(&mut self.socket).poll_write(context, &self.outgoing);
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.outgoing.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The bytes of the next message; an empty one says nothing. `None` when the other side has closed.
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            match take_frame(&mut self.incoming) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            self.incoming.reserve(READ_BYTES);
            let read = poll_read_buf(Pin::new(&mut self.socket), context, &mut self.incoming);
            match ready!(read) {
                Ok(0) => return Poll::Ready(None),
                Ok(_) => self.heard = true,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

/// Takes the first frame, if all of it is there.
fn take_frame(incoming: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let Some(length) = incoming.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length > MESSAGE_BYTES_MAX {
        let limit = format!("a frame of {length} bytes, the limit is {MESSAGE_BYTES_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, limit));
    }
    if incoming.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    incoming.advance(LENGTH_BYTES);
    Ok(Some(incoming.split_to(length).freeze()))
}

/// For how many parts of a message of about so many bytes room should be made, so that it need not grow while they are read.
pub(crate) fn expected(frame: &[u8], part_bytes: usize) -> usize {
    (frame.len() / part_bytes + 1).min(EXPECTED_MAX)
}

/// A connection of frames to a peer that has said that it is one.
pub(super) struct FramedConnection {
    socket: TcpStream,
    clock: Arc<dyn Clock>,
}

impl FramedConnection {
    /// Connects. The caller limits how long that may take.
    pub(super) async fn connect(address: SocketAddr, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let mut socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        socket.write_all(&PREAMBLE).await?;
        let mut answer = [0; PREAMBLE.len()];
        socket.read_exact(&mut answer).await?;
        if answer != PREAMBLE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { socket, clock })
    }
}

impl LinkConnection for FramedConnection {
    fn link(self: Box<Self>, outgoing: Outgoing) -> BoxFuture<Result<Replies, Status>> {
        let replies = FramedReplies {
            frames: Frames::new(self.socket),
            outgoing,
            watch: Watch::new(self.clock),
        };
        Box::pin(async move { Ok(Box::pin(replies) as Replies) })
    }
}

/// The asking side of a link: sends what `outgoing` yields, and yields the replies. Dropping it closes the connection.
pub(super) struct FramedReplies<S> {
    frames: Frames<S>,
    outgoing: Outgoing,
    watch: Watch,
}

impl<S: AsyncRead + AsyncWrite + Unpin> FramedReplies<S> {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.frames.is_full() {
                match self.outgoing.poll_batch(context) {
                    Poll::Ready(Some(batch)) => self.frames.send_batch(batch),
                    Poll::Ready(None) => {
                        return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
                    }
                    Poll::Pending => {
                        // The queue wakes us when it has something again.
                        ready!(self.frames.poll_write(context))?;
                        return Poll::Pending;
                    }
                }
            }
            ready!(self.frames.poll_write(context))?;
        }
    }

    fn poll_reply(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<peer::ReplyBatch>>> {
        if let Poll::Ready(Err(error)) = self.poll_send(context) {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            if let Poll::Ready(frame) = self.frames.poll_read(context) {
                match frame {
                    Some(Ok(frame)) if frame.is_empty() => continue,
                    Some(Ok(frame)) => {
                        let mut batch = peer::ReplyBatch {
                            replies: Vec::with_capacity(expected(&frame, REPLY_BYTES)),
                            ..Default::default()
                        };
                        let decoded = batch.merge(frame).map(|()| batch);
                        return Poll::Ready(Some(decoded.map_err(io::Error::other)));
                    }
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => return Poll::Ready(None),
                }
            }
            let looked = ready!(self.watch.poll_look(context, &mut self.frames));
            let written = self.frames.poll_write(context);
            if let (Err(error), _) | (Ok(()), Poll::Ready(Err(error))) = (looked, written) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for FramedReplies<S> {
    type Item = Result<peer::ReplyBatch, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let broken = |error: io::Error| Status::unavailable(error.to_string());
        let reply = ready!(self.poll_reply(context));
        Poll::Ready(reply.map(|reply| reply.map_err(broken)))
    }
}

/// Looks from time to time whether the other side has been heard, and lets it hear something.
pub(crate) struct Watch {
    clock: Arc<dyn Clock>,
    next: BoxFuture<()>,
    silent: u32,
}

impl Watch {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            next: clock.sleep(LOOK_INTERVAL),
            clock,
            silent: 0,
        }
    }

    /// Completes after each look, with an error when the other side is to be given up. What it has queued is to be
    /// written.
    pub(crate) fn poll_look<S>(
        &mut self,
        context: &mut Context<'_>,
        frames: &mut Frames<S>,
    ) -> Poll<io::Result<()>> {
        ready!(self.next.as_mut().poll(context));
        self.next = self.clock.sleep(LOOK_INTERVAL);
        let (heard, spoke) = (frames.heard, frames.spoke);
        (frames.heard, frames.spoke) = (false, false);
        if !spoke {
            frames.outgoing.put_u32(0);
        }
        self.silent = if heard { 0 } else { self.silent + 1 };
        if self.silent >= SILENT_LOOKS_MAX {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(all(test, not(feature = "race")))]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::Monotonic;

    proptest! {
        #[test]
        fn messages_arrive_however_they_are_cut(
            lengths in prop::collection::vec(0usize..300, 1..8),
            cuts in prop::collection::vec(1usize..100, 1..40),
        ) {
            let sent: Vec<Vec<u8>> = lengths
                .iter()
                .enumerate()
                .map(|(number, length)| vec![number as u8; *length])
                .collect();
            let mut bytes = BytesMut::new();
            for message in &sent {
                bytes.put_u32(message.len() as u32);
                bytes.put_slice(message);
            }
            let (mut incoming, mut received, mut cuts) = (BytesMut::new(), Vec::new(), cuts.iter().cycle());
            while !bytes.is_empty() {
                let cut = cuts.next().copied().unwrap_or(1).min(bytes.len());
                incoming.extend_from_slice(&bytes.split_to(cut));
                while let Some(frame) = take_frame(&mut incoming).unwrap() {
                    received.push(frame.to_vec());
                }
            }
            prop_assert_eq!(received, sent);
            prop_assert!(incoming.is_empty());
        }
    }

    #[test]
    fn a_frame_above_the_limit_is_refused_before_it_is_there() {
        let mut incoming = BytesMut::new();
        incoming.put_u32(MESSAGE_BYTES_MAX as u32);
        assert!(matches!(take_frame(&mut incoming), Ok(None)));
        incoming.clear();
        incoming.put_u32(MESSAGE_BYTES_MAX as u32 + 1);
        assert!(take_frame(&mut incoming).is_err());
    }

    /// A clock on which every wait is over.
    struct Hasty;

    impl Clock for Hasty {
        fn monotonic(&self) -> Monotonic {
            Monotonic::ZERO
        }

        fn wall_millis(&self) -> u64 {
            0
        }

        fn sleep(&self, _duration: Duration) -> BoxFuture<()> {
            Box::pin(std::future::ready(()))
        }
    }

    #[test]
    fn whoever_has_nothing_to_say_says_so_and_whoever_is_silent_is_given_up() {
        let mut context = Context::from_waker(Waker::noop());
        let (mut frames, mut watch) = (Frames::new(()), Watch::new(Arc::new(Hasty)));
        let mut look = |frames: &mut Frames<()>| match watch.poll_look(&mut context, frames) {
            Poll::Ready(looked) => looked.map_err(|error| error.kind()),
            Poll::Pending => unreachable!("every wait is over"),
        };
        frames.heard = true;
        assert_eq!(look(&mut frames), Ok(()));
        assert_eq!(&frames.outgoing[..], [0; LENGTH_BYTES], "an empty frame");
        frames.outgoing.clear();
        frames.spoke = true;
        assert_eq!(look(&mut frames), Ok(()), "silent for the first time");
        assert!(frames.outgoing.is_empty(), "it has spoken already");
        assert_eq!(look(&mut frames), Err(io::ErrorKind::TimedOut));
    }
}
