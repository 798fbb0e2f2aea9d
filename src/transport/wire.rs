//! Operations and answers as protobuf messages. Proto types stop here.

use std::time::Duration;

use bytes::Bytes;
use shard_cache_proto::peer::{self, pull_slots_response::Trace};

use crate::{
    clock::Monotonic,
    key::{Key, Slot},
    operation::{Answer, Failure, Held, Kind, Operation, ReadAnswer, Want, WriteAnswer},
    ring::{
        SlotConfiguration,
        slot::{Carry, Vote},
    },
    store::{Absence, Body, Form, MissCause, Record, Traces, Value},
    trace::TraceParent,
    version::{Stamp, Version},
};

/// Why a message of a peer could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("an operation has no configuration")]
    NoConfiguration,
    #[error("an operation has no kind")]
    NoKind,
    #[error("a write has no record")]
    NoRecord,
    #[error("slot {slot} is not a slot number")]
    SlotRange { slot: u32 },
    #[error("record kind {kind} is unknown or not allowed here")]
    RecordKind { kind: i32 },
}

pub(crate) fn encode_operation(operation: Operation, now: Monotonic) -> peer::Operation {
    let budget = operation.deadline.saturating_sub(now);
    let kind = match operation.kind {
        Kind::Write {
            key,
            record,
            is_write_back,
        } => peer::operation::Kind::Write(peer::Write {
            key: key.bytes().clone(),
            record: Some(encode_record(record)),
            write_back: is_write_back,
        }),
        Kind::Read {
            key,
            want,
            is_explained,
        } => peer::operation::Kind::Read(peer::Read {
            key: key.bytes().clone(),
            version_only: want == Want::Version,
            explain: is_explained,
        }),
    };
    peer::Operation {
        token: operation.token,
        slot: u32::from(operation.slot.0),
        configuration: Some(encode_configuration(operation.configuration)),
        budget_micros: u64::try_from(budget.as_micros()).unwrap_or(u64::MAX),
        trace_context: operation
            .trace
            .map_or_else(Bytes::new, |trace| trace.to_frame().into()),
        kind: Some(kind),
    }
}

pub(crate) fn decode_operation(
    operation: peer::Operation,
    now: Monotonic,
) -> Result<Operation, Malformed> {
    let slot = u16::try_from(operation.slot).map_err(|_out_of_range| Malformed::SlotRange {
        slot: operation.slot,
    })?;
    let configuration = operation.configuration.ok_or(Malformed::NoConfiguration)?;
    let kind = match operation.kind.ok_or(Malformed::NoKind)? {
        peer::operation::Kind::Write(write) => Kind::Write {
            key: Key::new(write.key),
            record: decode_record(write.record.ok_or(Malformed::NoRecord)?)?,
            is_write_back: write.write_back,
        },
        peer::operation::Kind::Read(read) => Kind::Read {
            key: Key::new(read.key),
            want: if read.version_only {
                Want::Version
            } else {
                Want::Record
            },
            is_explained: read.explain,
        },
    };
    Ok(Operation {
        token: operation.token,
        slot: Slot(slot),
        configuration: decode_configuration(configuration),
        deadline: now.saturating_add(Duration::from_micros(operation.budget_micros)),
        trace: decode_trace(&operation.trace_context),
        kind,
    })
}

/// Only sampled requests carry one; what cannot be read is as good as none.
fn decode_trace(frame: &[u8]) -> Option<Box<TraceParent>> {
    if frame.is_empty() {
        return None;
    }
    TraceParent::from_frame(frame).map(Box::new)
}

