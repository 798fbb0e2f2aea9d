//! Laws of the tallies, and a naive twin that counts by looking at everything.

use proptest::prelude::*;

use super::*;
use crate::{
    ring::{SlotConfiguration, slot::Carry},
    version::Stamp,
};

const FULL: Vote = Vote {
    is_full: true,
    carry: None,
};
const EMPTY: Vote = Vote {
    is_full: false,
    carry: None,
};

fn version(millis: u64) -> Version {
    Version::new(Stamp::new(millis, 0), 1)
}

fn any_need() -> impl Strategy<Value = Need> {
    (1u8..=7).prop_flat_map(|owners| {
        (1..=owners).prop_flat_map(move |required| {
            (1..=required).prop_map(move |least| Need {
                owners,
                required,
                least,
                standing: Standing::Everything,
            })
        })
    })
}

fn any_failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        Just(Failure::WrongConfig),
        Just(Failure::Drift),
        Just(Failure::Ahead),
        Just(Failure::Shed),
        Just(Failure::Expired),
        Just(Failure::NotSent),
        Just(Failure::Broken),
    ]
}

fn any_write_answer() -> impl Strategy<Value = WriteAnswer> {
    prop_oneof![
        4 => any::<bool>().prop_map(|replaced| WriteAnswer::Stored { replaced, vote: FULL }),
        1 => (1u64..5).prop_map(|at| WriteAnswer::Newer { version: version(at), vote: FULL }),
        2 => any_failure().prop_map(WriteAnswer::Failed),
    ]
}

/// A need and the answers of some of its owners, in some order.
fn any_write() -> impl Strategy<Value = (Need, Vec<(u8, WriteAnswer)>)> {
    any_need().prop_flat_map(|need| {
        let answers = prop::collection::vec(any_write_answer(), usize::from(need.owners));
        let order = Just((0..need.owners).collect::<Vec<u8>>()).prop_shuffle();
        (answers, order, 0..=usize::from(need.owners)).prop_map(move |(answers, order, given)| {
            let given = order.into_iter().zip(answers).take(given);
            (need, given.collect())
        })
    })
}

fn write_tally(need: Need, on_newer: OnNewer, answers: &[(u8, WriteAnswer)]) -> WriteTally {
    let mut tally = WriteTally::new(need, on_newer);
    for (position, answer) in answers {
        tally.answer(*position, *answer);
    }
    tally
}

/// What the outcome must be, from the answers alone.
fn naive_write(need: Need, answers: &[(u8, WriteAnswer)]) -> WriteOutcome {
    let count = |wanted: fn(&WriteAnswer) -> bool| {
        answers.iter().filter(|(_, answer)| wanted(answer)).count() as u8
    };
    let stored = count(|answer| matches!(answer, WriteAnswer::Stored { .. }));
    let open = need.owners - answers.len() as u8;
    let newest = answers
        .iter()
        .filter_map(|(_, answer)| match answer {
            WriteAnswer::Newer { version, .. } => Some(*version),
            WriteAnswer::Stored { .. } | WriteAnswer::Failed(_) => None,
        })
        .max();
    if stored >= need.required {
        WriteOutcome::Acknowledged
    } else if let Some(by) = newest {
        WriteOutcome::Superseded { by }
    } else if stored + open >= need.required {
        WriteOutcome::Open
    } else if count(|answer| *answer == WriteAnswer::Failed(Failure::WrongConfig)) > 0 {
        WriteOutcome::Reconfigured
    } else if open > 0 && need.least < need.required {
        WriteOutcome::Open
    } else if stored >= need.least && open == 0 {
        WriteOutcome::Acknowledged
    } else {
        WriteOutcome::Hopeless
    }
}

