//! Admission: which client requests a node works on. Refusing costs next to nothing and comes
//! before any other work, so that a node that cannot keep up still answers the requests it has
//! taken.
//!
//! Two limits: requests in flight (a hard number), and the CPU (a pressure that grows while it is
//! too busy). Only clients' requests are shed; membership, health, replica work for other nodes and
//! handoff do not come by here.
//!
//! - `meter`: counters in, utilisation out. Pure.
//! - `control`: utilisation in, pressure out: the control law and why it is what it is. Pure.
//! - `valve`: lets a share of the requests of a class through, evenly.
//! - `system`: reads the counters of the machine and of the process's cgroup.
//! - `watch`: the task that connects them.
//! - `memory`: resident memory in, bytes that entries may count out. Pure; it sheds entries and not requests.
//!
//! Invariant: no permit is given while `max_concurrent_requests` exist.

pub mod control;
pub mod memory;
pub mod meter;
pub mod system;
mod valve;
pub mod watch;

use std::time::Duration;

use thiserror::Error;

use self::{control::Pressure, valve::Valve};
use crate::sync::{
    Arc,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

/// How long a client that was refused, though not for load, should wait before it tries again.
pub const RETRY_PUSHBACK: Duration = Duration::from_millis(100);
/// Between these lies what clients that were shed are told to wait. Spread out, because callers that are shed together
/// would otherwise come back together, and most of them in vain.
pub const SHED_PUSHBACK_MIN: Duration = Duration::from_millis(50);
/// See [`SHED_PUSHBACK_MIN`].
pub const SHED_PUSHBACK_MAX: Duration = Duration::from_millis(150);
/// The golden ratio in parts of 2^32: its multiples spread evenly however many there are (Knuth, The Art of Computer
/// Programming, volume 3, section 6.4).
const GOLDEN: u32 = 0x9E37_79B9;

/// Ratios are published in parts of this.
const RATIO_PARTS: f64 = 10_000.0;

/// What a request asks for, as far as shedding tells requests apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Reads a key. Shed after writes: a read costs less, and a cache that answers keeps load from
    /// what is behind it.
    Read,
    /// Changes a key: costs work on every owner.
    Write,
}

/// Decides about client requests, on all faces of the node together.
#[derive(Debug)]
pub struct Admission {
    in_flight: AtomicUsize,
    // Both may change while the node runs, each on its own.
    requests_max: AtomicUsize,
    cpu_threshold: AtomicU32,
    reads: Valve,
    writes: Valve,
    /// Requests shed, as the place of the next pushback in its range. Touched by refusals alone, and nothing else is
    /// published with it.
    refusals: AtomicU32,
    // For people: the message of a refusal and the gauges. Each stands for itself, so relaxed
    // access will do.
    cpu_utilization: AtomicU32,
    cpu_pressure: AtomicU32,
}

/// The right to work on one request; dropping it gives the place to another.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
}

/// Why a request was shed. Nothing was done; trying again after the pushback is safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Overloaded {
    /// As many requests as allowed are in flight.
    #[error("overloaded: {requests_max} requests are in flight, as many as this node allows")]
    Concurrency {
        /// How many requests may be in flight.
        requests_max: usize,
        /// How long the client should wait.
        pushback: Duration,
    },
    /// The CPU is, or was a moment ago, busier than allowed, and this request is of the share that
    /// is refused for it.
    #[error(
        "overloaded: CPU utilisation is {utilization_percent} %, and server.limits.cpu_threshold is \
         {threshold_percent} %: some requests are shed until it is lower"
    )]
    Cpu {
        /// Utilisation over the window when the request was refused.
        utilization_percent: u32,
        /// The configured threshold.
        threshold_percent: u32,
        /// How long the client should wait.
        pushback: Duration,
    },
}

impl Overloaded {
    /// How long the client should wait before it tries again.
    #[must_use]
    pub const fn pushback(self) -> Duration {
        match self {
            Self::Concurrency { pushback, .. } | Self::Cpu { pushback, .. } => pushback,
        }
    }
}

