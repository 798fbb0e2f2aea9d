//! The life of a link, call by call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Wake,
};

use bytes::Bytes;

use super::*;
use crate::{
    key::{Key, Slot},
    operation::{Kind, Want, WriteAnswer},
    ring::{SlotConfiguration, slot::Vote},
};

const LIMITS: LinkLimits = LinkLimits {
    queue_bytes_max: 10 * 1024,
    stall_timeout: Duration::from_millis(250),
};

const fn at(millis: u64) -> Monotonic {
    Duration::from_millis(millis)
}

fn operation(token: u64, key_bytes: usize) -> Operation {
    Operation {
        token,
        slot: Slot(0),
        configuration: SlotConfiguration {
            root: 1,
            number: 1,
            owners: 1,
        },
        deadline: at(500),
        trace: None,
        kind: Kind::Read {
            key: Key::new(Bytes::from(vec![b'k'; key_bytes])),
            want: Want::Record,
            is_explained: false,
        },
    }
}

const DONE: Answer = Answer::Write(WriteAnswer::Stored {
    replaced: false,
    vote: Vote {
        is_full: true,
        carry: None,
    },
});

fn up() -> (Link, u64) {
    let link = Link::new(LIMITS, Arc::default());
    let (session, severed) = link.open();
    assert!(severed.tokens.is_empty());
    link.accept(session);
    (link, session)
}

fn drained(link: &Link, session: u64, now: Monotonic) -> Vec<u64> {
    match link.drain(session, Waker::noop(), now) {
        Drained::Batch(batch) => batch.iter().map(|queued| queued.operation.token).collect(),
        Drained::Empty | Drained::Closed => Vec::new(),
    }
}

fn answer(link: &Link, tokens: &[u64], now: Monotonic) -> Result<Vec<u64>, OutOfOrder> {
    let mut completed = Vec::new();
    let answers = tokens.iter().map(|token| (*token, DONE));
    link.answered(answers, now, |token, _answer| completed.push(token))?;
    Ok(completed)
}

