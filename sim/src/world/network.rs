//! Paths between hosts: how long a packet takes and whether it arrives.
//!
//! A cut swallows datagrams. What is sent over a connection meanwhile is retransmitted by the kernels: it waits and
//! arrives some time after the cut ends, unless keep-alive has given the connection up. Loss costs a connection a
//! retransmission timeout and a datagram everything.

use std::time::Duration;

use rand::{RngExt as _, rngs::SmallRng};

use super::{HostId, Nanos, nanos};

/// What a retransmission costs, at first.
const RETRANSMISSION: Nanos = 200_000_000;
/// How late a reordered datagram is, at most.
const REORDER_MAX: Nanos = 30_000_000;
const PER_MILLION: u32 = 1_000_000;

/// One direction between two hosts.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Shortest delay.
    pub delay: Duration,
    /// What is added at most; one packet in a hundred takes ten times that.
    pub jitter: Duration,
    /// Packets lost, in a million.
    pub loss_ppm: u32,
    /// Datagrams that arrive twice, in a million.
    pub duplicate_ppm: u32,
    /// Datagrams that arrive late, in a million.
    pub reorder_ppm: u32,
    /// Nothing arrives.
    pub cut: bool,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            delay: Duration::from_micros(150),
            jitter: Duration::from_micros(100),
            loss_ppm: 0,
            duplicate_ppm: 0,
            reorder_ppm: 0,
            cut: false,
        }
    }
}

impl Path {
    fn passing(&self, rng: &mut SmallRng) -> Nanos {
        let draw = rng.random::<u64>();
        let jitter = nanos(self.jitter);
        let share = ((draw >> 32) * jitter) >> 32;
        let tail = if draw & 0xffff < 655 { jitter * 9 } else { 0 };
        nanos(self.delay) + share + tail
    }

    /// How long a segment takes.
    pub(crate) fn segment(&self, rng: &mut SmallRng) -> Nanos {
        let mut passing = self.passing(rng);
        let mut timeout = RETRANSMISSION;
        while self.loss_ppm > 0 && happens(rng, self.loss_ppm) && timeout < RETRANSMISSION * 64 {
            passing += timeout;
            timeout *= 2;
        }
        passing
    }

    /// When the copies of a datagram arrive.
    pub(crate) fn datagram(&self, rng: &mut SmallRng) -> [Option<Nanos>; 2] {
        if self.cut || happens(rng, self.loss_ppm) {
            return [None, None];
        }
        let mut first = self.passing(rng);
        if happens(rng, self.reorder_ppm) {
            first += rng.random_range(0..REORDER_MAX);
        }
        let second = happens(rng, self.duplicate_ppm).then(|| self.passing(rng) * 2);
        [Some(first), second]
    }
}

fn happens(rng: &mut SmallRng, per_million: u32) -> bool {
    per_million > 0 && rng.random_range(0..PER_MILLION) < per_million
}

/// All paths.
#[derive(Default)]
pub struct Network {
    hosts: usize,
    paths: Vec<Path>,
    healed: bool,
}

impl Network {
    pub(crate) fn grow(&mut self, hosts: usize) {
        let mut grown = vec![Path::default(); hosts * hosts];
        for from in 0..self.hosts {
            for to in 0..self.hosts {
                grown[from * hosts + to] = self.paths[from * self.hosts + to];
            }
        }
        self.paths = grown;
        self.hosts = hosts;
    }

    /// The path from one host to another.
    #[must_use]
    pub fn path(&self, from: HostId, to: HostId) -> &Path {
        &self.paths[usize::from(from.0) * self.hosts + usize::from(to.0)]
    }

    /// Changes the path from one host to another.
    pub fn change(&mut self, from: HostId, to: HostId, change: impl FnOnce(&mut Path)) {
        let path = &mut self.paths[usize::from(from.0) * self.hosts + usize::from(to.0)];
        let was_cut = path.cut;
        change(path);
        self.healed |= was_cut && !path.cut;
    }

    /// Changes every path.
    pub fn change_all(&mut self, mut change: impl FnMut(&mut Path)) {
        for path in &mut self.paths {
            let was_cut = path.cut;
            change(path);
            self.healed |= was_cut && !path.cut;
        }
    }

    pub(crate) const fn take_healed(&mut self) -> bool {
        std::mem::replace(&mut self.healed, false)
    }

    /// How long after a cut what waited is retransmitted.
    pub(crate) fn retransmission(rng: &mut SmallRng) -> Nanos {
        rng.random_range(0..RETRANSMISSION * 4)
    }
}
