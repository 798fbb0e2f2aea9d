//! Histories written by hand, one for each verdict.

use super::*;
use crate::history::{Evictions, FaultMark, Run};

const NO_FLOORS: Floors = Floors {
    acked_min: 0,
    during_min: 0.0,
};

/// A history of one key at one node; each operation takes from its time to 5 later.
struct Story(History);

impl Story {
    fn new() -> Self {
        let history = History {
            run: Run::new("r".to_owned(), vec!["n".to_owned()]),
            ..History::default()
        };
        Self(history)
    }

    fn then(mut self, at: u64, action: Action, outcome: Outcome) -> Self {
        self.0.operations.push(Operation {
            key: "k".to_owned(),
            action,
            node: 0,
            begun_us: at,
            ended_us: at + 5,
            outcome,
            version: None,
            error: None,
            purpose: Purpose::Load,
            attempt: 1,
        });
        self
    }

    fn set(self, at: u64, value: &str, outcome: Outcome) -> Self {
        let value = value.to_owned();
        self.then(
            at,
            Action::Set {
                value,
                ttl_ms: None,
            },
            outcome,
        )
    }

    fn set_for(self, at: u64, value: &str, ttl_ms: u64) -> Self {
        let (value, ttl_ms) = (value.to_owned(), Some(ttl_ms));
        self.then(at, Action::Set { value, ttl_ms }, Outcome::Ok)
    }

    fn delete(self, at: u64, outcome: Outcome) -> Self {
        self.then(at, Action::Delete, outcome)
    }

    fn read(self, at: u64, found: Option<&str>) -> Self {
        let found = found.map(str::to_owned);
        self.then(at, Action::Get { found }, Outcome::Ok)
    }

    fn audit(self, at: u64, found: Option<&str>) -> Self {
        let mut story = self.read(at, found);
        if let Some(last) = story.0.operations.last_mut() {
            last.purpose = Purpose::Audit;
        }
        story
    }

    fn fault(mut self, at_us: u64, state: FaultState) -> Self {
        self.0.marks.push(FaultMark {
            fault: "kill".to_owned(),
            state,
            at_us,
        });
        self
    }

    fn kinds(&self) -> Vec<Kind> {
        let verdict = judge(&self.0, NO_FLOORS);
        verdict
            .violations
            .iter()
            .map(|violation| violation.kind)
            .collect()
    }
}

use Outcome::{Failed, Ok as Acked, Unknown};

#[test]
fn what_is_read_as_it_was_written_is_legal() {
    let story = Story::new()
        .set(10, "a", Acked)
        .read(20, Some("a"))
        .set(30, "b", Acked)
        .read(40, Some("b"))
        .delete(50, Acked)
        .read(60, None);
    assert_eq!(story.kinds(), []);
}

#[test]
fn an_acknowledged_write_that_is_missed_is_lost() {
    assert_eq!(
        Story::new().set(10, "a", Acked).read(20, None).kinds(),
        [Kind::Lost]
    );
}

#[test]
fn a_value_may_be_missed_from_its_end_on_and_must_be_soon_after() {
    let story = |read_us, found| {
        Story::new()
            .set_for(10, "a", 1)
            .read(read_us, found)
            .kinds()
    };
    assert_eq!(story(900, None), [Kind::Lost]);
    assert_eq!(story(1_010, None), []);
    assert_eq!(story(501_000, Some("a")), []);
    assert_eq!(story(501_020, Some("a")), [Kind::Expired]);
}

#[test]
fn a_read_beside_the_write_may_miss_it_or_see_it() {
    let story = Story::new().set(10, "a", Acked).read(12, None);
    assert_eq!(story.kinds(), []);
    let story = Story::new().set(10, "a", Acked).read(8, Some("a"));
    assert_eq!(story.kinds(), []);
}

#[test]
fn a_deleted_value_that_is_read_is_resurrected() {
    let story = Story::new()
        .set(10, "a", Acked)
        .delete(20, Acked)
        .read(30, Some("a"));
    assert_eq!(story.kinds(), [Kind::Resurrected]);
}

