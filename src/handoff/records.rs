//! Records as bytes: what travels in deliveries and in pages of a bulk pull. bincode 2.0.1 with its standard (varint)
//! configuration, decoded under a length limit.

use bincode::serde::{decode_from_slice, encode_to_vec};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    key::Key,
    store::{Body, Form, Record, Value},
    version::{Stamp, Version},
};

/// Most bytes that are decoded at once.
const DECODE_BYTES_MAX: usize = crate::transport::MESSAGE_BYTES_MAX;

/// Bytes of a peer are not a batch of records.
#[derive(Debug, thiserror::Error)]
#[error("not a batch of records: {reason}")]
pub struct NotRecords {
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct WireRecord {
    // As one run of bytes: a vector would be encoded byte by byte.
    key: Bytes,
    stamp: u64,
    writer: u64,
    expires_at: Option<u64>,
    body: WireBody,
}

#[derive(Serialize, Deserialize)]
enum WireBody {
    Tombstone,
    Text(Bytes),
    Bytes(Bytes),
}

/// Encodes records.
///
/// # Errors
/// [`NotRecords`] when the encoder refuses, which plain bytes and integers never make it do.
pub fn encode(records: &[(Key, Record)]) -> Result<Bytes, NotRecords> {
    let wire: Vec<WireRecord> = records
        .iter()
        .map(|(key, record)| to_wire(key, record))
        .collect();
    encode_to_vec(&wire, bincode::config::standard())
        .map(Bytes::from)
        .map_err(|error| NotRecords {
            reason: error.to_string(),
        })
}

/// Decodes records.
///
/// # Errors
/// [`NotRecords`] when the bytes are anything else, or more than the limit, or followed by more.
pub fn decode(bytes: &[u8]) -> Result<Vec<(Key, Record)>, NotRecords> {
    let config = bincode::config::standard().with_limit::<DECODE_BYTES_MAX>();
    let (wire, used): (Vec<WireRecord>, usize) =
        decode_from_slice(bytes, config).map_err(|error| NotRecords {
            reason: error.to_string(),
        })?;
    if used != bytes.len() {
        let reason = format!("{} bytes follow the records", bytes.len() - used);
        return Err(NotRecords { reason });
    }
    Ok(wire.into_iter().map(from_wire).collect())
}

fn to_wire(key: &Key, record: &Record) -> WireRecord {
    WireRecord {
        key: key.bytes().clone(),
        stamp: record.version.stamp.raw(),
        writer: record.version.writer,
        expires_at: record.expires_at,
        body: match &record.body {
            Body::Tombstone => WireBody::Tombstone,
            Body::Value(Value {
                bytes,
                form: Form::Text,
            }) => WireBody::Text(bytes.clone()),
            Body::Value(Value {
                bytes,
                form: Form::Bytes,
            }) => WireBody::Bytes(bytes.clone()),
        },
    }
}

fn from_wire(wire: WireRecord) -> (Key, Record) {
    let body = match wire.body {
        WireBody::Tombstone => Body::Tombstone,
        WireBody::Text(bytes) => Body::Value(Value {
            bytes,
            form: Form::Text,
        }),
        WireBody::Bytes(bytes) => Body::Value(Value {
            bytes,
            form: Form::Bytes,
        }),
    };
    let version = Version::new(Stamp::from_raw(wire.stamp), wire.writer);
    (
        Key::new(wire.key),
        Record {
            version,
            expires_at: wire.expires_at,
            body,
        },
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_record() -> impl Strategy<Value = (Key, Record)> {
        let bytes = prop::collection::vec(any::<u8>(), 0..64);
        let body = prop_oneof![
            Just(Body::Tombstone),
            bytes.clone().prop_map(|bytes| Body::Value(Value {
                bytes: bytes.into(),
                form: Form::Bytes
            })),
            ".{0,32}".prop_map(|text| Body::Value(Value {
                bytes: text.into(),
                form: Form::Text
            })),
        ];
        (
            bytes,
            any::<u64>(),
            any::<u64>(),
            any::<Option<u64>>(),
            body,
        )
            .prop_map(|(key, stamp, writer, expires_at, body)| {
                let version = Version::new(Stamp::from_raw(stamp), writer);
                (
                    Key::new(key.into()),
                    Record {
                        version,
                        expires_at,
                        body,
                    },
                )
            })
    }

    proptest! {
        #[test]
        fn records_survive_the_journey(records in prop::collection::vec(any_record(), 0..20)) {
            let bytes = encode(&records).unwrap();
            prop_assert_eq!(decode(&bytes).unwrap(), records);
        }

        #[test]
        fn junk_is_refused_without_a_panic(junk in prop::collection::vec(any::<u8>(), 0..256)) {
            // Short junk may happen to be an empty batch; what matters is that nothing else comes of it.
            if let Ok(records) = decode(&junk) {
                prop_assert!(records.len() <= junk.len());
            }
        }
    }

    #[test]
    fn a_length_that_promises_more_than_there_is_is_refused() {
        assert!(decode(&[253, 255, 255, 255, 255, 255, 255, 255, 255]).is_err());
    }
}
