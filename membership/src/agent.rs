//! The sans-IO agent around foca: inputs with their time go in; datagrams, views and push-pull targets come out.
//!
//! No clock, socket, task or global randomness: the driver and the simulator run this very code. After every
//! [`Agent::handle`] the caller drains [`Agent::next_datagram`], [`Agent::view`] and [`Agent::push_pull_due`], and calls
//! again at the latest at [`Agent::next_deadline`].
//!
//! Invariants: no input can make it panic; every foca timer is delivered, in order; it never gives up looking for seeds
//! and last-known peers until it has left; equal inputs and seeds give equal outputs.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    num::{NonZeroU8, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use foca::{AccumulatingRuntime, Foca, Member, OwnedNotification, PeriodicParams, State, Timer};
use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::IndexedRandom};

use crate::{
    codec::{self, RecordBroadcasts, Refusal, WireCodec, WireContext},
    config::{AgentConfig, ConfigError, PAYLOAD_BYTES_MAX, Rounds, SourceCheck},
    counters::Counters,
    envelope::{self, ClusterHash, EnvelopeError},
    health::LocalHealth,
    identity::{BootId, NodeIdentity, canonical_addr},
    publication::{Publication, members_of},
    push_pull::PushPullSchedule,
    record::{ATTACHMENT_BYTES_MAX, NodeRecord, Phase, RecordError},
    records::RecordTable,
    seeds::SeedLoop,
    state::{MemberState, State as FullState, StateError},
    timers::Timers,
    view::{Liveness, View},
};

/// Most datagrams that wait for the caller.
pub const OUTBOX_DATAGRAMS_MAX: usize = 4096;
/// Most members in the table; datagrams from further addresses are refused.
pub const MEMBERS_MAX: usize = 4096;

/// How often liveness is polled, records are looked after and health decays.
const TICK: Duration = Duration::from_millis(500);
/// A turn later than this speaks for our own slowness.
const LATE: Duration = Duration::from_millis(100);
/// A turn later than this means that we stood still: see [`Agent::note_lateness`].
const STALL: Duration = Duration::from_secs(1);
/// Our record is broadcast at most this often, apart from changes of it.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);
/// Gossip rounds between the leaving record and the departure.
const LEAVE_ROUNDS: u32 = 2;
/// Gossip rounds after the departure that repeat it.
const FAREWELLS_MAX: u32 = 10;
/// A bump this far ahead of the clock, in milliseconds, is no longer raised in doubling steps, so that renewals can
/// never reach the bound beyond which others refuse it.
const BUMP_AHEAD_SOFT_MILLIS: u64 = 24 * 3600 * 1000;

/// The time of an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Since an arbitrary start; never falls.
    pub monotonic: Duration,
    /// Unix time in milliseconds; may jump. Only used to judge bumps.
    pub wall_millis: u64,
}

/// What an agent is told.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram arrived. Junk is counted and ignored.
    Datagram {
        /// Where it came from.
        from: SocketAddr,
        /// All of its bytes.
        payload: &'a [u8],
    },
    /// Time has come; also implied by every other input.
    Time,
    /// The seed addresses, replacing former ones. An address that is new is asked for a push-pull at once.
    Seeds(Vec<SocketAddr>),
    /// What our record says from now on.
    UpdateRecord {
        /// Where we stand.
        phase: Phase,
        /// A few bytes for the layer above.
        attachment: Vec<u8>,
    },
    /// The state that a peer exported.
    MergeState(&'a [u8]),
    /// Our memory starts anew (its content was discarded).
    ChangeBoot(BootId),
    /// Leave the cluster in order, for good.
    Leave,
}

/// Why an input was refused; the agent is unchanged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InputError {
    /// The state of a peer was refused.
    #[error(transparent)]
    State(#[from] StateError),
    /// The record update was refused.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Why an agent cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration is impossible.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Our own record is refused.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Identity and record are of different nodes.
    #[error("identity and record have different node ids")]
    DifferentNodes,
    /// Nobody could reach this address.
    #[error("{addr} is not an address that others can reach")]
    UnreachableAddr {
        /// The identity's address.
        addr: SocketAddr,
    },
    /// The protocol range is empty.
    #[error("protocol_min {min} is above protocol_max {max}")]
    ProtocolRange {
        /// Oldest version.
        min: u8,
        /// Newest version.
        max: u8,
    },
}

