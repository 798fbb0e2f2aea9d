//! The coordinator: carries a client's request out with the owners of its key. Any node coordinates any request.
//!
//! One request is one future. It plans against one ring, submits one operation per owner, and waits on one entry of the
//! pending table; whatever arrives after its answer is accounted for without it. Decisions are made by pure tallies
//! (`quorum`); this shell only sends what they ask for.
//!
//! - `request`: what is asked and answered, free of any protocol.
//! - `quorum`: tallies of writes and reads. Pure.
//! - `pending`: the table of exchanges under way. No I/O.
//! - `ledger`: where answers arrive and debts are settled.
//! - `write`, `read`: the two kinds of request.
//! - `course`: how a request goes, noted for those that are sampled or explained.
//! - `explanation`: what is told of it to who asks; `traced`: spans of sampled requests.

mod course;
pub mod explanation;
mod hedge;
mod hot_keys;
mod ledger;
pub mod pending;
pub mod quorum;
mod read;
mod request;
#[cfg(all(test, not(feature = "race")))]
mod tests;
mod traced;
mod write;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use shard_cache_membership::{identity::NodeId, view::View};
use tokio::sync::watch;

pub use explanation::Explanation;
pub use hot_keys::HotKey;
pub use ledger::Ledger;
pub use request::{
    Consistency, Degrade, Detail, Failed, Hit, KeyRequest, Read, ReadError, SetRequest, Terms, Ttl,
    Unavailable, WriteError, Written,
};

use crate::{
    clock::Clock,
    coordinator::{
        course::{Course, Event},
        explanation::Stage,
        hedge::HedgeBudget,
        hot_keys::HotKeys,
        quorum::{Need, Standing},
    },
    handoff::RingCell,
    key::{Key, Slot},
    offsets::PeerClocks,
    ring::{
        Ring,
        slot::{Configuration, Quorums},
    },
    telemetry::{Metrics, Op, OperationOutcome, traces::Scope},
    transport::{PeerTransport, Reach},
    version::{HybridClock, Version},
};

/// How long a request waits for this node's own ring to change before it tries again under the present one: this much
/// longer after every attempt, up to the second value.
const RECONFIGURE_PAUSE: Duration = Duration::from_millis(10);
const RECONFIGURE_PAUSE_MAX: Duration = Duration::from_millis(200);

/// The coordinator's settings that all nodes agree on; for the others see [`Tuning`].
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Owners that answer a quorum read in a ring of at least the replication factor.
    pub read_quorum: u8,
    /// Owners that store a quorum write in a ring of at least the replication factor.
    pub write_quorum: u8,
    /// Owners per slot when there are enough members.
    pub replication_factor: u8,
}

/// The coordinator's settings that may change while the node runs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tuning {
    /// Applies when a writer gives no time to live; `None` for no expiry.
    pub default_ttl: Option<Duration>,
    /// When a read turns to another owner although nothing has failed; `None` for never.
    pub hedge_after: Option<Duration>,
    /// Share of reads that may be hedged, 0 to 1.
    pub hedge_ratio: f64,
}

/// They are read by every request, each on its own.
#[derive(Debug)]
struct Tuned {
    default_ttl: OptionalDuration,
    hedge_after: OptionalDuration,
}

/// A duration that may change or be absent, to the microsecond.
#[derive(Debug)]
struct OptionalDuration(AtomicU64);

impl OptionalDuration {
    const ABSENT: u64 = u64::MAX;

    fn new(duration: Option<Duration>) -> Self {
        Self(AtomicU64::new(Self::encoded(duration)))
    }

    fn set(&self, duration: Option<Duration>) {
        self.0.store(Self::encoded(duration), Ordering::Relaxed);
    }

    fn get(&self) -> Option<Duration> {
        let micros = self.0.load(Ordering::Relaxed);
        (micros != Self::ABSENT).then(|| Duration::from_micros(micros))
    }

    fn encoded(duration: Option<Duration>) -> u64 {
        duration.map_or(Self::ABSENT, |duration| {
            let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
            micros.min(Self::ABSENT - 1)
        })
    }
}

