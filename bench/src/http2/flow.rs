//! How much may be sent: the peer's windows, and bodies that wait for them.

use std::collections::VecDeque;

use super::frame::{self, Head};

/// Every window at first, in bytes.
const WINDOW_BYTES: i64 = 65_535;
/// Largest window, in bytes.
const WINDOW_BYTES_MAX: i64 = 0x7fff_ffff;

/// The sending side of a connection.
#[derive(Debug)]
pub(super) struct Outflow {
    connection: i64,
    initial: i64,
    frame_bytes_max: usize,
    waiting: VecDeque<Body>,
}

/// What is left of a request that did not fit the windows.
#[derive(Debug)]
struct Body {
    stream: u32,
    bytes: Vec<u8>,
    sent: usize,
    window: i64,
}

/// A window grew past what the standard allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct WindowOverflow;

impl Outflow {
    pub(super) const fn new() -> Self {
        Self {
            connection: WINDOW_BYTES,
            initial: WINDOW_BYTES,
            frame_bytes_max: frame::PAYLOAD_BYTES_MAX,
            waiting: VecDeque::new(),
        }
    }

    /// Whether bodies wait: then no request should be added.
    pub(super) fn is_blocked(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends a body whose head has been reserved at the end of `out`, from `head_at` on.
    pub(super) fn send(&mut self, stream: u32, head_at: usize, out: &mut Vec<u8>) {
        let body_at = head_at + frame::HEAD_BYTES;
        let length = out.len() - body_at;
        let fits = length <= self.frame_bytes_max
            && self.waiting.is_empty()
            && length as i64 <= self.connection.min(self.initial);
        if fits {
            self.connection -= length as i64;
            let head = data(stream, length, true);
            out[head_at..body_at].copy_from_slice(&head.to_bytes());
        } else {
            self.waiting.push_back(Body {
                stream,
                bytes: out.split_off(body_at),
                sent: 0,
                window: self.initial,
            });
            out.truncate(head_at);
            self.flush(out);
        }
    }

    /// Sends what the windows allow of what waits.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        for body in &mut self.waiting {
            loop {
                let left = body.bytes.len() - body.sent;
                let window = self.connection.min(body.window).max(0);
                let length = left.min(self.frame_bytes_max).min(window as usize);
                if length == 0 && left > 0 {
                    break;
                }
                let last = length == left;
                data(body.stream, length, last).write(out);
                out.extend_from_slice(&body.bytes[body.sent..body.sent + length]);
                body.sent += length;
                body.window -= length as i64;
                self.connection -= length as i64;
                if last {
                    break;
                }
            }
        }
        self.waiting.retain(|body| body.sent < body.bytes.len());
    }

    /// The peer takes more.
    pub(super) fn grow(&mut self, stream: u32, by: u32) -> Result<(), WindowOverflow> {
        let window = if stream == 0 {
            &mut self.connection
        } else {
            match self.waiting.iter_mut().find(|body| body.stream == stream) {
                Some(body) => &mut body.window,
                // Its body is sent: it does not need any.
                None => return Ok(()),
            }
        };
        *window += i64::from(by);
        if *window > WINDOW_BYTES_MAX {
            return Err(WindowOverflow);
        }
        Ok(())
    }

    /// The peer sets what every stream begins with.
    pub(super) fn set_initial(&mut self, bytes: u32) {
        let change = i64::from(bytes) - self.initial;
        self.initial = i64::from(bytes);
        for body in &mut self.waiting {
            body.window += change;
        }
    }

    /// The peer sets how large a frame may be.
    pub(super) fn set_frame_bytes_max(&mut self, bytes: u32) {
        self.frame_bytes_max = (bytes as usize).max(frame::PAYLOAD_BYTES_MAX);
    }

    /// A stream ended early: nothing more of it is sent.
    pub(super) fn forget(&mut self, stream: u32) {
        self.waiting.retain(|body| body.stream != stream);
    }
}

const fn data(stream: u32, length: usize, last: bool) -> Head {
    Head {
        length,
        kind: frame::DATA,
        flags: if last { frame::END_STREAM } else { 0 },
        stream,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths of the DATA frames in `out`, and whether the last one ends its stream.
    fn frames(out: &[u8]) -> (Vec<usize>, bool) {
        let (mut lengths, mut last, mut rest) = (Vec::new(), false, out);
        while let Some(head) = Head::parse(rest) {
            lengths.push(head.length);
            last = head.has(frame::END_STREAM);
            rest = &rest[frame::HEAD_BYTES + head.length..];
        }
        assert!(rest.is_empty());
        (lengths, last)
    }

    fn send(flow: &mut Outflow, stream: u32, length: usize) -> Vec<u8> {
        let mut out = vec![0; frame::HEAD_BYTES + length];
        flow.send(stream, 0, &mut out);
        out
    }

    #[test]
    fn a_large_body_goes_in_frames_and_as_far_as_the_windows_allow() {
        let mut flow = Outflow::new();
        let out = send(&mut flow, 1, 100_000);
        assert_eq!(frames(&out), (vec![16_384, 16_384, 16_384, 16_383], false));
        assert!(flow.is_blocked());
        let mut out = Vec::new();
        flow.grow(0, 20_000).unwrap();
        flow.flush(&mut out);
        assert!(out.is_empty(), "the stream's window is still closed");
        flow.grow(1, 50_000).unwrap();
        flow.flush(&mut out);
        assert_eq!(frames(&out), (vec![16_384, 3_616], false));
        out.clear();
        flow.grow(0, 50_000).unwrap();
        flow.flush(&mut out);
        assert_eq!(frames(&out), (vec![14_465], true));
        assert!(!flow.is_blocked());
    }

    #[test]
    fn small_bodies_are_sent_at_once_until_the_connection_is_full() {
        let mut flow = Outflow::new();
        for stream in 0..6 {
            let out = send(&mut flow, 2 * stream + 1, 10_000);
            assert_eq!(frames(&out), (vec![10_000], true));
        }
        assert_eq!(frames(&send(&mut flow, 13, 10_000)), (vec![5_535], false));
        assert!(
            send(&mut flow, 15, 10).is_empty(),
            "it waits behind the other"
        );
        flow.forget(13);
        flow.grow(0, 10).unwrap();
        let mut out = Vec::new();
        flow.flush(&mut out);
        assert_eq!(frames(&out), (vec![10], true));
    }

    #[test]
    fn a_changed_initial_window_changes_those_that_wait_and_none_may_overflow() {
        let mut flow = Outflow::new();
        flow.grow(0, 1_000_000).unwrap();
        flow.set_initial(10);
        assert_eq!(frames(&send(&mut flow, 1, 100)), (vec![10], false));
        flow.set_initial(60);
        let mut out = Vec::new();
        flow.flush(&mut out);
        assert_eq!(frames(&out), (vec![50], false));
        assert_eq!(flow.grow(0, 0x7fff_ffff), Err(WindowOverflow));
    }
}
