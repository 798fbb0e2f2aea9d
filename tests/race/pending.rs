//! Answers, the sweep and the caller of an exchange meet in every order: the exchange is handed back exactly once, and a
//! caller that waits is woken.

use std::{sync::Arc, time::Duration};

use crate::coordinator::pending::{Exchange, PendingTable, Schedule};
use shuttle::{
    future::block_on,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

const ITERATIONS: usize = 300;
const DEADLINE: Duration = Duration::from_millis(10);

struct TwoOfThree {
    answers: usize,
}

impl Exchange for TwoOfThree {
    type Answer = ();

    fn answer(&mut self, _position: u8, _answer: ()) {
        self.answers += 1;
    }

    fn stall(&mut self, _position: u8) {}

    fn nudge(&mut self) {}

    fn is_actionable(&self) -> bool {
        self.answers >= 2
    }

    fn is_finished(&self) -> bool {
        self.answers == 3
    }

    fn outlives_caller(&self) -> bool {
        true
    }

    fn is_to_be_settled(&self) -> bool {
        true
    }
}

fn check(model: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(model, ITERATIONS);
    shuttle::check_pct(model, ITERATIONS, 3);
}

#[test]
fn an_exchange_is_handed_back_exactly_once_whoever_ends_it() {
    check(|| {
        let table = Arc::new(PendingTable::new(1));
        let ended = Arc::new(AtomicUsize::new(0));
        let schedule = Schedule {
            deadline: DEADLINE,
            nudge_at: None,
        };
        let Ok(token) = table.insert(TwoOfThree { answers: 0 }, schedule) else {
            panic!("an empty table has room");
        };
        let mut threads: Vec<_> = (0..3u8)
            .map(|owner| {
                let (table, ended) = (Arc::clone(&table), Arc::clone(&ended));
                thread::spawn(move || {
                    if table.answer(token.for_owner(owner), ()).is_some() {
                        ended.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let (sweeper, swept) = (Arc::clone(&table), Arc::clone(&ended));
        threads.push(thread::spawn(move || {
            swept.fetch_add(sweeper.sweep(DEADLINE).len(), Ordering::SeqCst);
        }));
        block_on(async { table.wait(token).await });
        if table.release(token).is_some() {
            ended.fetch_add(1, Ordering::SeqCst);
        }
        for thread in threads {
            thread.join().expect("no thread of the model panics");
        }
        ended.fetch_add(table.sweep(DEADLINE).len(), Ordering::SeqCst);
        assert_eq!(ended.load(Ordering::SeqCst), 1);
        assert!(table.is_empty());
    });
}

#[test]
fn a_caller_is_woken_by_the_answers_that_decide_without_any_sweep() {
    check(|| {
        let table = Arc::new(PendingTable::new(2));
        let schedule = Schedule {
            deadline: DEADLINE,
            nudge_at: None,
        };
        let Ok(token) = table.insert(TwoOfThree { answers: 0 }, schedule) else {
            panic!("an empty table has room");
        };
        let threads: Vec<_> = (0..2u8)
            .map(|owner| {
                let table = Arc::clone(&table);
                thread::spawn(move || {
                    table.answer(token.for_owner(owner), ());
                })
            })
            .collect();
        // A lost wake-up would be reported as a deadlock.
        block_on(async { table.wait(token).await });
        for thread in threads {
            thread.join().expect("no thread of the model panics");
        }
    });
}

#[test]
fn whoever_sweeps_is_woken_by_the_first_exchange() {
    check(|| {
        let table = Arc::new(PendingTable::new(1));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let table = Arc::clone(&table);
                thread::spawn(move || {
                    let schedule = Schedule {
                        deadline: DEADLINE,
                        nudge_at: None,
                    };
                    let inserted = table.insert(TwoOfThree { answers: 0 }, schedule);
                    assert!(inserted.is_ok(), "an empty table has room");
                })
            })
            .collect();
        // A lost wake-up would be reported as a deadlock.
        block_on(table.occupied());
        assert!(!table.is_empty());
        for thread in threads {
            thread.join().expect("no thread of the model panics");
        }
        block_on(table.occupied());
    });
}

#[test]
fn answers_to_an_old_token_never_reach_the_exchange_in_its_place() {
    check(|| {
        let table = Arc::new(PendingTable::new(1));
        let schedule = Schedule {
            deadline: DEADLINE,
            nudge_at: None,
        };
        let insert = |table: &PendingTable<TwoOfThree>| {
            table
                .insert(TwoOfThree { answers: 0 }, schedule)
                .unwrap_or_else(|_full| panic!("an empty table has room"))
        };
        let old = insert(&table);
        let late = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                for owner in 0..3 {
                    table.answer(old.for_owner(owner), ());
                }
            })
        };
        table.sweep(DEADLINE);
        table.release(old);
        let new = insert(&table);
        late.join().expect("no thread of the model panics");
        // Either the old exchange ended before its place was taken, or its place was never given away.
        assert_eq!(table.inspect(new, |exchange| exchange.answers), Some(0));
    });
}
