//! A node that owes and pulls, and peers whose clocks are off, without a network; time passes only by sleeping.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use shard_cache_membership::{
    identity::{BootId, NodeId},
    record::{NodeRecord, Phase},
    view::{Liveness, Member, View},
};
use tokio::sync::watch;

use crate::{
    clock::{BoxFuture, Clock, Monotonic, Now},
    handoff::{
        HintLimits, OwedHints, RingCell, records,
        slots::{OnLoss, Slots},
    },
    key::{Key, Slot},
    operation::Operation,
    replica::Replica,
    ring::{
        Bootstrap, Ring, RingMember, Shape,
        gates::GateCell,
        slot::Quorums,
        table::{Reply, SlotTable},
        zone::ZonedMember,
    },
    slot_set::SlotSet,
    store::{Body, Fingerprint, Form, Limits, Lookup, Record, Store, Value},
    sync::lock,
    telemetry::Metrics,
    transport::{
        CallError, Comparison, Delivery, NotSent, Outlook, Page, PageRequest, PeerTarget,
        PeerTransport, PushPull, Reach, Receipt, SlotExchange,
    },
    version::{HybridClock, Stamp, Version},
};

/// The node under test and its peers. It and the first two own everything; the last one is not in the ring.
pub(crate) const OWN: NodeId = NodeId(1);
pub(crate) const PEER: NodeId = NodeId(2);
pub(crate) const OTHER: NodeId = NodeId(3);
pub(crate) const FORMER: NodeId = NodeId(4);
const NODES: [NodeId; 4] = [OWN, PEER, OTHER, FORMER];

/// Wall clocks show this at first, in milliseconds.
pub(crate) const EPOCH: u64 = 1_000_000;

/// Time that passes only by sleeping.
#[derive(Default)]
pub(crate) struct LeapClock(AtomicU64);

impl Clock for LeapClock {
    fn monotonic(&self) -> Monotonic {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn wall_millis(&self) -> u64 {
        EPOCH + self.monotonic().as_millis() as u64
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        self.0
            .fetch_add(duration.as_nanos() as u64, Ordering::SeqCst);
        // Other tasks of a test get their turn.
        Box::pin(tokio::task::yield_now())
    }
}

pub(crate) fn boot(node: NodeId) -> BootId {
    BootId(10 + node.0)
}

pub(crate) fn member(node_id: NodeId) -> RingMember {
    RingMember {
        node_id,
        boot_id: boot(node_id),
    }
}

pub(crate) fn ring_of(nodes: &[NodeId]) -> Arc<Ring> {
    let shape = Shape {
        slots: 16,
        replication_factor: 3,
    };
    let bootstrap = Bootstrap {
        formed_millis: 1,
        former: BootId(1),
    };
    let members = nodes.iter().map(|node| member(*node));
    let members = members.map(ZonedMember::without_zone).collect();
    Arc::new(Ring::build(shape, bootstrap, members))
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(Bytes::copy_from_slice(name.as_bytes()))
}

/// A record stamped so far ahead of the epoch.
pub(crate) fn record(ahead: Duration) -> Record {
    let bytes = Bytes::from_static(b"value");
    Record {
        version: Version::new(Stamp::new(EPOCH + ahead.as_millis() as u64, 0), 7),
        expires_at: None,
        body: Body::Value(Value {
            bytes,
            form: Form::Bytes,
        }),
    }
}

/// A member as a view shows it in this life.
pub(crate) fn shown(node_id: NodeId, liveness: Liveness, phase: Phase) -> Member {
    let address = SocketAddr::from(([10, 0, 0, node_id.0 as u8], 7946));
    let record = NodeRecord {
        node_id,
        boot_id: boot(node_id),
        bump: 1,
        sequence: 1,
        name: node_id.to_string(),
        zone: String::new(),
        grpc_addr: String::new(),
        http_addr: String::new(),
        phase,
        attachment: Vec::new(),
    };
    Member {
        node_id,
        boot_id: boot(node_id),
        gossip_addr: address,
        peer_addr: address,
        liveness,
        record: Some(Arc::new(record)),
    }
}

/// All peers, and how they are reached.
pub(crate) struct Peers {
    clock: Arc<LeapClock>,
    stores: BTreeMap<NodeId, Arc<Store>>,
    replicas: BTreeMap<NodeId, Arc<Replica>>,
    /// How far the wall clocks of all but the node under test are ahead, in milliseconds.
    offset: AtomicI64,
    /// Peers that every call to fails.
    broken: Mutex<BTreeSet<NodeId>>,
    delivered: Mutex<Vec<(Monotonic, NodeId, Vec<String>)>>,
    asked: Mutex<Vec<(Monotonic, NodeId, u64)>>,
    repairs: Mutex<Vec<(NodeId, SlotSet)>>,
    agreed: Mutex<Vec<(NodeId, u64)>>,
    /// Peers that refuse every delivery for load.
    overloaded: Mutex<BTreeSet<NodeId>>,
    /// How long a delivery takes, in nanoseconds.
    delay: AtomicU64,
}

impl Peers {
    fn now_at(&self, peer: NodeId) -> Now {
        let now = self.clock.now();
        let offset = if peer == OWN {
            0
        } else {
            self.offset.load(Ordering::SeqCst)
        };
        Now {
            wall_millis: now.wall_millis.saturating_add_signed(offset),
            ..now
        }
    }

