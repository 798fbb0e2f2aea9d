//! Which view is current, and when the next one goes out.
//!
//! Invariants: versions rise by one; a view is published only if it differs from the one before;
//! after the first change further ones are gathered for a moment, so that a join storm is some
//! views, not thousands.

use std::{cmp::Ordering, sync::Arc, time::Duration};

use crate::{
    identity::{NodeId, NodeIdentity},
    record::NodeRecord,
    records::RecordTable,
    view::{Liveness, Member, View},
};

/// Shortest time between two views, in milliseconds.
const GATHER_MILLIS: u64 = 20;

/// The current view and whether its consumer has it.
#[derive(Debug)]
pub(crate) struct Publication {
    current: Arc<View>,
    untaken: bool,
    last: Option<Duration>,
    due: Option<Duration>,
}

impl Publication {
    pub(crate) fn new(own: NodeId) -> Self {
        let current = Arc::new(View {
            version: 0,
            own,
            members: Vec::new(),
        });
        Self {
            current,
            untaken: false,
            last: None,
            due: None,
        }
    }

    pub(crate) const fn current(&self) -> &Arc<View> {
        &self.current
    }

    /// Something changed: a new view is due, at once or after the gathering time.
    pub(crate) fn touch(&mut self, now: Duration) {
        let earliest = self
            .last
            .map_or(now, |last| last + Duration::from_millis(GATHER_MILLIS));
        self.due.get_or_insert(earliest.max(now));
    }

    pub(crate) const fn next_deadline(&self) -> Option<Duration> {
        self.due
    }

    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Publishes the members if they differ from the current ones.
    pub(crate) fn publish(&mut self, now: Duration, members: Vec<Member>) {
        self.due = None;
        if members == self.current.members {
            return;
        }
        let (version, own) = (self.current.version + 1, self.current.own);
        self.current = Arc::new(View {
            version,
            own,
            members,
        });
        self.untaken = true;
        self.last = Some(now);
    }

    pub(crate) fn take(&mut self) -> Option<Arc<View>> {
        std::mem::take(&mut self.untaken).then(|| Arc::clone(&self.current))
    }
}

/// The members of a view: one per node id. Of two addresses with one node id the present one stays,
/// then the one with the higher bump. `own` wins over whatever else claims our node id.
pub(crate) fn members_of(
    own: (NodeIdentity, Liveness),
    others: impl Iterator<Item = (NodeIdentity, Liveness)>,
    records: &RecordTable,
) -> Vec<Member> {
    let foreign = |(other, _): &(NodeIdentity, Liveness)| {
        other.node_id != own.0.node_id && other.addr != own.0.addr
    };
    let candidates: Vec<_> = others.filter(foreign).chain([own]).collect();
    let mut order: Vec<_> = (candidates.iter().enumerate())
        .map(|(place, (identity, _))| (identity.node_id, place))
        .collect();
    order.sort_unstable_by(|(a, at_a), (b, at_b)| {
        let best = || best_first(&candidates[*at_a], &candidates[*at_b]);
        a.cmp(b).then_with(best)
    });
    order.dedup_by_key(|(node_id, _)| *node_id);
    // Both are sorted by node id: one walk over the records serves all members.
    let mut walk = records.others().peekable();
    let mut shown = |(node_id, place): (NodeId, usize)| {
        while walk.next_if(|other| other.node_id < node_id).is_some() {}
        let record = if node_id == own.0.node_id {
            Some(records.own())
        } else {
            walk.next_if(|other| other.node_id == node_id)
        };
        let (identity, liveness) = &candidates[place];
        member(identity, *liveness, record)
    };
    order.into_iter().map(&mut shown).collect()
}

/// Of two that claim a node id the one to show comes first.
fn best_first(a: &(NodeIdentity, Liveness), b: &(NodeIdentity, Liveness)) -> Ordering {
    let by_rank = || match (a.0.outranks(&b.0), b.0.outranks(&a.0)) {
        (true, _) => Ordering::Less,
        (_, true) => Ordering::Greater,
        (false, false) => b.0.addr.cmp(&a.0.addr),
    };
    (b.1.is_present().cmp(&a.1.is_present())).then_with(by_rank)
}

