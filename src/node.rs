//! The composition root: builds a node from its configuration and its seams, starts it, and stops it in order. The only
//! place that knows every part.

mod addresses;
mod admin;
mod clocks;
mod core;
mod departure;
mod desk;
mod drain;
mod keeper;
mod memory;
mod push_pull;
mod reload;
mod rivals;
mod safety;
mod traces;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::{Rng as _, rngs::StdRng};
use shard_cache_membership::{
    config::{AgentConfig, Profile},
    driver::{Driver, DriverError, LEAVE_LINGER, Setup},
    handle::Handle,
    identity::{BootId, NodeId, NodeIdentity},
    record::{NodeRecord, Phase},
    resolver::{Resolver, SystemResolver},
    view::View,
};
use thiserror::Error;
use tokio::{
    runtime,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

pub use addresses::Advertised;
pub use addresses::{AddressError, Addresses};
use addresses::{Listeners, Sockets};
use core::Core;
use departure::Departure;
use desk::{Desk, Facts};
pub use drain::Drained;
use keeper::{Keeper, KeeperParts};
use memory::MemoryWatch;
use reload::Reloader;
pub use reload::{Change, ConfigSource, ReloadError, Reloaded};
pub use rivals::Rival;
use rivals::{Claim, RivalWatch, Search};
use traces::Traces;

use crate::{
    api::{self, ClusterQueries, Edge, Limits, Reflection, ServingSwitch, peer::PeerParts},
    clock::{Clock, Entropy, SystemClock},
    config::{Config, GossipProfile, LimitsConfig, LinkKind},
    coordinator::{Coordinator, Degrade},
    handoff::{HintStats, delivery::HintDelivery},
    http,
    overload::{
        Admission,
        system::{CpuSource, MemorySource, SystemCpu, SystemMemory},
        watch::CpuWatch,
    },
    ring::{
        Ring, RingMember, Shape,
        gates::Gates,
        roster::{Roster, RosterConfig},
        table::SlotCounts,
        zone::ZoneId,
    },
    store::Store,
    telemetry::{AllocatorReader, Complaints, Machine, Metrics},
    transport::{GrpcDialer, LinkMode, PeerTransport, dial::Dialer, inquiry::Terms},
    workers::{Lanes, TaskRegistry, TokioWorkers, Workers},
};

/// Protocol between nodes that this build speaks.
const PROTOCOL: u8 = 1;
/// How long the candidates of a first ring must stay the same when there must be more than one, beyond the longest pause of
/// a peer that looks for a former life of one of them: whoever is in a ring has come by before another one is formed.
const FORMATION_WAIT: Duration = Duration::from_millis(500);
/// Restarted peers that wait to be met at most; further ones are told of again.
const REBORN_MAX: usize = 16;
/// How often readiness is looked at for `grpc.health.v1`.
const READINESS_INTERVAL: Duration = Duration::from_millis(200);
/// What a node on this machine takes from its surroundings, beside the machine's sockets and tasks.
pub struct Seams {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Entropy,
    /// How seed names become addresses.
    pub resolver: Arc<dyn Resolver>,
    /// Where the CPU's counters come from.
    pub cpu: Box<dyn CpuSource>,
    /// Where the size of the process comes from.
    pub memory: Box<dyn MemorySource>,
    /// Runtimes, one thread each, that serve connections; without any, the present one does.
    pub lanes: Vec<runtime::Handle>,
    /// Where the configuration comes from when it is to be read again.
    pub config: Option<ConfigSource>,
    /// How the global allocator's figures are read, where it tells any.
    pub allocator: Option<AllocatorReader>,
}

impl Seams {
    /// The machine's clocks, entropy, resolver and CPU.
    #[must_use]
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            entropy: Entropy::from_system(),
            resolver: Arc::new(SystemResolver),
            cpu: Box::new(SystemCpu::new()),
            memory: Box::new(SystemMemory),
            lanes: Vec::new(),
            config: None,
            allocator: None,
        }
    }
}

