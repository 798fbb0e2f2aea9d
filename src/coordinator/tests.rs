//! The coordinator over replicas in one process, with peers that answer, keep silent, break or cannot be reached. What
//! the tallies decide is tested beside them; here it is what the shell makes of it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, OnceLock},
};

use bytes::Bytes;
use shard_cache_membership::identity::BootId;

use super::*;
use crate::{
    clock::{BoxFuture, SystemClock},
    coordinator::explanation::OwnerAnswer,
    handoff::{HintLimits, OwedHints},
    offsets::Sample,
    operation::{Answer, Failure, Operation},
    replica::Replica,
    ring::{
        Bootstrap, RingMember, Shape,
        gates::Gates,
        table::{Reply, SlotTable},
        zone::ZonedMember,
    },
    store::{Absence, Fingerprint, Form, Limits, Lookup, Record, Store, Value},
    telemetry::traces::Tracer,
    transport::{
        CallError, Comparison, Completions, Delivery, NotSent, Outlook, Page, PageRequest,
        PeerTarget, PushPull, Receipt, SlotExchange,
    },
    version::Stamp,
};

mod explained;
mod traced;

const SHAPE: Shape = Shape {
    slots: 64,
    replication_factor: 3,
};
const BOOTSTRAP: Bootstrap = Bootstrap {
    formed_millis: 1,
    former: BootId(1),
};

/// How a peer behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Behaviour {
    Answers,
    /// Applies, and its answer is lost with the link.
    Breaks,
    /// Never answers.
    Silent,
    /// Applies, and answers when it is told to.
    Late,
    Unreachable,
}

/// Replicas of every node, reached without a network. Harsher than the real one: links break after the peer has applied.
struct Loopback {
    replicas: BTreeMap<NodeId, Arc<Replica>>,
    behaviour: Mutex<BTreeMap<NodeId, Behaviour>>,
    completions: OnceLock<Arc<Ledger>>,
    late: Mutex<Vec<(u64, Answer)>>,
    clock: Arc<SystemClock>,
}

impl Loopback {
    fn behaviour(&self, peer: NodeId) -> Behaviour {
        crate::sync::lock(&self.behaviour)
            .get(&peer)
            .copied()
            .unwrap_or(Behaviour::Answers)
    }
}

impl PeerTransport for Loopback {
    fn retarget(&self, _targets: &BTreeMap<NodeId, PeerTarget>) {}

    fn submit(&self, peer: NodeId, operation: Operation) -> Result<(), NotSent> {
        let completions = self
            .completions
            .get()
            .expect("set before the first request");
        let apply = || self.replicas[&peer].handle(&operation, self.clock.now());
        match self.behaviour(peer) {
            Behaviour::Answers => completions.complete(operation.token, apply()),
            Behaviour::Breaks => {
                apply();
                completions.complete(operation.token, Answer::Failed(Failure::Broken));
            }
            Behaviour::Silent => {}
            Behaviour::Late => crate::sync::lock(&self.late).push((operation.token, apply())),
            Behaviour::Unreachable => return Err(NotSent::Disconnected),
        }
        Ok(())
    }

    fn reach(&self, peer: NodeId) -> Reach {
        match self.behaviour(peer) {
            Behaviour::Unreachable => Reach::Down,
            Behaviour::Answers | Behaviour::Breaks | Behaviour::Silent | Behaviour::Late => {
                Reach::Up
            }
        }
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

    fn pull_slots(&self, _: NodeId, _: PageRequest) -> BoxFuture<Result<Page, CallError>> {
        Box::pin(std::future::ready(Err(CallError::NoAddress)))
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
        _: NodeId,
        _: BootId,
        _: Comparison,
    ) -> BoxFuture<Result<Vec<(Slot, Fingerprint)>, CallError>> {
        Box::pin(std::future::ready(Err(CallError::NoAddress)))
    }

    fn deliver(&self, _: NodeId, _: Delivery) -> BoxFuture<Result<Receipt, CallError>> {
        Box::pin(std::future::ready(Err(CallError::NoAddress)))
    }

    fn report(&self, _: NodeId) -> BoxFuture<Result<Bytes, CallError>> {
        Box::pin(std::future::ready(Err(CallError::NoAddress)))
    }
}

/// Three nodes; the first one coordinates.
struct World {
    coordinator: Coordinator,
    loopback: Arc<Loopback>,
    stores: Vec<Arc<Store>>,
    rings: Vec<RingCell>,
    hints: Arc<OwedHints>,
    ledger: Arc<Ledger>,
    clock: Arc<SystemClock>,
    clocks: Arc<PeerClocks>,
}

const QUORUMS: Quorums = Quorums {
    replication_factor: 3,
    write_quorum: 2,
};
const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

fn ring(boots: [u64; 3]) -> Arc<Ring> {
    let members = NODES.iter().zip(boots);
    let members = members.map(|(node_id, boot)| RingMember {
        node_id: *node_id,
        boot_id: BootId(boot),
    });
    let members = members.map(ZonedMember::without_zone);
    Arc::new(Ring::build(SHAPE, BOOTSTRAP, members.collect()))
}

impl World {
    fn new() -> Self {
        Self::traced(Arc::new(SystemClock::new()), Tracer::off())
    }