/// A datagram to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutgoingDatagram {
    /// Its destination.
    pub to: SocketAddr,
    /// All of its bytes; at most [`envelope::DATAGRAM_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

type Swim = Foca<NodeIdentity, WireCodec, SmallRng, RecordBroadcasts>;

/// One member of the cluster, as a state machine.
pub struct Agent {
    config: AgentConfig,
    cluster: ClusterHash,
    swim: Swim,
    effects: AccumulatingRuntime<NodeIdentity>,
    timers: Timers<SocketAddr, Timer<NodeIdentity>>,
    context: Arc<WireContext>,
    counters: Arc<Counters>,
    rng: SmallRng,
    seeds: SeedLoop,
    next_seed_round: Duration,
    push_pull: PushPullSchedule,
    publication: Publication,
    health: LocalHealth,
    /// The health score that foca's suspicion time reflects.
    applied_score: u8,
    next_tick: Duration,
    next_late_count: Duration,
    next_record_request: Duration,
    /// When our record goes out again.
    record_due: Option<Duration>,
    record_sent: Option<Duration>,
    /// Whether no other member has been seen since start or since we were last alone.
    alone: bool,
    incarnation: u16,
    departure: Departure,
    outbox: VecDeque<OutgoingDatagram>,
}

/// How far we are with leaving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Departure {
    Staying,
    /// The leaving record spreads; at the deadline we go.
    Announced {
        depart_at: Duration,
    },
    /// Gone; repeats it so often and until then is otherwise silent.
    Gone {
        farewells_left: u32,
        next: Duration,
    },
}

impl Agent {
    /// An agent that knows only itself. `record` takes its node id, boot id and order from `identity`.
    ///
    /// # Errors
    /// If the configuration, identity or record is impossible.
    pub fn new(
        config: AgentConfig,
        identity: NodeIdentity,
        record: NodeRecord,
        mut rng: SmallRng,
        now: Now,
    ) -> Result<Self, AgentError> {
        config.validate()?;
        let identity = identity.canonical();
        let record = own_record(&identity, record)?;
        let counters = Arc::<Counters>::default();
        let table = RecordTable::new(record);
        let context = WireContext::new(Arc::clone(&counters), &identity, now.wall_millis, table);
        let context = Arc::new(context);
        let swim = Foca::with_custom_broadcast(
            identity,
            foca_config(&config, 0),
            SmallRng::from_rng(&mut rng),
            WireCodec::new(Arc::clone(&context)),
            RecordBroadcasts::new(Arc::clone(&context)),
        );
        let at = now.monotonic;
        let (min, max) = (config.push_pull_min, config.push_pull_max);
        let push_pull = PushPullSchedule::new(min, max, at, &mut rng);
        let mut agent = Self {
            cluster: ClusterHash::of_id(&config.cluster_id),
            config,
            swim,
            effects: AccumulatingRuntime::new(),
            timers: Timers::new(),
            context,
            counters,
            rng,
            seeds: SeedLoop::default(),
            next_seed_round: at,
            push_pull,
            publication: Publication::new(identity.node_id),
            health: LocalHealth::default(),
            applied_score: 0,
            next_tick: at + TICK,
            next_late_count: at,
            next_record_request: at,
            record_due: Some(at),
            record_sent: None,
            alone: true,
            incarnation: 0,
            departure: Departure::Staying,
            outbox: VecDeque::new(),
        };
        agent.publish(at);
        Ok(agent)
    }

    /// Takes in one input, and all time up to it.
    ///
    /// # Errors
    /// For a refused state or record update; everything else is counted, never an error.
    pub fn handle(&mut self, now: Now, input: Input<'_>) -> Result<(), InputError> {
        self.context.set_wall(now.wall_millis);
        let at = now.monotonic;
        self.note_lateness(at);
        let outcome = match input {
            Input::Datagram { from, payload } => {
                self.receive(now, from, payload);
                Ok(())
            }
            Input::Time => Ok(()),
            Input::Seeds(seeds) => {
                self.set_seeds(at, seeds);
                Ok(())
            }
            Input::UpdateRecord { phase, attachment } => self
                .update_record(at, phase, attachment)
                .map_err(InputError::from),
            Input::MergeState(bytes) => self.merge_state(now, bytes).map_err(InputError::from),
            Input::ChangeBoot(boot_id) => {
                self.change_boot(now, boot_id);
                Ok(())
            }
            Input::Leave => {
                self.announce_departure(at);
                Ok(())
            }
        };
        self.advance(now);
        outcome
    }

