//! Histories as text.

use super::*;
use crate::history::{
    Answer, Answered, Consistency, Degrade, Held, Life, Mark, Operation, Outcome, OwnerCopy,
    Promises, Request, Resource, Unanswered, ValueId, Version, Writer,
};

fn operation(request: Request, outcome: Outcome) -> Operation {
    Operation {
        id: 7,
        client: 3,
        node: 1,
        key: "user:1 \"quoted\" \\ \n ü".to_owned(),
        request,
        consistency: Consistency::All,
        degrade: Degrade::Accept,
        invoked_ns: 5,
        completed_ns: u64::MAX,
        outcome,
    }
}

fn ok(answer: Answer) -> Outcome {
    Outcome::Ok(Answered {
        answer,
        degraded: true,
        took_part: Some(1),
        owners: Some(3),
    })
}

fn full_history() -> History {
    let version = Version::new(1, 2, u64::MAX);
    let value = ValueId(u64::MAX);
    let life = Life::AfterNs(9);
    let unanswered = Unanswered {
        reason: "no_quorum: 1 of 3".to_owned(),
    };
    let events = [
        Event::FaultBegin {
            fault: "kill".to_owned(),
            nodes: vec![1],
        },
        Event::FaultEnd {
            fault: "kill".to_owned(),
        },
        Event::Crash { node: 1 },
        Event::Boot {
            node: 1,
            boot_id: u64::MAX,
        },
        Event::Join { node: 2 },
        Event::Leave { node: 2 },
        Event::Drained {
            node: 2,
            is_clean: true,
        },
        Event::Clock {
            node: 0,
            offset_ns: -5,
        },
        Event::Owners {
            key: "k".to_owned(),
            nodes: vec![0, 1],
        },
        Event::Settled,
        Event::Unsettled {
            fault: "kill".to_owned(),
        },
        Event::Healed { nodes: vec![0, 2] },
        Event::Evictions {
            node: 0,
            boot_id: 1,
            total: 2,
        },
        Event::Membership {
            node: 0,
            members: 1,
            ring: 2,
            ring_members: vec![0, 1],
        },
        Event::Usage {
            node: 0,
            resource: Resource::HintBytes,
            used: 3,
            limit: Some(4),
        },
    ];
    let held = [
        Held::Value { value, version },
        Held::Gone { version },
        Held::Nothing,
    ];
    History {
        header: Header {
            seed: Some(u64::MAX),
            replay: Some("replay --seed 1".to_owned()),
            tombstone_life_ns: Some(1),
            promises: Some(Promises::full()),
            ..Header::default()
        },
        operations: vec![
            operation(
                Request::Set { value, life },
                ok(Answer::Written {
                    version,
                    replaced: Some(true),
                }),
            ),
            operation(
                Request::Get,
                ok(Answer::Hit {
                    value,
                    version,
                    expires_in_ns: Some(0),
                }),
            ),
            operation(Request::Get, ok(Answer::Miss { version: None })),
            operation(
                Request::Get,
                ok(Answer::Miss {
                    version: Some(version),
                }),
            ),
            operation(Request::Delete, Outcome::Failed(unanswered.clone())),
            operation(
                Request::Set {
                    value,
                    life: Life::Never,
                },
                Outcome::Unknown(unanswered),
            ),
        ],
        marks: events
            .map(|event| Mark { at_ns: 4, event })
            .into_iter()
            .collect(),
        copies: held
            .map(|held| OwnerCopy {
                at_ns: 9,
                node: 2,
                key: "k".to_owned(),
                held,
            })
            .into(),
    }
}

#[test]
fn a_written_history_is_read_as_it_was() {
    let history = full_history();
    let mut text = Vec::new();
    Writer::write_all(&mut text, &history).unwrap();
    assert_eq!(read(&*text).unwrap(), history);
}

const HEADER: &str = r#"{"history":{"format":1,"cluster":{"nodes":["a"],"replication_factor":3,"read_quorum":2,"write_quorum":2}}}"#;

