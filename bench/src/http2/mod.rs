//! gRPC over HTTP/2, as little of it as unary calls need, without I/O: bytes in, bytes and results out.
//!
//! - `frame`: frames, read and written.
//! - `hpack`, `huffman`: header blocks.
//! - `request`: the header block of a request, most of it in the peer's table.
//! - `answer`: what a header block means; equal blocks are decoded once.
//! - `flow`: how much may be sent.
//! - `session`: the connection.

mod answer;
mod flow;
mod frame;
mod hpack;
mod huffman;
mod request;
mod session;

pub(crate) use session::Http2;
