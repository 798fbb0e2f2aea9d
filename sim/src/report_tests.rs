//! Reports of a small history.

use super::*;
use crate::{
    check::check,
    history::{
        Answered, Consistency, Degrade, Header, Life, Promises, Unanswered, ValueId, Version,
    },
};

fn operation(id: u64, request: Request, outcome: Outcome) -> Operation {
    Operation {
        id,
        client: 4,
        node: 1,
        key: "k".to_owned(),
        request,
        consistency: Consistency::Quorum,
        degrade: Degrade::Refuse,
        invoked_ns: id * 1_000_000,
        completed_ns: id * 1_000_000 + 500,
        outcome,
    }
}

fn lost_write() -> History {
    let ok = |answer| {
        Outcome::Ok(Answered {
            answer,
            degraded: false,
            took_part: Some(2),
            owners: Some(3),
        })
    };
    let set = Request::Set {
        value: ValueId(7),
        life: Life::Never,
    };
    let written = Answer::Written {
        version: Version::new(1, 0, 5),
        replaced: Some(false),
    };
    let missed = Answer::Miss { version: None };
    History {
        header: Header {
            seed: Some(42),
            replay: Some("shard-cache-sim replay --seed 42".to_owned()),
            ..Header::default()
        },
        operations: vec![
            operation(2, Request::Get, ok(missed)),
            operation(1, set, ok(written)),
            operation(3, Request::Delete, Outcome::Unknown(Unanswered::default())),
        ],
        ..History::default()
    }
}

#[test]
fn a_report_has_the_seed_the_promise_the_operations_in_order_and_the_replay() {
    let history = lost_write();
    let report = Report::new(&history, &check(&history, &Promises::full()));
    assert_eq!(report.verdict, Summary::Violated);
    let ids: Vec<u64> = report.violations[0].involved.iter().map(|o| o.id).collect();
    assert_eq!(ids, [1, 2]);
    let text = report.to_string();
    for part in [
        "VIOLATED: G1 durability",
        "seed:   42",
        "replay: shard-cache-sim replay --seed 42",
        "#1 client 4 at node2: set 0000000000000007 (QUORUM",
        "OK by 2, found nothing, version none",
        "3 operations on 1 keys",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn a_report_is_json_for_programs() {
    let history = lost_write();
    let report = Report::new(&history, &check(&history, &Promises::full()));
    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    assert_eq!(json["verdict"], "violated");
    assert_eq!(json["violations"][0]["promise"], "G1");
    assert_eq!(json["violations"][0]["invariant"], "durability");
    assert_eq!(json["violations"][0]["involved"][1]["id"], 2);
    assert_eq!(json["violated"]["durability"], 1);
}

#[test]
fn a_kept_history_that_shows_too_little_is_called_vacuous() {
    let mut promises = Promises::full();
    promises.floors.operations_min = 1;
    let history = History::default();
    let report = Report::new(&history, &check(&history, &promises));
    assert_eq!(report.verdict, Summary::Vacuous);
    assert!(
        report
            .to_string()
            .contains("too few operations: 0, and 1 are needed")
    );
    let report = Report::new(&history, &check(&history, &Promises::full()));
    assert_eq!(report.verdict, Summary::Kept);
    assert!(report.to_string().starts_with("KEPT"));
}