/// What a node takes from its surroundings, apart from its ports.
pub struct CoreSeams {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Entropy,
    /// Where its tasks run.
    pub workers: Arc<dyn Workers>,
    /// Connects to other nodes.
    pub dialer: Arc<dyn Dialer>,
    /// Where the configuration comes from when it is to be read again.
    pub config: Option<ConfigSource>,
    /// Where figures of the process come from.
    pub machine: Machine,
}

/// Running membership: what the node holds of it, and the peers that it asks to exchange states with.
pub type Membership = (Handle, mpsc::Receiver<SocketAddr>);

/// Why a node did not start. Nothing is left running.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Membership.
    #[error(transparent)]
    Membership(#[from] DriverError),
    /// Another process has the node's name or address.
    #[error(transparent)]
    Rival(#[from] Rival),
}

/// A running node.
pub struct Node {
    addresses: Addresses,
    core: Core,
    desk: Arc<Desk>,
    membership: Handle,
    coordinator: Arc<Coordinator>,
    draining: Arc<AtomicBool>,
    departure: Departure,
    drain_timeout: Duration,
    admission: Arc<Admission>,
    leaving: CancellationToken,
    stop_clients: CancellationToken,
    stop_peers: CancellationToken,
    traces: Traces,
    rival: watch::Receiver<Option<Rival>>,
}

/// The tasks of a node that has been built and does not run yet.
pub struct Loops {
    keeper: Keeper,
    targets: mpsc::Receiver<SocketAddr>,
    delivery: HintDelivery,
    handoff_rng: StdRng,
    repair_rng: StdRng,
    rivals: RivalWatch,
}

impl Node {
    /// Binds the node's ports and starts it on the present tokio runtime. It serves at once; whether it is ready is for
    /// `/readyz` to say.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config, seams: Seams) -> Result<Self, StartError> {
        let Seams {
            clock,
            entropy,
            resolver,
            cpu,
            memory,
            lanes,
            config: config_source,
            allocator,
        } = seams;
        let sockets = Sockets::bind(&config).await?;
        let addresses = sockets.addresses;
        if config.server.bind.iter().any(|ip| !ip.is_loopback()) {
            tracing::warn!(
                "gossip and peer links are neither authenticated nor encrypted, and they are reachable from other \
                 machines: use them on a trusted network only"
            );
        }
        let advertised = Advertised::of(&config, addresses).await?;
        let dialer = Arc::new(GrpcDialer {
            connect_timeout: config.server.peer.connect_timeout,
            clock: Arc::clone(&clock),
            mode: link_mode(config.server.peer.link),
        });
        let claim = claim(&config, addresses, &advertised);
        let search = Search {
            claim: &claim,
            terms: Terms {
                cluster_id: config.cluster.id.clone(),
                parameters: parameters(&config),
            },
            seeds: &config.cluster.seeds,
            address_is_ours: advertised.is_bound(addresses),
            clock: &*clock,
            dialer: &*dialer,
            resolver: &*resolver,
        };
        search.run().await?;
        let machine = Machine {
            runtimes: named(&lanes),
            allocator,
        };
        let workers = TokioWorkers::with_lanes(Arc::clone(&clock), lanes);
        let (lanes, registry) = (workers.lanes(), workers.registry());
        let seams = CoreSeams {
            clock,
            entropy,
            workers: Arc::new(workers),
            dialer,
            config: config_source,
            machine,
        };
        let gossip = sockets.gossip;
        let membership = |setup| -> Result<_, DriverError> {
            Driver::from_socket(gossip)?.start(setup, resolver)
        };
        let (node, loops) = Self::build(&config, addresses, &advertised, seams, membership)?;
        node.serve(&config, sockets.listeners, lanes, registry)
            .await;
        node.run(loops);
        node.watch_cpu(config.server.limits, cpu);
        node.watch_memory(&config, memory);
        Ok(node)
    }

    /// Builds everything of a node below its ports and starts its membership, by the function given. Requests enter at
    /// [`Node::edge`], peers at [`Node::peer_parts`]; [`Node::run`] starts the rest.
    ///
    /// # Errors
    /// If membership does not start.
    pub fn build<E>(
        config: &Config,
        addresses: Addresses,
        advertised: &Advertised,
        mut seams: CoreSeams,
        membership: impl FnOnce(Setup) -> Result<Membership, E>,
    ) -> Result<(Self, Loops), E> {
        let config_source = seams.config.take();
        let name = config.node_name(addresses.peer.port());
        let mut boots = seams.entropy.stream("boot ids");
        let own = RingMember {
            node_id: NodeId::of_name(&name),
            boot_id: new_boot(&mut boots),
        };
        let rng_seed = seams.entropy.stream("gossip").next_u64();
        let [delivery_rng, pull_rng, handoff_rng, repair_rng] =
            ["hint delivery", "bulk pull", "slot handoff", "repair"]
                .map(|concern| seams.entropy.stream(concern));
        let (clock, metrics) = (Arc::clone(&seams.clock), Arc::new(Metrics::new()));
        metrics.note_config_in_use(clock.wall_millis());
        let machine = seams.machine.clone();
        let traces = Traces::start(config, &name, seams.entropy, &clock, &metrics);
        let (reborn_tx, reborn) = mpsc::channel(REBORN_MAX);
        let core = Core::build(config, own, seams, metrics, &traces, reborn_tx);
        let bump = clock.wall_millis();
        let record = own_record(config, &name, own, addresses, advertised, bump);
        let (membership, targets) =
            membership(membership_setup(config, record, advertised, rng_seed))?;

        let coordinator = Arc::new(core.coordinator(config, &membership));
        let leaving = CancellationToken::new();
        let parts = KeeperParts {
            membership: membership.clone(),
            transport: Arc::clone(&core.transport) as Arc<dyn PeerTransport>,
            reborn,
            ring: core.ring.clone(),
            slots: Arc::clone(&core.slots),
            store: Arc::clone(&core.store),
            hints: Arc::clone(&core.hints),
            agreements: core.agreements.clone(),
            replica: Arc::clone(&core.replica),
            clock: Arc::clone(&clock),
            workers: Arc::clone(&core.workers),
            metrics: Arc::clone(&core.metrics),
            boot: Arc::clone(&core.boot),
            zone: ZoneId::of_name(&config.node.zone),
            new_boot: Box::new(move || new_boot(&mut boots)),
            pull_rng,
            bytes_per_second_max: core.handoff_bytes_per_second_max,
            budget: core.budget.clone(),
            leaving: leaving.clone(),
        };
        let (keeper, keeper_desk) =
            Keeper::new(parts, Roster::new(roster_config(config), own), own);
        let delivery = core.hint_delivery(&membership, delivery_rng);
        let draining = Arc::new(AtomicBool::new(false));
        let departure = Departure::new();
        let limits = config.server.limits;
        let admission = Admission::new(limits.max_concurrent_requests, limits.cpu_threshold);
        let desk = Arc::new(Desk {
            facts: facts(config, own, name),
            membership: membership.clone(),
            keeper: keeper_desk,
            ring: core.ring.clone(),
            slots: Arc::clone(&core.slots),
            store: Arc::clone(&core.store),
            hints: Arc::clone(&core.hints),
            marks: core.marks.clone(),
            agreements: core.agreements.clone(),
            coordinator: Arc::clone(&coordinator),
            transport: Arc::clone(&core.transport) as Arc<dyn PeerTransport>,
            clock: Arc::clone(&clock),
            clocks: Arc::clone(&core.clocks),
            metrics: Arc::clone(&core.metrics),
            boot: Arc::clone(&core.boot),
            draining: Arc::clone(&draining),
            admission: Arc::clone(&admission),
            reloader: Reloader::new(
                config.clone(),
                config_source,
                Arc::clone(&admission),
                Arc::clone(&coordinator),
            ),
            departure: departure.clone(),
            machine,
            started: clock.monotonic(),
        });

        let (found, rival) = watch::channel(None);
        let rivals = RivalWatch {
            claim: claim(config, addresses, advertised),
            suspicions: membership.rivals(),
            transport: Arc::clone(&core.transport) as Arc<dyn PeerTransport>,
            clock,
            boot: Arc::clone(&core.boot),
            found,
        };
        let node = Self {
            addresses,
            core,
            desk,
            membership,
            coordinator,
            draining,
            departure,
            drain_timeout: config.node.drain_timeout,
            admission: Arc::clone(&admission),
            leaving,
            stop_clients: CancellationToken::new(),
            stop_peers: CancellationToken::new(),
            traces,
            rival,
        };
        let loops = Loops {
            keeper,
            targets,
            delivery,
            handoff_rng,
            repair_rng,
            rivals,
        };
        Ok((node, loops))
    }

    /// Starts the tasks of a node that was built.
    pub fn run(&self, loops: Loops) {
        let Loops {
            keeper,
            targets,
            delivery,
            handoff_rng,
            repair_rng,
            rivals,
        } = loops;
        self.core
            .start_workers(&self.membership, delivery, (handoff_rng, repair_rng));
        self.core.workers.spawn("rivals", Box::pin(rivals.run()));
        self.core
            .workers
            .spawn("ring keeper", Box::pin(keeper.run(targets)));
    }

    fn watch_cpu(&self, limits: LimitsConfig, cpu: Box<dyn CpuSource>) {
        let watch = CpuWatch::new(
            cpu,
            Arc::clone(&self.admission),
            Arc::clone(&self.core.clock),
            limits.cpu_window,
        );
        self.core.workers.spawn("CPU watch", Box::pin(watch.run()));
    }

    fn watch_memory(&self, config: &Config, source: Box<dyn MemorySource>) {
        let watch = MemoryWatch {
            source,
            store: Arc::clone(&self.core.store),
            clock: Arc::clone(&self.core.clock),
            limit_bytes: config.memory_limit_bytes(),
        };
        self.core
            .workers
            .spawn("memory watch", Box::pin(watch.run()));
    }

    /// Reads the configuration again and puts into use what may change, all of it or, where anything is wrong, nothing.
    ///
    /// # Errors
    /// [`ReloadError`].
    pub fn reload(&self) -> Result<Reloaded, ReloadError> {
        self.desk.reload_config()
    }

    /// Its name, unique in the cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.desk.facts.name
    }

    /// The addresses that the node is bound to.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The present life of the node's memory.
    #[must_use]
    pub fn boot_id(&self) -> BootId {
        BootId(self.core.boot.load(Ordering::Acquire))
    }

    /// Completes when another process has been found that has the node's name or address, and before which this one has to
    /// give way: it should end at once, because what it says from now on is void. Cancel-safe.
    pub async fn superseded(&self) -> Rival {
        let mut rival = self.rival.clone();
        if let Ok(found) = rival.wait_for(Option::is_some).await
            && let Some(found) = found.clone()
        {
            return found;
        }
        std::future::pending().await
    }

    /// Carries out clients' requests.
    #[must_use]
    pub const fn coordinator(&self) -> &Arc<Coordinator> {
        &self.coordinator
    }

    /// What the node says of itself.
    #[must_use]
    pub fn queries(&self) -> Arc<dyn ClusterQueries> {
        Arc::clone(&self.desk) as Arc<dyn ClusterQueries>
    }

    /// The members as this node believes them to be.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.membership.view().borrow().clone()
    }

    /// The records that this node holds.
    #[must_use]
    pub const fn store(&self) -> &Arc<Store> {
        &self.core.store
    }

    /// The ring in use.
    #[must_use]
    pub fn ring(&self) -> Option<Arc<Ring>> {
        self.core.ring.ring.load_full()
    }

    /// What operations go by: the configuration of every slot, and how this node stands in it.
    #[must_use]
    pub fn gates(&self) -> Arc<Gates> {
        self.core.ring.gates.load()
    }

    /// How many slots are how far.
    #[must_use]
    pub fn slots(&self) -> SlotCounts {
        self.core.slots.counts()
    }

    /// Counters.
    #[must_use]
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.core.metrics
    }

    /// Exchanges with owners that are not settled yet.
    #[must_use]
    pub fn exchanges_under_way(&self) -> usize {
        self.core.ledger.under_way()
    }

    /// What is owed to others.
    #[must_use]
    pub fn hints(&self) -> HintStats {
        self.core.hints.stats()
    }

    /// Where peers' requests enter.
    #[must_use]
    pub fn peer_parts(&self, config: &Config) -> Arc<PeerParts> {
        Arc::new(PeerParts {
            replica: Arc::clone(&self.core.replica),
            slots: Arc::clone(&self.core.slots),
            desk: Arc::clone(&self.desk) as Arc<dyn api::peer::PeerDesk>,
            clock: Arc::clone(&self.core.clock),
            hybrid: Arc::clone(&self.core.hybrid),
            metrics: Arc::clone(&self.core.metrics),
            cluster_id: config.cluster.id.clone(),
            parameters: parameters(config),
            complaints: Complaints::default(),
        })
    }

    /// Where clients' requests enter.
    #[must_use]
    pub fn edge(&self, config: &Config) -> Arc<Edge> {
        Arc::new(Edge {
            coordinator: Arc::clone(&self.coordinator),
            queries: self.queries(),
            admission: Arc::clone(&self.admission),
            limits: limits(config),
            clock: Arc::clone(&self.core.clock),
            metrics: Arc::clone(&self.core.metrics),
            node: self.desk.facts.name.clone(),
            tracer: self.traces.tracer.clone(),
        })
    }

    async fn serve(
        &self,
        config: &Config,
        listeners: Listeners,
        lanes: Lanes,
        registry: TaskRegistry,
    ) {
        let (core, desk) = (&self.core, &self.desk);
        let Listeners { grpc, http, peer } = listeners;
        let edge = self.edge(config);
        let reflection = if config.server.reflection {
            Reflection::On
        } else {
            Reflection::Off
        };
        let admin = Arc::clone(desk) as Arc<dyn api::AdminActions>;
        let (front, switch) = api::front(Arc::clone(&edge), admin, reflection).await;
        for listener in grpc {
            let stop = self.stop_clients.clone().cancelled_owned();
            let served = api::serve::serve(listener, Arc::clone(&front), lanes.clone(), stop);
            core.workers.spawn("client port", Box::pin(served));
        }
        let debugging = http::Debugging::new(config.debug, Arc::clone(&core.clock), registry);
        for listener in http {
            let router = http::router(Arc::clone(&edge), debugging.clone());
            let clock = Arc::clone(&core.clock);
            // Health is answered to the end.
            let stop = self.stop_peers.clone().cancelled_owned();
            core.workers.spawn(
                "HTTP port",
                Box::pin(async move {
                    if let Err(error) = http::serve(listener, clock, router, stop).await {
                        tracing::error!(%error, "the HTTP port is no longer served");
                    }
                }),
            );
        }
        let parts = self.peer_parts(config);
        let stop = self.stop_peers.clone().cancelled_owned();
        let served = api::peer::serve(peer, parts, lanes, stop);
        core.workers.spawn("peer port", Box::pin(served));
        let readiness = follow_readiness(Arc::clone(desk), switch, Arc::clone(&core.clock));
        core.workers.spawn("readiness", Box::pin(readiness));
    }
}