proptest! {
    #[test]
    fn a_write_stands_as_its_answers_say_in_whatever_order((need, answers) in any_write()) {
        let tally = write_tally(need, OnNewer::Restamp, &answers);
        prop_assert_eq!(tally.outcome(), naive_write(need, &answers));
        let reversed: Vec<_> = answers.iter().rev().copied().collect();
        prop_assert_eq!(write_tally(need, OnNewer::Restamp, &reversed).outcome(), tally.outcome());
    }

    #[test]
    fn an_acknowledged_write_stays_acknowledged((need, answers) in any_write()) {
        let mut tally = WriteTally::new(need, OnNewer::Restamp);
        let mut acknowledged = false;
        for (position, answer) in answers {
            tally.answer(position, answer);
            let now = tally.outcome() == WriteOutcome::Acknowledged;
            prop_assert!(now || !acknowledged);
            acknowledged = now;
        }
    }

    #[test]
    fn an_undegraded_acknowledgement_rests_on_the_required_owners((need, answers) in any_write()) {
        let tally = write_tally(need, OnNewer::Restamp, &answers);
        if tally.outcome() == WriteOutcome::Acknowledged && !tally.is_degraded() {
            prop_assert!(tally.stored() >= need.required);
        }
        if tally.is_degraded() && tally.outcome() == WriteOutcome::Acknowledged {
            prop_assert!(need.least < need.required, "degraded without leave");
            prop_assert!(tally.stored() >= need.least);
        }
    }

    #[test]
    fn whoever_is_not_known_to_hold_the_write_or_a_newer_one_is_owed_it((need, answers) in any_write()) {
        let tally = write_tally(need, OnNewer::Restamp, &answers);
        let owed: Vec<u8> = tally.owed().collect();
        for position in 0..need.owners {
            let answer = answers.iter().find(|(owner, _)| *owner == position).map(|(_, answer)| answer);
            let has_no_need = matches!(
                answer,
                Some(
                    WriteAnswer::Stored { .. } | WriteAnswer::Newer { .. } | WriteAnswer::Failed(Failure::Ahead)
                )
            );
            prop_assert_eq!(owed.contains(&position), !has_no_need);
        }
    }

    #[test]
    fn a_write_that_failed_for_sure_reached_nobody((need, answers) in any_write()) {
        let tally = write_tally(need, OnNewer::Restamp, &answers);
        if !tally.may_be_applied() {
            prop_assert_eq!(tally.stored(), 0);
            prop_assert_eq!(tally.open(), 0);
        }
    }
}

#[test]
fn a_write_back_is_content_with_something_newer() {
    let need = Need {
        owners: 3,
        required: 2,
        least: 2,
        standing: Standing::Everything,
    };
    let answers = [
        (
            0,
            WriteAnswer::Newer {
                version: version(9),
                vote: FULL,
            },
        ),
        (
            1,
            WriteAnswer::Stored {
                replaced: false,
                vote: FULL,
            },
        ),
    ];
    let satisfied = write_tally(need, OnNewer::Satisfied, &answers).outcome();
    assert_eq!(satisfied, WriteOutcome::Acknowledged);
    let restamped = write_tally(need, OnNewer::Restamp, &answers).outcome();
    assert_eq!(restamped, WriteOutcome::Superseded { by: version(9) });
}

#[test]
fn owners_that_are_not_full_are_no_quorum_by_themselves() {
    let need = Need {
        owners: 3,
        required: 2,
        least: 2,
        standing: Standing::Everything,
    };
    let stored = |vote| WriteAnswer::Stored {
        replaced: false,
        vote,
    };
    let two = [(0, stored(EMPTY)), (1, stored(EMPTY))];
    let mut tally = write_tally(need, OnNewer::Restamp, &two);
    assert_eq!(tally.outcome(), WriteOutcome::Open);
    tally.answer(2, stored(EMPTY));
    assert_eq!(tally.outcome(), WriteOutcome::Reconfigured);
    let mut tally = write_tally(need, OnNewer::Restamp, &two);
    tally.answer(2, stored(FULL));
    assert_eq!(tally.outcome(), WriteOutcome::Acknowledged);
    let any = Need {
        standing: Standing::Themselves,
        ..need
    };
    let tally = write_tally(any, OnNewer::Restamp, &two);
    assert_eq!(tally.outcome(), WriteOutcome::Acknowledged);
    let degraded = Need { least: 1, ..need };
    let mut tally = write_tally(degraded, OnNewer::Restamp, &two);
    tally.answer(2, stored(EMPTY));
    assert_eq!(tally.outcome(), WriteOutcome::Acknowledged);
    assert!(tally.is_degraded(), "it does not stand for what was before");
}