    fn traced(clock: Arc<SystemClock>, tracer: Tracer) -> Self {
        let metrics = Arc::new(Metrics::new());
        let limits = Limits {
            capacity_entries: 1000,
            memory_bytes: 1 << 20,
            tombstone_bytes: 1 << 20,
            tombstone_life_millis: 1 << 40,
            ghosts: 1_000,
            slots: SHAPE.slots,
        };
        let stores: Vec<_> = NODES.iter().map(|_| Arc::new(Store::new(limits))).collect();
        let rings: Vec<_> = NODES.iter().map(|_| RingCell::new(SHAPE.slots)).collect();
        let hybrids: Vec<_> = NODES.iter().map(|_| Arc::new(HybridClock::new())).collect();
        let boots: Vec<_> = (11..14)
            .map(|boot| Arc::new(AtomicU64::new(boot)))
            .collect();
        let replicas = NODES.iter().enumerate().map(|(index, node_id)| {
            let replica = Replica::new(
                Arc::clone(&stores[index]),
                Arc::clone(&hybrids[index]),
                Arc::clone(&rings[index].gates),
            );
            (*node_id, Arc::new(replica.traced(tracer.clone())))
        });
        let loopback = Arc::new(Loopback {
            replicas: replicas.collect(),
            behaviour: Mutex::default(),
            completions: OnceLock::new(),
            late: Mutex::default(),
            clock: Arc::clone(&clock),
        });
        let seam: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let hint_limits = HintLimits {
            target_bytes_max: 1 << 20,
            total_bytes_max: 1 << 20,
            window_millis: 1 << 40,
        };
        let hints = Arc::new(OwedHints::new(
            hint_limits,
            SHAPE.slots,
            Arc::clone(&seam),
            Arc::clone(&metrics),
        ));
        let ledger = Arc::new(Ledger::new(
            Arc::clone(&hints),
            Arc::clone(&rings[0].gates),
            Arc::clone(&seam),
            Arc::clone(&metrics),
        ));
        assert!(loopback.completions.set(Arc::clone(&ledger)).is_ok());
        let view = View {
            version: 1,
            own: NODES[0],
            members: Vec::new(),
        };
        let (_view_tx, view) = watch::channel(Arc::new(view));
        let policy = Policy {
            read_quorum: 2,
            write_quorum: 2,
            replication_factor: 3,
        };
        let tuning = Tuning {
            default_ttl: None,
            hedge_after: Some(Duration::from_millis(5)),
            hedge_ratio: 1.0,
        };
        let clocks = Arc::new(PeerClocks::new());
        let surroundings = Surroundings {
            boot: Arc::clone(&boots[0]),
            ring: rings[0].clone(),
            transport: Arc::clone(&loopback) as Arc<dyn PeerTransport>,
            ledger: Arc::clone(&ledger),
            clock: seam,
            hybrid: Arc::clone(&hybrids[0]),
            clocks: Arc::clone(&clocks),
            view,
            metrics,
        };
        let coordinator = Coordinator::new(NODES[0], policy, tuning, surroundings);
        let world = Self {
            coordinator,
            loopback,
            stores,
            rings,
            hints,
            ledger,
            clock,
            clocks,
        };
        (0..3).for_each(|node| world.use_ring(node, ring([11, 12, 13])));
        world
    }