    /// The next datagram to send.
    pub fn next_datagram(&mut self) -> Option<OutgoingDatagram> {
        self.outbox.pop_front()
    }

    /// The latest view, if it changed since it was last taken.
    pub fn view(&mut self) -> Option<Arc<View>> {
        self.publication.take()
    }

    /// The latest view.
    #[must_use]
    pub const fn current_view(&self) -> &Arc<View> {
        self.publication.current()
    }

    /// Peer address of a member (or of a seed, whose peer port is taken to be its gossip port) to exchange states with
    /// now. Nothing depends on the exchange to succeed.
    pub fn push_pull_due(&mut self) -> Option<SocketAddr> {
        self.push_pull.take_due()
    }

    /// When to call [`Agent::handle`] at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let shared = [
            self.timers.next_deadline(),
            self.publication.next_deadline(),
        ];
        let own = match self.departure {
            Departure::Gone {
                farewells_left: 0, ..
            } => [None; 5],
            Departure::Gone { next, .. } => [Some(next), None, None, None, None],
            Departure::Staying => self.staying_deadlines(None),
            Departure::Announced { depart_at } => self.staying_deadlines(Some(depart_at)),
        };
        shared.into_iter().chain(own).flatten().min()
    }

    /// The full member state, for a push-pull; at most [`crate::state::STATE_BYTES_MAX`] bytes as long as the tables
    /// are within their bounds.
    #[must_use]
    pub fn export_state(&self) -> Vec<u8> {
        let own = *self.swim.identity();
        let mut members = vec![MemberState::new(own, self.incarnation, self.own_liveness())];
        members.extend(
            self.swim
                .iter_membership_state()
                .filter(|member| member.id().addr != own.addr)
                .map(member_state),
        );
        let records = self
            .context
            .records()
            .iter()
            .map(|record| (**record).clone())
            .collect();
        FullState::new(self.cluster, members, records).encode()
    }

    /// Who we are at present: renewals raise the bump, `ChangeBoot` changes the boot id.
    #[must_use]
    pub const fn identity(&self) -> &NodeIdentity {
        self.swim.identity()
    }

    /// The live counters.
    #[must_use]
    pub const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Whether we have left and said so often enough.
    #[must_use]
    pub const fn has_left(&self) -> bool {
        matches!(
            self.departure,
            Departure::Gone {
                farewells_left: 0,
                ..
            }
        )
    }
}

/// Inputs.
impl Agent {
    fn receive(&mut self, now: Now, from: SocketAddr, datagram: &[u8]) {
        self.counters.datagrams_received.add(1);
        self.counters.bytes_received.add(datagram.len() as u64);
        if matches!(self.departure, Departure::Gone { .. }) {
            return;
        }
        let payload = match envelope::unwrap(self.cluster, datagram) {
            Ok(payload) => payload,
            Err(error) => return self.count_envelope_error(error),
        };
        let sender = match codec::check_sender(&self.context, payload) {
            Ok(sender) => sender,
            Err(refusal) => return self.count_refusal(refusal),
        };
        if !self.may_speak(from, &sender) {
            return;
        }
        let outcome = self.swim.handle_data(payload, &mut self.effects);
        self.settle(now, outcome);
    }

    fn may_speak(&self, from: SocketAddr, sender: &NodeIdentity) -> bool {
        let own = self.swim.identity();
        if sender.addr == own.addr {
            self.counters.data_from_ourselves.add(1);
            if sender.boot_id != own.boot_id {
                self.counters.address_conflicts.add(1);
            }
            return false;
        }
        let from = canonical_addr(from);
        if self.config.source_check == SourceCheck::SameIp && from.ip() != sender.addr.ip() {
            self.counters.rejected_source.add(1);
            return false;
        }
        let mut members = self.swim.iter_membership_state();
        if members.len() >= MEMBERS_MAX && !members.any(|known| known.id().addr == sender.addr) {
            self.counters.members_rejected.add(1);
            return false;
        }
        true
    }