pub(crate) fn encode_answer(token: u64, answer: Answer) -> peer::Reply {
    use peer::reply::Outcome;
    let mut reply = peer::Reply {
        token,
        ..Default::default()
    };
    let outcome = match answer {
        Answer::Write(WriteAnswer::Stored { replaced, vote }) => {
            reply.replaced = replaced;
            encode_vote(&mut reply, vote);
            Outcome::Ok
        }
        Answer::Write(WriteAnswer::Newer { version, vote }) => {
            reply.record = Some(encode_version(version));
            encode_vote(&mut reply, vote);
            Outcome::Newer
        }
        Answer::Read(ReadAnswer::Holds { held, vote }) => {
            encode_vote(&mut reply, vote);
            reply.record = Some(match held {
                Held::Whole(record) => encode_record(record),
                Held::Version(version) => encode_version(version),
            });
            Outcome::Ok
        }
        Answer::Read(ReadAnswer::Miss {
            absence,
            vote,
            cause,
        }) => {
            encode_vote(&mut reply, vote);
            reply.miss_cause = cause.map_or(peer::MissCause::Untold, encode_cause).into();
            reply.record = encode_absence(absence);
            Outcome::Miss
        }
        Answer::Write(WriteAnswer::Failed(failure))
        | Answer::Read(ReadAnswer::Failed(failure))
        | Answer::Failed(failure) => match failure {
            Failure::WrongConfig => Outcome::WrongConfig,
            // Only the asking side finds an answer to be ahead.
            Failure::Drift | Failure::Ahead => Outcome::Drift,
            Failure::Shed => Outcome::Shed,
            Failure::Expired => Outcome::Expired,
            Failure::NotSent | Failure::Broken => Outcome::Invalid,
        },
    };
    reply.outcome = outcome.into();
    reply
}

/// Reads a reply. What a reply means depends on what was asked: an OK without a record answers a write.
pub(crate) fn decode_answer(reply: peer::Reply) -> Result<(u64, Answer), Malformed> {
    use peer::reply::Outcome;
    let vote = decode_vote(&reply);
    let answer = match reply.outcome() {
        Outcome::Ok => match reply.record {
            None => Answer::Write(WriteAnswer::Stored {
                replaced: reply.replaced,
                vote,
            }),
            Some(record) if record.kind() == peer::record::Kind::VersionOnly => {
                let held = Held::Version(decode_version(&record));
                Answer::Read(ReadAnswer::Holds { held, vote })
            }
            Some(record) => {
                let held = Held::Whole(decode_record(record)?);
                Answer::Read(ReadAnswer::Holds { held, vote })
            }
        },
        Outcome::Newer => {
            let record = reply.record.ok_or(Malformed::NoRecord)?;
            Answer::Write(WriteAnswer::Newer {
                version: decode_version(&record),
                vote,
            })
        }
        Outcome::Miss => Answer::Read(ReadAnswer::Miss {
            absence: reply
                .record
                .as_ref()
                .map(decode_absence)
                .transpose()?
                .unwrap_or_default(),
            vote,
            cause: decode_cause(reply.miss_cause()),
        }),
        Outcome::WrongConfig => Answer::Failed(Failure::WrongConfig),
        Outcome::Drift => Answer::Failed(Failure::Drift),
        Outcome::Shed => Answer::Failed(Failure::Shed),
        Outcome::Expired => Answer::Failed(Failure::Expired),
        // The peer could not make sense of the operation: nothing is known but that it did not refuse it in order.
        Outcome::Unknown | Outcome::Invalid => Answer::Failed(Failure::Broken),
    };
    Ok((reply.token, answer))
}

fn encode_vote(reply: &mut peer::Reply, vote: Vote) {
    reply.full = vote.is_full;
    reply.carry = vote.carry.map(|carry| peer::Carry {
        configuration: Some(encode_configuration(carry.of)),
        cover: u32::from(carry.cover),
    });
}

/// A carry that cannot be read is none: it only ever adds to a quorum.
fn decode_vote(reply: &peer::Reply) -> Vote {
    let carry = reply.carry.as_ref().and_then(|carry| {
        Some(Carry {
            of: decode_configuration(carry.configuration?),
            cover: u8::try_from(carry.cover).ok().filter(|cover| *cover > 0)?,
        })
    });
    Vote {
        is_full: reply.full,
        carry,
    }
}

const fn encode_cause(cause: MissCause) -> peer::MissCause {
    match cause {
        MissCause::NotSeen => peer::MissCause::NotSeen,
        MissCause::Expired => peer::MissCause::Expired,
        MissCause::Evicted => peer::MissCause::Evicted,
        MissCause::Deleted => peer::MissCause::Deleted,
        MissCause::GoneElsewhere => peer::MissCause::GoneElsewhere,
        MissCause::TraceLost => peer::MissCause::TraceLost,
    }
}