    /// As if a cluster had begun with this ring.
    fn use_ring(&self, node: usize, ring: Arc<Ring>) {
        let own = RingMember {
            node_id: NODES[node],
            boot_id: BootId(11 + node as u64),
        };
        let mut table = SlotTable::new(SHAPE.slots, own, QUORUMS);
        table.form(&ring);
        self.rings[node].gates.publish(table.gates());
        self.rings[node].ring.store(Some(ring));
        self.rings[node].changed.notify_waiters();
    }

    fn let_be(&self, node: usize, behaviour: Behaviour) {
        crate::sync::lock(&self.loopback.behaviour).insert(NODES[node], behaviour);
    }

    fn terms(&self, millis: u64) -> Terms {
        Terms {
            consistency: Consistency::Quorum,
            degrade: Degrade::Refuse,
            arrived: self.clock.monotonic(),
            deadline: self.clock.monotonic() + Duration::from_millis(millis),
            detail: Detail::Explained,
        }
    }

    async fn set(&self, value: &'static str) -> Result<Written, WriteError> {
        let request = SetRequest {
            key: key(),
            value: text(value),
            ttl: Ttl::Never,
            terms: self.terms(100),
            trace: None,
        };
        self.run(self.coordinator.set(request)).await
    }

    async fn get(&self) -> Result<Read, ReadError> {
        let request = KeyRequest {
            key: key(),
            terms: self.terms(100),
            trace: None,
        };
        self.run(self.coordinator.get(request)).await
    }

    /// Runs a request beside the deadline sweep, which never ends by itself.
    async fn run<T>(&self, request: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            answer = request => answer,
            () = Arc::clone(&self.ledger).sweep() => unreachable!("the sweep runs for ever"),
        }
    }

    fn held(&self, node: usize) -> Lookup {
        self.stores[node].peek(&key(), self.clock.wall_millis())
    }

    fn put(&self, node: usize, record: Record) {
        self.stores[node].write(&key(), record, self.clock.wall_millis());
    }

    fn owed(&self) -> usize {
        self.hints
            .stats()
            .targets
            .iter()
            .map(|target| target.pending)
            .sum()
    }
}

fn key() -> Key {
    Key::new(Bytes::from_static(b"key"))
}

fn text(value: &'static str) -> Value {
    Value {
        bytes: Bytes::from_static(value.as_bytes()),
        form: Form::Text,
    }
}

fn record(clock: &SystemClock, ahead_millis: u64, value: &'static str) -> Record {
    let stamp = Stamp::new(clock.wall_millis() + ahead_millis, 0);
    Record {
        version: Version::new(stamp, 9),
        expires_at: None,
        body: crate::store::Body::Value(text(value)),
    }
}

fn value_of(read: &Read) -> Option<&[u8]> {
    read.hit.as_ref().map(|hit| hit.value.bytes.as_ref())
}

#[tokio::test]
async fn a_write_is_on_all_owners_and_reads_back() {
    let world = World::new();
    let written = world.set("one").await.unwrap();
    assert!(written.stored >= 2);
    assert!(!written.replaced);
    for node in 0..3 {
        assert!(
            matches!(world.held(node), Lookup::Hit(record) if record.version == written.version)
        );
    }
    assert_eq!(
        value_of(&world.get().await.unwrap()),
        Some(b"one".as_slice())
    );
    assert!(world.set("two").await.unwrap().replaced);
    assert_eq!(world.owed(), 0);
}

#[tokio::test]
async fn an_owner_that_cannot_be_reached_is_owed_the_write() {
    let world = World::new();
    world.let_be(2, Behaviour::Unreachable);
    world.set("one").await.unwrap();
    assert_eq!(world.hints.targets(), [NODES[2]]);
    assert_eq!(
        value_of(&world.get().await.unwrap()),
        Some(b"one".as_slice())
    );
}

