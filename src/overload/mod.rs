//! Admission: which client requests a node works on. Refusing costs next to nothing and comes
//! before any other work, so that a node that cannot keep up still answers the requests it has
//! taken.
//!
//! Invariant: never more than `max_concurrent_requests` permits exist.

use std::time::Duration;

use thiserror::Error;

use crate::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// How long a client that was refused should wait before it tries again.
pub const RETRY_PUSHBACK: Duration = Duration::from_millis(100);

/// Counts client requests in flight, on all faces of the node together.
#[derive(Debug)]
pub struct Admission {
    in_flight: AtomicUsize,
    requests_max: usize,
}

/// The right to work on one request; dropping it gives the place to another.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
}

/// As many requests as allowed are in flight. Nothing was done; trying again after
/// [`RETRY_PUSHBACK`] is safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("overloaded: {requests_max} requests are in flight, as many as this node allows")]
pub struct Overloaded {
    /// How many requests may be in flight.
    pub requests_max: usize,
}

impl Admission {
    /// Admits up to `requests_max` requests at a time.
    #[must_use]
    pub fn new(requests_max: usize) -> Arc<Self> {
        Arc::new(Self {
            in_flight: AtomicUsize::new(0),
            requests_max,
        })
    }

    /// A place for one request, if there is one.
    ///
    /// # Errors
    /// [`Overloaded`] when as many requests as allowed are in flight.
    pub fn admit(self: &Arc<Self>) -> Result<Permit, Overloaded> {
        let more = |in_flight| (in_flight < self.requests_max).then_some(in_flight + 1);
        self.in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .map(|_| Permit {
                admission: Arc::clone(self),
            })
            .map_err(|_| Overloaded {
                requests_max: self.requests_max,
            })
    }

    /// Requests being worked on.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_beyond_the_limit_is_refused_until_another_ends() {
        let admission = Admission::new(2);
        let first = admission.admit().expect("place one");
        let _second = admission.admit().expect("place two");
        assert_eq!(
            admission.admit().expect_err("full"),
            Overloaded { requests_max: 2 }
        );
        drop(first);
        assert!(admission.admit().is_ok());
        assert_eq!(admission.in_flight(), 1);
    }

    #[test]
    fn racing_requests_never_exceed_the_limit() {
        let admission = Admission::new(3);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let Ok(_permit) = admission.admit() {
                            assert!(admission.in_flight() <= 3);
                        }
                    }
                });
            }
        });
        assert_eq!(admission.in_flight(), 0);
    }
}
