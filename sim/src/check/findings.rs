//! Collects violations while a history is judged.

use super::{
    Promises, vacuity,
    verdict::{Counts, Verdict, Violation},
};
use crate::history::{Floors, Invariant};

/// Violations of one invariant that are described; beyond that they are only counted.
const DESCRIBED_MAX: u64 = 100;

/// What was found so far.
pub(super) struct Findings<'a> {
    promises: &'a Promises,
    violations: Vec<Violation>,
    pub(super) counts: Counts,
}

/// A violation without the words.
pub(super) struct Finding<'a> {
    pub(super) invariant: Invariant,
    pub(super) at_ns: u64,
    pub(super) key: Option<&'a str>,
    pub(super) operations: Vec<u64>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(promises: &'a Promises) -> Self {
        Self {
            promises,
            violations: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Notes a violation, if its invariant counts. The explanation is only asked for when it will be shown.
    pub(super) fn add(&mut self, finding: Finding<'_>, explain: impl FnOnce() -> String) {
        let invariant = finding.invariant;
        if !self.promises.hold(invariant) {
            return;
        }
        let count = self.counts.violations.entry(invariant).or_default();
        *count += 1;
        if *count > DESCRIBED_MAX {
            return;
        }
        self.violations.push(Violation {
            invariant,
            at_ns: finding.at_ns,
            key: finding.key.map(str::to_owned),
            operations: finding.operations,
            promise: invariant.guarantee(),
            explanation: explain(),
        });
    }

    pub(super) fn into_verdict(mut self, floors: &Floors) -> Verdict {
        self.violations.sort_unstable();
        Verdict {
            violations: self.violations,
            vacuous: vacuity::shortfalls(&self.counts, floors),
            counts: self.counts,
        }
    }
}