    /// Sets the wall clocks of all peers.
    pub(crate) fn set_clocks(&self, ahead_millis: i64) {
        self.offset.store(ahead_millis, Ordering::SeqCst);
    }

    pub(crate) fn set_broken(&self, peers: &[NodeId]) {
        *lock(&self.broken) = peers.iter().copied().collect();
    }

    pub(crate) fn set_overloaded(&self, peers: &[NodeId]) {
        *lock(&self.overloaded) = peers.iter().copied().collect();
    }

    /// Sets how long a delivery takes.
    pub(crate) fn set_delay(&self, delay: Duration) {
        self.delay.store(delay.as_nanos() as u64, Ordering::SeqCst);
    }

    fn answer<T>(&self, peer: NodeId, answer: T) -> BoxFuture<Result<T, CallError>>
    where
        T: Send + 'static,
    {
        let answered = if lock(&self.broken).contains(&peer) {
            Err(CallError::Unreachable {
                reason: "broken".to_owned(),
            })
        } else {
            Ok(answer)
        };
        Box::pin(std::future::ready(answered))
    }

    /// When a peer was handed a batch, and the keys in it.
    pub(crate) fn batches_to(&self, peer: NodeId) -> Vec<(Monotonic, Vec<String>)> {
        let delivered = lock(&self.delivered);
        let to_peer = delivered.iter().filter(|(_, to, _)| *to == peer);
        to_peer.map(|(at, _, keys)| (*at, keys.clone())).collect()
    }

    /// When a peer was handed a key.
    pub(crate) fn sends_of(&self, peer: NodeId, name: &str) -> Vec<Monotonic> {
        let batches = self.batches_to(peer).into_iter();
        batches
            .filter(|(_, keys)| keys.iter().any(|key| key == name))
            .map(|(at, _)| at)
            .collect()
    }

    /// The slots that peers were told to repair.
    /// Up to when the node has said to whom that it has everything, in the order in which it did.
    pub(crate) fn agreed(&self) -> Vec<(NodeId, u64)> {
        lock(&self.agreed).clone()
    }

    pub(crate) fn repairs(&self) -> Vec<(NodeId, SlotSet)> {
        lock(&self.repairs).clone()
    }

    /// When a peer was asked for pages.
    pub(crate) fn pages_of(&self, peer: NodeId) -> Vec<Monotonic> {
        let asked = lock(&self.asked);
        let of_peer = asked.iter().filter(|(_, of, _)| *of == peer);
        of_peer.map(|(at, _, _)| *at).collect()
    }

    pub(crate) fn holds(&self, node: NodeId, name: &str) -> bool {
        let now_millis = self.clock.wall_millis();
        let held = self.stores[&node].peek(&key(name), now_millis);
        matches!(held, Lookup::Hit(_))
    }

