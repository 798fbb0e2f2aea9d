//! Accepted connections, as HTTP/2 is written to them.
//!
//! The `h2` crate gives a frame of more than 256 bytes a write of its own, unless the socket takes no vectored writes: then
//! up to 1024 bytes are copied behind what is waiting, and many answers go out in one write. Larger frames would still be
//! written alone, and before them what was waiting: so this goes together with cutting answers into pieces ([`super::pieces`]),
//! and either alone makes answers of a kilobyte slower.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A connection that takes whole buffers only.
#[derive(Debug)]
pub(super) struct WholeWrites(pub(super) TcpStream);

impl AsyncRead for WholeWrites {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for WholeWrites {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        false
    }
}
