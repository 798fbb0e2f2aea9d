//! The parts of a node that exist before any socket is served, how they hang together, and what works on its own.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use rand::rngs::StdRng;
use shard_cache_membership::{handle::Handle, identity::NodeId};
use tokio::sync::mpsc;

use super::{CoreSeams, clocks, millis, owners, parameters, reload::tuning, traces::Traces};
use crate::{
    clock::Clock,
    config::{self, Config, RepairConfig},
    coordinator::{self, Coordinator, Ledger, Policy},
    handoff::{
        Budget, HintLimits, OwedHints, RepairMarks, RingCell,
        delivery::{DeliveryParts, HintDelivery},
        rounds::SlotHandoff,
        slots::{OnLoss, Slots},
    },
    offsets::PeerClocks,
    repair::{Agreements, Repair, RepairParts},
    replica::Replica,
    ring::{RingMember, slot::Quorums, table::SlotTable},
    store::{self, Store},
    telemetry::{Metrics, traces::Tracer},
    transport::{self, PeerTransport, StreamTransport, StreamTransportConfig},
    version::HybridClock,
    workers::Workers,
};

/// How often expired entries are looked for, and how many are removed in one go.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(100);
const EXPIRY_BUDGET: usize = 4096;

/// The parts that exist before any socket is served.
pub(super) struct Core {
    pub(super) own: RingMember,
    pub(super) boot: Arc<AtomicU64>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) hybrid: Arc<HybridClock>,
    pub(super) clocks: Arc<PeerClocks>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) store: Arc<Store>,
    pub(super) ring: RingCell,
    pub(super) slots: Arc<Slots>,
    pub(super) hints: Arc<OwedHints>,
    pub(super) marks: RepairMarks,
    pub(super) agreements: Agreements,
    pub(super) ledger: Arc<Ledger>,
    pub(super) replica: Arc<Replica>,
    pub(super) transport: Arc<StreamTransport>,
    pub(super) workers: Arc<dyn Workers>,
    pub(super) handoff_bytes_per_second_max: u64,
    pub(super) budget: Budget,
    pub(super) repair: RepairConfig,
    tracer: Tracer,
}

impl Core {
    pub(super) fn build(
        config: &Config,
        own: RingMember,
        seams: CoreSeams,
        metrics: Arc<Metrics>,
        traces: &Traces,
        reborn: mpsc::Sender<SocketAddr>,
    ) -> Self {
        let CoreSeams {
            clock,
            workers,
            dialer,
            ..
        } = seams;
        let boot = Arc::new(AtomicU64::new(own.boot_id.0));
        let hybrid = Arc::new(HybridClock::new());
        let clocks = Arc::new(PeerClocks::new());
        let store = Arc::new(Store::new(store::Limits {
            capacity_entries: config.server.cache.capacity,
            memory_bytes: usize::try_from(config.memory_limit_bytes()).unwrap_or(usize::MAX),
            tombstone_bytes: config.tombstones.bytes_max,
            tombstone_life_millis: millis(config.tombstones.life),
            ghosts: config.ghosts_max(),
            slots: config.cluster.slots,
        }));
        let ring = RingCell::new(config.cluster.slots);
        let hint_limits = HintLimits {
            target_bytes_max: config.hints.target_bytes_max,
            total_bytes_max: config.hints.total_bytes_max,
            window_millis: millis(config.hints.window),
        };
        let hints = Arc::new(OwedHints::new(
            hint_limits,
            config.cluster.slots,
            Arc::clone(&clock),
            Arc::clone(&metrics),
        ));
        let slots = Arc::new(Slots::new(
            SlotTable::new(config.cluster.slots, own, quorums(config)),
            ring.clone(),
            Arc::clone(&store),
            Arc::clone(&hints),
            Arc::clone(&metrics),
            on_loss(config),
        ));
        let ledger = Arc::new(Ledger::new(
            Arc::clone(&hints),
            Arc::clone(&ring.gates),
            Arc::clone(&clock),
            Arc::clone(&metrics),
        ));
        let replica = Replica::new(
            Arc::clone(&store),
            Arc::clone(&hybrid),
            Arc::clone(&ring.gates),
        );
        let replica = Arc::new(replica.traced(traces.tracer.clone()));
        let transport = Arc::new(StreamTransport::new(
            transport_config(config, own.node_id),
            transport::Surroundings {
                boot: Arc::clone(&boot),
                clock: Arc::clone(&clock),
                workers: Arc::clone(&workers),
                dialer,
                hybrid: Arc::clone(&hybrid),
                clocks: Arc::clone(&clocks),
                replica: Arc::clone(&replica),
                completions: Arc::clone(&ledger) as Arc<dyn transport::Completions>,
                metrics: Arc::clone(&metrics),
                reborn,
            },
        ));
        let budget = Budget::new(
            config.background.bytes_per_second_max as u64,
            metrics.background_waits.clone(),
        );
        Self {
            own,
            boot,
            clock,
            hybrid,
            clocks,
            metrics,
            store,
            ring,
            slots,
            hints,
            marks: RepairMarks::default(),
            agreements: Agreements::default(),
            ledger,
            replica,
            transport,
            workers,
            budget,
            handoff_bytes_per_second_max: config.handoff.bytes_per_second_max as u64,
            repair: config.repair,
            tracer: traces.tracer.clone(),
        }
    }

