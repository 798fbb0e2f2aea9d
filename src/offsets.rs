//! How far this node's wall clock is from those of its peers, and whether it may coordinate all the same.
//!
//! Hybrid time is no measure of that: it follows whoever is ahead, by as much as is allowed. So wall clocks are compared,
//! from what replies carry: a reply was stamped after its request had been sent and before it arrived, so that the peer's
//! clock is known but for half of the round trip (Cristian, "Probabilistic clock synchronization", Distributed Computing
//! 3, 1989). A peer counts as off only if it is off whatever the network did meanwhile: a slow or paused node is not
//! taken for one with a wrong clock.
//!
//! Which of two clocks is right nobody knows; of more, the majority is believed. A node that is off most of its peers
//! for a while no longer stamps writes or judges expiry for clients, until it has been among them for as long.
//!
//! [`Offsets`] is pure: time is a parameter. [`PeerClocks`] shares it between those who hear peers, the one who judges,
//! and those who ask.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use shard_cache_membership::identity::NodeId;

use crate::{
    clock::{Monotonic, Now},
    sync::{Mutex, lock},
};

/// How far a peer's clock may be from this node's either way, in milliseconds.
pub const OFFSET_MAX_MILLIS: u64 = 400;
/// Peers that were not heard for so long do not count.
pub const HEARD_WITHIN: Duration = Duration::from_secs(10);
/// How long this node has to be off most of its peers before it refuses, and among them before it coordinates again.
pub const OFF_FOR: Duration = Duration::from_secs(5);

/// This node's clock is off most of its peers'.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub struct ClockOff {
    /// How far it is ahead; negative when it is behind.
    pub ahead_millis: i64,
}

impl fmt::Display for ClockOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = self.ahead_millis.unsigned_abs();
        let way = if self.ahead_millis < 0 {
            "behind"
        } else {
            "ahead of"
        };
        write!(
            f,
            "this node's clock is {by} ms {way} most of its peers, more than the {OFFSET_MAX_MILLIS} ms allowed"
        )
    }
}

/// What one reply tells of a peer's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// How far this node is ahead, most probably; negative when it is behind.
    pub ahead_millis: i64,
    /// It may be so much more or less.
    pub doubt_millis: u64,
}

impl Sample {
    /// Of a reply that was stamped with the peer's wall clock and has arrived `now`, so long after its request was sent.
    #[must_use]
    pub fn of_reply(peer_wall_millis: u64, now: Now, round_trip: Duration) -> Self {
        let doubt_millis = u64::try_from(round_trip.as_millis().div_ceil(2)).unwrap_or(u64::MAX);
        let stamped = now.wall_millis.saturating_sub(doubt_millis);
        let apart = i64::try_from(stamped.abs_diff(peer_wall_millis)).unwrap_or(i64::MAX);
        Self {
            ahead_millis: if stamped < peer_wall_millis {
                -apart
            } else {
                apart
            },
            doubt_millis,
        }
    }

    /// Whether it is off whatever the doubt.
    const fn is_off(self) -> bool {
        self.ahead_millis.unsigned_abs() > OFFSET_MAX_MILLIS.saturating_add(self.doubt_millis)
    }
}

/// What a node knows of its peers' clocks.
#[derive(Debug, Default)]
pub struct Offsets {
    /// The last sample of each peer and when it was taken.
    samples: BTreeMap<NodeId, (Sample, Monotonic)>,
    refusing: Option<ClockOff>,
    /// Since when the samples have spoken against what this node does.
    contradicted_since: Option<Monotonic>,
}

/// What the samples come to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Judgement {
    /// Why this node must not coordinate, if so.
    pub refusing: Option<ClockOff>,
    /// How far it is ahead of its peers, as a median; `None` when none was heard of late.
    pub median_ahead_millis: Option<i64>,
}

impl Offsets {
    /// A peer was heard.
    pub fn observe(&mut self, peer: NodeId, sample: Sample, now: Monotonic) {
        self.samples.insert(peer, (sample, now));
    }

