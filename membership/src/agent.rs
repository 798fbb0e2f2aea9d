//! The sans-IO agent around foca: inputs with their time go in; datagrams, views and push-pull
//! targets come out.
//!
//! No clock, socket, task or global randomness: the driver and the simulator run this very code.
//! After every [`Agent::handle`] the caller drains [`Agent::next_datagram`], [`Agent::view`],
//! [`Agent::push_pull_due`] and [`Agent::rival_due`], and calls again at the latest at
//! [`Agent::next_deadline`].
//!
//! Invariants: no input can make it panic; every foca timer is delivered, in order, unless its
//! suspicion was refuted; it never gives up looking for seeds and last-known peers until it has
//! left; equal inputs and seeds give equal outputs.

mod departure;
mod effects;
mod inputs;
mod rivals;
mod time;
mod upkeep;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    num::{NonZeroU8, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use foca::{AccumulatingRuntime, Foca, Member, PeriodicParams, State, Timer};
use rand::{SeedableRng, rngs::SmallRng};

pub use self::departure::Parting;
use self::{
    departure::{Departure, Word},
    rivals::Suspicion,
};
use crate::{
    codec::{RecordBroadcasts, WireCodec, WireContext},
    config::{AgentConfig, ConfigError, PAYLOAD_BYTES_MAX, Rounds},
    counters::Counters,
    envelope::ClusterHash,
    health::LocalHealth,
    identity::{BootId, NodeId, NodeIdentity},
    publication::Publication,
    push_pull::PushPullSchedule,
    record::{NodeRecord, Phase, RecordError},
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
/// How often what is no longer needed is forgotten.
const PRUNE_INTERVAL: Duration = Duration::from_secs(5);
/// A turn later than this speaks for our own slowness.
const LATE: Duration = Duration::from_millis(100);
/// A turn later than this means that we stood still: see `Agent::note_lateness`.
const STALL: Duration = Duration::from_secs(1);
/// Our record is broadcast at most this often, apart from changes of it.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);
/// A bump this far ahead of the clock, in milliseconds, is no longer raised in doubling steps, so
/// that renewals can never reach the bound beyond which others refuse it.
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
    /// The seed addresses, replacing former ones. An address that is new is asked for a push-pull
    /// at once.
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
    /// Leave the cluster in order, for good: when the others know, and at the latest after `within`.
    Leave {
        /// How long to wait until they do.
        within: Duration,
    },
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
    /// All of its bytes; at most [`crate::envelope::DATAGRAM_BYTES_MAX`].
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
    next_prune: Duration,
    next_late_count: Duration,
    next_record_request: Duration,
    /// When our record goes out again.
    record_due: Option<Duration>,
    record_sent: Option<Duration>,
    /// Whether no other member has been seen since start or since we were last alone.
    alone: bool,
    incarnation: u16,
    /// Who was suspect at the last tick.
    suspects: Vec<NodeId>,
    /// Whom the word has reached, while our record says that we leave.
    word: Option<Word>,
    departure: Departure,
    suspicion: Suspicion,
    outbox: VecDeque<OutgoingDatagram>,
}

impl Agent {
    /// An agent that knows only itself. `record` takes its node id, boot id and order from
    /// `identity`.
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
        let context = WireContext::new(Arc::clone(&counters), &identity, now, table);
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
            suspects: Vec::new(),
            next_prune: at + PRUNE_INTERVAL,
            word: None,
            departure: Departure::Staying,
            suspicion: Suspicion::default(),
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
        self.context.set_now(now);
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
            Input::Leave { within } => {
                self.announce_departure(at, within);
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

    /// Peer address of a member (or of a seed, whose peer port is taken to be its gossip port) to
    /// exchange states with now. Nothing depends on the exchange to succeed.
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
            Departure::Announced { look_at, .. } => self.staying_deadlines(Some(look_at)),
        };
        shared.into_iter().chain(own).flatten().min()
    }

    /// The full member state, for a push-pull; at most [`crate::state::STATE_BYTES_MAX`] bytes as
    /// long as the tables are within their bounds.
    #[must_use]
    pub fn export_state(&self) -> Vec<u8> {
        let own = *self.swim.identity();
        // The exporter comes first.
        let mut members = vec![MemberState::new(own, self.incarnation, self.own_liveness())];
        members.extend(
            self.swim
                .iter_membership_state()
                .filter(|member| member.id().addr != own.addr)
                .map(member_state),
        );
        let table = self.context.records();
        let records = table.iter().map(|record| record.borrowed()).collect();
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

/// Only the removal of a member is keyed: it is a day away, and only the newest identity of an
/// address can be removed.
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
