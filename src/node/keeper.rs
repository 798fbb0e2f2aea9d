//! Keeps the ring: follows the view, forms or adopts the first ring, copies this node's slots before it enters one, and
//! tells the others where it stands. One task owns the roster.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{SeedableRng as _, rngs::StdRng};
use shard_cache_membership::{handle::Handle, identity::BootId, record::Phase, view::View};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::push_pull::{Intake, Offer, OrderNews, PushPulls, Taken};
use crate::{
    api::ForgetRefusal,
    clock::{Clock, Monotonic},
    handoff::{
        Budget, OwedHints, RingCell,
        pull::{Pull, PullPlan},
        slots::Slots,
    },
    repair::Agreements,
    replica::Replica,
    ring::{
        Bootstrap, Ring, RingMember,
        orders::Orders,
        roster::{AdoptError, Roster, RosterEffect, RosterState},
        zone::{ZoneId, ZonedMember},
    },
    store::Store,
    telemetry::Metrics,
    transport::{PeerTarget, PeerTransport},
    workers::Workers,
};

/// The roster is looked at this often even if nothing happens, so that ages in the offered state stay fresh.
const TICK: Duration = Duration::from_millis(500);
/// Between two exchanges with everybody who is there, while the ring has members that are away and others could stand in
/// their place.
const CHOICE_INTERVAL: Duration = Duration::from_secs(1);
/// How long nothing may be left of a ring before it is given up.
const VOID_WAIT: Duration = Duration::from_secs(2);
/// How long slots may be declared lost after an operator has accepted that, where it has to be accepted.
const LOSS_ACCEPTANCE: Duration = Duration::from_secs(60);

/// Where this node stands, for health and readiness.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) phase: Phase,
    /// What the last peer that refused us said; `None` once one has not.
    pub(super) refusal: Option<String>,
    /// Rings that this node has used.
    pub(super) ring_changes: u64,
}

/// What other parts of the node see of the keeper.
#[derive(Clone)]
pub(super) struct KeeperDesk {
    /// What is offered to other nodes.
    pub(super) offer: Offer,
    /// Where what they offer goes.
    pub(super) intake: Intake,
    pub(super) standing: watch::Receiver<Standing>,
}

/// The parts of the node that the keeper works with.
pub(super) struct KeeperParts {
    pub(super) membership: Handle,
    pub(super) transport: Arc<dyn PeerTransport>,
    /// Where a peer answered from another life than the view shows.
    pub(super) reborn: mpsc::Receiver<SocketAddr>,
    pub(super) ring: RingCell,
    pub(super) slots: Arc<Slots>,
    pub(super) store: Arc<Store>,
    pub(super) hints: Arc<OwedHints>,
    pub(super) agreements: Agreements,
    pub(super) replica: Arc<Replica>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) workers: Arc<dyn Workers>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) boot: Arc<AtomicU64>,
    /// Where this node stands.
    pub(super) zone: Option<ZoneId>,
    /// Where new boot ids come from.
    pub(super) new_boot: Box<dyn FnMut() -> BootId + Send + Sync>,
    /// Where the randomness of bulk pulls comes from.
    pub(super) pull_rng: StdRng,
    /// Most bytes of keys and values that a bulk pull copies in a second.
    pub(super) bytes_per_second_max: u64,
    /// What all background work may take together.
    pub(super) budget: Budget,
    /// Cancelled when this node is to leave.
    pub(super) leaving: CancellationToken,
}

/// Keeps the ring of one node.
pub(super) struct Keeper {
    parts: KeeperParts,
    roster: Roster,
    own: RingMember,
    view: watch::Receiver<Arc<View>>,
    standing: watch::Sender<Standing>,
    offer: Offer,
    orders: Orders,
    taken: Taken,
    push_pulls: PushPulls,
    pull: PullState,
    /// Since when nothing has been left of the ring that this node has been told of.
    void_since: Option<Monotonic>,
    /// When the others were last told of members that are away.
    choice_told: Monotonic,
    /// Ends the pull under way when another one takes its place.
    pull_superseded: CancellationToken,
    pulled_tx: mpsc::Sender<u64>,
    pulled_rx: mpsc::Receiver<u64>,
}

/// How far the bulk pull of a joining node is. It holds for the ring that it was planned from: when the owners change,
/// whom to copy from has to be planned anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PullState {
    NotStarted,
    /// Under way: this attempt, planned from this ring.
    Running {
        attempt: u64,
        ring_hash: u64,
    },
    /// Complete, for this ring.
    Done {
        ring_hash: u64,
    },
}

impl PullState {
    fn is_done_for(self, ring: &Ring) -> bool {
        self == Self::Done {
            ring_hash: ring.hash(),
        }
    }
}

