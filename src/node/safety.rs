//! Whether a node may stop, or be lost, without the loss of anything acknowledged: judged from the reports of all nodes.
//!
//! An acknowledged write survives the loss of a memory if every configuration that is in use has a cover without it
//! (see `docs/slot-reconfiguration.md`). That is so when all nodes are in one ring whose members are all there in the
//! lives that it names, and every node knows all of its slots to be settled. Anything else is a reason against it, also
//! a node that does not answer.

use std::fmt;

use shard_cache_proto::cluster as pb;

/// What speaks against stopping a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Objection {
    /// The node has no ring yet.
    NoRing,
    /// The ring has no other member: everything would go with this one.
    OnlyMember,
    /// A member of the ring is not there in the life that the ring names.
    Absent {
        /// Its name.
        node: String,
    },
    /// A member that is there did not say how it is.
    Silent {
        /// Its name.
        node: String,
        /// Why not.
        error: String,
    },
    /// A node goes by another ring.
    OtherRing {
        /// Its name.
        node: String,
    },
    /// A node comes or goes: owners are about to change.
    Moving {
        /// Its name.
        node: String,
        /// `joining` or `draining`.
        status: String,
    },
    /// Slots that a node does not know to be settled.
    Unsettled {
        /// Its name.
        node: String,
        /// How many.
        slots: u64,
    },
    /// Records that only this node still owes to others.
    Owing {
        /// How many.
        hints: u64,
    },
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRing => f.write_str("this node has no ring yet"),
            Self::OnlyMember => {
                f.write_str("this node is the only member of the ring: its data would go with it")
            }
            Self::Absent { node } => write!(f, "{node} is a member of the ring and not there"),
            Self::Silent { node, error } => write!(f, "{node} did not say how it is: {error}"),
            Self::OtherRing { node } => write!(f, "{node} goes by another ring"),
            Self::Moving { node, status } => write!(f, "{node} is {status}"),
            Self::Unsettled { node, slots } => write!(f, "{node}: {slots} slots are not settled"),
            Self::Owing { hints } => write!(f, "this node owes {hints} hints"),
        }
    }
}

/// What one node knows of itself before it looks at the reports.
#[derive(Clone, Debug)]
pub(super) struct Own {
    /// Its ring; `None` before the first.
    pub(super) ring_hash: Option<String>,
    /// Members of that ring.
    pub(super) ring_members: usize,
    /// Names of members of the ring that are not there in the life that it names.
    pub(super) absent: Vec<String>,
    /// Hints that it owes to others.
    pub(super) hints: u64,
}

/// Everything that speaks against stopping the node; nothing does when it is safe. Reports are those of all members.
pub(super) fn objections(own: &Own, nodes: &[pb::NodeStatus]) -> Vec<Objection> {
    let Some(ring_hash) = &own.ring_hash else {
        return vec![Objection::NoRing];
    };
    let mut found = Vec::new();
    if own.ring_members < 2 {
        found.push(Objection::OnlyMember);
    }
    let absent = own.absent.iter().cloned();
    found.extend(absent.map(|node| Objection::Absent { node }));
    for status in nodes {
        let Some(member) = &status.member else {
            continue;
        };
        let node = || member.name.clone();
        match &status.report {
            Some(report) => found.extend(of_report(ring_hash, &node(), report)),
            // One that is down is either a member of the ring, and named above, or does not matter any more.
            None if member.liveness == "down" => {}
            None => found.push(Objection::Silent {
                node: node(),
                error: status.error.clone(),
            }),
        }
    }
    if own.hints > 0 {
        found.push(Objection::Owing { hints: own.hints });
    }
    found
}

fn of_report(ring_hash: &str, node: &str, report: &pb::NodeReport) -> Vec<Objection> {
    let node = node.to_owned();
    if report.status == "joining" || report.status == "draining" {
        let status = report.status.clone();
        return vec![Objection::Moving { node, status }];
    }
    if report.ring_hash != ring_hash {
        return vec![Objection::OtherRing { node }];
    }
    if report.slots_unsettled > 0 {
        let slots = report.slots_unsettled;
        return vec![Objection::Unsettled { node, slots }];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: &str = "00000000000000aa";

    fn own() -> Own {
        Own {
            ring_hash: Some(RING.to_owned()),
            ring_members: 3,
            absent: Vec::new(),
            hints: 0,
        }
    }

    fn node(name: &str, change: impl FnOnce(&mut pb::NodeReport)) -> pb::NodeStatus {
        let mut report = pb::NodeReport {
            status: "ok".to_owned(),
            ring_hash: RING.to_owned(),
            ..pb::NodeReport::default()
        };
        change(&mut report);
        pb::NodeStatus {
            member: Some(pb::Member {
                name: name.to_owned(),
                liveness: "alive".to_owned(),
                ..pb::Member::default()
            }),
            report: Some(report),
            error: String::new(),
        }
    }

    fn unreported(name: &str, liveness: &str) -> pb::NodeStatus {
        let mut status = node(name, |_| {});
        status.report = None;
        status.error = "no answer".to_owned();
        if let Some(member) = &mut status.member {
            member.liveness = liveness.to_owned();
        }
        status
    }

    fn told(own: &Own, nodes: &[pb::NodeStatus]) -> Vec<String> {
        let found = objections(own, nodes);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn it_is_safe_when_all_are_there_agree_and_are_settled() {
        let nodes = [node("n1", |_| {}), node("n2", |_| {}), node("n3", |_| {})];
        assert_eq!(told(&own(), &nodes), Vec::<String>::new());
    }

    #[test]
    fn every_reason_against_it_names_the_node() {
        let nodes = [
            node("n1", |report| report.slots_unsettled = 7),
            node("n2", |report| report.ring_hash = "other".to_owned()),
            node("n3", |report| report.status = "joining".to_owned()),
            unreported("n4", "alive"),
        ];
        let own = Own {
            absent: vec!["n5".to_owned()],
            hints: 2,
            ..own()
        };
        assert_eq!(
            told(&own, &nodes),
            [
                "n5 is a member of the ring and not there",
                "n1: 7 slots are not settled",
                "n2 goes by another ring",
                "n3 is joining",
                "n4 did not say how it is: no answer",
                "this node owes 2 hints",
            ]
        );
    }

    #[test]
    fn a_node_that_is_down_and_no_owner_does_not_matter() {
        let nodes = [node("n1", |_| {}), unreported("n9", "down")];
        assert_eq!(told(&own(), &nodes), Vec::<String>::new());
    }

    #[test]
    fn the_last_member_and_one_without_a_ring_never_are() {
        let alone = Own {
            ring_members: 1,
            ..own()
        };
        assert_eq!(objections(&alone, &[]), [Objection::OnlyMember]);
        let none = Own {
            ring_hash: None,
            ..own()
        };
        assert_eq!(objections(&none, &[]), [Objection::NoRing]);
    }
}