#[tokio::test]
async fn a_silent_owner_does_not_hold_a_write_up_and_is_owed_it_at_the_deadline() {
    let world = World::new();
    world.let_be(1, Behaviour::Silent);
    let before = world.clock.monotonic();
    world.set("one").await.unwrap();
    assert!(world.clock.monotonic() - before < Duration::from_millis(90));
    assert_eq!(world.owed(), 0, "it may still answer");
    let request = async {
        while world.owed() == 0 {
            world.clock.sleep(Duration::from_millis(1)).await;
        }
    };
    world.run(request).await;
    assert_eq!(world.hints.targets(), [NODES[1]]);
}

#[tokio::test]
async fn a_silent_owner_does_not_hold_a_read_up() {
    let world = World::new();
    world.set("one").await.unwrap();
    world.let_be(1, Behaviour::Silent);
    world.let_be(2, Behaviour::Answers);
    for _ in 0..5 {
        let before = world.clock.monotonic();
        assert_eq!(
            value_of(&world.get().await.unwrap()),
            Some(b"one".as_slice())
        );
        assert!(world.clock.monotonic() - before < Duration::from_millis(90));
    }
}

#[tokio::test]
async fn what_a_read_writes_back_is_owed_to_nobody() {
    let world = World::new();
    let found = record(&world.clock, 0, "one");
    world.put(0, found.clone());
    world.let_be(2, Behaviour::Unreachable);
    assert_eq!(
        value_of(&world.get().await.unwrap()),
        Some(b"one".as_slice())
    );
    assert!(matches!(world.held(1), Lookup::Hit(record) if record.version == found.version));
    while world.ledger.under_way() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.owed(), 0);
}

#[tokio::test]
async fn too_few_reachable_owners_are_refused_before_anything_is_sent() {
    let world = World::new();
    world.let_be(1, Behaviour::Unreachable);
    world.let_be(2, Behaviour::Unreachable);
    let refused = Unavailable::NoQuorum {
        reachable: 1,
        owners: 3,
        needed: 2,
    };
    assert_eq!(
        world.set("one").await.unwrap_err(),
        WriteError::Unavailable(refused)
    );
    assert_eq!(
        world.get().await.unwrap_err(),
        ReadError::Unavailable(refused)
    );
    assert_eq!(
        world.held(0),
        Lookup::Miss(Absence::Untraced),
        "surely not applied"
    );
    assert_eq!(world.owed(), 0);
}

#[tokio::test]
async fn links_that_break_leave_the_outcome_unknown() {
    let world = World::new();
    world.let_be(1, Behaviour::Breaks);
    world.let_be(2, Behaviour::Breaks);
    let error = world.set("one").await.unwrap_err();
    assert_eq!(
        error,
        WriteError::Unknown {
            stored: 1,
            needed: 2
        }
    );
    world.let_be(1, Behaviour::Silent);
    world.let_be(2, Behaviour::Silent);
    let error = world.set("two").await.unwrap_err();
    assert_eq!(
        error,
        WriteError::DeadlineExceeded {
            stored: 1,
            needed: 2
        }
    );
}

#[tokio::test]
async fn an_owner_of_a_version_too_far_ahead_does_not_count_and_is_owed_nothing() {
    let world = World::new();
    let ahead = record(&world.clock, 60_000, "ahead");
    world.put(2, ahead.clone());
    let written = world.set("one").await.unwrap();
    assert_eq!(written.stored, 2);
    assert!(written.version < ahead.version);
    while world.ledger.under_way() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.owed(), 0, "what it holds is newer");
}

#[tokio::test]
async fn a_write_goes_above_whatever_an_owner_holds() {
    let world = World::new();
    let ahead = record(&world.clock, 300, "ahead");
    world.put(1, ahead.clone());
    world.put(2, ahead.clone());
    let written = world.set("later").await.unwrap();
    assert!(written.version > ahead.version);
    assert_eq!(written.explain.unwrap().attempts, 2);
    assert_eq!(
        value_of(&world.get().await.unwrap()),
        Some(b"later".as_slice())
    );
    assert_eq!(
        world.owed(),
        0,
        "the attempt that was replaced is owed to nobody"
    );
}

