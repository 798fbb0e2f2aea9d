//! Judges a history: one file per invariant.
//!
//! Versions are visible, so no search is needed: per key, operations are sorted once, and every question is a binary
//! search in a running maximum. All of it is O(n log n).
//!
//! Three rules hold for every invariant:
//! - **Unknown is not failed.** A write of unknown outcome may have any version and may take effect at any time from its
//!   invocation on, or never. It excuses what it may explain, and is demanded of nobody until a covered read saw it.
//! - **Only covered operations bind.** *Covered* are operations at QUORUM or ALL that were answered without degraded
//!   service. The value of a ONE or degraded write is legal to read and never required; a ONE or degraded read binds no
//!   later one. A covered read that saw such a value binds: it had stored it on a write quorum before it answered.
//! - **Before means surely before.** One operation precedes another only if it completed before the other was invoked,
//!   by more than times may be off.
//!
//! A legal reason for a miss (a delete, expiry, eviction, loss of too many owners) must be one that may have applied by
//! the end of the read. Every excuse is counted, so that a run that excuses everything can be seen to prove nothing.

mod bounded_resources;
mod circumstances;
mod convergence;
mod durability;
mod expiry;
mod failed_means_failed;
mod findings;
mod floors;
mod key_log;
mod membership_agreement;
mod no_invention;
mod no_resurrection;
mod no_silent_degrade;
mod read_your_writes;
mod slot_laws;
mod standing;
#[cfg(test)]
mod tests;
mod upheavals;
mod vacuity;
mod verdict;
mod words;
mod write_order;

use self::{
    circumstances::Circumstances,
    findings::Findings,
    key_log::{KeyLog, Keys},
};
pub use self::{
    circumstances::Excuse,
    verdict::{Counts, Shortfall, Verdict, Violation},
};
use crate::history::History;
pub use crate::history::{Floors, Guarantee, Invariant, Promises};

/// What a history is judged with.
struct Case<'a> {
    history: &'a History,
    promises: &'a Promises,
    circumstances: Circumstances,
}

/// Judges a history by the promises that were in force. The same history always gets the same verdict.
#[must_use]
pub fn check(history: &History, promises: &Promises) -> Verdict {
    let case = Case {
        history,
        promises,
        circumstances: Circumstances::of(history, promises),
    };
    let mut findings = Findings::new(promises);
    for events in Keys::of(history).iter() {
        let log = KeyLog::new(&events, &case);
        log.count(&mut findings.counts);
        no_invention::check(&log, &case, &mut findings);
        durability::check(&log, &case, &mut findings);
        convergence::check(&log, &case, &mut findings);
        no_resurrection::check(&log, &case, &mut findings);
        read_your_writes::check(&log, &case, &mut findings);
        write_order::check(&log, &case, &mut findings);
        expiry::check(&log, &case, &mut findings);
        failed_means_failed::check(&log, &case, &mut findings);
        no_silent_degrade::check(&log, &case, &mut findings);
    }
    bounded_resources::check(&case, &mut findings);
    membership_agreement::check(&case, &mut findings);
    slot_laws::check(&case, &mut findings);
    vacuity::count(&case, &mut findings.counts);
    findings.into_verdict(&promises.floors)
}