#[test]
fn a_cover_that_carries_one_configuration_stands_for_it_and_one_of_two_does_not() {
    let need = Need {
        owners: 3,
        required: 2,
        least: 2,
        standing: Standing::Everything,
    };
    let carrying = |number| {
        let of = SlotConfiguration {
            root: 1,
            number,
            owners: 9,
        };
        Vote {
            is_full: false,
            carry: Some(Carry { of, cover: 2 }),
        }
    };
    let outcome = |votes: [Vote; 2]| {
        let stored = votes.map(|vote| WriteAnswer::Stored {
            replaced: false,
            vote,
        });
        let answers = [(0, stored[0]), (1, stored[1])];
        let write = write_tally(need, OnNewer::Restamp, &answers).outcome();
        let mut read = asked(need, &[0, 1]);
        for (position, vote) in (0..).zip(votes) {
            let absence = Absence::Untraced;
            read.answer(
                position,
                ReadAnswer::Miss {
                    absence,
                    vote,
                    cause: None,
                },
            );
        }
        assert_eq!(
            write == WriteOutcome::Acknowledged,
            read.outcome() == ReadOutcome::Answered
        );
        write
    };
    assert_eq!(
        outcome([carrying(1), carrying(1)]),
        WriteOutcome::Acknowledged
    );
    assert_eq!(outcome([carrying(1), carrying(2)]), WriteOutcome::Open);
    assert_eq!(outcome([carrying(1), EMPTY]), WriteOutcome::Open);
    assert_eq!(outcome([FULL, EMPTY]), WriteOutcome::Acknowledged);
}

#[test]
fn a_late_answer_replaces_a_broken_link_and_nothing_else() {
    let need = Need {
        owners: 3,
        required: 2,
        least: 2,
        standing: Standing::Everything,
    };
    let stored = WriteAnswer::Stored {
        replaced: false,
        vote: FULL,
    };
    let mut tally = WriteTally::new(need, OnNewer::Restamp);
    tally.answer(0, WriteAnswer::Failed(Failure::Broken));
    tally.answer(0, stored);
    tally.answer(1, WriteAnswer::Failed(Failure::NotSent));
    tally.answer(1, stored);
    assert_eq!((tally.stored(), tally.open()), (1, 1));
}

fn holds(millis: u64) -> ReadAnswer {
    ReadAnswer::Holds {
        held: Held::Version(version(millis)),
        vote: FULL,
    }
}

const MISS: ReadAnswer = ReadAnswer::Miss {
    absence: Absence::Untraced,
    vote: FULL,
    cause: None,
};

fn asked(need: Need, positions: &[u8]) -> ReadTally {
    let mut tally = ReadTally::new(need);
    positions.iter().for_each(|position| tally.ask(*position));
    tally
}

#[test]
fn a_read_asks_the_next_owner_as_soon_as_one_fails_or_is_late() {
    let need = Need {
        owners: 3,
        required: 2,
        least: 2,
        standing: Standing::Everything,
    };
    let mut tally = asked(need, &[0, 1]);
    assert_eq!(tally.outcome(), ReadOutcome::Open);
    tally.answer(1, ReadAnswer::Failed(Failure::Broken));
    assert_eq!(tally.outcome(), ReadOutcome::AskMore { owners: 1 });

    let mut tally = asked(need, &[0, 1]);
    tally.answer(0, MISS);
    tally.stall(1);
    assert_eq!(tally.outcome(), ReadOutcome::AskMore { owners: 1 });
    tally.ask(2);
    assert_eq!(tally.outcome(), ReadOutcome::Open);
    // The late one may still be the one that answers.
    tally.answer(1, holds(3));
    assert_eq!(tally.outcome(), ReadOutcome::Answered);
}

#[test]
fn a_read_is_hopeless_when_too_few_owners_are_left() {
    let need = Need {
        owners: 3,
        required: 2,
        least: 2,
        standing: Standing::Everything,
    };
    let mut tally = asked(need, &[0, 1, 2]);
    tally.answer(0, ReadAnswer::Failed(Failure::NotSent));
    assert_eq!(tally.outcome(), ReadOutcome::Open);
    tally.answer(1, ReadAnswer::Failed(Failure::Broken));
    assert_eq!(tally.outcome(), ReadOutcome::Hopeless);

    let need = Need { least: 1, ..need };
    let mut tally = asked(need, &[0, 1, 2]);
    tally.answer(0, ReadAnswer::Failed(Failure::NotSent));
    tally.answer(1, ReadAnswer::Failed(Failure::Broken));
    assert_eq!(
        tally.outcome(),
        ReadOutcome::Open,
        "a degraded read waits for the last owner"
    );
    tally.answer(2, holds(1));
    assert_eq!(tally.outcome(), ReadOutcome::Answered);
    assert!(tally.is_degraded());
}