fn error_of(second: &str) -> String {
    let text = format!("{HEADER}\n{second}\n");
    read(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn errors_name_line_and_field() {
    let get = |fields: &str| {
        format!(
            r#"{{"operation":{{"id":1,"node":0,"key":"k","kind":"get","consistency":"one","invoked_ns":5,"completed_ns":6,"outcome":"ok"{fields}}}}}"#
        )
    };
    let cases = [
        ("{".to_owned(), "line 2, field"),
        (
            get(r#","version":"1.2""#),
            "line 2, field `operation.version`: not a version",
        ),
        (get(r#","versoin":"1.2.3""#), "unknown field `versoin`"),
        (
            get(""),
            "line 2, field `operation.found`: missing, a get that is ok needs it",
        ),
        (
            get(r#","found":true"#),
            "line 2, field `operation.value`: missing",
        ),
        (
            get(r#","found":false"#).replace(r#""node":0"#, r#""node":1"#),
            "line 2, field `operation.node`: no such place",
        ),
        (
            get(r#","found":false"#).replace(r#""completed_ns":6"#, r#""completed_ns":4"#),
            "line 2, field `operation.completed_ns`: before invoked_ns",
        ),
        (
            r#"{"mark":{"at_ns":1,"event":{"crash":{"node":"x"}}}}"#.to_owned(),
            "line 2, field `mark.event.crash.node`: invalid type",
        ),
        (
            HEADER.to_owned(),
            "line 2, field `history`: a second header",
        ),
    ];
    for (line, expected) in cases {
        let error = error_of(&line);
        assert!(error.contains(expected), "{line}\n{error}\n{expected}");
    }
}

#[test]
fn a_history_begins_with_what_it_is_about() {
    assert!(matches!(read(&b""[..]), Err(ReadError::Empty)));
    let mark = br#"{"mark":{"at_ns":1,"event":"settled"}}"#;
    assert!(matches!(read(&mark[..]), Err(ReadError::NoHeader)));
    let newer = HEADER.replace("\"format\":1", "\"format\":2");
    assert!(matches!(
        read(newer.as_bytes()),
        Err(ReadError::Format {
            found: 2,
            expected: 1
        })
    ));
}

#[test]
fn a_history_of_the_chaos_tool_is_understood() {
    let text = r#"{"record":"run","format":1,"run":"1c2f","nodes":["127.0.0.1:8080","127.0.0.1:8082"]}
{"record":"operation","key":"k","action":"set","value":"v","node":0,"begun_us":5,"ended_us":930,"outcome":"ok","version":"1795368091097.0.4833188332898973120","purpose":"load","attempt":1}
{"record":"operation","key":"k","action":"get","found":"v","node":1,"begun_us":940,"ended_us":950,"outcome":"ok","version":"1795368091097.0.4833188332898973120","purpose":"audit","attempt":1}
{"record":"operation","key":"k","action":"get","found":null,"node":1,"begun_us":940,"ended_us":950,"outcome":"unknown","error":"broken","purpose":"audit","attempt":1}
{"record":"operation","key":"k","action":"delete","node":1,"begun_us":960,"ended_us":970,"outcome":"failed","purpose":"load","attempt":1}
{"record":"fault","fault":"kill","state":"begun","at_us":1}
{"record":"fault","fault":"kill","state":"on","at_us":2}
{"record":"fault","fault":"kill","state":"settled","at_us":3}
{"record":"evictions","at_us":20,"node":"node2","boot_id":7,"total":0}
"#;
    let history = read(text.as_bytes()).unwrap();
    assert_eq!(history.operations.len(), 4);
    assert_eq!(history.operations[0].completed_ns, 930_000);
    let found = history.operations[1].answered().unwrap().answer;
    assert!(matches!(found, Answer::Hit { value, .. } if value == ValueId::of(b"v")));
    assert!(
        matches!(&history.operations[2].outcome, Outcome::Unknown(why) if why.reason == "broken")
    );
    assert!(history.operations[3].surely_had_no_effect());
    assert_eq!(history.marks.len(), 3);
    assert!(history.header.evictions_recorded);
    let broken = text.replace("\"begun_us\":960", "\"begun_us\":\"x\"");
    let error = read(broken.as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("line 5, field `begun_us`"), "{error}");
}

#[test]
fn the_example_of_the_document_is_a_history() {
    let document = include_str!("../../../docs/history.md");
    let after = document.split("```json\n").nth(1).unwrap();
    let example = after.split("```").next().unwrap();
    let history = read(example.as_bytes()).unwrap();
    assert_eq!(history.operations.len(), 3);
    assert_eq!((history.marks.len(), history.copies.len()), (2, 1));
}
