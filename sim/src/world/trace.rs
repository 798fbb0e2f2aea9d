//! A hash over everything that happens, in order: two runs that did the same have the same one.

use xxhash_rust::xxh3::xxh3_64;

use super::{
    HostId, Nanos,
    events::Event,
    streams::{Payload, Segment},
};

/// The hash so far.
pub(crate) struct Trace {
    hash: u64,
    events: u64,
    print: bool,
}

impl Trace {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            hash: seed,
            events: 0,
            print: false,
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    pub(crate) const fn print(&mut self) {
        self.print = true;
    }

    pub(crate) fn event(&mut self, at: Nanos, event: &Event) {
        self.events += 1;
        if self.print {
            println!("{at:>14} {}", Shown(event));
        }
        self.fold(at);
        match event {
            // The slot of a timer follows from what happened before; a timer that nobody waits for is nothing.
            Event::Timer { slot, generation } => {
                self.fold(1 << 56 | u64::from(*slot) << 32 | u64::from(*generation));
            }
            Event::Resume { host } => self.fold(2 << 56 | u64::from(host.0)),
            Event::Datagram { to, from, bytes } => {
                self.fold(3 << 56 | u64::from(to.0) << 16 | u64::from(from.port()));
                self.fold(xxh3_64(bytes));
            }
            Event::Segment {
                connection,
                toward,
                segment,
            } => {
                self.fold(4 << 56 | connection.0 << 8 | *toward as u64);
                self.segment(segment);
            }
            Event::Keepalive { connection, side } => {
                self.fold(5 << 56 | connection.0 << 8 | *side as u64);
            }
        }
    }

    fn segment(&mut self, segment: &Segment) {
        self.fold(match &segment.payload {
            Payload::Open => 1,
            Payload::Accepted => 2,
            Payload::Bytes(bytes) => xxh3_64(bytes),
            Payload::Ping => 4,
            Payload::Pong => 5,
            Payload::End => 6,
        });
    }

    pub(crate) fn poll(&mut self, host: HostId, task: u32) {
        self.fold(6 << 56 | u64::from(host.0) << 32 | u64::from(task));
    }

    pub(crate) fn note(&mut self, at: Nanos, what: String) {
        let word = xxh3_64(what.as_bytes());
        self.note_words(at, &[word], || what);
    }

    pub(crate) fn note_words(&mut self, at: Nanos, words: &[u64], what: impl FnOnce() -> String) {
        if self.print {
            println!("{at:>14} {}", what());
        }
        self.fold(at);
        for word in words {
            self.fold(*word);
        }
    }

    /// One round of the finaliser of SplitMix64 over the hash so far and the next word.
    fn fold(&mut self, word: u64) {
        let mut mixed = (self.hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.hash = mixed ^ (mixed >> 31);
    }
}

/// An event for people: sizes instead of bytes.
struct Shown<'a>(&'a Event);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Event::Timer { slot, generation } => write!(f, "timer {slot}.{generation}"),
            Event::Resume { host } => write!(f, "{host:?} goes on"),
            Event::Datagram { to, from, bytes } => {
                write!(f, "datagram of {} bytes from {from} at {to:?}", bytes.len())
            }
            Event::Segment {
                connection,
                toward,
                segment,
            } => {
                write!(f, "connection {} toward the {toward:?}: ", connection.0)?;
                match &segment.payload {
                    Payload::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
                    Payload::Open => f.write_str("open"),
                    Payload::Accepted => f.write_str("accepted"),
                    Payload::Ping => f.write_str("ping"),
                    Payload::Pong => f.write_str("pong"),
                    Payload::End => f.write_str("end"),
                }
            }
            Event::Keepalive { connection, side } => {
                write!(
                    f,
                    "connection {}: the {side:?} looks whether it lives",
                    connection.0
                )
            }
        }
    }
}
