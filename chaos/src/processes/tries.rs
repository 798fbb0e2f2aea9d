//! How many requests of the load succeeded at the first try, and how many with the one retry at another node.

use std::collections::HashMap;

use crate::history::{History, Operation, Outcome, Purpose};

/// Requests of the load, by how they ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tries {
    /// Requests.
    pub(crate) requests: usize,
    /// Those that failed at the first try.
    pub(crate) failed_first: usize,
    /// Those that failed again.
    pub(crate) failed_twice: usize,
    /// Longest time from a failure to the retry, in microseconds.
    pub(crate) retried_after_us: u64,
}

impl Tries {
    /// Counts a history in which a request that failed was tried again once.
    #[must_use]
    pub(crate) fn of(history: &History) -> Self {
        let mut tries = Self::default();
        let mut failures: HashMap<&str, u64> = HashMap::new();
        let mut load: Vec<&Operation> = history
            .operations
            .iter()
            .filter(|operation| operation.purpose == Purpose::Load)
            .collect();
        load.sort_by_key(|operation| operation.begun_us);
        for operation in load {
            let failed = operation.outcome != Outcome::Ok;
            if operation.attempt == 1 {
                tries.requests += 1;
                tries.failed_first += usize::from(failed);
                if failed {
                    // A key belongs to one writer, which does one thing at a time.
                    failures.insert(&operation.key, operation.ended_us);
                }
            } else {
                tries.failed_twice += usize::from(failed);
                if let Some(failed_at) = failures.remove(&*operation.key) {
                    let after = operation.begun_us.saturating_sub(failed_at);
                    tries.retried_after_us = tries.retried_after_us.max(after);
                }
            }
        }
        tries
    }

    /// Share of the requests that succeeded at the first try.
    #[must_use]
    pub(crate) fn first_try(&self) -> f64 {
        self.share_without(self.failed_first)
    }

    /// Share of the requests that succeeded in the end.
    #[must_use]
    pub(crate) fn with_retry(&self) -> f64 {
        self.share_without(self.failed_twice)
    }

    fn share_without(&self, failed: usize) -> f64 {
        if self.requests == 0 {
            return 0.0;
        }
        1.0 - failed as f64 / self.requests as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Action;

    fn tried(key: &str, attempt: u32, at: u64, outcome: Outcome) -> Operation {
        Operation {
            key: key.to_owned(),
            action: Action::Delete,
            node: 0,
            begun_us: at,
            ended_us: at + 10,
            outcome,
            version: None,
            error: None,
            purpose: Purpose::Load,
            attempt,
        }
    }

    #[test]
    fn a_request_counts_once_however_often_it_was_tried() {
        let mut probe = tried("p", 1, 0, Outcome::Failed);
        probe.purpose = Purpose::Probe;
        let history = History {
            operations: vec![
                tried("a", 1, 0, Outcome::Ok),
                tried("b", 1, 0, Outcome::Failed),
                tried("b", 2, 40, Outcome::Ok),
                tried("c", 1, 0, Outcome::Unknown),
                tried("c", 2, 12, Outcome::Failed),
                tried("d", 1, 0, Outcome::Ok),
                probe,
            ],
            ..History::default()
        };
        let tries = Tries::of(&history);
        assert_eq!(
            tries,
            Tries {
                requests: 4,
                failed_first: 2,
                failed_twice: 1,
                retried_after_us: 30,
            }
        );
        assert_eq!((tries.first_try(), tries.with_retry()), (0.5, 0.75));
    }
}
