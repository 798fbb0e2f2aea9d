//! A connection to a gRPC server, from the client's side: requests in, results out, and in between bytes in and out.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    time::Duration,
};

use super::{
    answer::{Answers, Meaning},
    flow::Outflow,
    frame::{self, Head},
    hpack::HpackError,
    request::RequestHeaders,
};
use crate::{
    operation::{Answer, Ended, Operation},
    service::Service,
    wire::{Broken, Completed, Session, Ticket},
};

/// What the peer may send before it is told that it was read, in bytes.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// The connection's window before anything is said, in bytes.
const WINDOW_BYTES_INITIAL: u32 = 65_535;
/// Largest answer, in bytes.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest header block, in bytes.
const BLOCK_BYTES_MAX: usize = 64 * 1024;
/// What stands before a gRPC message.
const PREFIX_BYTES: usize = 5;
/// Last stream of a connection: below the standard's 2^31, with room to spare.
const STREAM_MAX: u32 = 0x7fff_0000;

/// One connection.
#[derive(Debug)]
pub(crate) struct Http2<S> {
    service: S,
    headers: RequestHeaders,
    answers: Answers,
    flow: Outflow,
    streams: HashMap<u32, Stream, BuildHasherDefault<StreamHasher>>,
    next_stream: u32,
    concurrent_max: usize,
    /// The peer has told its settings.
    ready: bool,
    /// No more requests on this connection.
    closing: bool,
    /// Read and not yet given back to the peer, in bytes.
    unacknowledged: u32,
    /// A header block that has not ended.
    block: Option<(Head, Vec<u8>)>,
    out: Vec<u8>,
}

#[derive(Debug)]
struct Stream {
    ticket: Ticket,
    operation: Operation,
    /// What came of a message that did not come at once.
    partial: Vec<u8>,
    /// What the message says, once it is there.
    answer: Option<Answer>,
}

impl<S: Service> Http2<S> {
    pub(crate) fn new(service: S, authority: &str, timeout: Duration) -> Self {
        let mut out = frame::PREFACE.to_vec();
        let settings = [
            (frame::SETTING_ENABLE_PUSH, 0),
            (frame::SETTING_INITIAL_WINDOW_SIZE, WINDOW_BYTES),
        ];
        frame::write_settings(&settings, &mut out);
        let more = WINDOW_BYTES - WINDOW_BYTES_INITIAL;
        frame::write_number(frame::WINDOW_UPDATE, 0, more, &mut out);
        Self {
            service,
            headers: RequestHeaders::new(authority, &grpc_timeout(timeout)),
            answers: Answers::new(timeout),
            flow: Outflow::new(),
            streams: HashMap::default(),
            next_stream: 1,
            concurrent_max: usize::MAX,
            ready: false,
            closing: false,
            unacknowledged: 0,
            block: None,
            out,
        }
    }

    fn frame(
        &mut self,
        head: Head,
        payload: &[u8],
        done: &mut Vec<Completed>,
    ) -> Result<(), Broken> {
        if let Some((first, block)) = &mut self.block {
            if head.kind != frame::CONTINUATION || head.stream != first.stream {
                return Err(Broken::protocol("a header block was not continued"));
            }
            block.extend_from_slice(payload);
            if block.len() > BLOCK_BYTES_MAX {
                return Err(Broken::protocol("a header block is too large"));
            }
            if head.has(frame::END_HEADERS)
                && let Some((first, block)) = self.block.take()
            {
                self.header_block(first, &block, done)?;
            }
            return Ok(());
        }
        match head.kind {
            frame::DATA => self.data(head, payload, done),
            frame::HEADERS => {
                let block = content(head, payload)?;
                if head.has(frame::END_HEADERS) {
                    return self.header_block(head, block, done);
                }
                self.block = Some((head, block.to_vec()));
                Ok(())
            }
            frame::RST_STREAM => {
                self.end(head.stream, Ended::interrupted("reset"), done);
                Ok(())
            }
            frame::SETTINGS => self.settings(head, payload),
            frame::PING => {
                if !head.has(frame::ACK) {
                    frame::write(frame::PING, frame::ACK, 0, payload, &mut self.out);
                }
                Ok(())
            }
            frame::GOAWAY => self.goaway(payload, done),
            frame::WINDOW_UPDATE => {
                let by = frame::number(payload)
                    .ok_or(Broken::protocol("a window update without a number"))?;
                self.flow
                    .grow(head.stream, by & 0x7fff_ffff)
                    .map_err(|_overflow| Broken::protocol("a window is too large"))?;
                self.flow.flush(&mut self.out);
                Ok(())
            }
            frame::PUSH_PROMISE => Err(Broken::protocol("a push, which was refused")),
            frame::CONTINUATION => Err(Broken::protocol("a continuation of nothing")),
            // PRIORITY, and what the standard says is to be ignored.
            _ => Ok(()),
        }
    }