    fn set_seeds(&mut self, at: Duration, seeds: Vec<SocketAddr>) {
        let seeds: Vec<_> = seeds.into_iter().map(canonical_addr).collect();
        let new = self.seeds.set_seeds(&seeds, self.swim.identity().addr);
        if new.is_empty() {
            return;
        }
        self.next_seed_round = at;
        for seed in new {
            self.request_push_pull(seed);
        }
    }

    fn update_record(
        &mut self,
        at: Duration,
        phase: Phase,
        attachment: Vec<u8>,
    ) -> Result<(), RecordError> {
        let (bytes, bytes_max) = (attachment.len(), ATTACHMENT_BYTES_MAX);
        if bytes > bytes_max {
            return Err(RecordError::FieldTooLong {
                field: "attachment",
                bytes,
                bytes_max,
            });
        }
        let same = {
            let records = self.context.records();
            (records.own().phase, &records.own().attachment) == (phase, &attachment)
        };
        if !same {
            self.change_record(at, |record| {
                record.phase = phase;
                record.attachment = attachment;
            });
        }
        Ok(())
    }

    fn change_boot(&mut self, now: Now, boot_id: BootId) {
        let own = *self.swim.identity();
        if own.boot_id == boot_id || self.departure != Departure::Staying {
            return;
        }
        self.assume(
            now,
            NodeIdentity {
                boot_id,
                bump: own.bump.saturating_add(1),
                ..own
            },
        );
        let bump = self.swim.identity().bump;
        self.change_record(now.monotonic, |record| {
            record.boot_id = boot_id;
            record.bump = record.bump.max(bump);
        });
    }

    /// Says that we are leaving; a few gossip rounds later we go.
    fn announce_departure(&mut self, at: Duration) {
        if self.departure != Departure::Staying {
            return;
        }
        self.change_record(at, |record| record.phase = Phase::Leaving);
        self.departure = Departure::Announced {
            depart_at: at + self.config.gossip.every * LEAVE_ROUNDS,
        };
    }

    fn merge_state(&mut self, now: Now, bytes: &[u8]) -> Result<(), StateError> {
        if matches!(self.departure, Departure::Gone { .. }) {
            return Ok(());
        }
        let state = FullState::decode(self.cluster, bytes).inspect_err(|error| {
            self.counters.states_rejected.add(1);
            if *error == StateError::ForeignCluster {
                self.counters.rejected_foreign_cluster.add(1);
            }
        })?;
        self.counters.states_merged.add(1);
        let news = self.news_of(now, &state.members);
        let outcome = self
            .swim
            .apply_many(news.into_iter(), false, &mut self.effects);
        self.settle(now, outcome);
        for record in state.records {
            self.context.merge_record(record);
        }
        Ok(())
    }

    /// The members of a peer's state that we lack.
    fn news_of(&mut self, now: Now, members: &[MemberState]) -> Vec<Member<NodeIdentity>> {
        let known: BTreeMap<_, _> = (self.swim.iter_membership_state())
            .map(|member| (member.id().addr, member_state(member)))
            .collect();
        let mut room = MEMBERS_MAX.saturating_sub(known.len());
        let mut news = Vec::new();
        for said in members {
            if let Err(refusal) = self.context.check_identity(&said.identity) {
                self.counters.members_rejected.add(1);
                self.count_refusal(refusal);
                continue;
            }
            let own = *self.swim.identity();
            if said.identity.addr == own.addr && said.identity != own {
                self.pass_former_self(now, &said.identity);
                continue;
            }
            let known = known.get(&said.identity.addr);
            let is_new = if said.identity == own {
                true
            } else {
                said.is_news_to(known)
            };
            if is_new && (known.is_some() || room > 0) {
                room = room.saturating_sub(usize::from(known.is_none()));
                news.extend(foca_member(said));
            }
        }
        news
    }

    /// Others know our address under an identity that wins over ours, say from before our clock was set back: pass it at
    /// once instead of by many renewals.
    fn pass_former_self(&mut self, now: Now, former: &NodeIdentity) {
        let own = *self.swim.identity();
        let bump = former.bump.saturating_add(1);
        if former.outranks(&own) && self.context.check_bump(bump).is_ok() {
            self.assume(now, NodeIdentity { bump, ..own });
            self.follow_identity(now.monotonic);
        }
    }
}

