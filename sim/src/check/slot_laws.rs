//! The laws of slot reconfiguration, which the simulator sees being broken inside of nodes (`crate::laws`, one file per
//! law) and notes as [`Event::Broken`].
//!
//! **Violation**: every such mark.
//!
//! **Not concluded**: anything from a history whose recorder cannot look into nodes.

use super::{
    Case,
    findings::{Finding, Findings},
};
use crate::history::Event;

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    for mark in &case.history.marks {
        if let Event::Broken { invariant, what } = &mark.event {
            let finding = Finding {
                invariant: *invariant,
                at_ns: mark.at_ns,
                key: None,
                operations: Vec::new(),
            };
            findings.add(finding, || what.clone());
        }
    }
}