#[test]
fn what_a_wipe_took_is_gone_and_stays_gone() {
    let wiped = |story: Story| {
        let mut story = story.delete(100, Outcome::Ok);
        if let Some(last) = story.0.operations.last_mut() {
            last.purpose = Purpose::Wipe;
        }
        story
    };
    let story = || wiped(Story::new().set(10, "a", Outcome::Ok));
    assert_eq!(story().read(200, None).kinds(), []);
    assert_eq!(story().read(200, Some("a")).kinds(), [Kind::Resurrected]);
    let again = story().set(200, "b", Outcome::Ok);
    assert_eq!(again.read(300, None).kinds(), [Kind::Lost]);
    let verdict = judge(&story().read(200, None).0, NO_FLOORS);
    assert_eq!(verdict.acked, 1, "nobody asked for the wipe");
}

#[test]
fn an_overwritten_value_that_is_read_is_stale() {
    let story = Story::new()
        .set(10, "a", Acked)
        .set(20, "b", Acked)
        .read(30, Some("a"));
    assert_eq!(story.kinds(), [Kind::Stale]);
}

#[test]
fn a_set_after_a_delete_that_is_missed_is_lost() {
    let story = Story::new()
        .set(10, "a", Acked)
        .delete(20, Acked)
        .set(30, "b", Acked)
        .read(40, None);
    assert_eq!(story.kinds(), [Kind::Lost]);
}

#[test]
fn a_value_that_nobody_wrote_yet_is_invented() {
    assert_eq!(Story::new().read(10, Some("x")).kinds(), [Kind::Invented]);
    let story = Story::new().read(10, Some("a")).set(20, "a", Acked);
    assert_eq!(story.kinds(), [Kind::Invented]);
}

#[test]
fn a_write_that_surely_failed_must_not_appear() {
    let story = Story::new().set(10, "a", Failed).read(20, Some("a"));
    assert_eq!(story.kinds(), [Kind::Invented]);
    let story = Story::new()
        .set(10, "a", Acked)
        .delete(20, Failed)
        .read(30, None);
    assert_eq!(story.kinds(), [Kind::Lost]);
}

#[test]
fn a_write_of_unknown_outcome_may_appear_or_not() {
    for found in [None, Some("a")] {
        assert_eq!(
            Story::new().set(10, "a", Unknown).read(20, found).kinds(),
            []
        );
    }
    for found in [Some("a"), Some("b")] {
        let story = Story::new()
            .set(10, "a", Acked)
            .set(20, "b", Unknown)
            .read(30, found);
        assert_eq!(story.kinds(), []);
    }
    for found in [None, Some("a")] {
        let story = Story::new()
            .set(10, "a", Acked)
            .delete(20, Unknown)
            .read(30, found);
        assert_eq!(story.kinds(), []);
    }
    let late = Story::new()
        .set(10, "a", Unknown)
        .read(20, None)
        .read(30, Some("a"));
    assert_eq!(late.kinds(), []);
}

#[test]
fn an_unknown_overwrite_does_not_excuse_a_miss() {
    let story = Story::new()
        .set(10, "a", Acked)
        .set(20, "b", Unknown)
        .read(30, None);
    assert_eq!(story.kinds(), [Kind::Lost]);
}

#[test]
fn an_unknown_write_that_was_seen_must_stay() {
    let story = Story::new()
        .set(10, "a", Unknown)
        .read(20, Some("a"))
        .read(30, None);
    assert_eq!(story.kinds(), [Kind::WentBack]);
    let story = Story::new()
        .set(10, "a", Acked)
        .delete(20, Unknown)
        .read(30, None)
        .read(40, Some("a"));
    assert_eq!(story.kinds(), [Kind::WentBack]);
}