/// A record of another boot id speaks of another life (say, that it is leaving), and is not shown.
fn member(identity: &NodeIdentity, liveness: Liveness, record: Option<&Arc<NodeRecord>>) -> Member {
    let record = record.filter(|record| record.boot_id == identity.boot_id);
    Member {
        node_id: identity.node_id,
        boot_id: identity.boot_id,
        gossip_addr: identity.addr,
        peer_addr: identity.peer_addr(),
        liveness,
        record: record.cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{identity::BootId, record::Phase};

    fn identity(name: &str, port: u16, bump: u64) -> NodeIdentity {
        NodeIdentity {
            addr: ([10, 0, 0, 1], port).into(),
            node_id: NodeId::of_name(name),
            bump,
            renews: 0,
            boot_id: BootId(1),
            peer_port: port,
            protocol_min: 1,
            protocol_max: 1,
        }
    }

    fn record(name: &str, boot: u64) -> NodeRecord {
        NodeRecord {
            node_id: NodeId::of_name(name),
            boot_id: BootId(boot),
            bump: 1,
            sequence: 1,
            name: name.to_owned(),
            zone: String::new(),
            grpc_addr: String::new(),
            http_addr: String::new(),
            phase: Phase::Active,
            attachment: Vec::new(),
        }
    }

    fn port_of(members: &[Member], name: &str) -> u16 {
        let node_id = NodeId::of_name(name);
        members
            .iter()
            .find(|member| member.node_id == node_id)
            .unwrap()
            .gossip_addr
            .port()
    }

    #[test]
    fn of_two_addresses_of_a_node_the_present_then_the_newer_one_is_shown() {
        use Liveness::{Alive, Down};
        let records = RecordTable::new(record("own", 1));
        let own = (identity("own", 1, 1), Alive);
        let both = |a, b| {
            let members = members_of(own, [a, b].into_iter(), &records);
            assert_eq!(members, members_of(own, [b, a].into_iter(), &records));
            members
        };
        let (old, new) = (identity("a", 2, 5), identity("a", 3, 6));
        assert_eq!(port_of(&both((old, Alive), (new, Alive)), "a"), 3);
        assert_eq!(port_of(&both((old, Alive), (new, Down)), "a"), 2);
        assert_eq!(port_of(&both((old, Down), (new, Down)), "a"), 3);
        let impostor = identity("own", 9, u64::MAX);
        assert_eq!(port_of(&both((impostor, Alive), (old, Alive)), "own"), 1);
    }

    #[test]
    fn a_record_of_another_life_is_not_shown() {
        let mut records = RecordTable::new(record("own", 1));
        records.merge(&record("a", 2).borrowed());
        let own = (identity("own", 1, 1), Liveness::Alive);
        let others = [(identity("a", 2, 1), Liveness::Alive)];
        let members = members_of(own, others.into_iter(), &records);
        let shown = |name| {
            let node_id = NodeId::of_name(name);
            members
                .iter()
                .find(|member| member.node_id == node_id)
                .unwrap()
                .record
                .is_some()
        };
        assert!(shown("own") && !shown("a"));
    }

    #[test]
    fn changes_in_quick_succession_make_one_view() {
        let mut publication = Publication::new(NodeId::of_name("own"));
        let records = RecordTable::new(record("own", 1));
        let members = |port| {
            members_of(
                (identity("own", port, 1), Liveness::Alive),
                std::iter::empty(),
                &records,
            )
        };
        let at = Duration::from_millis;
        publication.touch(at(1));
        assert!(publication.is_due(at(1)));
        publication.publish(at(1), members(1));
        assert_eq!(publication.take().map(|view| view.version), Some(1));
        publication.touch(at(2));
        publication.touch(at(5));
        assert_eq!(publication.next_deadline(), Some(at(21)));
        publication.publish(at(21), members(2));
        assert_eq!(publication.take().map(|view| view.version), Some(2));
        publication.publish(at(50), members(2));
        assert_eq!(publication.take(), None);
    }
}
