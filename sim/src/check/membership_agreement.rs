//! Nodes that reach each other see the same members within 6 s and have the same ring within 10 s, and no ring names a
//! node that left and said that the others know.
//!
//! **Violation**: two nodes that a heal connected differ in their latest samples, both taken later than that time after
//! the heal and before anything else happened. Or, in such a sample, a ring names a node whose drain ended clean and that
//! has not started since. Or a recorder that waits for the nodes to settle after a fault says that they did not.
//!
//! **Not concluded**: between heals, or where a node gave no sample. Of a node that left before another one crashed: that
//! may have been the only one that knew. One violation is reported per heal and kind.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Case,
    convergence::ends_or_begins_peace,
    findings::{Finding, Findings},
    words::time,
};
use crate::history::{Event, Invariant, Mark};

/// A time in which nodes must agree.
struct Peace<'a> {
    healed_ns: u64,
    nodes: &'a [u32],
    members: Views,
    rings: Views,
    is_leaver_reported: bool,
}

/// What nodes see of one kind.
struct Views {
    name: &'static str,
    from_ns: u64,
    latest: BTreeMap<u32, u64>,
    is_reported: bool,
}

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    let mut marks: Vec<&Mark> = case.history.marks.iter().collect();
    marks.sort_by_key(|mark| mark.at_ns);
    let mut peace: Option<Peace<'_>> = None;
    let mut left = BTreeSet::new();
    for mark in marks {
        if ends_or_begins_peace(&mark.event) {
            peace = None;
        }
        match &mark.event {
            Event::Healed { nodes } => peace = Some(Peace::new(case, mark.at_ns, nodes)),
            Event::Membership {
                node,
                members,
                ring,
                ring_members,
            } => {
                if let Some(peace) = &mut peace
                    && peace.nodes.contains(node)
                {
                    let healed_ns = peace.healed_ns;
                    for (views, hash) in [(&mut peace.members, *members), (&mut peace.rings, *ring)]
                    {
                        views.sample(case, healed_ns, mark.at_ns, (*node, hash), findings);
                    }
                    let named = ring_members.iter().find(|named| left.contains(*named));
                    if let Some(leaver) = named {
                        peace.kept(case, mark.at_ns, *leaver, *node, findings);
                    }
                }
            }
            Event::Drained {
                node,
                is_clean: true,
            } => {
                left.insert(*node);
            }
            Event::Boot { node, .. } => {
                left.remove(node);
            }
            Event::Crash { .. } => left.clear(),
            Event::Unsettled { fault } => findings.add(finding(mark.at_ns), || {
                format!("the nodes did not settle after {fault} within the time allowed")
            }),
            Event::FaultBegin { .. }
            | Event::FaultEnd { .. }
            | Event::Join { .. }
            | Event::Leave { .. }
            | Event::Drained {
                is_clean: false, ..
            }
            | Event::Clock { .. }
            | Event::Owners { .. }
            | Event::Settled
            | Event::Evictions { .. }
            | Event::Usage { .. }
            | Event::Broken { .. } => {}
        }
    }
}

impl<'a> Peace<'a> {
    fn new(case: &Case<'_>, healed_ns: u64, nodes: &'a [u32]) -> Self {
        let views = |name, within_ns| Views {
            name,
            from_ns: healed_ns.saturating_add(within_ns),
            latest: BTreeMap::new(),
            is_reported: false,
        };
        Self {
            healed_ns,
            nodes,
            members: views("members", case.promises.members_agree_within_ns),
            rings: views("ring", case.promises.ring_agrees_within_ns),
            is_leaver_reported: false,
        }
    }

    /// The ring of a node names one that left.
    fn kept(
        &mut self,
        case: &Case<'_>,
        at_ns: u64,
        leaver: u32,
        node: u32,
        findings: &mut Findings<'_>,
    ) {
        if at_ns <= self.rings.from_ns || self.is_leaver_reported {
            return;
        }
        findings.add(finding(at_ns), || {
            format!(
                "{} after the heal the ring of {} still names {}, which left and said that the others know",
                time(at_ns - self.healed_ns),
                case.node(node),
                case.node(leaver)
            )
        });
        self.is_leaver_reported = true;
    }
}

impl Views {
    fn sample(
        &mut self,
        case: &Case<'_>,
        healed_ns: u64,
        at_ns: u64,
        (node, hash): (u32, u64),
        findings: &mut Findings<'_>,
    ) {
        if at_ns <= self.from_ns {
            return;
        }
        self.latest.insert(node, hash);
        let other = self.latest.iter().find(|(_, other)| **other != hash);
        if let Some((other, _)) = other
            && !self.is_reported
        {
            findings.add(finding(at_ns), || {
                format!(
                    "{} after the heal {} and {} differ in their {}",
                    time(at_ns - healed_ns),
                    case.node(*other),
                    case.node(node),
                    self.name
                )
            });
            self.is_reported = true;
        }
    }
}

const fn finding(at_ns: u64) -> Finding<'static> {
    Finding {
        invariant: Invariant::MembershipAgreement,
        at_ns,
        key: None,
        operations: Vec::new(),
    }
}