#[test]
fn several_illegal_reads_of_a_key_count_once() {
    let story = Story::new()
        .set(10, "a", Acked)
        .read(20, None)
        .read(30, None);
    let verdict = judge(&story.0, NO_FLOORS);
    assert_eq!(
        (verdict.violations.len(), verdict.count(Kind::Lost)),
        (2, 1)
    );
    assert!(verdict.is_violated());
}

#[test]
fn what_reading_back_found_is_counted_at_its_node() {
    let story = Story::new().set(10, "a", Acked).audit(20, Some("a"));
    let verdict = judge(&story.0, NO_FLOORS);
    let expected = ReadBack {
        present: 1,
        ..ReadBack::default()
    };
    assert_eq!(verdict.read_back, [expected]);
    assert_eq!(verdict.vacuous, [""; 0]);
}

#[test]
fn a_key_that_was_not_read_back_everywhere_makes_the_run_vacuous() {
    let story = Story::new().set(10, "a", Acked).read(20, Some("a"));
    let verdict = judge(&story.0, NO_FLOORS);
    assert_eq!(verdict.read_back[0].unread, 1);
    assert_eq!(verdict.vacuous.len(), 1);
}

#[test]
fn too_few_writes_or_too_few_in_faults_make_the_run_vacuous() {
    let floors = Floors {
        acked_min: 2,
        during_min: 0.5,
    };
    let story = Story::new()
        .fault(0, FaultState::On)
        .set(10, "a", Acked)
        .fault(20, FaultState::Off)
        .set(30, "b", Acked)
        .audit(40, Some("b"));
    let verdict = judge(&story.0, floors);
    assert_eq!((verdict.acked, verdict.acked_during), (2, 1));
    assert_eq!(verdict.vacuous, [""; 0]);
    let more = Story(story.0).set(50, "c", Acked).audit(60, Some("c"));
    assert_eq!(
        judge(&more.0, floors).vacuous.len(),
        1,
        "a third is less than half"
    );
    let few = Story::new().set(10, "a", Acked).audit(20, Some("a"));
    assert_eq!(judge(&few.0, floors).vacuous.len(), 2);
}

#[test]
fn evictions_and_failed_faults_make_the_run_vacuous() {
    let mut story = Story::new()
        .fault(5, FaultState::Failed)
        .set(10, "a", Acked)
        .audit(20, Some("a"));
    for (boot_id, total) in [(1, 2), (1, 3), (2, 0)] {
        story.0.evictions.push(Evictions {
            at_us: 1,
            node: "n".to_owned(),
            boot_id,
            total,
        });
    }
    let vacuous = judge(&story.0, NO_FLOORS).vacuous;
    assert_eq!(vacuous.len(), 2);
    assert!(
        vacuous[1].starts_with("3 entries were evicted"),
        "{vacuous:?}"
    );
}

#[test]
fn eviction_excuses_a_missing_key_but_not_a_resurrected_one() {
    let evicting = |mut story: Story| {
        story.0.evictions.push(Evictions {
            at_us: 1,
            node: "n".to_owned(),
            boot_id: 1,
            total: 1,
        });
        judge(&story.0, NO_FLOORS)
    };
    let gone = evicting(Story::new().set(10, "a", Acked).audit(20, None));
    assert!(!gone.is_violated() && !gone.vacuous.is_empty());
    let back = Story::new().set(10, "a", Acked).delete(20, Acked);
    assert!(evicting(back.audit(30, Some("a"))).is_violated());
}

#[test]
fn a_fault_that_leaves_the_nodes_apart_is_a_violation() {
    let story = Story::new().fault(5, FaultState::Unsettled);
    assert!(judge(&story.0, NO_FLOORS).is_violated());
}

#[test]
fn a_node_that_has_left_need_not_be_read_at() {
    let story = Story::new().set(0, "a", Outcome::Ok).audit(50, Some("a"));
    let mut history = story.0;
    history.run.nodes.push("gone".to_owned());
    assert_eq!(judge(&history, NO_FLOORS).vacuous.len(), 1);
    history.run.leave = vec![1];
    assert!(judge(&history, NO_FLOORS).vacuous.is_empty());
}
