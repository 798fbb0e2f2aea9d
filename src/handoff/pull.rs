//! The bulk pull of a joining node: before it enters the ring, it copies its future slots from *every* owner that they
//! have now and that is present.
//!
//! Every present owner is asked, not one of them: an acknowledged write is on a write quorum of owners, so after the
//! loss of one of them the rest together still hold it, but any single one may not.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use shard_cache_membership::{identity::NodeId, view::View};
use tokio::sync::watch;

use crate::{
    clock::{Clock, Monotonic},
    handoff::records,
    key::{Key, Slot},
    replica::Replica,
    ring::{Ring, RingMember},
    store::{Record, SlotSet},
    telemetry::Metrics,
    transport::{CallError, PageRequest, PeerTransport},
};

/// Keys and values in one page.
const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Pause before a source that failed is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How long a source that the view does not know is waited for.
const UNKNOWN_SOURCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Who is asked for which slots, once per joining.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PullPlan {
    sources: BTreeMap<NodeId, SlotSet>,
}

impl PullPlan {
    /// The slots that `own` will own in `ring` once it has entered it, by their present owners without `own`.
    #[must_use]
    pub fn new(ring: &Ring, own: RingMember) -> Self {
        let mut members: Vec<RingMember> = ring.members().to_vec();
        members.retain(|member| member.node_id != own.node_id);
        members.push(own);
        let future = Ring::build(ring.shape(), ring.bootstrap(), members);
        let mut sources: BTreeMap<NodeId, SlotSet> = BTreeMap::new();
        for slot in (0..ring.shape().slots).map(Slot) {
            if future.owners(slot).place(own.node_id).is_none() {
                continue;
            }
            for owner in ring
                .owners(slot)
                .iter()
                .filter(|owner| owner.node_id != own.node_id)
            {
                sources.entry(owner.node_id).or_default().insert(slot);
            }
        }
        Self { sources }
    }

    /// The nodes that are asked.
    pub fn sources(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.sources.keys().copied()
    }
}

/// Carries out one plan.
pub struct Pull {
    /// Where records go.
    pub replica: Arc<Replica>,
    /// How sources are reached.
    pub transport: Arc<dyn PeerTransport>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The members: a source is given up when it is down.
    pub view: watch::Receiver<Arc<View>>,
}

impl Pull {
    /// Copies everything. Ends when every source has been read to its end or is no longer present. Returns the number
    /// of records read.
    ///
    /// Dropping the future leaves what was copied so far, which does no harm.
    pub async fn run(&self, plan: PullPlan, root: u64) -> u64 {
        let mut records = 0;
        for (source, slots) in plan.sources {
            records += self.pull_from(source, slots, root).await;
        }
        records
    }

    async fn pull_from(&self, source: NodeId, slots: SlotSet, root: u64) -> u64 {
        let began = self.clock.monotonic();
        let (mut cursor, mut records) = (0, 0);
        loop {
            if self.is_lost(source, began) {
                tracing::warn!(%source, "a source of a bulk pull is gone");
                return records;
            }
            let request = PageRequest {
                slots: slots.clone(),
                cursor,
                bytes_max: PAGE_BYTES_MAX,
            };
            let page = self.transport.pull_slots(source, request).await;
            let page = page.and_then(|page| {
                records::decode(&page.records)
                    .map(|records| (records, page.next_cursor))
                    .map_err(|error| CallError::Malformed {
                        reason: error.to_string(),
                    })
            });
            let (page, next_cursor) = match page {
                Ok(page) => page,
                Err(error) => {
                    tracing::info!(%source, %error, "a source of a bulk pull is asked again");
                    self.clock.sleep(RETRY_PAUSE).await;
                    continue;
                }
            };
            self.metrics.pull_pages.inc();
            let Some(merged) = self.merge(page, root) else {
                return records;
            };
            records += merged;
            match next_cursor {
                Some(next) => cursor = next,
                None => return records,
            }
        }
    }

    /// Whether a source is down. One that the view does not know *yet* is not: its slots must not be skipped because the
    /// ring was learnt of a moment before the members.
    fn is_lost(&self, source: NodeId, began: Monotonic) -> bool {
        match self.view.borrow().member(source) {
            Some(member) => !member.liveness.is_present(),
            None => self.clock.monotonic().saturating_sub(began) > UNKNOWN_SOURCE_TIMEOUT,
        }
    }

    /// `None` when this node has left the root meanwhile, so that the pull is void.
    fn merge(&self, page: Vec<(Key, Record)>, root: u64) -> Option<u64> {
        let count = page.len() as u64;
        self.metrics.pulled_records.inc_by(count);
        match self.replica.merge(root, page, self.clock.now()) {
            Ok(merged) => {
                self.metrics.hlc_rejected.inc_by(merged.drifted);
                Some(count)
            }
            Err(error) => {
                tracing::warn!(%error, "a bulk pull is void");
                None
            }
        }
    }
}