/// Time.
impl Agent {
    /// Measures how late this turn is. After a stall pending timers move by it: while we stood still nobody could have
    /// answered or refuted, so firing them at once would declare healthy members down.
    fn note_lateness(&mut self, at: Duration) {
        let Some(late) = self
            .next_deadline()
            .and_then(|deadline| at.checked_sub(deadline))
        else {
            return;
        };
        if late > STALL {
            self.counters.stalls.add(1);
            self.timers.postpone(late);
        }
        if late > LATE && at >= self.next_late_count {
            self.counters.late_turns.add(1);
            self.next_late_count = at + self.config.probe_period;
            self.raise_health(at);
        }
    }

    fn advance(&mut self, now: Now) {
        let at = now.monotonic;
        while let Some(timer) = self.timers.pop_due(at, timer_key) {
            if matches!(timer, Timer::RemoveDown(_)) {
                self.publication.touch(at);
            }
            let outcome = self.swim.handle_timer(timer, &mut self.effects);
            self.settle(now, outcome);
        }
        match self.departure {
            Departure::Staying => self.advance_staying(now),
            Departure::Announced { depart_at } if at >= depart_at => self.depart(now),
            Departure::Announced { .. } => self.advance_staying(now),
            Departure::Gone {
                farewells_left,
                next,
            } if farewells_left > 0 && at >= next => {
                self.say_farewell(now, farewells_left - 1);
            }
            Departure::Gone { .. } => {}
        }
        self.settle(now, Ok(()));
        if self.context.records().take_changed() {
            self.publication.touch(at);
        }
        if self.publication.is_due(at) {
            self.publish(at);
        }
    }

    fn advance_staying(&mut self, now: Now) {
        let at = now.monotonic;
        if at >= self.next_seed_round {
            self.run_seed_round(now);
        }
        if self.push_pull.take_periodic(at, &mut self.rng) {
            let target = {
                let present: Vec<_> = self.swim.iter_members().map(|known| *known.id()).collect();
                present.choose(&mut self.rng).map(NodeIdentity::peer_addr)
            };
            target
                .into_iter()
                .for_each(|target| self.request_push_pull(target));
        }
        if at >= self.next_tick {
            self.next_tick = at + TICK;
            self.tick(at);
        }
        if self.record_due.is_some_and(|due| at >= due) {
            self.broadcast_record(at);
        }
    }

    fn staying_deadlines(&self, depart_at: Option<Duration>) -> [Option<Duration>; 5] {
        let push_pull = Some(self.push_pull.next_deadline());
        [
            Some(self.next_seed_round),
            push_pull,
            Some(self.next_tick),
            self.record_due,
            depart_at,
        ]
    }

    fn run_seed_round(&mut self, now: Now) {
        let jitter = self.rng.random_range(0.9..1.1);
        self.next_seed_round = now.monotonic + self.config.seed_interval.mul_f64(jitter);
        let active: BTreeSet<_> = self
            .swim
            .iter_members()
            .map(|known| known.id().addr)
            .collect();
        for target in self.seeds.round(|addr| active.contains(&addr)) {
            let target = NodeIdentity::unknown_at(target);
            let outcome = self.swim.announce(target, &mut self.effects);
            self.settle(now, outcome);
        }
    }

    fn tick(&mut self, at: Duration) {
        self.health.decay(at);
        self.apply_health();
        let waiting = self.swim.updates_backlog() + self.swim.custom_broadcast_backlog();
        self.counters.backlog.set(waiting as u64);
        self.outbid_former_record(at);
        let view = Arc::clone(self.publication.current());
        self.context
            .records()
            .prune(at, |node_id| view.member(node_id).is_some());
        for member in &view.members {
            let leaving = |record: &Arc<NodeRecord>| record.phase == Phase::Leaving;
            if member.liveness == Liveness::Down && member.record.as_ref().is_some_and(leaving) {
                self.seeds.forget(member.node_id);
            }
        }
        self.request_missing_record(at, &view);
        // Suspicions come and go without notice from foca; this is where a view gets to show them.
        self.publication.touch(at);
    }

