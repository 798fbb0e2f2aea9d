//! The bulk pull of a joining node: before it enters the ring, it copies its future slots from the owners that they have
//! now, so that only differences are left when it becomes an owner. The copy is unsealed: nothing rests on it.
//!
//! What fails is tried again after a pause that grows ([`RETRY_PAUSE_MAX`]). A page is asked for until it has come, and no
//! more: records of it that are stamped too far ahead are kept here until the local clock has come far enough.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::rngs::StdRng;
use shard_cache_membership::view::View;
use tokio::sync::watch;

use crate::{
    clock::{Clock, Monotonic},
    handoff::{
        backoff::Backoff,
        pace::{Budget, Pace},
        records::{self, NotRecords},
        rounds::{COPY_SLOTS_MAX, HELD_RECORDS_MAX, PAGE_BYTES_MAX},
    },
    key::{Key, Slot},
    replica::{Refused, Replica},
    ring::{Ring, RingMember, zone::ZonedMember},
    store::{Record, SlotSet, Traces},
    telemetry::{Metrics, RetryReason},
    transport::{CallError, PageRequest, PeerTransport},
};

/// Longest pause before a source that failed is asked again, or refused records are looked at again.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long, from the beginning, sources are waited for that this node has not heard of yet, and how often it looks.
const SOURCES_WAIT: Duration = Duration::from_secs(2);
const SOURCES_PAUSE: Duration = Duration::from_millis(50);

/// Who is asked for which slots, once per joining.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PullPlan {
    sources: BTreeMap<RingMember, SlotSet>,
}

impl PullPlan {
    /// The slots that this node will own in `ring` once it has entered it, by their present owners without itself.
    #[must_use]
    pub fn new(ring: &Ring, entering: ZonedMember) -> Self {
        let own = entering.member;
        let others = ring
            .zoned_members()
            .filter(|zoned| zoned.member.node_id != own.node_id);
        let members = others.chain([entering]).collect();
        let future = Ring::build(ring.shape(), ring.bootstrap(), members);
        let mut sources: BTreeMap<RingMember, SlotSet> = BTreeMap::new();
        for slot in (0..ring.shape().slots).map(Slot) {
            if future.owners(slot).place(own.node_id).is_none() {
                continue;
            }
            for owner in ring
                .owners(slot)
                .iter()
                .filter(|owner| owner.node_id != own.node_id)
            {
                sources.entry(*owner).or_default().insert(slot);
            }
        }
        Self { sources }
    }

    /// The owners that are asked.
    pub fn sources(&self) -> impl Iterator<Item = RingMember> + '_ {
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
    /// The members: a source is given up when it has started anew.
    pub view: watch::Receiver<Arc<View>>,
    /// Decides about pauses.
    pub rng: StdRng,
    /// Most bytes of keys and values in a second.
    pub bytes_per_second_max: u64,
    /// What all background work may take together.
    pub budget: Budget,
}

impl Pull {
    /// Copies what can be had. Ends when every source has been read to its end, or is not there: nothing rests on this copy,
    /// it only leaves less to do once the node owns the slots. Returns the number of records read.
    ///
    /// Dropping the future leaves what was copied so far, which does no harm.
    pub async fn run(mut self, plan: PullPlan, root: u64) -> u64 {
        #[cfg(feature = "planted-bugs")]
        if crate::planted::Bug::EmptyIsFull.is_planted() {
            return 0;
        }
        let mut records = 0;
        let mut pace = Pace::new(self.bytes_per_second_max, self.budget.clone());
        let until = self.clock.monotonic() + SOURCES_WAIT;
        for (source, slots) in plan.sources {
            let slots: Vec<Slot> = slots.iter().collect();
            for some in slots.chunks(COPY_SLOTS_MAX) {
                if !self.awaited(source, until).await {
                    tracing::info!(source = %source.node_id, "a source of a bulk pull is left out: it is not there");
                    break;
                }
                let some = some.iter().copied().collect();
                records += self.pull_from(source, some, root, &mut pace).await;
            }
        }
        records
    }

