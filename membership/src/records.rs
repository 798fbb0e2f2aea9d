//! The table of node records: what each node says of itself, newest first come.
//!
//! Invariants: one record per node; records are only replaced by ones that supersede them; the
//! table is bounded; our own record is changed by us alone (`rebase`), whatever others say of us.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    identity::NodeId,
    record::{BorrowedRecord, NodeRecord},
};

/// Most records in the table, our own included.
pub(crate) const RECORDS_MAX: usize = 4096;
/// How long a record is kept whose node is no member: it may arrive before its member does.
const ORPHAN_KEEP: Duration = Duration::from_secs(60);

/// All known records.
#[derive(Debug)]
pub(crate) struct RecordTable {
    own: Arc<NodeRecord>,
    others: BTreeMap<NodeId, Entry>,
    /// The highest bump of a foreign record about ourselves that would win over ours.
    outbid: Option<u64>,
    changed: bool,
}

#[derive(Debug)]
struct Entry {
    record: Arc<NodeRecord>,
    orphan_since: Option<Duration>,
}

/// What became of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Merged {
    /// It is now in the table, and worth passing on.
    Newer,
    /// The table holds it, or a newer one.
    Known,
    /// The table is full.
    Full,
}

impl RecordTable {
    pub(crate) fn new(own: NodeRecord) -> Self {
        Self {
            own: Arc::new(own),
            others: BTreeMap::new(),
            outbid: None,
            changed: false,
        }
    }

    pub(crate) const fn own(&self) -> &Arc<NodeRecord> {
        &self.own
    }

    /// Replaces our own record by what `change` makes of it, as the newest one.
    pub(crate) fn change_own(&mut self, change: impl FnOnce(&mut NodeRecord)) {
        let own = Arc::make_mut(&mut self.own);
        own.sequence += 1;
        change(own);
        self.changed = true;
    }

    /// Takes in a record that passed its checks.
    pub(crate) fn merge(&mut self, record: &BorrowedRecord<'_>) -> Merged {
        if record.node_id == self.own.node_id {
            if record.supersedes(&self.own) {
                self.outbid = self.outbid.max(Some(record.bump));
            }
            return Merged::Known;
        }
        let full = self.others.len() + 1 >= RECORDS_MAX;
        match self.others.get_mut(&record.node_id) {
            Some(entry) if record.supersedes(&entry.record) => {
                entry.record = Arc::new(record.to_record());
            }
            Some(_) => return Merged::Known,
            None if full => return Merged::Full,
            None => {
                let entry = Entry {
                    record: Arc::new(record.to_record()),
                    orphan_since: None,
                };
                self.others.insert(record.node_id, entry);
            }
        }
        self.changed = true;
        Merged::Newer
    }

    /// The highest bump of a foreign record about ourselves that beats ours, once.
    pub(crate) const fn take_outbid(&mut self) -> Option<u64> {
        self.outbid.take()
    }

    /// Whether any record changed since the last call.
    pub(crate) const fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.changed, false)
    }

    /// Forgets records whose nodes have not been members for a while.
    pub(crate) fn prune(&mut self, now: Duration, is_member: impl Fn(NodeId) -> bool) {
        self.others.retain(|node_id, entry| {
            if is_member(*node_id) {
                entry.orphan_since = None;
                return true;
            }
            now.saturating_sub(*entry.orphan_since.get_or_insert(now)) < ORPHAN_KEEP
        });
    }

    /// All records, our own first, then by node id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<NodeRecord>> {
        std::iter::once(&self.own).chain(self.others())
    }

    /// All records but our own, by node id.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Arc<NodeRecord>> {
        self.others.values().map(|entry| &entry.record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{identity::BootId, record::Phase};

    fn record(name: &str, bump: u64, sequence: u64) -> NodeRecord {
        NodeRecord {
            node_id: NodeId::of_name(name),
            boot_id: BootId(1),
            bump,
            sequence,
            name: name.to_owned(),
            zone: String::new(),
            grpc_addr: String::new(),
            http_addr: String::new(),
            phase: Phase::Active,
            attachment: Vec::new(),
        }
    }

    #[test]
    fn only_newer_records_replace() {
        let mut table = RecordTable::new(record("own", 1, 1));
        assert_eq!(table.merge(&record("a", 1, 5).borrowed()), Merged::Newer);
        assert_eq!(table.merge(&record("a", 1, 5).borrowed()), Merged::Known);
        assert_eq!(table.merge(&record("a", 1, 4).borrowed()), Merged::Known);
        assert_eq!(table.merge(&record("a", 2, 0).borrowed()), Merged::Newer);
        let bumps: Vec<_> = table.others().map(|record| record.bump).collect();
        assert_eq!(bumps, [2]);
    }

    #[test]
    fn a_foreign_record_about_us_is_not_taken_but_reported_once() {
        let mut table = RecordTable::new(record("own", 5, 1));
        assert_eq!(table.merge(&record("own", 4, 9).borrowed()), Merged::Known);
        assert_eq!(table.take_outbid(), None);
        assert_eq!(table.merge(&record("own", 9, 0).borrowed()), Merged::Known);
        assert_eq!(table.own().bump, 5);
        assert_eq!((table.take_outbid(), table.take_outbid()), (Some(9), None));
    }

    #[test]
    fn the_table_is_bounded_and_orphans_go() {
        let mut table = RecordTable::new(record("own", 1, 1));
        for index in 0..RECORDS_MAX - 1 {
            assert_eq!(
                table.merge(&record(&index.to_string(), 1, 1).borrowed()),
                Merged::Newer
            );
        }
        assert_eq!(table.merge(&record("late", 1, 1).borrowed()), Merged::Full);
        assert_eq!(table.iter().count(), RECORDS_MAX);
        table.prune(Duration::ZERO, |_| false);
        table.prune(ORPHAN_KEEP, |node_id| node_id == NodeId::of_name("7"));
        assert_eq!(table.iter().count(), 2);
    }
}