    pub(super) fn coordinator(&self, config: &Config, membership: &Handle) -> Coordinator {
        let quorum = config.client.quorum;
        let policy = Policy {
            read_quorum: owners(quorum.read_quorum),
            write_quorum: owners(quorum.write_quorum),
            replication_factor: owners(config.cluster.replication_factor),
        };
        let surroundings = coordinator::Surroundings {
            boot: Arc::clone(&self.boot),
            ring: self.ring.clone(),
            transport: Arc::clone(&self.transport) as Arc<dyn PeerTransport>,
            ledger: Arc::clone(&self.ledger),
            clock: Arc::clone(&self.clock),
            hybrid: Arc::clone(&self.hybrid),
            clocks: Arc::clone(&self.clocks),
            view: membership.view(),
            metrics: Arc::clone(&self.metrics),
        };
        Coordinator::new(self.own.node_id, policy, tuning(config), surroundings)
    }

    pub(super) fn hint_delivery(&self, membership: &Handle, rng: StdRng) -> HintDelivery {
        let parts = DeliveryParts {
            own: self.own.node_id,
            hints: Arc::clone(&self.hints),
            marks: self.marks.clone(),
            replica: Arc::clone(&self.replica),
            transport: Arc::clone(&self.transport) as Arc<dyn PeerTransport>,
            ring: Arc::clone(&self.ring.ring),
            gates: Arc::clone(&self.ring.gates),
            view: membership.view(),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            budget: self.budget.clone(),
            tracer: self.tracer.clone(),
        };
        HintDelivery::new(parts, rng)
    }

    /// Starts what works on its own.
    pub(super) fn start_workers(
        &self,
        membership: &Handle,
        delivery: HintDelivery,
        (handoff_rng, repair_rng): (StdRng, StdRng),
    ) {
        let spawn = |name, task| self.workers.spawn(name, task);
        spawn("deadline sweep", Box::pin(Arc::clone(&self.ledger).sweep()));
        spawn(
            "link monitor",
            Box::pin(Arc::clone(&self.transport).monitor()),
        );
        spawn("hint delivery", Box::pin(delivery.run()));
        let handoff = SlotHandoff {
            slots: Arc::clone(&self.slots),
            replica: Arc::clone(&self.replica),
            transport: Arc::clone(&self.transport) as Arc<dyn PeerTransport>,
            view: membership.view(),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            bytes_per_second_max: self.handoff_bytes_per_second_max,
            budget: self.budget.clone(),
            rng: handoff_rng,
            tracer: self.tracer.clone(),
        };
        spawn("slot handoff", Box::pin(handoff.run()));
        let expiry = expire(
            Arc::clone(&self.store),
            Arc::clone(&self.hybrid),
            Arc::clone(&self.clock),
        );
        spawn("expiry", Box::pin(expiry));
        let watch = clocks::watch(Arc::clone(&self.clocks), Arc::clone(&self.clock));
        spawn("clock watch", Box::pin(watch));
        let repair = RepairParts {
            cell: self.ring.clone(),
            store: Arc::clone(&self.store),
            replica: Arc::clone(&self.replica),
            transport: Arc::clone(&self.transport) as Arc<dyn PeerTransport>,
            view: membership.view(),
            marks: self.marks.clone(),
            agreements: self.agreements.clone(),
            slots: Arc::clone(&self.slots),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            interval: self.repair.interval,
            bytes_per_second_max: self.repair.bytes_per_second_max as u64,
            budget: self.budget.clone(),
            tracer: self.tracer.clone(),
        };
        let repair = Repair::new(repair, repair_rng);
        spawn("repair", Box::pin(repair.run()));
    }
}

/// Removes what has expired, for as long as the node runs.
async fn expire(store: Arc<Store>, hybrid: Arc<HybridClock>, clock: Arc<dyn Clock>) {
    loop {
        let now_millis = hybrid.now(clock.wall_millis()).millis();
        let removed = store.expire(now_millis, EXPIRY_BUDGET);
        // A full budget means that there is more.
        let pause = if removed < EXPIRY_BUDGET {
            EXPIRY_INTERVAL
        } else {
            Duration::from_millis(1)
        };
        clock.sleep(pause).await;
    }
}

fn quorums(config: &Config) -> Quorums {
    Quorums {
        replication_factor: owners(config.cluster.replication_factor),
        write_quorum: owners(config.client.quorum.write_quorum),
    }
}

const fn on_loss(config: &Config) -> OnLoss {
    match config.cluster.on_loss {
        config::OnLoss::Auto => OnLoss::Auto,
        config::OnLoss::Manual => OnLoss::Manual,
    }
}

fn transport_config(config: &Config, own: NodeId) -> StreamTransportConfig {
    let peer = config.server.peer;
    StreamTransportConfig {
        own,
        cluster_id: config.cluster.id.clone(),
        parameters: parameters(config),
        connect_timeout: peer.connect_timeout,
        stall_timeout: peer.stall_timeout,
        queue_bytes_max: peer.queue_bytes_max,
        reconnect_max: peer.reconnect_max,
    }
}