#[tokio::test]
async fn a_read_stores_the_newest_on_a_write_quorum_before_it_answers() {
    let world = World::new();
    world.set("old").await.unwrap();
    let newest = record(&world.clock, 100, "new");
    world.put(0, newest.clone());
    assert_eq!(
        value_of(&world.get().await.unwrap()),
        Some(b"new".as_slice())
    );
    let holders = (0..3).filter(
        |node| matches!(world.held(*node), Lookup::Hit(record) if record.version == newest.version),
    );
    assert!(holders.count() >= 2);
}

#[tokio::test]
async fn what_a_read_knows_to_have_gone_is_on_a_write_quorum_before_it_answers() {
    let world = World::new();
    world.set("old").await.unwrap();
    let expired = Record {
        expires_at: Some(1),
        ..record(&world.clock, 100, "new")
    };
    world.put(0, expired.clone());
    let ghost = Lookup::Miss(Absence::Ghost(expired.version));
    assert_eq!(world.held(0), ghost);
    let read = world.get().await.unwrap();
    assert_eq!(value_of(&read), None);
    assert_eq!(read.version, Some(expired.version));
    let holders = (0..3).filter(|node| world.held(*node) == ghost);
    assert!(holders.count() >= 2, "no later read finds the old value");
}

#[tokio::test]
async fn a_value_that_is_held_by_another_owner_is_fetched_from_it() {
    let world = World::new();
    world.set("old").await.unwrap();
    // Both peers hold it, so whichever is asked for its version has the newest.
    let newest = record(&world.clock, 100, "new");
    world.put(1, newest.clone());
    world.put(2, newest);
    assert_eq!(
        value_of(&world.get().await.unwrap()),
        Some(b"new".as_slice())
    );
}

#[tokio::test]
async fn a_deleted_key_is_a_miss_even_if_an_owner_missed_the_delete() {
    let world = World::new();
    world.set("one").await.unwrap();
    world.let_be(2, Behaviour::Unreachable);
    let request = KeyRequest {
        key: key(),
        terms: world.terms(100),
        trace: None,
    };
    let deleted = world.run(world.coordinator.delete(request)).await.unwrap();
    assert!(deleted.replaced);
    world.let_be(2, Behaviour::Answers);
    world.let_be(1, Behaviour::Unreachable);
    let read = world.get().await.unwrap();
    assert!(read.hit.is_none());
    assert_eq!(read.version, Some(deleted.version));
    assert!(
        matches!(world.held(2), Lookup::Miss(Absence::Gone(_))),
        "it was told on the way"
    );
}

#[tokio::test]
async fn a_replica_in_another_configuration_does_not_count() {
    let world = World::new();
    // Node 3 has restarted: the others know its new boot id, it still answers for the old configuration.
    world.use_ring(0, ring([11, 12, 99]));
    world.use_ring(1, ring([11, 12, 99]));
    let written = world.set("one").await.unwrap();
    let answers: Vec<_> = written
        .explain
        .unwrap()
        .owners
        .into_iter()
        .map(|owner| owner.answer)
        .collect();
    assert_eq!(written.stored, 2);
    assert_eq!(
        answers
            .iter()
            .filter(|answer| **answer == OwnerAnswer::WrongConfig)
            .count(),
        1
    );
}