/// One that is unknown is none: it is for people only.
const fn decode_cause(cause: peer::MissCause) -> Option<MissCause> {
    match cause {
        peer::MissCause::Untold => None,
        peer::MissCause::NotSeen => Some(MissCause::NotSeen),
        peer::MissCause::Expired => Some(MissCause::Expired),
        peer::MissCause::Evicted => Some(MissCause::Evicted),
        peer::MissCause::Deleted => Some(MissCause::Deleted),
        peer::MissCause::GoneElsewhere => Some(MissCause::GoneElsewhere),
        peer::MissCause::TraceLost => Some(MissCause::TraceLost),
    }
}

fn encode_configuration(configuration: SlotConfiguration) -> peer::Configuration {
    peer::Configuration {
        root: configuration.root,
        number: configuration.number,
        owners: configuration.owners,
    }
}

fn decode_configuration(configuration: peer::Configuration) -> SlotConfiguration {
    SlotConfiguration {
        root: configuration.root,
        number: configuration.number,
        owners: configuration.owners,
    }
}

fn encode_record(record: Record) -> peer::Record {
    let (kind, value) = match record.body {
        Body::Tombstone => (peer::record::Kind::Tombstone, Bytes::new()),
        Body::Value(Value {
            bytes,
            form: Form::Text,
        }) => (peer::record::Kind::Text, bytes),
        Body::Value(Value {
            bytes,
            form: Form::Bytes,
        }) => (peer::record::Kind::Bytes, bytes),
    };
    peer::Record {
        stamp: record.version.stamp.raw(),
        writer: record.version.writer,
        expires_at: record.expires_at.unwrap_or(0),
        kind: kind.into(),
        value,
    }
}

fn decode_record(record: peer::Record) -> Result<Record, Malformed> {
    let version = decode_version(&record);
    let form = match record.kind() {
        peer::record::Kind::Tombstone => {
            return Ok(Record {
                version,
                expires_at: None,
                body: Body::Tombstone,
            });
        }
        peer::record::Kind::Text => Form::Text,
        peer::record::Kind::Bytes => Form::Bytes,
        peer::record::Kind::VersionOnly
        | peer::record::Kind::Ghost
        | peer::record::Kind::Unsure => {
            return Err(Malformed::RecordKind { kind: record.kind });
        }
    };
    let expires_at = if record.expires_at == 0 {
        None
    } else {
        Some(record.expires_at)
    };
    Ok(Record {
        version,
        expires_at,
        body: Body::Value(Value {
            bytes: record.value,
            form,
        }),
    })
}

fn encode_version(version: Version) -> peer::Record {
    peer::Record {
        stamp: version.stamp.raw(),
        writer: version.writer,
        kind: peer::record::Kind::VersionOnly.into(),
        ..Default::default()
    }
}

fn encode_absence(absence: Absence) -> Option<peer::Record> {
    let kind = match absence {
        Absence::Untraced => return None,
        Absence::Gone(_) => peer::record::Kind::Tombstone,
        Absence::Ghost(_) => peer::record::Kind::Ghost,
        Absence::Unsure(_) => peer::record::Kind::Unsure,
    };
    absence.version().map(|version| peer::Record {
        kind: kind.into(),
        ..encode_version(version)
    })
}

fn decode_absence(record: &peer::Record) -> Result<Absence, Malformed> {
    let version = decode_version(record);
    match record.kind() {
        peer::record::Kind::Tombstone => Ok(Absence::Gone(version)),
        peer::record::Kind::Ghost => Ok(Absence::Ghost(version)),
        peer::record::Kind::Unsure => Ok(Absence::Unsure(version)),
        peer::record::Kind::Text | peer::record::Kind::Bytes | peer::record::Kind::VersionOnly => {
            Err(Malformed::RecordKind { kind: record.kind })
        }
    }
}

fn decode_version(record: &peer::Record) -> Version {
    Version::new(Stamp::from_raw(record.stamp), record.writer)
}

pub(crate) fn encode_ghosts(traces: &Traces) -> Vec<Trace> {
    let ghosts = traces.ghosts.iter();
    ghosts
        .map(|(place, version)| encode_trace(*place, *version))
        .collect()
}

pub(crate) fn encode_slot_traces(traces: &[(Slot, Version)]) -> Vec<Trace> {
    traces
        .iter()
        .map(|(slot, version)| encode_trace(u64::from(slot.0), *version))
        .collect()
}

