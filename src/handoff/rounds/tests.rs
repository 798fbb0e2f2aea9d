use std::net::SocketAddr;

use bytes::Bytes;
use rand::SeedableRng as _;
use shard_cache_membership::{
    identity::{BootId, NodeId},
    record::Phase,
    view::{Liveness, View},
};

use super::*;
use crate::{
    clock::BoxFuture,
    handoff::{
        HintLimits, OwedHints, RingCell,
        slots::OnLoss,
        test_peers::{FORMER, LeapClock, OTHER, OWN, PEER, key, member, record, ring_of, shown},
    },
    operation::Operation,
    ring::{slot::Quorums, table::SlotTable},
    store::{Fingerprint, Limits, Store},
    sync::{Mutex, lock},
    transport::{Comparison, Delivery, NotSent, Outlook, PeerTarget, PushPull, Receipt},
    version::HybridClock,
};

const SLOTS: u16 = 16;

/// What a node keeps, and nothing that runs.
struct Keeps {
    slots: Arc<Slots>,
    store: Arc<Store>,
    replica: Arc<Replica>,
}

impl Keeps {
    fn new(node: NodeId) -> Self {
        let quorums = Quorums {
            replication_factor: 3,
            write_quorum: 2,
        };
        let store = Arc::new(Store::new(Limits {
            capacity_entries: 1_000,
            memory_bytes: 1 << 24,
            tombstone_bytes: 1 << 20,
            tombstone_life_millis: 1 << 40,
            ghosts: 1_000,
            slots: SLOTS,
        }));
        let metrics = Arc::new(Metrics::new());
        let limits = HintLimits {
            target_bytes_max: 1 << 20,
            total_bytes_max: 1 << 20,
            window_millis: 1 << 40,
        };
        let clock = Arc::new(LeapClock::default());
        let hints = OwedHints::new(limits, SLOTS, clock, Arc::clone(&metrics));
        let cell = RingCell::new(SLOTS);
        let replica = Replica::new(
            Arc::clone(&store),
            Arc::new(HybridClock::new()),
            Arc::clone(&cell.gates),
        );
        let table = SlotTable::new(SLOTS, member(node), quorums);
        let (kept, hints) = (Arc::clone(&store), Arc::new(hints));
        let slots = Slots::new(table, cell, kept, hints, metrics, OnLoss::Auto);
        Self {
            slots: Arc::new(slots),
            store,
            replica: Arc::new(replica),
        }
    }

    /// Pulls a slot from another node, with all that it has.
    fn pull(&self, own: NodeId, slot: Slot, other: NodeId, from: &Self) {
        let question = self.slots.table().pull(slot).expect("it is wanting");
        let (_, replies) = from.slots.answer(member(own), &[question]);
        let slots: SlotSet = [slot].into_iter().collect();
        let nothing = crate::store::Inventory::nothing();
        for (key, record) in from.store.scan(&slots, 0, 1 << 20, &nothing, 0).records {
            self.store.merge(&key, record, 0);
        }
        self.slots.count_copied(member(other), &replies);
    }
}

/// One peer can be asked; it becomes full between its page and the next question.
struct Wire {
    peer: Keeps,
    other: Keeps,
    slot: Slot,
    pages: Mutex<u32>,
}

impl PeerTransport for Wire {
    fn retarget(&self, _: &BTreeMap<NodeId, PeerTarget>) {}

    fn submit(&self, _: NodeId, _: Operation) -> Result<(), NotSent> {
        Err(NotSent::Disconnected)
    }

    fn reach(&self, peer: NodeId) -> Reach {
        if peer == PEER { Reach::Up } else { Reach::Down }
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

    fn pull_slots(&self, _: NodeId, page: PageRequest) -> BoxFuture<Result<Page, CallError>> {
        let (cursor, most) = (page.cursor, page.bytes_max);
        let scanned = self
            .peer
            .store
            .scan(&page.slots, cursor, most, &page.held, 0);
        let mut pages = lock(&self.pages);
        *pages += 1;
        if *pages == 1 {
            self.peer.pull(PEER, self.slot, OTHER, &self.other);
            assert!(!self.peer.slots.table().is_wanting(self.slot));
        }
        Box::pin(std::future::ready(Ok(Page {
            records: records::encode(&scanned.records).expect("records can be encoded"),
            traces: scanned.traces,
            next_cursor: scanned.next_cursor,
        })))
    }

    fn exchange_slots(
        &self,
        _: NodeId,
        exchange: SlotExchange,
    ) -> BoxFuture<Result<Vec<Reply>, CallError>> {
        let (_, replies) = self.peer.slots.answer(exchange.from, &exchange.questions);
        Box::pin(std::future::ready(Ok(replies)))
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

/// Seed 205 of the simulator: the page was read before the source had what made it full.
#[tokio::test]
async fn a_source_that_becomes_full_while_it_is_copied_counts_when_it_has_been_copied_again() {
    let (first, second) = (
        ring_of(&[PEER, OTHER, FORMER]),
        ring_of(&[OWN, PEER, OTHER]),
    );
    let (peer, other, own) = (Keeps::new(PEER), Keeps::new(OTHER), Keeps::new(OWN));
    let written = key("written");
    let slot = written.slot(SLOTS);
    let beside = (0..)
        .map(|number| key(&format!("beside-{number}")))
        .find(|key| key.slot(SLOTS) == slot)
        .expect("some key is in every slot");
    // Acknowledged by the other one and the former owner; the peer has something else to copy.
    other.store.merge(&written, record(Duration::ZERO), 0);
    peer.store.merge(&beside, record(Duration::ZERO), 0);
    for keeps in [&peer, &other] {
        keeps.slots.form(&first);
        keeps.slots.want(Arc::clone(&second));
    }
    own.slots.want(Arc::clone(&second));

    let clock = Arc::new(LeapClock::default());
    let there = |node| shown(node, Liveness::Alive, Phase::Active);
    let view = watch::Sender::new(Arc::new(View {
        version: 1,
        own: OWN,
        members: vec![there(OWN), there(PEER)],
    }));
    let wire = Arc::new(Wire {
        peer,
        other,
        slot,
        pages: Mutex::new(0),
    });
    let mut handoff = SlotHandoff {
        slots: Arc::clone(&own.slots),
        replica: Arc::clone(&own.replica),
        transport: Arc::clone(&wire) as Arc<dyn PeerTransport>,
        view: view.subscribe(),
        clock,
        metrics: Arc::new(Metrics::new()),
        bytes_per_second_max: 1 << 30,
        budget: Budget::ample(),
        tracer: Tracer::off(),
        rng: StdRng::seed_from_u64(1),
    };
    let mut pace = Pace::new(1 << 30, Budget::ample());
    let mut reached = Vec::new();
    for _ in 0..10 {
        handoff.round(&mut reached, &mut pace).await;
        if !own.slots.table().is_wanting(slot) && !own.slots.table().is_unknown(slot) {
            break;
        }
    }
    assert!(!own.slots.table().is_wanting(slot), "it becomes full");
    let held = own.store.peek(&written, 0);
    assert!(
        matches!(held, crate::store::Lookup::Hit(_)),
        "full, and with what was acknowledged: {held:?}"
    );
    assert!(*lock(&wire.pages) >= 2);
}