    async fn pull_from(
        &mut self,
        source: RingMember,
        slots: SlotSet,
        root: u64,
        pace: &mut Pace,
    ) -> u64 {
        // Once: what comes with one page is not in a later one.
        // Of too many to name all are sent.
        let held = self
            .replica
            .held(&slots, HELD_RECORDS_MAX)
            .unwrap_or_default();
        let (mut cursor, mut records, mut traces) = (0, 0, Traces::default());
        let mut backoff = Backoff::new(RETRY_PAUSE_MAX);
        while self.is_there(source) {
            let request = PageRequest {
                boot_id: source.boot_id,
                slots: slots.clone(),
                cursor,
                bytes_max: PAGE_BYTES_MAX,
                held: held.clone(),
            };
            match self.pull_page(source, request, root, pace).await {
                Ok(pulled) => {
                    backoff.succeed();
                    records += pulled.count;
                    traces.add(pulled.traces);
                    match pulled.next_cursor {
                        Some(next) => cursor = next,
                        None => {
                            let now = self.clock.now();
                            // What is left out is brought by slot handoff, which waits for it.
                            let _ahead = self.replica.take_traces(|_slot| Some(root), &traces, now);
                            return records;
                        }
                    }
                }
                Err(error) => {
                    self.metrics.pull_retries.get(RetryReason::Failed).inc();
                    let pause = backoff.fail(self.clock.monotonic(), &mut self.rng);
                    let source = source.node_id;
                    tracing::info!(%source, %error, ?pause, "a source of a bulk pull is asked again");
                    self.clock.sleep(pause).await;
                }
            }
        }
        records
    }

    /// One page, all of whose records were taken.
    async fn pull_page(
        &mut self,
        source: RingMember,
        request: PageRequest,
        root: u64,
        pace: &mut Pace,
    ) -> Result<Pulled, PullError> {
        let began = self.clock.monotonic();
        let page = self.transport.pull_slots(source.node_id, request).await?;
        let records = records::decode(&page.records)?;
        let count = records.len() as u64;
        self.metrics.pull_pages.inc();
        self.metrics.pulled_records.inc_by(count);
        let bytes = page.records.len();
        self.metrics.pulled_bytes.inc_by(bytes as u64);
        let now = self.clock.monotonic();
        let pause = pace.pay(bytes, now.saturating_sub(began), now);
        self.take_over(records, root).await;
        if !pause.is_zero() {
            self.clock.sleep(pause).await;
        }
        Ok(Pulled {
            count,
            traces: page.traces,
            next_cursor: page.next_cursor,
        })
    }

    /// Merges records. Those that are refused may have been acknowledged, by nodes whose clocks are right when ours is
    /// not. Those of another root are void.
    async fn take_over(&mut self, mut records: Vec<(Key, Record)>, root: u64) {
        let mut backoff = Backoff::new(RETRY_PAUSE_MAX);
        loop {
            let refused = self
                .replica
                .take_over(|_slot| Some(root), records, self.clock.now())
                .refused;
            if refused.is_empty() {
                return;
            }
            if !backoff.is_failing() {
                let refused = refused.len();
                tracing::warn!(
                    refused,
                    "records of a bulk pull are stamped too far ahead: a clock is wrong"
                );
                self.metrics.hlc_rejected.inc_by(refused as u64);
            }
            self.metrics.pull_retries.get(RetryReason::Refused).inc();
            let pause = backoff.fail(self.clock.monotonic(), &mut self.rng);
            self.clock.sleep(pause).await;
            let kept = refused.into_iter();
            records = kept
                .map(|Refused { key, record, .. }| (key, record))
                .collect();
        }
    }

    /// Whether the memory that the ring names can be asked, now or soon: a node that has just started may know the ring
    /// before it has heard of all members.
    async fn awaited(&self, source: RingMember, until: Monotonic) -> bool {
        while !self.is_there(source) {
            if self.clock.monotonic() >= until {
                return false;
            }
            self.clock.sleep(SOURCES_PAUSE).await;
        }
        true
    }

    /// Whether the memory that the ring names can be asked.
    fn is_there(&self, source: RingMember) -> bool {
        let view = self.view.borrow();
        view.member(source.node_id)
            .is_some_and(|member| member.boot_id == source.boot_id && member.liveness.is_present())
    }
}

/// A page that was taken over.
struct Pulled {
    count: u64,
    traces: Traces,
    next_cursor: Option<u64>,
}

/// Why a page was not taken over. It is asked for again.
#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Unreadable(#[from] NotRecords),
}

#[cfg(all(test, not(feature = "race")))]
mod tests;