    pub(crate) fn store(&self, node: NodeId) -> &Arc<Store> {
        &self.stores[&node]
    }
}

impl PeerTransport for Peers {
    fn retarget(&self, _targets: &BTreeMap<NodeId, PeerTarget>) {}

    fn submit(&self, _peer: NodeId, _operation: Operation) -> Result<(), NotSent> {
        Err(NotSent::Disconnected)
    }

    fn reach(&self, _peer: NodeId) -> Reach {
        Reach::Up
    }

    fn outlook(&self, peer: NodeId) -> Outlook {
        Outlook {
            reach: self.reach(peer),
            round_trip: Duration::ZERO,
            late_after: None,
        }
    }

    fn push_pull(&self, _: SocketAddr, _: PushPull) -> BoxFuture<Result<PushPull, CallError>> {
        Box::pin(std::future::ready(Err(CallError::NoAddress)))
    }

    fn pull_slots(&self, peer: NodeId, page: PageRequest) -> BoxFuture<Result<Page, CallError>> {
        lock(&self.asked).push((self.clock.monotonic(), peer, page.cursor));
        let (cursor, bytes_max) = (page.cursor, page.bytes_max);
        let scanned = self.replicas[&peer].scan(
            &page.slots,
            cursor,
            bytes_max,
            &page.held,
            self.now_at(peer),
        );
        let answer = Page {
            records: records::encode(&scanned.records).expect("records can be encoded"),
            traces: scanned.traces,
            next_cursor: scanned.next_cursor,
        };
        self.answer(peer, answer)
    }

    fn exchange_slots(
        &self,
        _: NodeId,
        _: SlotExchange,
    ) -> BoxFuture<Result<Vec<Reply>, CallError>> {
        Box::pin(std::future::ready(Err(CallError::NoAddress)))
    }

    fn compare_slots(
        &self,
        peer: NodeId,
        _: BootId,
        comparison: Comparison,
    ) -> BoxFuture<Result<Vec<(Slot, Fingerprint)>, CallError>> {
        let replica = &self.replicas[&peer];
        if comparison.agreed_millis > 0 {
            lock(&self.agreed).push((peer, comparison.agreed_millis));
        }
        let differing = comparison.digests.into_iter().filter_map(|it| {
            let theirs = replica.fingerprint_of(it.slot, it.root)?;
            (theirs.digest != it.digest).then_some((it.slot, theirs))
        });
        self.answer(peer, differing.collect())
    }

    fn deliver(&self, peer: NodeId, delivery: Delivery) -> BoxFuture<Result<Receipt, CallError>> {
        let batch = records::decode(&delivery.records).expect("records can be decoded");
        let keys = batch
            .iter()
            .map(|(key, _)| String::from_utf8_lossy(key.bytes()).into_owned());
        if !batch.is_empty() {
            lock(&self.delivered).push((self.clock.monotonic(), peer, keys.collect()));
        }
        if !delivery.repair.is_empty() {
            lock(&self.repairs).push((peer, delivery.repair.clone()));
        }
        let delay = Duration::from_nanos(self.delay.load(Ordering::SeqCst));
        drop(self.clock.sleep(delay));
        if lock(&self.broken).contains(&peer) {
            return self.answer(peer, Receipt::default());
        }
        if lock(&self.overloaded).contains(&peer) {
            let reason = "too much to do".to_owned();
            return Box::pin(std::future::ready(Err(CallError::Overloaded { reason })));
        }
        let root_of = |_slot| Some(delivery.root);
        let merged = self.replicas[&peer].merge(root_of, batch, self.now_at(peer));
        let refused = merged.refused_places().map(|place| place as u32).collect();
        self.answer(peer, Receipt { refused })
    }