#[tokio::test]
async fn a_restarted_node_never_answers_for_its_former_life() {
    let world = World::new();
    // Every ring names a boot of node 2 that is not its own.
    (0..3).for_each(|node| world.use_ring(node, ring([11, 77, 13])));
    world.let_be(2, Behaviour::Unreachable);
    let error = world.set("one").await.unwrap_err();
    assert!(
        matches!(
            error,
            WriteError::Unknown {
                stored: 1,
                needed: 2
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_request_goes_on_under_the_new_ring_when_this_node_learns_of_it() {
    let world = World::new();
    let new = ring([11, 12, 99]);
    world.use_ring(1, Arc::clone(&new));
    world.let_be(2, Behaviour::Unreachable);
    let request = async {
        let learn = async {
            world.clock.sleep(Duration::from_millis(30)).await;
            world.use_ring(0, Arc::clone(&new));
        };
        let (written, ()) = futures_util::future::join(world.set("one"), learn).await;
        written
    };
    let written = request.await.unwrap();
    assert!(written.explain.unwrap().attempts > 1);
}

#[tokio::test]
async fn a_request_that_was_taken_is_finished_although_the_node_begins_to_leave() {
    let world = World::new();
    let new = ring([11, 12, 99]);
    world.use_ring(1, Arc::clone(&new));
    world.let_be(2, Behaviour::Unreachable);
    let leave = async {
        world.clock.sleep(Duration::from_millis(20)).await;
        world.coordinator.stop_admitting();
        world.clock.sleep(Duration::from_millis(10)).await;
        world.use_ring(0, Arc::clone(&new));
    };
    let (written, ()) = futures_util::future::join(world.set("one"), leave).await;
    assert!(written.unwrap().explain.unwrap().attempts > 1);
    assert_eq!(
        world.coordinator.check_admitting(),
        Err(Unavailable::Draining)
    );
}

#[tokio::test]
async fn a_node_whose_clock_is_off_takes_no_requests() {
    let world = World::new();
    let mut now = world.clock.monotonic();
    let off = Sample {
        ahead_millis: -612,
        doubt_millis: 0,
    };
    for _ in 0..=5 {
        world.clocks.observe(NODES[1], off, now);
        world.clocks.judge(now);
        now += Duration::from_secs(1);
    }
    let refused = world.coordinator.check_admitting().unwrap_err();
    assert_eq!(
        (refused.reason(), refused.to_string().as_str()),
        (
            "clock",
            "clock: this node's clock is 612 ms behind most of its peers, more than the 400 ms allowed"
        )
    );
}

#[tokio::test]
async fn an_operation_whose_deadline_has_passed_is_not_applied() {
    let world = World::new();
    let now = world.clock.now();
    let plan = world.rings[1].ring.load_full().unwrap();
    let slot = plan.slot(&key());
    let write = |deadline| Operation {
        token: 1,
        slot,
        configuration: plan.configuration(slot),
        deadline,
        trace: None,
        kind: crate::operation::Kind::Write {
            key: key(),
            record: record(&world.clock, 0, "late"),
            is_write_back: false,
        },
    };
    let replica = &world.loopback.replicas[&NODES[1]];
    let answer = replica.handle(&write(now.monotonic), now);
    assert!(matches!(answer, Answer::Failed(Failure::Expired)));
    assert_eq!(world.held(1), Lookup::Miss(Absence::Untraced));
    let in_time = now.monotonic + Duration::from_millis(1);
    replica.handle(&write(in_time), now);
    assert!(matches!(world.held(1), Lookup::Hit(_)));
}

#[tokio::test]
async fn degraded_service_is_opt_in_and_says_so() {
    let world = World::new();
    world.let_be(1, Behaviour::Unreachable);
    world.let_be(2, Behaviour::Unreachable);
    let terms = Terms {
        degrade: Degrade::Accept,
        ..world.terms(100)
    };
    let request = SetRequest {
        key: key(),
        value: text("one"),
        ttl: Ttl::Never,
        terms,
        trace: None,
    };
    let written = world.run(world.coordinator.set(request)).await.unwrap();
    assert!(written.degraded);
    assert_eq!(written.stored, 1);
    let request = KeyRequest {
        key: key(),
        terms,
        trace: None,
    };
    let read = world.run(world.coordinator.get(request)).await.unwrap();
    assert!(read.degraded);
    assert_eq!(value_of(&read), Some(b"one".as_slice()));
}

#[tokio::test]
async fn a_dropped_request_is_still_accounted_for() {
    let world = World::new();
    world.let_be(1, Behaviour::Silent);
    world.let_be(2, Behaviour::Silent);
    {
        let mut request = Box::pin(world.set("one"));
        let polled = futures_util::poll!(request.as_mut());
        assert!(polled.is_pending());
    }
    let settled = async {
        while world.owed() < 2 {
            world.clock.sleep(Duration::from_millis(1)).await;
        }
    };
    world.run(settled).await;
    assert_eq!(world.hints.targets(), [NODES[1], NODES[2]]);
}

#[tokio::test]
async fn a_joining_node_refuses_before_anything_is_sent() {
    let world = World::new();
    world.rings[0].gates.publish(Gates::default());
    assert_eq!(
        world.set("one").await.unwrap_err(),
        WriteError::Unavailable(Unavailable::Joining)
    );
}