/// The parts of a node that the coordinator works with.
pub struct Surroundings {
    /// The node's present boot id: the writer in its versions.
    pub boot: Arc<AtomicU64>,
    /// The ring in use.
    pub ring: RingCell,
    /// Carries operations.
    pub transport: Arc<dyn PeerTransport>,
    /// Where exchanges are kept.
    pub ledger: Arc<Ledger>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Hybrid time.
    pub hybrid: Arc<HybridClock>,
    /// Whether this node's wall clock agrees with those of its peers.
    pub clocks: Arc<PeerClocks>,
    /// Names of members, for explanations.
    pub view: watch::Receiver<Arc<View>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Carries out clients' requests.
pub struct Coordinator {
    own: NodeId,
    boot: Arc<AtomicU64>,
    policy: Policy,
    tuned: Tuned,
    ring: RingCell,
    transport: Arc<dyn PeerTransport>,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    hybrid: Arc<HybridClock>,
    clocks: Arc<PeerClocks>,
    view: watch::Receiver<Arc<View>>,
    metrics: Arc<Metrics>,
    hedges: HedgeBudget,
    hot_keys: HotKeys,
    draining: AtomicBool,
}

/// One request with the plan of its present attempt.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    plan: &'a Plan,
    key: &'a Key,
    terms: Terms,
    /// From 1 on.
    number: u32,
    /// The span of the request to the owners; only when it is sampled.
    trace: Option<&'a Arc<Scope>>,
}

/// What one attempt goes by: one configuration of the slot, whatever happens to it meanwhile.
#[derive(Clone)]
struct Plan {
    slot: Slot,
    configuration: Configuration,
}

impl Plan {
    /// At most [`quorum::OWNERS_MAX`].
    fn owner_count(&self) -> u8 {
        u8::try_from(self.configuration.owners().len()).unwrap_or(u8::MAX)
    }
}

impl Coordinator {
    /// The coordinator of the node `own`.
    #[must_use]
    pub fn new(own: NodeId, policy: Policy, tuning: Tuning, surroundings: Surroundings) -> Self {
        let Surroundings {
            boot,
            ring,
            transport,
            ledger,
            clock,
            hybrid,
            clocks,
            view,
            metrics,
        } = surroundings;
        Self {
            own,
            boot,
            policy,
            tuned: Tuned {
                default_ttl: OptionalDuration::new(tuning.default_ttl),
                hedge_after: OptionalDuration::new(tuning.hedge_after),
            },
            ring,
            transport,
            ledger,
            clock,
            hybrid,
            clocks,
            view,
            metrics,
            hedges: HedgeBudget::new(tuning.hedge_ratio),
            hot_keys: HotKeys::default(),
            draining: AtomicBool::new(false),
        }
    }

    /// The keys that this node is asked for most, most first; none while all are asked for alike.
    #[must_use]
    pub fn hot_keys(&self, count: usize) -> Vec<HotKey> {
        self.hot_keys.top(count, self.clock.monotonic())
    }

    fn note_key(&self, key: &Key, terms: Terms) {
        self.hot_keys.note(key, terms.deadline, &*self.clock);
    }

    /// Goes by other settings from now on.
    pub fn tune(&self, tuning: Tuning) {
        self.tuned.default_ttl.set(tuning.default_ttl);
        self.tuned.hedge_after.set(tuning.hedge_after);
        self.hedges.allow(tuning.hedge_ratio);
    }

