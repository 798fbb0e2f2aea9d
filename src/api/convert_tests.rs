use proptest::prelude::*;

use shard_cache_membership::identity::NodeId;

use super::*;
use crate::{
    clock::BoxFuture,
    coordinator::{
        Hit,
        explanation::{Choice, Hint, OwnerAnswer, OwnerReply, Purpose, Stage},
    },
    key::Slot,
    ring::SlotConfiguration,
    version::Stamp,
};

fn set(key: &str, data: Option<pb::set_request::Data>) -> pb::SetRequest {
    pb::SetRequest {
        key: key.to_owned(),
        data,
        ..pb::SetRequest::default()
    }
}

fn text(value: &str) -> Option<pb::set_request::Data> {
    Some(pb::set_request::Data::Value(value.to_owned()))
}

fn window(deadline_seconds: u64) -> Window {
    Window {
        arrived: Duration::ZERO,
        deadline: Duration::from_secs(deadline_seconds),
    }
}

fn convert(request: pb::SetRequest) -> Result<SetRequest, Invalid> {
    set_request(request, window(1), &Limits::for_tests())
}

fn with_ttl(seconds: i64, nanos: i32) -> Result<Ttl, Invalid> {
    let ttl = Some(pb::Ttl { seconds, nanos });
    convert(pb::SetRequest {
        ttl,
        ..set("k", text("v"))
    })
    .map(|request| request.ttl)
}

fn read(hit: Option<Hit>) -> Read {
    let version = Some(Version::new(Stamp::new(1000, 3), 42));
    Read {
        hit,
        version,
        degraded: false,
        explain: None,
    }
}

#[test]
fn refusals_name_the_limit_and_the_size() {
    let long = "k".repeat(1025);
    let large = "v".repeat(1024 * 1024 + 1);
    let cases = [
        (
            convert(set("", text("v"))),
            "key is empty: it must have 1 to 1024 bytes",
        ),
        (
            convert(set(&long, text("v"))),
            "key has 1025 bytes: at most 1024 are allowed",
        ),
        (
            convert(set("k", text(&large))),
            "value has 1048577 bytes: at most 1048576 are allowed",
        ),
        (
            convert(set("k", None)),
            "no payload: one of value and value_bytes is required; \"\" is a legal value",
        ),
    ];
    for (outcome, message) in cases {
        assert_eq!(outcome.expect_err(message).to_string(), message);
    }
}

#[test]
fn values_and_keys_at_the_limit_are_accepted() {
    let key = "k".repeat(1024);
    let value = "v".repeat(1024 * 1024);
    let request = convert(set(&key, text(&value))).expect("at the limit");
    assert_eq!(
        (request.key.bytes().len(), request.value.bytes.len()),
        (1024, 1024 * 1024)
    );
    assert_eq!(
        convert(set("k", text("")))
            .expect("empty value")
            .value
            .bytes
            .len(),
        0
    );
}

#[test]
fn an_absent_ttl_is_the_default_and_an_explicit_zero_is_none() {
    assert_eq!(
        convert(set("k", text("v"))).expect("legal").ttl,
        Ttl::Default
    );
    assert_eq!(with_ttl(0, 0), Ok(Ttl::Never));
    assert_eq!(with_ttl(3600, 0), Ok(Ttl::After(Duration::from_secs(3600))));
    assert_eq!(with_ttl(0, 1), Ok(Ttl::After(Duration::from_nanos(1))));
}