    fn data(
        &mut self,
        head: Head,
        payload: &[u8],
        done: &mut Vec<Completed>,
    ) -> Result<(), Broken> {
        // A payload is bounded by our own largest frame.
        self.unacknowledged += payload.len() as u32;
        if self.unacknowledged >= WINDOW_BYTES / 2 {
            let read = std::mem::take(&mut self.unacknowledged);
            frame::write_number(frame::WINDOW_UPDATE, 0, read, &mut self.out);
        }
        let content = content(head, payload)?;
        let Some(stream) = self.streams.get_mut(&head.stream) else {
            // It was given up.
            return Ok(());
        };
        let message = if stream.partial.is_empty() && message(content)?.is_some() {
            message(content)?
        } else {
            stream.partial.extend_from_slice(content);
            message(&stream.partial)?
        };
        if let Some(message) = message {
            match self.service.judge(&stream.operation, message) {
                Some(answer) => stream.answer = Some(answer),
                None => {
                    self.end(head.stream, Ended::bad_answer(), done);
                    return Ok(());
                }
            }
        }
        if head.has(frame::END_STREAM) {
            self.end(head.stream, Ended::interrupted("no_trailers"), done);
        }
        Ok(())
    }

    fn header_block(
        &mut self,
        head: Head,
        block: &[u8],
        done: &mut Vec<Completed>,
    ) -> Result<(), Broken> {
        let meaning = self.answers.read(block)?;
        let ended = match meaning {
            Meaning::Begins if !head.has(frame::END_STREAM) => return Ok(()),
            Meaning::Begins => Ended::interrupted("no_grpc_status"),
            Meaning::Failed(ended) => ended.clone(),
            Meaning::Done => {
                let stream = self.streams.get(&head.stream);
                stream
                    .and_then(|stream| stream.answer)
                    .map_or(Ended::bad_answer(), Ended::Ok)
            }
        };
        self.end(head.stream, ended, done);
        Ok(())
    }

    fn settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        if head.has(frame::ACK) {
            return Ok(());
        }
        let settings =
            frame::settings(payload).ok_or(Broken::protocol("settings of an odd size"))?;
        for (name, value) in settings {
            match name {
                frame::SETTING_HEADER_TABLE_SIZE => self.headers.limit_table(value),
                frame::SETTING_MAX_CONCURRENT_STREAMS => self.concurrent_max = value as usize,
                frame::SETTING_INITIAL_WINDOW_SIZE => self.flow.set_initial(value),
                frame::SETTING_MAX_FRAME_SIZE => self.flow.set_frame_bytes_max(value),
                // What the standard says is to be ignored.
                _ => {}
            }
        }
        self.ready = true;
        frame::write(frame::SETTINGS, frame::ACK, 0, &[], &mut self.out);
        self.flow.flush(&mut self.out);
        Ok(())
    }

    fn goaway(&mut self, payload: &[u8], done: &mut Vec<Completed>) -> Result<(), Broken> {
        let last = frame::number(payload).ok_or(Broken::protocol("a goaway without a stream"))?
            & 0x7fff_ffff;
        self.closing = true;
        let refused: Vec<u32> = self
            .streams
            .keys()
            .copied()
            .filter(|stream| *stream > last)
            .collect();
        for stream in refused {
            self.end(stream, Ended::interrupted("goaway"), done);
        }
        Ok(())
    }

    fn end(&mut self, stream: u32, ended: Ended, done: &mut Vec<Completed>) {
        if let Some(Stream { ticket, .. }) = self.streams.remove(&stream) {
            if self.flow.is_blocked() {
                self.flow.forget(stream);
            }
            done.push(Completed { ticket, ended });
        }
    }
}

