//! The answering side of a link of bare frames: batches are carried out as they come, and their answers go out in one
//! write. See [`crate::transport`].

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    sync::Arc,
    task::{Context, Poll, ready},
};

use prost::Message as _;
use shard_cache_proto::peer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::peer::PeerParts;
use crate::transport::{Frames, PREAMBLE, Watch, expected};

/// Bytes of a small operation, about.
const OPERATION_BYTES: usize = 96;

/// Whether a connection begins like one of frames. Nothing is taken from it.
pub(super) async fn is_framed(connection: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let read = connection.peek(&mut first).await?;
    // HTTP/2 begins with another letter.
    Ok(read > 0 && first[0] == PREAMBLE[0])
}

/// Serves a link until the other side closes it.
pub(super) async fn serve(mut connection: TcpStream, parts: Arc<PeerParts>) -> io::Result<()> {
    let mut preamble = [0; PREAMBLE.len()];
    connection.read_exact(&mut preamble).await?;
    if preamble != PREAMBLE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    connection.write_all(&PREAMBLE).await?;
    let mut link = Link {
        frames: Frames::new(connection),
        watch: Watch::new(Arc::clone(&parts.clock)),
        parts,
        ready: VecDeque::new(),
    };
    poll_fn(|context| link.poll(context)).await
}

struct Link {
    frames: Frames<TcpStream>,
    watch: Watch,
    parts: Arc<PeerParts>,
    ready: VecDeque<peer::ReplyBatch>,
}

impl Link {
    /// Completes when the connection has ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // Batches are answered only while their answers find room.
            while !self.frames.is_full()
                && let Poll::Ready(frame) = self.frames.poll_read(context)
            {
                match frame {
                    Some(frame) => self.take(frame?)?,
                    None => return Poll::Ready(Ok(())),
                }
            }
            if self.frames.is_full() {
                ready!(self.frames.poll_write(context))?;
                continue;
            }
            if let Poll::Ready(written) = self.frames.poll_write(context) {
                written?;
            }
            ready!(self.watch.poll_look(context, &mut self.frames))?;
        }
    }

    fn take(&mut self, frame: bytes::Bytes) -> io::Result<()> {
        if frame.is_empty() {
            return Ok(());
        }
        let mut batch = peer::Batch {
            operations: Vec::with_capacity(expected(&frame, OPERATION_BYTES)),
            ..Default::default()
        };
        batch.merge(frame).map_err(io::Error::other)?;
        self.parts.answer(batch, &mut self.ready);
        for replies in self.ready.drain(..) {
            self.frames.send(&replies);
        }
        Ok(())
    }
}