    /// A member whose record did not come with gossip is asked for it.
    fn request_missing_record(&mut self, at: Duration, view: &View) {
        if at < self.next_record_request {
            return;
        }
        self.next_record_request = at + RECORD_INTERVAL;
        let missing: Vec<_> = view
            .present()
            .filter(|member| member.record.is_none())
            .collect();
        if let Some(target) = missing.choose(&mut self.rng).map(|member| member.peer_addr) {
            self.request_push_pull(target);
        }
    }

    /// Goes for good: foca declares us down and stays silent.
    fn depart(&mut self, now: Now) {
        let outcome = self.swim.leave_cluster(&mut self.effects);
        self.departure = Departure::Gone {
            farewells_left: FAREWELLS_MAX,
            next: now.monotonic,
        };
        self.settle(now, outcome);
        self.say_farewell(now, FAREWELLS_MAX);
        self.publication.touch(now.monotonic);
    }

    /// One lost datagram must not cost the others a whole suspicion time.
    fn say_farewell(&mut self, now: Now, farewells_left: u32) {
        let next = now.monotonic + self.config.gossip.every;
        self.departure = Departure::Gone {
            farewells_left,
            next,
        };
        let outcome = self.swim.gossip(&mut self.effects);
        self.settle(now, outcome);
    }
}

/// What foca asked for.
impl Agent {
    /// Carries out the effects of a call into foca, until none is left.
    fn settle(&mut self, now: Now, outcome: Result<(), foca::Error>) {
        if let Err(error) = outcome {
            self.count_error(now.monotonic, &error);
        }
        loop {
            while let Some((to, payload)) = self.effects.to_send() {
                self.send(to.addr, &payload);
            }
            while let Some((after, timer)) = self.effects.to_schedule() {
                let key = timer_key(&timer);
                self.timers.submit(now.monotonic + after, timer, key);
            }
            let Some(notification) = self.effects.to_notify() else {
                break;
            };
            self.react(now, notification);
        }
        let incarnation = self.context.incarnation();
        if incarnation > self.incarnation {
            self.counters.refutations.add(1);
            self.raise_health(now.monotonic);
        }
        self.incarnation = incarnation;
    }

    fn send(&mut self, to: SocketAddr, payload: &[u8]) {
        // foca keeps our own former identities as members that are down, and announces to them.
        if to == self.swim.identity().addr {
            return;
        }
        if self.outbox.len() >= OUTBOX_DATAGRAMS_MAX {
            self.counters.sends_dropped.add(1);
            return;
        }
        let bytes = envelope::wrap(self.cluster, payload);
        self.counters.datagrams_sent.add(1);
        self.counters.bytes_sent.add(bytes.len() as u64);
        self.outbox.push_back(OutgoingDatagram { to, bytes });
    }

    fn react(&mut self, now: Now, notification: OwnedNotification<NodeIdentity>) {
        let at = now.monotonic;
        match notification {
            OwnedNotification::MemberUp(member) => self.note_member_up(at, &member),
            OwnedNotification::MemberDown(_) => self.publication.touch(at),
            OwnedNotification::Rename(_, member) => {
                self.seeds.observe(member.addr, member.node_id, at);
                self.publication.touch(at);
            }
            OwnedNotification::Active => {}
            OwnedNotification::Idle => self.alone = true,
            OwnedNotification::Defunct => self.publication.touch(at),
            OwnedNotification::Rejoin(_) => {
                self.counters.rejoins.add(1);
                self.raise_health(at);
                self.restrain_bump(now);
                self.reconnect(now);
                self.follow_identity(at);
            }
        }
    }

    fn note_member_up(&mut self, at: Duration, member: &NodeIdentity) {
        let own = self.swim.identity();
        if member.node_id == own.node_id && member.addr != own.addr {
            self.counters.name_conflicts.add(1);
        }
        self.seeds.observe(member.addr, member.node_id, at);
        self.publication.touch(at);
        if std::mem::replace(&mut self.alone, false) {
            self.request_push_pull(member.peer_addr());
            self.push_pull.follow_up(at, &mut self.rng);
        }
        let due = self.record_sent.map_or(at, |sent| sent + RECORD_INTERVAL);
        self.record_due.get_or_insert(due.max(at));
    }