impl<S: Service> Session for Http2<S> {
    fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    fn room(&self) -> usize {
        if !self.ready || self.closing || self.flow.is_blocked() {
            return 0;
        }
        self.concurrent_max.saturating_sub(self.streams.len())
    }

    fn is_closing(&self) -> bool {
        self.closing
    }

    fn start(&mut self, ticket: Ticket, operation: &Operation) {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.closing |= self.next_stream > STREAM_MAX;
        let headers_at = self.out.len();
        self.out.extend_from_slice(&[0; frame::HEAD_BYTES]);
        self.headers
            .write(self.service.path(operation.kind), &mut self.out);
        let block_at = headers_at + frame::HEAD_BYTES;
        let head = Head {
            length: self.out.len() - block_at,
            kind: frame::HEADERS,
            flags: frame::END_HEADERS,
            stream,
        };
        self.out[headers_at..block_at].copy_from_slice(&head.to_bytes());
        let data_at = self.out.len();
        self.out
            .extend_from_slice(&[0; frame::HEAD_BYTES + PREFIX_BYTES]);
        let message_at = self.out.len();
        self.service.encode(operation, &mut self.out);
        let length = (self.out.len() - message_at) as u32;
        self.out[message_at - 4..message_at].copy_from_slice(&length.to_be_bytes());
        self.flow.send(stream, data_at, &mut self.out);
        let request = Stream {
            ticket,
            operation: *operation,
            partial: Vec::new(),
            answer: None,
        };
        self.streams.insert(stream, request);
    }

    fn abandon(&mut self, ticket: Ticket) {
        let mut all = self.streams.iter();
        let stream = all.find(|(_, stream)| stream.ticket == ticket);
        if let Some((&stream, _)) = stream {
            self.streams.remove(&stream);
            self.flow.forget(stream);
            frame::write_number(frame::RST_STREAM, stream, frame::CANCEL, &mut self.out);
        }
    }

    fn receive(&mut self, input: &[u8], done: &mut Vec<Completed>) -> Result<usize, Broken> {
        let mut rest = input;
        while let Some(head) = Head::parse(rest) {
            if head.length > frame::PAYLOAD_BYTES_MAX {
                return Err(Broken::protocol("a frame is too large"));
            }
            let whole = frame::HEAD_BYTES + head.length;
            let Some(payload) = rest.get(frame::HEAD_BYTES..whole) else {
                break;
            };
            self.frame(head, payload, done)?;
            rest = &rest[whole..];
        }
        Ok(input.len() - rest.len())
    }
}

impl From<HpackError> for Broken {
    fn from(error: HpackError) -> Self {
        Self::Headers(error.to_string())
    }
}

fn content(head: Head, payload: &[u8]) -> Result<&[u8], Broken> {
    frame::content(head, payload).ok_or(Broken::protocol("padding does not fit its frame"))
}

/// The message, once it is whole.
fn message(bytes: &[u8]) -> Result<Option<&[u8]>, Broken> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    let [compressed, length @ ..] = *prefix;
    let length = u32::from_be_bytes(length) as usize;
    if compressed != 0 {
        return Err(Broken::protocol(
            "a compressed message, which was not asked for",
        ));
    }
    if length > MESSAGE_BYTES_MAX {
        return Err(Broken::protocol("a message is too large"));
    }
    Ok((rest.len() == length).then_some(rest))
}

/// A deadline as gRPC writes it: at most eight digits and a unit.
fn grpc_timeout(timeout: Duration) -> String {
    let micros = timeout.as_micros().max(1);
    if micros < 100_000_000 {
        format!("{micros}u")
    } else {
        format!("{}m", timeout.as_millis())
    }
}

/// Stream ids count up by two: they need no more mixing than this.
#[derive(Debug, Default)]
struct StreamHasher {
    hash: u64,
}

impl Hasher for StreamHasher {
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.hash = (self.hash ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash ^= self.hash >> 32;
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
