use peer_server::Peer as _;
use shard_cache_membership::identity::{BootId, NodeId};

use super::*;
use crate::{
    clock::Monotonic,
    handoff::{HintLimits, OwedHints, RepairMarks, RingCell, slots::OnLoss, test_peers::gates_of},
    key::{Key, Slot},
    ring::{
        Bootstrap, Ring, RingMember, Shape, slot::Quorums, table::SlotTable, zone::ZonedMember,
    },
    store::{Body, Form, Limits, Lookup, Record, Store, Value},
    sync::{Mutex, lock},
    version::{DRIFT_MAX_MILLIS, Version},
};

const NODE: NodeId = NodeId(1);
const BOOT: BootId = BootId(11);
const QUORUMS: Quorums = Quorums {
    replication_factor: 3,
    write_quorum: 2,
};
const NOW_MILLIS: u64 = 1_000_000;

/// Time that stands still.
struct StillClock;

impl Clock for StillClock {
    fn monotonic(&self) -> Monotonic {
        Duration::from_secs(1)
    }

    fn wall_millis(&self) -> u64 {
        NOW_MILLIS
    }

    fn sleep(&self, _duration: Duration) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }
}

/// A node that knows nobody.
#[derive(Default)]
struct Alone {
    marks: RepairMarks,
    agreed: Arc<Mutex<Vec<(BootId, u64)>>>,
}

impl PeerDesk for Alone {
    fn push_pull(&self, offer: PushPull) -> BoxFuture<Result<PushPull, String>> {
        Box::pin(std::future::ready(Ok(offer)))
    }

    fn encoded_report(&self) -> Bytes {
        Bytes::new()
    }

    fn mark_for_repair(&self, slots: &SlotSet) {
        self.marks.add(slots);
    }

    fn note_agreement(&self, peer: BootId, millis: u64) {
        lock(&self.agreed).push((peer, millis));
    }

    fn boot(&self) -> u64 {
        BOOT.0
    }
}

fn ring() -> Ring {
    let shape = Shape {
        slots: 16,
        replication_factor: 3,
    };
    let bootstrap = Bootstrap {
        formed_millis: 1,
        former: BOOT,
    };
    let own = RingMember {
        node_id: NODE,
        boot_id: BOOT,
    };
    Ring::build(shape, bootstrap, vec![ZonedMember::without_zone(own)])
}

fn api(store: &Arc<Store>, ring: &Ring) -> PeerApi {
    api_at(Alone::default(), store, ring)
}

fn api_at(desk: Alone, store: &Arc<Store>, ring: &Ring) -> PeerApi {
    let hybrid = Arc::new(HybridClock::new());
    let own = RingMember {
        node_id: NODE,
        boot_id: BOOT,
    };
    let replica = Replica::new(Arc::clone(store), Arc::clone(&hybrid), gates_of(ring, own));
    let metrics = Arc::new(Metrics::new());
    let hints = OwedHints::new(
        HintLimits {
            target_bytes_max: 1 << 20,
            total_bytes_max: 1 << 20,
            window_millis: 1 << 40,
        },
        ring.shape().slots,
        Arc::new(StillClock),
        Arc::clone(&metrics),
    );
    let table = SlotTable::new(ring.shape().slots, own, QUORUMS);
    let slots = Slots::new(
        table,
        RingCell::new(ring.shape().slots),
        Arc::clone(store),
        Arc::new(hints),
        Arc::clone(&metrics),
        OnLoss::Auto,
    );
    PeerApi {
        parts: Arc::new(PeerParts {
            replica: Arc::new(replica),
            slots: Arc::new(slots),
            desk: Arc::new(desk),
            clock: Arc::new(StillClock),
            hybrid,
            metrics,
            cluster_id: String::new(),
            parameters: String::new(),
            complaints: Complaints::default(),
        }),
    }
}

fn store() -> Arc<Store> {
    Arc::new(Store::new(Limits {
        capacity_entries: 100,
        memory_bytes: 1 << 20,
        tombstone_bytes: 1 << 20,
        tombstone_life_millis: 1 << 40,
        ghosts: 1_000,
        slots: 16,
    }))
}

fn key(name: &'static str) -> Key {
    Key::new(Bytes::from_static(name.as_bytes()))
}

fn stamped(millis: u64) -> Record {
    Record {
        version: Version::new(Stamp::new(millis, 0), 7),
        expires_at: None,
        body: Body::Value(Value {
            bytes: Bytes::from_static(b"value"),
            form: Form::Bytes,
        }),
    }
}

#[tokio::test]
async fn a_delivery_is_taken_but_for_what_is_stamped_too_far_ahead_which_the_answer_names() {
    let store = store();
    let ring = ring();
    let root = ring.root();
    let api = api(&store, &ring);
    let latest = NOW_MILLIS + DRIFT_MAX_MILLIS;
    let batch = [
        (key("first"), stamped(latest)),
        (key("ahead"), stamped(latest + 1)),
        (key("last"), stamped(1)),
        (key("far ahead"), stamped(latest + 60_000)),
    ];
    let request = peer::DeliverRequest {
        root,
        records: records::encode(&batch).unwrap(),
        ..Default::default()
    };
    let answer = api.deliver(Request::new(request)).await.unwrap();
    assert_eq!(answer.get_ref().refused, [1, 3]);
    assert_eq!(api.parts.metrics.hlc_rejected.get(), 2);
    let is_held = |(key, _): &(Key, Record)| matches!(store.peek(key, NOW_MILLIS), Lookup::Hit(_));
    assert_eq!(batch.each_ref().map(is_held), [true, false, true, false]);
}

#[test]
fn an_empty_batch_is_answered_with_the_clock_alone() {
    let ring = ring();
    let store = store();
    let api = api(&store, &ring);
    // Also one that is too far ahead for anything else.
    for clock in [0, u64::MAX] {
        let batch = peer::Batch {
            clock,
            ..Default::default()
        };
        let mut ready = VecDeque::new();
        api.parts.answer(batch, &mut ready);
        assert_eq!(ready.len(), 1);
        assert!(ready[0].replies.is_empty());
        assert_eq!(ready[0].wall_millis, NOW_MILLIS);
    }
}

#[tokio::test]
async fn slots_that_a_peer_no_longer_owes_records_of_are_marked_for_repair() {
    let ring = ring();
    let store = store();
    let desk = Alone::default();
    let marks = desk.marks.clone();
    let api = api_at(desk, &store, &ring);
    let slots: SlotSet = [3, 9].into_iter().map(Slot).collect();
    let request = peer::DeliverRequest {
        records: records::encode(&[]).unwrap(),
        repair: slots.to_bytes().into(),
        ..Default::default()
    };
    let answer = api.deliver(Request::new(request)).await.unwrap();
    assert!(answer.get_ref().refused.is_empty());
    assert_eq!(marks.take(), slots);
}

#[tokio::test]
async fn a_peer_that_has_everything_says_so_without_comparing() {
    let desk = Alone::default();
    let agreed = Arc::clone(&desk.agreed);
    let api = api_at(desk, &store(), &ring());
    for (sender, agreed_millis) in [(21, 0), (22, 500)] {
        let request = peer::CompareSlotsRequest {
            sender,
            receiver: BOOT.0,
            agreed_millis,
            ..Default::default()
        };
        let compared = api.compare_slots(Request::new(request)).await.unwrap();
        assert!(compared.into_inner().slots.is_empty());
    }
    assert_eq!(*lock(&agreed), [(BootId(22), 500)]);
}