    /// Takes another identity of our own; whoever knows the former one learns that it is gone.
    fn assume(&mut self, now: Now, identity: NodeIdentity) {
        let outcome = self.swim.change_identity(identity, &mut self.effects);
        self.reconnect(now);
        self.settle(now, outcome);
        self.publication.touch(now.monotonic);
    }

    /// foca stops all timers when the identity changes and starts them with the next datagram to the new one, which may
    /// never come. Applying nothing makes it look at its active members at once.
    fn reconnect(&mut self, now: Now) {
        let nothing = std::iter::empty::<Member<NodeIdentity>>();
        let outcome = self.swim.apply_many(nothing, false, &mut self.effects);
        if let Err(error) = outcome {
            self.count_error(now.monotonic, &error);
        }
        self.context.restart_incarnation();
        self.incarnation = 0;
    }

    /// Ends the doubling once the bump is far ahead of the clock.
    fn restrain_bump(&mut self, now: Now) {
        let own = *self.swim.identity();
        let ahead = own.bump.saturating_sub(now.wall_millis);
        if ahead > BUMP_AHEAD_SOFT_MILLIS && own.renews > 1 {
            let restrained = NodeIdentity {
                bump: own.bump.saturating_add(1),
                renews: 0,
                ..own
            };
            if let Err(error) = self.swim.change_identity(restrained, &mut self.effects) {
                self.count_error(now.monotonic, &error);
            }
        }
    }
}

/// Our record, our health, our view.
impl Agent {
    fn change_record(&mut self, at: Duration, change: impl FnOnce(&mut NodeRecord)) {
        self.context.records().change_own(change);
        self.broadcast_record(at);
        // A change is worth a round of its own.
        if let Err(error) = self.swim.gossip(&mut self.effects) {
            self.count_error(at, &error);
        }
        self.publication.touch(at);
    }

    /// Our record must win over the one of our former identity wherever our identity does.
    fn follow_identity(&mut self, at: Duration) {
        let bump = self.swim.identity().bump;
        self.context
            .records()
            .change_own(|record| record.bump = record.bump.max(bump));
        self.record_due.get_or_insert(at);
        self.publication.touch(at);
    }

    /// Somebody still holds a record of a former life of ours that wins over the present one.
    fn outbid_former_record(&mut self, at: Duration) {
        let Some(bump) = self.context.records().take_outbid() else {
            return;
        };
        let bump = bump.saturating_add(1);
        if self.context.check_bump(bump).is_ok() {
            self.change_record(at, |record| record.bump = record.bump.max(bump));
        }
    }

    fn broadcast_record(&mut self, at: Duration) {
        self.record_due = None;
        self.record_sent = Some(at);
        let bytes = codec::encode_record(self.context.records().own());
        if let Err(error) = self.swim.add_broadcast(&bytes) {
            self.count_error(at, &error);
        }
    }

    fn request_push_pull(&mut self, target: SocketAddr) {
        if !self.push_pull.request(target) {
            self.counters.push_pulls_dropped.add(1);
        }
    }

    fn raise_health(&mut self, at: Duration) {
        self.health.raise(at);
        self.apply_health();
    }

    fn apply_health(&mut self) {
        let score = self.health.score();
        self.counters.health_score.set(u64::from(score));
        if score == self.applied_score {
            return;
        }
        match self.swim.set_config(foca_config(&self.config, score)) {
            Ok(()) => self.applied_score = score,
            Err(_) => self.counters.internal_errors.add(1),
        }
    }

    fn publish(&mut self, at: Duration) {
        let own = (*self.swim.identity(), self.own_liveness());
        let others = (self.swim.iter_membership_state())
            .map(|known| (*known.id(), liveness_of(known.state())));
        let members = members_of(own, others, &self.context.records());
        self.publication.publish(at, members);
    }

    const fn own_liveness(&self) -> Liveness {
        match self.departure {
            Departure::Staying | Departure::Announced { .. } => Liveness::Alive,
            Departure::Gone { .. } => Liveness::Down,
        }
    }
}

/// Counting.
impl Agent {
    fn count_envelope_error(&self, error: EnvelopeError) {
        let counter = match error {
            EnvelopeError::Oversize => &self.counters.rejected_oversize,
            EnvelopeError::Junk => &self.counters.rejected_junk,
            EnvelopeError::UnknownVersion => &self.counters.rejected_protocol,
            EnvelopeError::ForeignCluster => &self.counters.rejected_foreign_cluster,
        };
        counter.add(1);
    }

