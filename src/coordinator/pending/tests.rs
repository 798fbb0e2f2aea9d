//! The life of an entry, call by call. Interleavings of threads are in `tests/race/pending.rs`.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use super::*;

/// Wants `wanted` answers of `owners`; remembers who answered.
#[derive(Debug)]
struct Count {
    owners: usize,
    wanted: usize,
    answered: Vec<u8>,
    nudged: bool,
    survives: bool,
}

impl Exchange for Count {
    type Answer = ();

    fn answer(&mut self, position: u8, _answer: ()) {
        self.answered.push(position);
    }

    fn stall(&mut self, _position: u8) {}

    fn nudge(&mut self) {
        self.nudged = true;
    }

    fn is_actionable(&self) -> bool {
        self.nudged || self.answered.len() >= self.wanted
    }

    fn is_finished(&self) -> bool {
        self.answered.len() == self.owners
    }

    fn outlives_caller(&self) -> bool {
        self.survives
    }

    fn is_to_be_settled(&self) -> bool {
        true
    }
}

fn two_of_three() -> Count {
    Count {
        owners: 3,
        wanted: 2,
        answered: Vec::new(),
        nudged: false,
        survives: true,
    }
}

const fn at(millis: u64) -> Monotonic {
    Duration::from_millis(millis)
}

const SCHEDULE: Schedule = Schedule {
    deadline: at(100),
    nudge_at: None,
};

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn the_caller_is_woken_once_the_exchange_is_decided_and_the_rest_is_accounted_for() {
    let table = PendingTable::new(1);
    let token = table.insert(two_of_three(), SCHEDULE).unwrap();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut context = Context::from_waker(&waker);
    let mut wait = pin!(table.wait(token));
    assert_eq!(wait.as_mut().poll(&mut context), Poll::Pending);
    assert!(table.answer(token.for_owner(0), ()).is_none());
    assert_eq!(
        wakes.0.load(Ordering::Relaxed),
        0,
        "one answer decides nothing"
    );
    assert!(table.answer(token.for_owner(2), ()).is_none());
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert_eq!(
        wait.as_mut().poll(&mut context),
        Poll::Ready(Woken::Actionable)
    );
    assert!(
        table.release(token).is_none(),
        "the third owner has not answered"
    );
    let ended = table.answer(token.for_owner(1), ()).unwrap();
    assert_eq!(ended.answered, [0, 2, 1]);
    assert!(table.is_empty());
}

#[test]
fn a_deadline_ends_an_exchange_once_its_caller_has_let_go() {
    let table = PendingTable::new(1);
    let token = table.insert(two_of_three(), SCHEDULE).unwrap();
    assert!(table.sweep(at(99)).is_empty());
    assert!(table.sweep(at(100)).is_empty(), "the caller still holds it");
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(
        pin!(table.wait(token)).poll(&mut context),
        Poll::Ready(Woken::Expired)
    );
    assert!(table.release(token).is_some());

    let token = table.insert(two_of_three(), SCHEDULE).unwrap();
    assert!(table.release(token).is_none());
    assert_eq!(table.sweep(at(100)).len(), 1);
    assert!(table.is_empty());
}

#[test]
fn a_token_of_an_ended_exchange_matches_nothing_even_when_its_place_is_taken_again() {
    let table = PendingTable::new(1);
    let old = table
        .insert(
            Count {
                survives: false,
                ..two_of_three()
            },
            SCHEDULE,
        )
        .unwrap();
    assert!(
        table.release(old).is_some(),
        "it does not outlive its caller"
    );
    let new = table.insert(two_of_three(), SCHEDULE).unwrap();
    assert!(table.answer(old.for_owner(0), ()).is_none());
    assert_eq!(
        table.inspect(new, |exchange| exchange.answered.len()),
        Some(0)
    );
    assert_eq!(table.inspect(old, |exchange| exchange.answered.len()), None);
}

#[test]
fn a_nudge_comes_once_and_before_the_deadline() {
    let table = PendingTable::new(1);
    let schedule = Schedule {
        deadline: at(100),
        nudge_at: Some(at(10)),
    };
    let token = table.insert(two_of_three(), schedule).unwrap();
    assert!(table.sweep(at(9)).is_empty());
    assert_eq!(
        table.inspect(token, |exchange| exchange.nudged),
        Some(false)
    );
    assert!(table.sweep(at(10)).is_empty());
    assert_eq!(
        table.inspect(token, |exchange| std::mem::take(&mut exchange.nudged)),
        Some(true)
    );
    assert!(table.sweep(at(50)).is_empty());
    assert_eq!(
        table.inspect(token, |exchange| exchange.nudged),
        Some(false)
    );
    assert!(table.release(token).is_none());
    assert_eq!(
        table.sweep(at(100)).len(),
        1,
        "the deadline is still watched"
    );
}

#[test]
fn whoever_sweeps_is_woken_once_there_is_something_to_sweep() {
    let table = PendingTable::new(2);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut context = Context::from_waker(&waker);
    let mut occupied = pin!(table.occupied());
    assert_eq!(occupied.as_mut().poll(&mut context), Poll::Pending);
    let first = table.insert(two_of_three(), SCHEDULE).unwrap();
    table.insert(two_of_three(), SCHEDULE).unwrap();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert_eq!(occupied.as_mut().poll(&mut context), Poll::Ready(()));
    for owner in 0..3 {
        table.answer(first.for_owner(owner), ());
    }
    assert!(table.release(first).is_some());
    assert_eq!(
        pin!(table.occupied()).poll(&mut context),
        Poll::Ready(()),
        "one of two is left"
    );
}

#[test]
fn a_full_lane_refuses_and_keeps_what_it_has() {
    let table = PendingTable::new(1);
    let tokens: Vec<_> = (0..LANE_ENTRIES_MAX)
        .map(|_| table.insert(two_of_three(), SCHEDULE).unwrap())
        .collect();
    assert!(table.insert(two_of_three(), SCHEDULE).is_err());
    assert_eq!(table.len(), LANE_ENTRIES_MAX);
    for token in tokens {
        table.release(token);
    }
    assert_eq!(table.sweep(at(100)).len(), LANE_ENTRIES_MAX);
    assert!(table.insert(two_of_three(), SCHEDULE).is_ok());
}