fn encode_trace(place: u64, version: Version) -> Trace {
    Trace {
        place,
        stamp: version.stamp.raw(),
        writer: version.writer,
    }
}

/// What cannot be a slot is left out.
pub(crate) fn decode_traces(response: &peer::PullSlotsResponse) -> Traces {
    let version = |trace: &Trace| Version::new(Stamp::from_raw(trace.stamp), trace.writer);
    let of_slots = |traces: &[Trace]| -> Vec<(Slot, Version)> {
        let slot = |trace: &Trace| u16::try_from(trace.place).ok().map(Slot);
        let known = traces.iter();
        known
            .filter_map(|trace| Some((slot(trace)?, version(trace))))
            .collect()
    };
    let ghosts = response.ghosts.iter();
    Traces {
        ghosts: ghosts.map(|trace| (trace.place, version(trace))).collect(),
        floors: of_slots(&response.floors),
        marks: of_slots(&response.marks),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn any_version() -> impl Strategy<Value = Version> {
        (any::<u64>(), any::<u64>())
            .prop_map(|(stamp, writer)| Version::new(Stamp::from_raw(stamp), writer))
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let bytes = prop::collection::vec(any::<u8>(), 0..64).prop_map(Bytes::from);
        let form = prop_oneof![Just(Form::Text), Just(Form::Bytes)];
        let value = (bytes, form, prop::option::of(1u64..))
            .prop_map(|(bytes, form, expires_at)| (Body::Value(Value { bytes, form }), expires_at));
        let body = prop_oneof![3 => value, 1 => Just((Body::Tombstone, None))];
        (any_version(), body).prop_map(|(version, (body, expires_at))| Record {
            version,
            expires_at,
            body,
        })
    }

    fn any_operation() -> impl Strategy<Value = Operation> {
        let key = prop::collection::vec(any::<u8>(), 1..32).prop_map(|key| Key::new(key.into()));
        let want = prop_oneof![Just(Want::Record), Just(Want::Version)];
        let kind = (
            key,
            prop_oneof![
                (any_record(), any::<bool>()).prop_map(Ok),
                (want, any::<bool>()).prop_map(Err)
            ],
        )
            .prop_map(|(key, what)| match what {
                Ok((record, is_write_back)) => Kind::Write {
                    key,
                    record,
                    is_write_back,
                },
                Err((want, is_explained)) => Kind::Read {
                    key,
                    want,
                    is_explained,
                },
            });
        let configuration =
            (any::<u64>(), any::<u32>(), any::<u64>()).prop_map(|(root, number, owners)| {
                SlotConfiguration {
                    root,
                    number,
                    owners,
                }
            });
        (
            any::<u64>(),
            any::<u16>(),
            configuration,
            0u64..1_000_000,
            kind,
        )
            .prop_map(|(token, slot, configuration, deadline, kind)| Operation {
                token,
                slot: Slot(slot),
                configuration,
                deadline: Monotonic::from_micros(deadline),
                // Every other request is sampled.
                trace: (token % 2 == 1).then(|| {
                    Box::new(TraceParent {
                        trace_id: u128::from(token),
                        span_id: token,
                        sampled: true,
                        state: None,
                    })
                }),
                kind,
            })
    }

    fn any_vote() -> impl Strategy<Value = Vote> {
        let carry = (any::<u64>(), any::<u32>(), any::<u64>(), 1..=u8::MAX).prop_map(
            |(root, number, owners, cover)| Carry {
                of: SlotConfiguration {
                    root,
                    number,
                    owners,
                },
                cover,
            },
        );
        (any::<bool>(), prop::option::of(carry))
            .prop_map(|(is_full, carry)| Vote { is_full, carry })
    }

    fn any_absence() -> impl Strategy<Value = Absence> {
        prop_oneof![
            Just(Absence::Untraced),
            any_version().prop_map(Absence::Gone),
            any_version().prop_map(Absence::Ghost),
            any_version().prop_map(Absence::Unsure),
        ]
    }

    fn any_cause() -> impl Strategy<Value = Option<MissCause>> {
        prop_oneof![
            Just(None),
            Just(Some(MissCause::NotSeen)),
            Just(Some(MissCause::Expired)),
            Just(Some(MissCause::Evicted)),
            Just(Some(MissCause::Deleted)),
            Just(Some(MissCause::GoneElsewhere)),
            Just(Some(MissCause::TraceLost)),
        ]
    }

    fn any_answer() -> impl Strategy<Value = Answer> {
        let held = prop_oneof![
            any_record().prop_map(Held::Whole),
            any_version().prop_map(Held::Version),
        ];
        prop_oneof![
            (any::<bool>(), any_vote())
                .prop_map(|(replaced, vote)| Answer::Write(WriteAnswer::Stored { replaced, vote })),
            (any_version(), any_vote())
                .prop_map(|(version, vote)| Answer::Write(WriteAnswer::Newer { version, vote })),
            (held, any_vote())
                .prop_map(|(held, vote)| Answer::Read(ReadAnswer::Holds { held, vote })),
            (any_absence(), any_vote(), any_cause()).prop_map(|(absence, vote, cause)| {
                Answer::Read(ReadAnswer::Miss {
                    absence,
                    vote,
                    cause,
                })
            }),
            Just(Answer::Failed(Failure::WrongConfig)),
            Just(Answer::Failed(Failure::Drift)),
            Just(Answer::Failed(Failure::Shed)),
            Just(Answer::Failed(Failure::Expired)),
        ]
    }

    proptest! {
        #[test]
        fn an_operation_survives_the_journey(operation in any_operation()) {
            let sent = format!("{operation:?}");
            let bytes = encode_operation(operation, Monotonic::ZERO).encode_to_vec();
            let received = peer::Operation::decode(bytes.as_slice()).unwrap();
            let received = decode_operation(received, Monotonic::ZERO).unwrap();
            prop_assert_eq!(format!("{received:?}"), sent);
        }

        #[test]
        fn an_answer_survives_the_journey(token: u64, answer in any_answer()) {
            let sent = format!("{answer:?}");
            let bytes = encode_answer(token, answer).encode_to_vec();
            let received = peer::Reply::decode(bytes.as_slice()).unwrap();
            let (token_received, received) = decode_answer(received).unwrap();
            prop_assert_eq!(token_received, token);
            prop_assert_eq!(format!("{received:?}"), sent);
        }

        #[test]
        fn a_junk_trace_context_fails_no_operation(
            operation in any_operation(),
            junk in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut sent = encode_operation(operation, Monotonic::ZERO);
            sent.trace_context = junk.into();
            prop_assert!(decode_operation(sent, Monotonic::ZERO).is_ok());
        }

        #[test]
        fn junk_is_refused_without_a_panic(junk in prop::collection::vec(any::<u8>(), 0..128)) {
            if let Ok(operation) = peer::Operation::decode(junk.as_slice()) {
                drop(decode_operation(operation, Monotonic::ZERO));
            }
            if let Ok(reply) = peer::Reply::decode(junk.as_slice()) {
                drop(decode_answer(reply));
            }
        }
    }

    /// A read that ends at 500 ms.
    fn read() -> Operation {
        Operation {
            token: 1,
            slot: Slot(0),
            configuration: SlotConfiguration {
                root: 0,
                number: 1,
                owners: 0,
            },
            deadline: Monotonic::from_millis(500),
            trace: None,
            kind: Kind::Read {
                key: Key::new(Bytes::from_static(b"k")),
                want: Want::Record,
                is_explained: false,
            },
        }
    }

    #[test]
    fn a_budget_is_what_is_left_when_the_batch_is_sent() {
        let sent = encode_operation(read(), Monotonic::from_millis(200));
        assert_eq!(sent.budget_micros, 300_000);
        assert!(
            sent.trace_context.is_empty(),
            "unsampled requests carry nothing"
        );
        let received = decode_operation(sent, Monotonic::from_secs(9)).unwrap();
        assert_eq!(received.deadline, Monotonic::from_millis(9300));
    }

    #[test]
    fn an_operation_that_waited_beyond_its_deadline_has_no_budget_and_arrives_expired() {
        let sent = encode_operation(read(), Monotonic::from_millis(501));
        assert_eq!(sent.budget_micros, 0);
        let now = Monotonic::from_secs(9);
        assert!(decode_operation(sent, now).unwrap().deadline <= now);
    }
}