impl Admission {
    /// Admits up to `requests_max` requests at a time, and all of them until a pressure is
    /// published. `cpu_threshold` is what refusals tell.
    #[must_use]
    pub fn new(requests_max: usize, cpu_threshold: f64) -> Arc<Self> {
        Arc::new(Self {
            in_flight: AtomicUsize::new(0),
            requests_max: AtomicUsize::new(requests_max),
            cpu_threshold: AtomicU32::new(parts(cpu_threshold)),
            reads: Valve::new(),
            writes: Valve::new(),
            refusals: AtomicU32::new(0),
            cpu_utilization: AtomicU32::new(0),
            cpu_pressure: AtomicU32::new(0),
        })
    }

    /// A place for one request, if there is one.
    ///
    /// # Errors
    /// [`Overloaded`] when as many requests as allowed are in flight, or the CPU is too busy.
    pub fn admit(self: &Arc<Self>, class: Class) -> Result<Permit, Overloaded> {
        if !self.valve(class).lets_through() {
            return Err(Overloaded::Cpu {
                utilization_percent: percent(self.cpu_utilization()),
                threshold_percent: percent(self.cpu_threshold()),
                pushback: self.next_pushback(),
            });
        }
        let requests_max = self.requests_max.load(Ordering::Relaxed);
        let more = |in_flight| (in_flight < requests_max).then_some(in_flight + 1);
        self.in_flight
            // In one order with the look at whether the node leaves, and with a leaving node's look at this count: a
            // request is either waited for or refused.
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, more)
            .map(|_| Permit {
                admission: Arc::clone(self),
            })
            .map_err(|_| Overloaded::Concurrency {
                requests_max,
                pushback: self.next_pushback(),
            })
    }

    fn next_pushback(&self) -> Duration {
        let turn = self.refusals.fetch_add(1, Ordering::Relaxed);
        let part = f64::from(turn.wrapping_mul(GOLDEN)) / f64::from(u32::MAX);
        SHED_PUSHBACK_MIN + (SHED_PUSHBACK_MAX - SHED_PUSHBACK_MIN).mul_f64(part)
    }

    /// Goes by other limits from now on. What is in flight already stays.
    pub fn limit(&self, requests_max: usize, cpu_threshold: f64) {
        self.requests_max.store(requests_max, Ordering::Relaxed);
        self.cpu_threshold
            .store(parts(cpu_threshold), Ordering::Relaxed);
    }

    /// CPU utilisation above which requests are shed, 0 to 1.
    #[must_use]
    pub fn cpu_threshold(&self) -> f64 {
        f64::from(self.cpu_threshold.load(Ordering::Relaxed)) / RATIO_PARTS
    }

    /// Sheds by this pressure from now on. `utilization` is what people are told.
    pub fn publish(&self, utilization: f64, pressure: Pressure) {
        self.cpu_utilization
            .store(parts(utilization), Ordering::Relaxed);
        self.cpu_pressure
            .store(parts(pressure.value()), Ordering::Relaxed);
        for class in [Class::Read, Class::Write] {
            self.valve(class).set(pressure.shed_share(class));
        }
    }

    /// Requests being worked on.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// CPU utilisation over the window, 0 to 1; 0 where it cannot be read.
    #[must_use]
    pub fn cpu_utilization(&self) -> f64 {
        f64::from(self.cpu_utilization.load(Ordering::Relaxed)) / RATIO_PARTS
    }

    /// How much is shed for the CPU, from 0, nothing, to 1, all but the share that always passes.
    #[must_use]
    pub fn cpu_pressure(&self) -> f64 {
        f64::from(self.cpu_pressure.load(Ordering::Relaxed)) / RATIO_PARTS
    }

    const fn valve(&self, class: Class) -> &Valve {
        match class {
            Class::Read => &self.reads,
            Class::Write => &self.writes,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a ratio of 0 to 1, and a cast of floats saturates"
)]
fn parts(ratio: f64) -> u32 {
    (ratio * RATIO_PARTS).round() as u32
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a ratio of 0 to 1, and a cast of floats saturates"
)]
fn percent(ratio: f64) -> u32 {
    (ratio * 100.0).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_beyond_the_limit_is_refused_until_another_ends() {
        let admission = Admission::new(2, 1.0);
        let first = admission.admit(Class::Read).expect("place one");
        let _second = admission.admit(Class::Write).expect("place two");
        assert!(matches!(
            admission.admit(Class::Read).expect_err("full"),
            Overloaded::Concurrency {
                requests_max: 2,
                ..
            }
        ));
        drop(first);
        assert!(admission.admit(Class::Read).is_ok());
        assert_eq!(admission.in_flight(), 1);
    }

    #[test]
    fn a_lower_limit_refuses_at_once_and_takes_nothing_away() {
        let admission = Admission::new(2, 1.0);
        let permits =
            [Class::Read, Class::Write].map(|class| admission.admit(class).expect("room"));
        admission.limit(1, 0.8);
        assert_eq!(admission.cpu_threshold(), 0.8);
        assert!(admission.admit(Class::Read).is_err());
        drop(permits);
        let _only = admission.admit(Class::Read).expect("room again");
        assert!(admission.admit(Class::Read).is_err());
    }

    #[test]
    fn those_shed_together_are_told_to_come_back_apart() {
        let admission = Admission::new(0, 1.0);
        let mut pushbacks: Vec<_> = (0..100)
            .map(|_| admission.admit(Class::Read).expect_err("full").pushback())
            .collect();
        pushbacks.sort_unstable();
        assert!(pushbacks[0] >= SHED_PUSHBACK_MIN && pushbacks[99] <= SHED_PUSHBACK_MAX);
        let widest = pushbacks.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest < Some(Duration::from_millis(3)), "{widest:?}");
    }

    #[test]
    fn racing_requests_never_exceed_the_limit() {
        let admission = Admission::new(3, 1.0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let Ok(_permit) = admission.admit(Class::Write) {
                            assert!(admission.in_flight() <= 3);
                        }
                    }
                });
            }
        });
        assert_eq!(admission.in_flight(), 0);
    }

    #[test]
    fn writes_are_shed_before_reads_and_the_refusal_names_limit_and_value() {
        let admission = Admission::new(10, 0.8);
        let refused = |class| -> usize {
            let refusals = (0..100).filter_map(|_| admission.admit(class).err());
            refusals
                .inspect(|refusal| {
                    assert!(matches!(
                        refusal,
                        Overloaded::Cpu {
                            utilization_percent: 97,
                            threshold_percent: 80,
                            ..
                        }
                    ));
                })
                .count()
        };
        admission.publish(0.97, Pressure::new(0.0));
        assert_eq!((refused(Class::Read), refused(Class::Write)), (0, 0));
        admission.publish(0.97, Pressure::new(0.5));
        assert_eq!(refused(Class::Read), 0);
        assert!((94..=95).contains(&refused(Class::Write)));
        admission.publish(0.97, Pressure::new(1.0));
        assert!((94..=96).contains(&refused(Class::Read)));
        assert!((94..=96).contains(&refused(Class::Write)));
        assert_eq!(admission.cpu_pressure(), 1.0);
        assert_eq!(admission.cpu_utilization(), 0.97);
        admission.publish(0.1, Pressure::new(0.0));
        assert_eq!((refused(Class::Read), refused(Class::Write)), (0, 0));
        assert_eq!(admission.in_flight(), 0, "a shed request holds no place");
        let message = Overloaded::Cpu {
            utilization_percent: 97,
            threshold_percent: 80,
            pushback: SHED_PUSHBACK_MIN,
        }
        .to_string();
        assert!(message.contains("97 %") && message.contains("80 %"));
    }
}