/// Tells `grpc.health.v1` whether clients should be sent here.
async fn follow_readiness(desk: Arc<Desk>, switch: ServingSwitch, clock: Arc<dyn Clock>) {
    let mut told = false;
    loop {
        let is_ready = desk.health().is_ready();
        if is_ready != told {
            switch.set(is_ready).await;
            told = is_ready;
        }
        clock.sleep(READINESS_INTERVAL).await;
    }
}

/// The present runtime and the lanes, as metrics name them.
fn named(lanes: &[runtime::Handle]) -> Vec<(String, runtime::Handle)> {
    let lanes = lanes.iter().enumerate();
    let lanes = lanes.map(|(lane, handle)| (format!("lane-{lane}"), handle.clone()));
    let main = ("main".to_owned(), runtime::Handle::current());
    std::iter::once(main).chain(lanes).collect()
}

const fn link_mode(kind: LinkKind) -> LinkMode {
    match kind {
        LinkKind::Frames => LinkMode::Frames,
        LinkKind::Stream => LinkMode::Stream,
        LinkKind::Unary => LinkMode::Unary,
    }
}

fn membership_setup(
    config: &Config,
    record: NodeRecord,
    advertised: &Advertised,
    rng_seed: u64,
) -> Setup {
    let profile = match config.server.gossip.profile {
        GossipProfile::Lan => Profile::Lan,
        GossipProfile::Wan => Profile::Wan,
        GossipProfile::Local => Profile::Local,
    };
    let mut agent = AgentConfig::of_profile(profile, &config.cluster.id);
    agent.down_memory = config.server.gossip.down_memory;
    let identity = NodeIdentity {
        addr: advertised.peer,
        node_id: record.node_id,
        bump: record.bump,
        renews: 0,
        boot_id: record.boot_id,
        peer_port: advertised.peer.port(),
        protocol_min: PROTOCOL,
        protocol_max: PROTOCOL,
    };
    Setup {
        config: agent,
        identity,
        record,
        seeds: config.cluster.seeds.clone(),
        rng_seed,
        leave_linger: LEAVE_LINGER,
    }
}