#[test]
fn illegal_ttls_are_refused() {
    let ten_years = i64::try_from(TTL_SECONDS_MAX).expect("fits");
    assert!(with_ttl(ten_years, 0).is_ok());
    assert_eq!(
        with_ttl(ten_years, 1),
        Err(Invalid::LongTtl {
            seconds: TTL_SECONDS_MAX
        })
    );
    assert_eq!(
        with_ttl(-1, 0),
        Err(Invalid::NegativeTtl {
            seconds: -1,
            nanos: 0
        })
    );
    assert_eq!(
        with_ttl(0, -1),
        Err(Invalid::NegativeTtl {
            seconds: 0,
            nanos: -1
        })
    );
    assert_eq!(
        with_ttl(1, -1),
        Err(Invalid::NegativeTtl {
            seconds: 1,
            nanos: -1
        })
    );
    assert_eq!(
        with_ttl(1, 1_000_000_000),
        Err(Invalid::TtlNanos {
            nanos: 1_000_000_000
        })
    );
    assert_eq!(
        with_ttl(1, i32::MIN),
        Err(Invalid::TtlNanos { nanos: i32::MIN })
    );
    assert!(with_ttl(i64::MAX, 999_999_999).is_err());
}

#[test]
fn terms_follow_the_request_and_then_the_node() {
    let limits = Limits {
        degrade: Degrade::Accept,
        ..Limits::for_tests()
    };
    let level = |consistency, degrade, limits: &Limits| {
        let request = pb::GetRequest {
            key: "k".into(),
            consistency,
            degrade,
            explain: false,
        };
        get_request(request, window(0), limits).map(|request| request.terms)
    };
    let strict = Limits::for_tests();
    assert_eq!(
        level(0, false, &strict).expect("legal").consistency,
        Consistency::Quorum
    );
    assert_eq!(
        level(1, false, &strict).expect("legal").consistency,
        Consistency::One
    );
    assert_eq!(
        level(3, false, &strict).expect("legal").consistency,
        Consistency::All
    );
    assert_eq!(
        level(0, false, &strict).expect("legal").degrade,
        Degrade::Refuse
    );
    assert_eq!(
        level(0, true, &strict).expect("legal").degrade,
        Degrade::Accept
    );
    assert_eq!(
        level(0, false, &limits).expect("legal").degrade,
        Degrade::Accept
    );
    assert_eq!(
        level(9, false, &strict).expect_err("unknown"),
        Invalid::Consistency { value: 9 }
    );
}

#[test]
fn a_miss_says_found_false() {
    let response = get_response(read(None), "node1", &StillClock);
    assert_eq!(
        (response.found, response.data, response.ttl),
        (Some(false), None, None)
    );
    assert_eq!(
        response.version,
        Some(pb::Version {
            millis: 1000,
            counter: 3,
            writer: 42
        })
    );
    assert_eq!(response.explain, None);
}

/// It is always 5.0009 s.
struct StillClock;

impl Clock for StillClock {
    fn monotonic(&self) -> Monotonic {
        Duration::from_micros(5_000_900)
    }

    fn wall_millis(&self) -> u64 {
        0
    }

    fn sleep(&self, _duration: Duration) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }
}

fn explanation() -> Explanation {
    let owner = ExplainedOwner {
        name: "node2".to_owned(),
        answer: OwnerAnswer::Pending,
        score: 3,
        zone: "east".to_owned(),
        liveness: Some(Liveness::Alive),
        reach: Some(Reach::Stalled),
        is_full: None,
    };
    let request = ReplicaRequest {
        position: 0,
        node_id: NodeId(2),
        name: "node2".to_owned(),
        is_local: false,
        purpose: Purpose::Write,
        attempt: 2,
        choice: Choice::First,
        sent: Duration::from_micros(120),
        answered: None,
        reply: OwnerReply::bare(OwnerAnswer::Pending),
        hint: Hint::Due,
    };
    Explanation {
        slot: Slot(7),
        configuration: SlotConfiguration {
            root: 8,
            number: 3,
            owners: 9,
        },
        ring_hash: Some(0xcafe),
        owners: vec![owner],
        needed: 2,
        attempts: 2,
        restamps: 1,
        requests: vec![request],
        since: Duration::from_secs(5),
        stages: vec![
            (Stage::Admission, Duration::from_micros(100)),
            (Stage::Quorum, Duration::from_micros(850)),
        ],
    }
}