    fn count_refusal(&self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::Junk => &self.counters.rejected_junk,
            Refusal::Protocol => &self.counters.rejected_protocol,
            Refusal::FutureBump => &self.counters.rejected_bump,
        };
        counter.add(1);
    }

    fn count_error(&mut self, at: Duration, error: &foca::Error) {
        use foca::Error;
        let counter = match error {
            Error::MalformedPacket | Error::Decode(_) | Error::CustomBroadcast(_) => {
                &self.counters.rejected_junk
            }
            Error::DataTooBig => &self.counters.rejected_oversize,
            Error::DataFromOurselves => &self.counters.data_from_ourselves,
            Error::IndirectForOurselves => &self.counters.misdirected,
            Error::IncompleteProbeCycle => &self.counters.probes_incomplete,
            Error::NotUndead
            | Error::SameIdentity
            | Error::NotConnected
            | Error::Encode(_)
            | Error::InvalidConfig => &self.counters.internal_errors,
        };
        counter.add(1);
        if *error == Error::IncompleteProbeCycle {
            self.raise_health(at);
        }
    }
}

fn own_record(identity: &NodeIdentity, record: NodeRecord) -> Result<NodeRecord, AgentError> {
    let (min, max) = (identity.protocol_min, identity.protocol_max);
    if min > max {
        return Err(AgentError::ProtocolRange { min, max });
    }
    if !identity.is_reachable() {
        return Err(AgentError::UnreachableAddr {
            addr: identity.addr,
        });
    }
    record.validate()?;
    if record.node_id != identity.node_id {
        return Err(AgentError::DifferentNodes);
    }
    Ok(NodeRecord {
        boot_id: identity.boot_id,
        bump: identity.bump,
        ..record
    })
}

/// Only the removal of a member is keyed: it is a day away, and only the newest identity of an address can be removed.
const fn timer_key(timer: &Timer<NodeIdentity>) -> Option<SocketAddr> {
    match timer {
        Timer::RemoveDown(member) => Some(member.addr),
        Timer::ProbeRandomMember(_)
        | Timer::SendIndirectProbe { .. }
        | Timer::ChangeSuspectToDown { .. }
        | Timer::PeriodicAnnounce(_)
        | Timer::PeriodicAnnounceDown(_)
        | Timer::PeriodicGossip(_) => None,
    }
}

const fn liveness_of(state: State) -> Liveness {
    match state {
        State::Alive => Liveness::Alive,
        State::Suspect => Liveness::Suspect,
        State::Down => Liveness::Down,
    }
}

const fn member_state(member: &Member<NodeIdentity>) -> MemberState {
    MemberState::new(
        *member.id(),
        member.incarnation(),
        liveness_of(member.state()),
    )
}

fn foca_member(said: &MemberState) -> Option<Member<NodeIdentity>> {
    let state = match said.liveness()? {
        Liveness::Alive => State::Alive,
        Liveness::Suspect => State::Suspect,
        Liveness::Down => State::Down,
    };
    Some(Member::new(said.identity, said.incarnation, state))
}

/// The configuration was validated, so that no count is zero.
fn foca_config(config: &AgentConfig, score: u8) -> foca::Config {
    let count = |count| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
    let periodic = |rounds: Rounds| {
        Some(PeriodicParams {
            frequency: rounds.every,
            num_members: count(rounds.fanout),
        })
    };
    foca::Config {
        probe_period: config.probe_period,
        probe_rtt: config.probe_rtt,
        num_indirect_probes: count(config.indirect_probes),
        max_transmissions: NonZeroU8::new(config.max_transmissions).unwrap_or(NonZeroU8::MIN),
        suspect_to_down_after: config.suspect_timeout * (1 + u32::from(score)),
        remove_down_after: Some(config.down_memory),
        max_packet_size: count(PAYLOAD_BYTES_MAX),
        notify_down_members: true,
        periodic_announce: periodic(config.announce),
        periodic_announce_to_down_members: periodic(config.announce_down),
        periodic_gossip: periodic(config.gossip),
    }
}