#[test]
fn a_configuration_change_is_told_apart_from_a_lost_quorum() {
    let need = Need {
        owners: 3,
        required: 2,
        least: 2,
        standing: Standing::Everything,
    };
    let mut tally = asked(need, &[0, 1, 2]);
    tally.answer(0, ReadAnswer::Failed(Failure::WrongConfig));
    tally.answer(1, ReadAnswer::Failed(Failure::WrongConfig));
    assert_eq!(tally.outcome(), ReadOutcome::Reconfigured);
}

#[test]
fn the_newest_answer_wins_and_gone_wins_among_equals() {
    let need = Need {
        owners: 3,
        required: 3,
        least: 3,
        standing: Standing::Everything,
    };
    let mut tally = asked(need, &[0, 1, 2]);
    tally.answer(0, holds(3));
    tally.answer(1, holds(5));
    tally.answer(2, MISS);
    assert_eq!(tally.newest().version(), Some(version(5)));
    assert_eq!(tally.holders(version(5)), 1);

    let mut tally = asked(need, &[0, 1]);
    tally.answer(0, holds(5));
    tally.answer(
        1,
        ReadAnswer::Miss {
            absence: Absence::Gone(version(5)),
            vote: FULL,
            cause: None,
        },
    );
    assert_eq!(tally.newest(), Newest::Gone(version(5)));
    assert_eq!(tally.holders(version(5)), 2);
}

#[test]
fn nobody_knowing_the_key_is_a_miss_without_a_version() {
    let need = Need {
        owners: 3,
        required: 2,
        least: 2,
        standing: Standing::Everything,
    };
    let mut tally = asked(need, &[0, 1]);
    tally.answer(0, MISS);
    tally.answer(1, MISS);
    assert_eq!(tally.newest(), Newest::Nothing);
}

fn absent(absence: Absence) -> ReadAnswer {
    ReadAnswer::Miss {
        absence,
        vote: FULL,
        cause: None,
    }
}

#[test]
fn a_value_that_went_in_one_place_beats_older_ones_and_not_itself() {
    let need = two_of_three();
    let newest = |other| {
        let mut tally = asked(need, &[0, 1]);
        tally.answer(0, absent(Absence::Ghost(version(5))));
        tally.answer(1, other);
        assert_eq!(tally.outcome(), ReadOutcome::Answered);
        (tally.newest(), tally.holders(version(5)))
    };
    assert_eq!(newest(holds(4)), (Newest::Ghost(version(5)), 1));
    assert_eq!(newest(MISS), (Newest::Ghost(version(5)), 1));
    let same = Newest::Value {
        version: version(5),
        record: None,
        holder: 1,
    };
    assert_eq!(newest(holds(5)), (same, 2));
    assert_eq!(newest(holds(6)).0.version(), Some(version(6)));
    let gone = absent(Absence::Gone(version(5)));
    assert_eq!(newest(gone), (Newest::Gone(version(5)), 2));
}

#[test]
fn an_owner_that_lost_the_trace_makes_a_read_ask_another_one() {
    let unsure = || absent(Absence::Unsure(version(5)));
    let mut tally = asked(two_of_three(), &[0, 1]);
    tally.answer(0, unsure());
    tally.answer(1, holds(5));
    assert_eq!(tally.outcome(), ReadOutcome::AskMore { owners: 1 });
    tally.ask(2);
    assert_eq!(tally.outcome(), ReadOutcome::Open);
    let mut agreeing = tally.clone();
    agreeing.answer(2, holds(4));
    assert_eq!(agreeing.outcome(), ReadOutcome::Answered);
    assert_eq!(agreeing.newest().version(), Some(version(5)));
    // Nobody is left who would know: when in doubt, miss.
    tally.answer(2, unsure());
    assert_eq!(tally.outcome(), ReadOutcome::Answered);
    assert_eq!(tally.newest(), Newest::Unsure);

    let mut above = asked(two_of_three(), &[0, 1]);
    above.answer(0, unsure());
    above.answer(1, holds(6));
    assert_eq!(above.outcome(), ReadOutcome::Answered);
    assert_eq!(above.newest().version(), Some(version(6)));

    let mut failing = asked(two_of_three(), &[0, 1, 2]);
    failing.answer(0, unsure());
    failing.answer(1, holds(5));
    failing.answer(2, ReadAnswer::Failed(Failure::NotSent));
    assert_eq!(failing.outcome(), ReadOutcome::Answered);
    assert_eq!(failing.newest(), Newest::Unsure);
}

const fn two_of_three() -> Need {
    Need {
        owners: 3,
        required: 2,
        least: 2,
        standing: Standing::Everything,
    }
}