#[test]
fn an_explanation_goes_out_when_it_was_collected() {
    let request = pb::DeleteRequest {
        key: "k".into(),
        explain: true,
        ..Default::default()
    };
    let limits = Limits::for_tests();
    let request = delete_request(request, window(0), &limits).expect("legal");
    assert_eq!(request.terms.detail, Detail::Explained);
    let written = Written {
        version: Version::default(),
        stored: 2,
        replaced: true,
        degraded: false,
        explain: Some(Box::new(explanation())),
    };
    let response = delete_response(written, "node1", &StillClock);
    assert_eq!((response.found, response.stored), (Some(true), 2));
    let shown = response.explain.expect("asked for");
    let stage = |name: &str, micros| pb::Stage {
        name: name.to_owned(),
        micros,
    };
    let expected = pb::Explain {
        coordinator: "node1".to_owned(),
        slot: 7,
        configuration: 9,
        root: 8,
        number: 3,
        owners: vec![pb::OwnerAnswer {
            node: "node2".to_owned(),
            answer: "pending".to_owned(),
            score: 3,
            zone: "east".to_owned(),
            liveness: "alive".to_owned(),
            link: "stalled".to_owned(),
            full: None,
        }],
        attempts: 2,
        ring_hash: "000000000000cafe".to_owned(),
        needed: 2,
        restamps: 1,
        requests: vec![pb::ReplicaRequest {
            node: "node2".to_owned(),
            purpose: "write".to_owned(),
            attempt: 2,
            choice: "first".to_owned(),
            sent_micros: 120,
            answer: "pending".to_owned(),
            hint: "due".to_owned(),
            ..pb::ReplicaRequest::default()
        }],
        stages: vec![
            stage("admission", 100),
            stage("quorum", 750),
            stage("answer", 50),
        ],
        total_micros: 900,
    };
    assert_eq!(*shown, expected);
}

#[test]
fn bytes_that_are_no_text_never_go_out_as_text() {
    let bytes = Bytes::from_static(&[0xff, 0x00]);
    let value = Value {
        bytes: bytes.clone(),
        form: Form::Text,
    };
    let response = get_response(
        read(Some(Hit {
            value,
            expires_in: None,
        })),
        "node1",
        &StillClock,
    );
    assert_eq!(
        response.data,
        Some(pb::get_response::Data::ValueBytes(bytes))
    );
}

proptest! {
    #[test]
    fn keys_and_values_round_trip_in_their_arm(
        key in "\\PC{1,40}|[\\x00-\\x1f]{1,8}",
        value in "\\PC{0,80}|\u{1b}\\[3[0-9]m\\x00",
        raw in prop::collection::vec(any::<u8>(), 0..80),
        left in prop::option::of((0u64..TTL_SECONDS_MAX, 0u32..1_000_000_000)),
    ) {
        let left = left.map(|(seconds, nanos)| Duration::new(seconds, nanos));
        let request = convert(set(&key, text(&value))).expect("legal");
        prop_assert_eq!(request.key.bytes().as_ref(), key.as_bytes());
        let hit = Hit { value: request.value, expires_in: left };
        let answer = get_response(read(Some(hit)), "node1", &StillClock);
        prop_assert_eq!(answer.data, Some(pb::get_response::Data::Value(value)));
        let shown = answer.ttl.map(|ttl| Duration::new(ttl.seconds as u64, ttl.nanos as u32));
        prop_assert_eq!(shown, left);

        let raw = Bytes::from(raw);
        let bytes = Some(pb::set_request::Data::ValueBytes(raw.clone()));
        let request = convert(set(&key, bytes)).expect("legal");
        let hit = Hit { value: request.value, expires_in: None };
        let answer = get_response(read(Some(hit)), "node1", &StillClock);
        prop_assert_eq!(answer.data, Some(pb::get_response::Data::ValueBytes(raw)));
    }
}