    /// Refuses new requests from now on; those under way go on.
    pub fn stop_admitting(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Asked once per request, before anything else is done for it: what was taken is finished, also when it has to try
    /// again while the node leaves.
    ///
    /// # Errors
    /// [`Unavailable::Draining`] when the node is leaving, [`Unavailable::Clock`] when its clock is off.
    pub fn check_admitting(&self) -> Result<(), Unavailable> {
        if self.draining.load(Ordering::SeqCst) {
            return Err(Unavailable::Draining);
        }
        match self.clocks.refusing() {
            None => Ok(()),
            Some(off) => Err(Unavailable::Clock(off)),
        }
    }

    /// Share of the slots, 0 to 1, for which no quorum of owners can be reached, as far as the breakers know. Cheap
    /// unless so many members are out of reach that the slots have to be looked at one by one.
    #[must_use]
    pub fn unserved_ratio(&self, ring: &Ring) -> f64 {
        let down: Vec<NodeId> = ring
            .members()
            .iter()
            .map(|member| member.node_id)
            .filter(|member| self.transport.reach(*member) == Reach::Down)
            .collect();
        let owners = ring.owner_count();
        let spare = usize::from(owners - self.policy.quorum_of(owners, self.policy.write_quorum));
        if down.len() <= spare {
            return 0.0;
        }
        if ring.members().len() == usize::from(owners) {
            return 1.0;
        }
        let is_unserved = |slot: &Slot| {
            let owners = ring.owners(*slot);
            let lost = owners.iter().filter(|owner| down.contains(&owner.node_id));
            lost.count() > spare
        };
        let slots = ring.shape().slots;
        let unserved = (0..slots).map(Slot).filter(is_unserved).count();
        unserved as f64 / f64::from(slots)
    }

    fn plan(&self, key: &Key) -> Result<Plan, Unavailable> {
        let gates = self.ring.gates.load();
        let slot = gates.slot(key);
        let configuration = gates.configuration(slot).ok_or(Unavailable::Joining)?;
        Ok(Plan {
            slot,
            configuration: configuration.clone(),
        })
    }

    /// N, and how many of them `terms` ask for.
    fn need(&self, plan: &Plan, terms: Terms, quorum: u8) -> Need {
        let owners = plan.owner_count();
        let (required, standing) = match terms.consistency {
            Consistency::One => (1, Standing::Themselves),
            Consistency::Quorum => (self.policy.quorum_of(owners, quorum), Standing::Everything),
            Consistency::All => (owners, Standing::Everything),
        };
        let least = match terms.degrade {
            Degrade::Refuse => required,
            Degrade::Accept => 1,
        };
        Need {
            owners,
            required,
            least,
            standing,
        }
    }

    /// Refuses a request for which too few owners can be reached, before anything is sent.
    fn check_reach(&self, plan: &Plan, need: Need) -> Result<(), Unavailable> {
        let reachable = plan
            .configuration
            .owners()
            .iter()
            .filter(|owner| self.transport.reach(owner.node_id) != Reach::Down)
            .count();
        // At most OWNERS_MAX.
        let reachable = u8::try_from(reachable).unwrap_or(u8::MAX);
        if reachable < need.least {
            let Need {
                owners,
                least: needed,
                ..
            } = need;
            return Err(Unavailable::NoQuorum {
                reachable,
                owners,
                needed,
            });
        }
        Ok(())
    }

    /// Waits a moment for the slot to change at this node. Returns whether another attempt is worth making, which only the
    /// deadline bounds.
    async fn await_reconfiguration(
        &self,
        slot: Slot,
        attempts: u32,
        terms: Terms,
        course: &mut Course,
    ) -> bool {
        course.enter(Stage::Reconfiguration);
        course.note(Event::Reconfigured);
        self.ring.doubts.note(slot);
        let left = terms.deadline.saturating_sub(self.clock.monotonic());
        let pause = RECONFIGURE_PAUSE
            .saturating_mul(attempts)
            .min(RECONFIGURE_PAUSE_MAX);
        tokio::select! {
            biased;
            () = self.ring.changed.notified() => {}
            () = self.clock.sleep(pause.min(left)) => {}
        }
        self.clock.monotonic() < terms.deadline
    }

    fn next_version(&self) -> Version {
        Version::new(
            self.hybrid.stamp(self.clock.wall_millis()),
            self.boot.load(Ordering::Acquire),
        )
    }

    /// Counts an operation that has ended.
    fn count(&self, operation: Op, outcome: OperationOutcome, terms: Terms) {
        let metrics = &self.metrics;
        metrics
            .coordinator_operations
            .get((operation, outcome))
            .inc();
        let taken = self.clock.monotonic().saturating_sub(terms.arrived);
        metrics.coordinator_duration.get(operation).observe(taken);
    }
}

impl Policy {
    /// Owners that make a quorum of so many. While there are fewer than the replication factor, that is a majority of what
    /// there is.
    fn quorum_of(&self, owners: u8, configured: u8) -> u8 {
        let quorums = Quorums {
            replication_factor: self.replication_factor,
            write_quorum: configured,
        };
        // At most OWNERS_MAX.
        u8::try_from(quorums.write(usize::from(owners))).unwrap_or(u8::MAX)
    }
}