fn own_record(
    config: &Config,
    name: &str,
    own: RingMember,
    addresses: Addresses,
    advertised: &Advertised,
    bump: u64,
) -> NodeRecord {
    NodeRecord {
        node_id: own.node_id,
        boot_id: own.boot_id,
        bump,
        sequence: 0,
        name: name.to_owned(),
        zone: config.node.zone.clone(),
        grpc_addr: format!("{}:{}", advertised.host, addresses.grpc.port()),
        http_addr: format!("{}:{}", advertised.host, addresses.http.port()),
        phase: Phase::Joining,
        attachment: Vec::new(),
    }
}

fn claim(config: &Config, addresses: Addresses, advertised: &Advertised) -> Claim {
    Claim {
        name: config.node_name(addresses.peer.port()),
        address: advertised.peer,
        cluster_id: config.cluster.id.clone(),
    }
}

fn roster_config(config: &Config) -> RosterConfig {
    let min_members = config.cluster.first_ring_members();
    RosterConfig {
        shape: shape(config),
        min_members,
        // A node that needs nobody else gives others time to claim it; several only have to agree.
        formation_wait: if min_members == 1 {
            config.cluster.bootstrap_wait
        } else {
            FORMATION_WAIT + config.server.peer.reconnect_max
        },
        ring_down_grace: config.cluster.ring_down_grace,
    }
}