    fn report(&self, _: NodeId) -> BoxFuture<Result<Bytes, CallError>> {
        Box::pin(std::future::ready(Err(CallError::NoAddress)))
    }
}

/// The slots of a node in the first ring of a cluster.
pub(crate) fn gates_of(ring: &Ring, own: RingMember) -> Arc<GateCell> {
    let quorums = Quorums {
        replication_factor: 3,
        write_quorum: 2,
    };
    let slots = ring.shape().slots;
    let mut table = SlotTable::new(slots, own, quorums);
    table.form(ring);
    let gates = GateCell::new(slots);
    gates.publish(table.gates());
    Arc::new(gates)
}

/// Everything around what is tested.
pub(crate) struct World {
    pub(crate) clock: Arc<LeapClock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) hints: Arc<OwedHints>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) replica: Arc<Replica>,
    pub(crate) ring: Arc<ArcSwapOption<Ring>>,
    pub(crate) gates: Arc<GateCell>,
    pub(crate) view: watch::Sender<Arc<View>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(LeapClock::default());
        let metrics = Arc::new(Metrics::new());
        let limits = HintLimits {
            target_bytes_max: 1 << 24,
            total_bytes_max: 1 << 26,
            window_millis: 1 << 40,
        };
        let hints = OwedHints::new(
            limits,
            16,
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&metrics),
        );
        let first = ring_of(&[OWN, PEER, OTHER]);
        let gates = gates_of(&first, member(OWN));
        let ring = Arc::new(ArcSwapOption::from(Some(first)));
        let limits = Limits {
            capacity_entries: 10_000,
            memory_bytes: 1 << 26,
            tombstone_bytes: 1 << 20,
            tombstone_life_millis: 1 << 40,
            ghosts: 1_000,
            slots: 16,
        };
        let stores = NODES.map(|node| (node, Arc::new(Store::new(limits))));
        let replicas = stores.clone().map(|(node, store)| {
            let hybrid = Arc::new(HybridClock::new());
            let replica = Replica::new(store, hybrid, Arc::clone(&gates));
            (node, Arc::new(replica))
        });
        let replicas = BTreeMap::from(replicas);
        let replica = Arc::clone(&replicas[&OWN]);
        let peers = Peers {
            clock: Arc::clone(&clock),
            stores: stores.into(),
            replicas,
            offset: AtomicI64::new(0),
            broken: Mutex::default(),
            delivered: Mutex::default(),
            asked: Mutex::default(),
            repairs: Mutex::default(),
            agreed: Mutex::default(),
            overloaded: Mutex::default(),
            delay: AtomicU64::new(0),
        };
        let active = |node| shown(node, Liveness::Alive, Phase::Active);
        let view = View {
            version: 1,
            own: OWN,
            members: NODES.map(active).into(),
        };
        Self {
            clock,
            metrics,
            hints: Arc::new(hints),
            peers: Arc::new(peers),
            replica,
            ring,
            gates,
            view: watch::Sender::new(Arc::new(view)),
        }
    }

    /// The node's slots, of which none is on its way but those.
    pub(crate) fn slots(&self, unsettled: &SlotSet) -> Arc<Slots> {
        let quorums = Quorums {
            replication_factor: 3,
            write_quorum: 2,
        };
        let ring = ring_of(&[OWN, PEER, OTHER]);
        let mut table = SlotTable::new(16, member(OWN), quorums);
        table.form(&ring);
        let gates = table.gates();
        for slot in gates.slots().filter(|slot| !unsettled.contains(*slot)) {
            if let Some(configuration) = gates.configuration(slot) {
                table.hear_settled(slot, configuration);
            }
        }
        let slots = Slots::new(
            table,
            RingCell::new(16),
            Arc::clone(self.peers.store(OWN)),
            Arc::clone(&self.hints),
            Arc::clone(&self.metrics),
            OnLoss::Auto,
        );
        Arc::new(slots)
    }

    /// Shows the member that is not in the ring in another light.
    pub(crate) fn show_former(&self, former: Member) {
        self.view.send_modify(|view| {
            let view = Arc::make_mut(view);
            view.members.retain(|member| member.node_id != FORMER);
            view.members.push(former);
        });
    }

    pub(crate) fn owed_to(&self, target: NodeId) -> usize {
        let targets = self.hints.stats().targets.into_iter();
        let mut of_target = targets.filter(|owed| owed.target == target);
        of_target.next().map_or(0, |owed| owed.pending)
    }
}