#[test]
fn operations_are_counted_by_how_they_ended_and_answers_are_timed() {
    let requests = Arc::new(PeerRequests::default());
    let link = Link::new(LIMITS, Arc::clone(&requests));
    let reads = |outcome| requests.ended.get((ReplicaOp::Read, outcome)).get();
    assert!(link.submit(operation(1, 1), at(0)).is_err());
    assert_eq!(
        reads(ReplicaOutcome::Unreachable),
        1,
        "there is no link yet"
    );
    let (session, _) = link.open();
    link.accept(session);
    for token in 2..6 {
        link.submit(operation(token, 1), at(0)).unwrap();
    }
    assert_eq!(drained(&link, session, at(1)), [2, 3, 4, 5]);
    link.submit(operation(6, 1), at(1)).unwrap();
    answer(&link, &[2], at(3)).unwrap();
    let expired = (3, Answer::Failed(Failure::Expired));
    link.answered([expired], at(4), |_, _| ()).unwrap();
    assert_eq!(requests.duration.count(), 2);
    // Two are under way, one waits.
    link.close(session);
    assert_eq!(reads(ReplicaOutcome::Ok), 1);
    assert_eq!(reads(ReplicaOutcome::Expired), 1);
    assert_eq!(reads(ReplicaOutcome::Unreachable), 4);
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_link_without_a_connection_refuses_at_once() {
    let link = Link::new(LIMITS, Arc::default());
    assert_eq!(
        link.submit(operation(1, 1), at(0)),
        Err(NotSent::Disconnected)
    );
    let (session, _severed) = link.open();
    assert_eq!(
        link.submit(operation(1, 1), at(0)),
        Err(NotSent::Disconnected),
        "not accepted yet"
    );
    link.accept(session);
    assert_eq!(link.submit(operation(1, 1), at(0)), Ok(()));
    assert_eq!(link.reach(), Reach::Up);
}

#[test]
fn everything_queued_goes_out_together_and_the_writer_is_woken_once() {
    let (link, session) = up();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    assert!(matches!(link.drain(session, &waker, at(0)), Drained::Empty));
    for token in 0..5 {
        link.submit(operation(token, 1), at(0)).unwrap();
    }
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert_eq!(drained(&link, session, at(0)), [0, 1, 2, 3, 4]);
    assert_eq!(
        answer(&link, &[0, 1, 2, 3, 4], at(2)).unwrap(),
        [0, 1, 2, 3, 4]
    );
    assert_eq!(link.outlook(at(2)).round_trip, at(2));
}

#[test]
fn a_full_queue_refuses_and_names_the_limit() {
    let (link, session) = up();
    let mut accepted = 0;
    let refusal = loop {
        match link.submit(operation(accepted, 1000), at(0)) {
            Ok(()) => accepted += 1,
            Err(refusal) => break refusal,
        }
    };
    let bytes = (1000 + OPERATION_OVERHEAD_BYTES) * usize::try_from(accepted).unwrap();
    let queue_bytes_max = LIMITS.queue_bytes_max;
    assert_eq!(
        refusal,
        NotSent::QueueFull {
            queued_bytes: bytes,
            queue_bytes_max
        }
    );
    assert!(bytes <= queue_bytes_max);
    assert_eq!(drained(&link, session, at(0)).len() as u64, accepted);
    assert_eq!(
        link.submit(operation(99, 1000), at(0)),
        Ok(()),
        "draining makes room"
    );
}

#[test]
fn a_broken_connection_tells_what_was_sent_from_what_was_not() {
    let (link, session) = up();
    link.submit(operation(1, 1), at(0)).unwrap();
    assert_eq!(drained(&link, session, at(0)), [1]);
    link.submit(operation(2, 1), at(0)).unwrap();
    let severed = link.close(session);
    assert_eq!(
        severed.tokens,
        [(1, Failure::Broken), (2, Failure::NotSent)]
    );
    assert_eq!(link.reach(), Reach::Down);
    assert!(matches!(
        link.drain(session, Waker::noop(), at(0)),
        Drained::Closed
    ));
    assert!(
        link.close(session).tokens.is_empty(),
        "closing twice severs nothing twice"
    );
}

#[test]
fn the_writer_of_an_old_connection_cannot_take_operations_of_a_new_one() {
    let (link, old) = up();
    let (new, _severed) = link.open();
    link.accept(old);
    assert_eq!(
        link.reach(),
        Reach::Down,
        "accepting an old connection means nothing"
    );
    link.accept(new);
    link.submit(operation(7, 1), at(0)).unwrap();
    assert!(matches!(
        link.drain(old, Waker::noop(), at(0)),
        Drained::Closed
    ));
    assert_eq!(drained(&link, new, at(0)), [7]);
}

#[test]
fn an_answer_out_of_order_is_an_error() {
    let (link, session) = up();
    link.submit(operation(1, 1), at(0)).unwrap();
    link.submit(operation(2, 1), at(0)).unwrap();
    assert_eq!(drained(&link, session, at(0)), [1, 2]);
    let error = answer(&link, &[2], at(1)).unwrap_err();
    assert_eq!(
        error,
        OutOfOrder {
            answered: 2,
            expected: Some(1)
        }
    );
    let (link, _session) = up();
    assert_eq!(
        answer(&link, &[5], at(1)),
        Err(OutOfOrder {
            answered: 5,
            expected: None
        })
    );
}

#[test]
fn a_silent_peer_counts_as_stalled_until_it_answers() {
    let (link, session) = up();
    link.submit(operation(1, 1), at(0)).unwrap();
    assert_eq!(drained(&link, session, at(0)), [1]);
    assert!(link.tick(at(250)).is_empty());
    assert_eq!(link.tick(at(251)), [1]);
    assert_eq!(link.reach(), Reach::Stalled);
    assert!(link.tick(at(260)).is_empty(), "each is reported once");
    answer(&link, &[1], at(300)).unwrap();
    assert_eq!(link.reach(), Reach::Up);
}

#[test]
fn an_idle_link_is_not_stalled() {
    let (link, _session) = up();
    assert!(link.tick(at(1_000_000)).is_empty());
    assert_eq!(link.reach(), Reach::Up);
}

#[test]
fn a_batch_is_bounded_in_bytes_and_in_number() {
    let limits = LinkLimits {
        queue_bytes_max: usize::MAX,
        ..LIMITS
    };
    let link = Link::new(limits, Arc::default());
    let (session, _severed) = link.open();
    link.accept(session);
    for token in 0..2000 {
        link.submit(operation(token, 1), at(0)).unwrap();
    }
    assert_eq!(drained(&link, session, at(0)).len(), BATCH_OPERATIONS_MAX);
    assert_eq!(
        drained(&link, session, at(0)).len(),
        2000 - BATCH_OPERATIONS_MAX
    );
    for token in 0..4 {
        link.submit(operation(token, BATCH_BYTES_MAX), at(0))
            .unwrap();
    }
    assert_eq!(
        drained(&link, session, at(0)),
        [0],
        "one that is too large goes alone"
    );
}

#[test]
fn a_quiet_peer_is_asked_for_its_clock_and_one_that_is_heard_is_not() {
    let (link, session) = up();
    let asks = |now| {
        link.probe_if_quiet(at(now));
        matches!(
            link.drain(session, Waker::noop(), at(now)),
            Drained::Batch(batch) if batch.is_empty()
        )
    };
    assert!(asks(5), "it was never heard");
    assert!(!asks(3_000), "it is being asked");
    assert_eq!(link.answered([], at(3_005), |_, _| {}), Ok(Some(at(3_000))));
    assert_eq!(link.answered([], at(3_006), |_, _| {}), Ok(None));
    assert!(!asks(5_004));
    assert!(asks(5_005));
    link.answered([], at(5_006), |_, _| {}).unwrap();
    link.submit(operation(1, 1), at(6_000)).unwrap();
    link.submit(operation(2, 1), at(6_000)).unwrap();
    assert_eq!(drained(&link, session, at(6_000)), [1, 2]);
    assert!(!asks(9_000), "it has something to answer");
    let answers = [(1, DONE), (2, DONE)];
    assert_eq!(
        link.answered(answers, at(9_010), |_, _| {}),
        Ok(Some(at(3_010)))
    );
    assert!(!asks(11_000) && asks(11_010));
}

#[test]
fn a_new_connection_is_asked_for_the_clock_at_once() {
    let (link, session) = up();
    link.probe_if_quiet(at(0));
    assert!(matches!(
        link.drain(session, Waker::noop(), at(0)),
        Drained::Batch(_)
    ));
    link.close(session);
    link.probe_if_quiet(at(1));
    let (session, _) = link.open();
    link.accept(session);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    assert!(matches!(link.drain(session, &waker, at(2)), Drained::Empty));
    link.probe_if_quiet(at(2));
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert!(matches!(
        link.drain(session, &waker, at(3)),
        Drained::Batch(_)
    ));
    assert_eq!(link.answered([], at(5), |_, _| {}), Ok(Some(at(2))));
}

#[test]
fn a_round_trip_is_told_of_every_hundred_milliseconds_at_most() {
    let (link, mut session) = up();
    let told = |session, token, sent, answered| {
        link.submit(operation(token, 1), at(sent)).unwrap();
        drained(&link, session, at(sent));
        let answers = [(token, DONE)];
        link.answered(answers, at(answered), |_, _| {}).unwrap()
    };
    assert_eq!(told(session, 1, 10, 12), Some(at(2)));
    assert_eq!(told(session, 2, 20, 111), None);
    assert_eq!(told(session, 3, 111, 112), Some(at(1)));

    link.close(session);
    (session, _) = link.open();
    link.accept(session);
    assert_eq!(told(session, 4, 120, 123), Some(at(3)), "a new connection");
}

#[test]
fn a_peer_that_stands_still_looks_as_far_away_as_it_has_been_silent() {
    let (link, session) = up();
    link.submit(operation(1, 1), at(0)).unwrap();
    drained(&link, session, at(0));
    answer(&link, &[1], at(2)).unwrap();
    link.submit(operation(2, 1), at(10)).unwrap();
    drained(&link, session, at(10));
    assert_eq!(link.outlook(at(11)).round_trip, at(2));
    assert_eq!(link.outlook(at(40)).round_trip, at(30));
    answer(&link, &[2], at(40)).unwrap();
    assert!(link.outlook(at(50)).round_trip < at(10));
}

#[test]
fn late_is_what_takes_longer_than_all_but_one_of_twenty() {
    let mut late = Late::default();
    let micros = Duration::from_micros;
    for sample in 0..LATE_SAMPLES_MIN {
        assert_eq!(late.after(), None, "after {sample}");
        late.measure(micros(200));
    }
    // 200 to 299 us, with one of fifty 50 ms late: the 95th percentile is 295 to 300 us.
    for sample in 0..20_000u64 {
        let usual = micros(200 + sample * 37 % 100);
        late.measure(if sample % 50 == 0 {
            micros(50_000)
        } else {
            usual
        });
    }
    let after = late.after().unwrap();
    assert!(after > micros(270) && after < micros(340), "{after:?}");
    // One that is slow for good is late by its own measure only.
    for _ in 0..2_000 {
        late.measure(micros(5_000));
    }
    let after = late.after().unwrap();
    assert!(
        after >= micros(4_500) && after <= micros(5_000),
        "{after:?}"
    );
}