impl Keeper {
    pub(super) fn new(parts: KeeperParts, roster: Roster, own: RingMember) -> (Self, KeeperDesk) {
        let view = parts.membership.view();
        let (standing, standing_rx) = watch::channel(Standing {
            phase: Phase::Joining,
            refusal: None,
            ring_changes: 0,
        });
        let offer = Offer::default();
        let (intake, taken) = Intake::new(parts.membership.clone(), offer.clone());
        let (pulled_tx, pulled_rx) = mpsc::channel(1);
        let push_pulls = PushPulls::new(
            intake.clone(),
            Arc::clone(&parts.transport),
            Arc::clone(&parts.workers),
            standing.clone(),
        );
        let desk = KeeperDesk {
            offer: offer.clone(),
            intake,
            standing: standing_rx,
        };
        let keeper = Self {
            parts,
            roster,
            own,
            view,
            standing,
            offer,
            orders: Orders::default(),
            taken,
            push_pulls,
            pull: PullState::NotStarted,
            void_since: None,
            choice_told: Monotonic::default(),
            pull_superseded: CancellationToken::new(),
            pulled_tx,
            pulled_rx,
        };
        (keeper, desk)
    }

    /// Follows the view for as long as the node runs. `targets` are the push-pulls that membership asks for.
    pub(super) async fn run(mut self, mut targets: mpsc::Receiver<SocketAddr>) {
        let mut attempt = 0;
        loop {
            self.step(&mut attempt).await;
            let wait = self.until_next();
            tokio::select! {
                biased;
                () = self.parts.leaving.cancelled(), if self.phase() != Phase::Leaving => {
                    self.announce(Phase::Leaving).await;
                }
                Some(state) = self.taken.rings.recv() => self.adopt(&state),
                Some(news) = self.taken.orders.recv() => self.take_order(news).await,
                Some(finished) = self.pulled_rx.recv() => self.pulled(finished),
                Some(address) = targets.recv() => self.push_pulls.start(address),
                // It has restarted, may know nobody yet, and must not form a ring without us.
                Some(address) = self.parts.reborn.recv() => self.push_pulls.start(address),
                changed = self.view.changed() => {
                    if changed.is_err() {
                        tracing::error!("membership has stopped");
                        return;
                    }
                }
                () = self.parts.ring.changed.notified(), if self.phase() == Phase::Joining => {}
                () = self.parts.clock.sleep(wait) => {}
            }
        }
    }

    fn until_next(&self) -> Duration {
        let now = self.parts.clock.monotonic();
        let due = self
            .roster
            .next_deadline()
            .map(|due| due.saturating_sub(now));
        due.map_or(TICK, |due| due.min(TICK))
            .max(Duration::from_millis(1))
    }

    /// Brings everything in line with the view as it is now.
    async fn step(&mut self, attempt: &mut u64) {
        let view = self.view.borrow_and_update().clone();
        self.connect(&view);
        let now = self.parts.clock.now();
        match self.roster.update(&view, now.monotonic, now.wall_millis) {
            Some(RosterEffect::Adopt { from }) => {
                if let Some(member) = view.member(from) {
                    self.push_pulls.start(member.peer_addr);
                }
            }
            Some(RosterEffect::Formed { bootstrap }) => {
                tracing::info!(?bootstrap, "formed the first ring");
            }
            Some(RosterEffect::Superseded { by }) => {
                tracing::warn!(%by, "another ring is older: discarding this node's ring and store");
                self.start_over().await;
            }
            None => {}
        }
        self.abandon_if_void(&view);
        self.publish().await;
        self.tell_choice(&view);
        self.enter(&view, attempt).await;
    }

    /// Other nodes may have chosen other members that are away, until they are told: each learns when they are overdue for
    /// both, which is not at the same time.
    fn tell_choice(&mut self, view: &View) {
        let now = self.parts.clock.monotonic();
        if self.roster.has_chosen() && now >= self.choice_told + CHOICE_INTERVAL {
            self.choice_told = now;
            self.tell_all(view);
        }
    }

    /// When all members of a ring have restarted before any of them had its slots, there is nobody left to copy from: they
    /// go back to looking for a ring, and form a first one.
    fn abandon_if_void(&mut self, view: &View) {
        let has_nothing =
            |ring: Arc<Ring>| self.parts.slots.counts().unknown == usize::from(ring.shape().slots);
        let is_void = self.phase() == Phase::Joining
            && self.roster.is_void(view)
            && self.roster.ring().is_some_and(has_nothing);
        if !is_void {
            self.void_since = None;
            return;
        }
        let now = self.parts.clock.monotonic();
        let since = *self.void_since.get_or_insert(now);
        if now.saturating_sub(since) >= VOID_WAIT {
            self.void_since = None;
            tracing::warn!(
                "all members of the ring have lost their memory: looking for another ring"
            );
            self.roster.abandon();
        }
    }