fn shape(config: &Config) -> Shape {
    Shape {
        slots: config.cluster.slots,
        replication_factor: owners(config.cluster.replication_factor),
    }
}

fn limits(config: &Config) -> Limits {
    let (cache, limits) = (config.server.cache, config.server.limits);
    Limits {
        max_key_size: cache.max_key_size,
        max_value_size: cache.max_value_size,
        request_timeout: limits.request_timeout,
        max_request_timeout: limits.max_request_timeout,
        max_batch_items: limits.max_batch_items,
        max_batch_bytes: limits.max_batch_bytes,
        degrade: if config.quorum.degrade {
            Degrade::Accept
        } else {
            Degrade::Refuse
        },
    }
}

fn facts(config: &Config, own: RingMember, name: String) -> Facts {
    Facts {
        own: own.node_id,
        name,
        cluster_id: config.cluster.id.clone(),
        replication_factor: owners(config.cluster.replication_factor),
        read_quorum: owners(config.client.quorum.read_quorum),
        write_quorum: owners(config.client.quorum.write_quorum),
        capacity_entries: config.server.cache.capacity as u64,
        hints_window: config.hints.window,
        memory_limit_bytes: config.memory_limit_bytes(),
    }
}

/// Settings that must be equal on all nodes, as peers compare them.
fn parameters(config: &Config) -> String {
    format!(
        "protocol={PROTOCOL} slots={} replication_factor={} read_quorum={} write_quorum={}",
        config.cluster.slots,
        config.cluster.replication_factor,
        config.client.quorum.read_quorum,
        config.client.quorum.write_quorum,
    )
}

/// Owner counts are at most 7 by the configuration's checks.
fn owners(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Zero stands for "unknown" on the wire.
fn new_boot(boots: &mut StdRng) -> BootId {
    BootId(boots.next_u64().max(1))
}
