//! What a history comes to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::circumstances::Excuse;
use crate::history::{Guarantee, Invariant};

/// Something that a promise excludes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Violation {
    /// The law that was broken.
    pub invariant: Invariant,
    /// When it can first be seen.
    pub at_ns: u64,
    /// The key, where it concerns one.
    pub key: Option<String>,
    /// Ids of the operations that matter, in the order of the explanation.
    pub operations: Vec<u64>,
    /// The promise that the law is of.
    pub promise: Guarantee,
    /// What happened, in one sentence.
    pub explanation: String,
}

/// A count below its floor: the history proves too little.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Shortfall {
    /// What was counted.
    pub what: &'static str,
    /// How many there were.
    pub have: u64,
    /// How many are needed.
    pub need: u64,
}

/// How much a history shows.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    /// Operations of any outcome.
    pub operations: u64,
    /// Keys that had an operation.
    pub keys: u64,
    /// Answered operations.
    pub ok: u64,
    /// Operations that surely had no effect.
    pub failed: u64,
    /// Operations of unknown outcome.
    pub unknown: u64,
    /// Acknowledged writes, at any level.
    pub acknowledged: u64,
    /// Those that G1 to G5 speak of.
    pub covered_writes: u64,
    /// Reads that found a value.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Covered reads before which something had been acknowledged or read.
    pub judged_reads: u64,
    /// Reads that the promises do not speak of after all, by the reason.
    pub excused: BTreeMap<Excuse, u64>,
    /// Keys whose owners were compared after a heal.
    pub compared_keys: u64,
    /// Faults that began.
    pub faults: u64,
    /// Operations that began while a fault worked.
    pub during_faults: u64,
    /// Acknowledged writes that began while a fault worked.
    pub acknowledged_during_faults: u64,
    /// All violations, also those of which no more than the count is kept.
    pub violations: BTreeMap<Invariant, u64>,
}

/// The verdict on a history.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Verdict {
    /// What promises exclude, by invariant and then by time; of each invariant the first ones.
    pub violations: Vec<Violation>,
    /// Why the history proves too little; empty when it proves enough.
    pub vacuous: Vec<Shortfall>,
    /// How much it shows.
    pub counts: Counts,
}

impl Verdict {
    /// Whether a promise was broken.
    #[must_use]
    pub fn is_violated(&self) -> bool {
        !self.violations.is_empty()
    }

    /// Whether too little happened to prove anything.
    #[must_use]
    pub fn is_vacuous(&self) -> bool {
        !self.vacuous.is_empty()
    }

    /// How often an invariant was violated.
    #[must_use]
    pub fn count(&self, invariant: Invariant) -> u64 {
        self.counts
            .violations
            .get(&invariant)
            .copied()
            .unwrap_or_default()
    }
}