    /// Exchanges states with everybody who is there.
    fn tell_all(&self, view: &View) {
        for member in view.present().filter(|member| member.node_id != view.own) {
            self.push_pulls.start(member.peer_addr);
        }
    }

    fn connect(&self, view: &View) {
        let others = view
            .members
            .iter()
            .filter(|member| member.node_id != view.own);
        let targets: BTreeMap<_, _> = others
            .map(|member| {
                let target = PeerTarget {
                    address: member.peer_addr,
                    boot_id: member.boot_id,
                };
                (member.node_id, target)
            })
            .collect();
        self.parts.transport.retarget(&targets);
    }

    /// Publishes the ring and what others may adopt.
    async fn publish(&mut self) {
        let state = self.roster.state(self.parts.clock.monotonic());
        let lives = state.iter().flat_map(RosterState::lives);
        let others = lives.filter(|member| *member != self.own);
        self.parts.agreements.follow(others.map(|it| it.boot_id));
        let encoded = state.map(|state| state.encode()).unwrap_or_default();
        self.offer.ring.store(Arc::new(encoded.into()));
        let ring = self.roster.ring();
        let held = self.parts.ring.ring.load_full();
        let same = match (&ring, &held) {
            (Some(ring), Some(held)) => Arc::ptr_eq(ring, held),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if same {
            return;
        }
        if let Some(ring) = &ring {
            let members = ring.members().len();
            tracing::info!(
                hash = format!("{:016x}", ring.hash()),
                members,
                "ring changed"
            );
        }
        if let Some(ring) = &ring {
            if self.roster.is_first_ring() {
                self.parts.slots.form(ring);
            }
            self.parts.slots.want(Arc::clone(ring));
        }
        self.parts.ring.ring.store(ring);
        self.parts.ring.changed.notify_waiters();
        self.standing
            .send_modify(|standing| standing.ring_changes += 1);
        self.announce(self.phase()).await;
    }

    /// A node that the ring does not name copies its slots first, and then asks to be let in.
    async fn enter(&mut self, view: &View, attempt: &mut u64) {
        let Some(ring) = self.roster.ring() else {
            return;
        };
        match self.phase() {
            Phase::Leaving | Phase::Active => {}
            Phase::Joining if self.roster.is_member(self.own) || self.pull.is_done_for(&ring) => {
                self.announce(Phase::Active).await;
                tracing::info!("this node is active");
                self.tell_all(view);
            }
            Phase::Joining => match self.pull {
                PullState::Running { ring_hash, .. } if ring_hash == ring.hash() => {}
                // Records without a configuration for their slot have no root, and would be refused.
                PullState::NotStarted | PullState::Running { .. } | PullState::Done { .. }
                    if self.parts.slots.counts().unknown == 0 =>
                {
                    *attempt += 1;
                    self.pull = PullState::Running {
                        attempt: *attempt,
                        ring_hash: ring.hash(),
                    };
                    self.start_pull(&ring, *attempt);
                }
                PullState::NotStarted | PullState::Running { .. } | PullState::Done { .. } => {}
            },
        }
    }

    fn start_pull(&mut self, ring: &Ring, attempt: u64) {
        self.pull_superseded.cancel();
        self.pull_superseded = CancellationToken::new();
        let plan = PullPlan::new(
            ring,
            ZonedMember {
                member: self.own,
                zone: self.parts.zone,
            },
        );
        let sources = plan.sources().count();
        tracing::info!(sources, "joining: copying this node's slots");
        let pull = Pull {
            replica: Arc::clone(&self.parts.replica),
            transport: Arc::clone(&self.parts.transport),
            clock: Arc::clone(&self.parts.clock),
            metrics: Arc::clone(&self.parts.metrics),
            view: self.parts.membership.view(),
            rng: self.parts.pull_rng.fork(),
            bytes_per_second_max: self.parts.bytes_per_second_max,
            budget: self.parts.budget.clone(),
        };
        let (root, done) = (ring.root(), self.pulled_tx.clone());
        let superseded = self.pull_superseded.clone();
        let task = async move {
            let records = tokio::select! {
                biased;
                () = superseded.cancelled() => return,
                records = pull.run(plan, root) => records,
            };
            tracing::info!(records, "joining: copied");
            if done.send(attempt).await.is_err() {
                tracing::debug!("the node stopped while it was joining");
            }
        };
        self.parts.workers.spawn("bulk pull", Box::pin(task));
    }

    fn pulled(&mut self, attempt: u64) {
        match self.pull {
            PullState::Running {
                attempt: running,
                ring_hash,
            } if running == attempt => {
                self.pull = PullState::Done { ring_hash };
            }
            PullState::Running { .. } | PullState::NotStarted | PullState::Done { .. } => {}
        }
    }

    fn adopt(&mut self, state: &RosterState) {
        // A state that was on its way when an older ring was met would only be given up again.
        let view = self.view.borrow().clone();
        if oldest_announced(&view).is_some_and(|oldest| oldest < state.bootstrap()) {
            return;
        }
        match self
            .roster
            .adopt(state, &view, self.parts.clock.monotonic())
        {
            Ok(()) => {
                tracing::info!(bootstrap = ?state.bootstrap(), "adopted a ring");
                // Nothing of a ring that was given up may be left, not even a write that was being applied just then.
                self.parts.store.clear();
            }
            Err(AdoptError::HaveRing) => {}
            Err(error @ AdoptError::ShapeDiffers { .. }) => {
                tracing::error!(%error, "a ring was not adopted");
                self.standing
                    .send_modify(|held| held.refusal = Some(error.to_string()));
            }
        }
    }

    /// Takes news about orders, and acts by them if there are new ones.
    async fn take_order(&mut self, news: OrderNews) {
        let before = self.orders.clone();
        let now_millis = self.parts.clock.wall_millis();
        match news {
            OrderNews::Heard(orders) => {
                self.orders.merge(&orders);
            }
            OrderNews::Forget { member, name, done } => {
                let forgotten = self.may_forget(member, name);
                if forgotten.is_ok() {
                    self.orders.forget(member, now_millis);
                }
                // Whoever asked may have given up.
                drop(done.send(forgotten));
            }
            OrderNews::AcceptLosses { done } => {
                self.orders.accept_losses(now_millis);
                done.send(()).unwrap_or_default();
            }
        }
        if self.orders != before {
            self.obey().await;
        }
    }

    fn may_forget(&self, member: RingMember, name: String) -> Result<(), ForgetRefusal> {
        let Some(ring) = self.roster.ring() else {
            return Err(ForgetRefusal::NoRing { name });
        };
        if ring.members() == [member] {
            return Err(ForgetRefusal::OnlyMember { name });
        }
        Ok(())
    }

    async fn obey(&mut self) {
        let accepted = self.orders.losses_accepted_millis();
        let until = accepted.saturating_add(crate::node::millis(LOSS_ACCEPTANCE));
        self.parts
            .slots
            .obey(&self.orders, if accepted == 0 { 0 } else { until });
        self.roster.forget(self.orders.forgotten());
        self.offer.orders.store(Arc::new(self.orders.clone()));
        if self.orders.is_forgotten(self.own) {
            tracing::warn!(
                "an operator has declared this node gone for good: discarding its store"
            );
            self.start_over().await;
        }
    }

    /// This node's ring and data are void: it goes on as an empty node.
    async fn start_over(&mut self) {
        let boot_id = (self.parts.new_boot)();
        self.parts.ring.ring.store(None);
        self.parts.boot.store(boot_id.0, Ordering::Release);
        self.parts.slots.start_over(RingMember {
            boot_id,
            ..self.own
        });
        self.parts.store.clear();
        self.parts.hints.clear();
        self.pull_superseded.cancel();
        self.own = RingMember {
            boot_id,
            ..self.own
        };
        self.roster.reboot(boot_id);
        self.pull = PullState::NotStarted;
        if let Err(error) = self.parts.membership.change_boot(boot_id).await {
            tracing::error!(%error, "membership did not take the new boot id");
        }
        self.announce(Phase::Joining).await;
    }

    /// Tells the others where this node stands and which ring it has.
    async fn announce(&self, phase: Phase) {
        let bootstrap = self.roster.bootstrap();
        let attachment = bootstrap
            .map(|held| held.to_bytes().to_vec())
            .unwrap_or_default();
        self.standing.send_modify(|standing| standing.phase = phase);
        if let Err(error) = self.parts.membership.update_record(phase, attachment).await {
            tracing::error!(%error, "membership did not take this node's record");
        }
    }

    fn phase(&self) -> Phase {
        self.standing.borrow().phase
    }
}

/// The oldest bootstrap that another present member announces.
fn oldest_announced(view: &View) -> Option<Bootstrap> {
    let others = view.present().filter(|member| member.node_id != view.own);
    others
        .filter_map(|member| member.record.as_deref())
        .filter_map(|record| Bootstrap::from_bytes(&record.attachment))
        .min()
}