    /// Where this node stands. To be asked often: what the samples said in between does not count.
    ///
    /// Silence speaks for nobody: when no peer is heard any more, a node that refuses coordinates again in the end, so
    /// that the last node of a cluster is not lost to its clients.
    pub fn judge(&mut self, now: Monotonic) -> Judgement {
        self.samples
            .retain(|_, (_, at)| now.saturating_sub(*at) < HEARD_WITHIN);
        let mut all = self.ahead_of(|_| true);
        let mut off = self.ahead_of(Sample::is_off);
        let off_now = (2 * off.len() > all.len())
            .then(|| middle(&mut off))
            .flatten()
            .map(|ahead_millis| ClockOff { ahead_millis });
        if off_now.is_some() == self.refusing.is_some() {
            self.contradicted_since = None;
            self.refusing = off_now;
        } else {
            let since = *self.contradicted_since.get_or_insert(now);
            if now.saturating_sub(since) >= OFF_FOR {
                self.contradicted_since = None;
                self.refusing = off_now;
            }
        }
        Judgement {
            refusing: self.refusing,
            median_ahead_millis: middle(&mut all),
        }
    }

    /// How far this node is ahead of each peer that was heard of late, in milliseconds.
    #[must_use]
    pub fn ahead_millis(&self, now: Monotonic) -> Vec<(NodeId, i64)> {
        let heard = self.samples.iter();
        heard
            .filter(|(_, (_, at))| now.saturating_sub(*at) < HEARD_WITHIN)
            .map(|(peer, (sample, _))| (*peer, sample.ahead_millis))
            .collect()
    }

    fn ahead_of(&self, is_meant: impl Fn(Sample) -> bool) -> Vec<i64> {
        let samples = self.samples.values().map(|(sample, _)| *sample);
        samples
            .filter(|sample| is_meant(*sample))
            .map(|sample| sample.ahead_millis)
            .collect()
    }
}

/// The middle value; of an even number, the higher of the two.
fn middle(values: &mut [i64]) -> Option<i64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// The clocks of a node's peers, shared.
#[derive(Debug, Default)]
pub struct PeerClocks {
    offsets: Mutex<Offsets>,
    /// How far this node is ahead while it refuses to coordinate. Zero while it does not: nobody refuses for that.
    refusing: AtomicI64,
    /// As a median, zero while no peer is heard.
    median: AtomicI64,
}

/// What a judgement has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// The node refuses to coordinate from now on.
    Refuses(ClockOff),
    /// It coordinates again.
    Coordinates,
}

impl PeerClocks {
    /// No peer was heard yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A peer was heard. Once per reply message, however many answers are in it.
    pub fn observe(&self, peer: NodeId, sample: Sample, now: Monotonic) {
        lock(&self.offsets).observe(peer, sample, now);
    }

    /// Judges what was heard; returns what that changes.
    pub fn judge(&self, now: Monotonic) -> Option<Turn> {
        let Judgement {
            refusing,
            median_ahead_millis,
        } = lock(&self.offsets).judge(now);
        let median = median_ahead_millis.unwrap_or(0);
        self.median.store(median, Ordering::Relaxed);
        let ahead_millis = refusing.map_or(0, |off| off.ahead_millis);
        let before = self.refusing.swap(ahead_millis, Ordering::Relaxed);
        match (before, refusing) {
            (0, Some(off)) => Some(Turn::Refuses(off)),
            (0, None) | (_, Some(_)) => None,
            (_, None) => Some(Turn::Coordinates),
        }
    }

    /// Why this node must not coordinate, if so. One relaxed load.
    #[must_use]
    pub fn refusing(&self) -> Option<ClockOff> {
        match self.refusing.load(Ordering::Relaxed) {
            0 => None,
            ahead_millis => Some(ClockOff { ahead_millis }),
        }
    }

    /// How far this node's clock is ahead of each peer's that was heard of late, in milliseconds.
    #[must_use]
    pub fn ahead_millis(&self, now: Monotonic) -> Vec<(NodeId, i64)> {
        lock(&self.offsets).ahead_millis(now)
    }

    /// How far this node's clock is ahead of its peers', as a median; zero while no peer is heard.
    #[must_use]
    pub fn median_ahead_millis(&self) -> i64 {
        self.median.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(feature = "race")))]
mod tests;
