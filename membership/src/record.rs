//! What a node says of itself beyond its identity. It travels by a versioned custom broadcast and
//! by push-pull, because identities must stay small.
//!
//! Invariant: merging records is a join: any order of arrival, with repeats, ends with the same
//! record.

use serde::{Deserialize, Serialize};

use crate::identity::{BootId, NodeId};

/// Longest node name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest zone name, in bytes.
pub const ZONE_BYTES_MAX: usize = 64;
/// Longest client address, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 128;
/// Largest attachment, in bytes.
pub const ATTACHMENT_BYTES_MAX: usize = 64;

/// A node's own description. Of two records of one node, the one with the higher `(bump, sequence)`
/// wins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Whose record this is.
    pub node_id: NodeId,
    /// The life of its memory that it speaks of.
    pub boot_id: BootId,
    /// The identity's bump, as far as the process has raised it by then: orders the records of
    /// different starts.
    pub bump: u64,
    /// Rises with every change within one process.
    pub sequence: u64,
    /// Node name; the node id is its hash.
    pub name: String,
    /// Failure domain; empty when none is configured.
    pub zone: String,
    /// `host:port` of client gRPC.
    pub grpc_addr: String,
    /// `host:port` of HTTP.
    pub http_addr: String,
    /// Where it stands between start and stop.
    pub phase: Phase,
    /// A few bytes for the layer above; membership does not look inside.
    pub attachment: Vec<u8>,
}

/// Where a node stands between start and stop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// Copies its future slots; owns nothing.
    Joining,
    /// Takes part in the ring.
    Active,
    /// Is about to leave in order, or has left.
    Leaving,
}

impl Phase {
    /// The glossary's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Active => "active",
            Self::Leaving => "leaving",
        }
    }
}

/// Why a record is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// A field is longer than its bound.
    #[error("{field} has {bytes} bytes; at most {bytes_max} are allowed")]
    FieldTooLong {
        /// Name of the field.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// Its bound.
        bytes_max: usize,
    },
    /// The node id is not the hash of the name.
    #[error("node id {node_id} is not the hash of the node name")]
    NameMismatch {
        /// The id that the record claims.
        node_id: NodeId,
    },
}

impl NodeRecord {
    /// Whether the record keeps all bounds and its node id is the hash of its name.
    ///
    /// # Errors
    /// The first violated rule.
    pub fn validate(&self) -> Result<(), RecordError> {
        self.borrowed().validate()
    }

    /// Whether this record replaces `other` of the same node: the higher `(bump, sequence)` wins.
    /// The content breaks ties, which only two processes with one name can make, so that all nodes
    /// settle on the same one.
    #[must_use]
    pub fn supersedes(&self, other: &Self) -> bool {
        self.borrowed().supersedes(other)
    }

    pub(crate) fn borrowed(&self) -> BorrowedRecord<'_> {
        BorrowedRecord {
            node_id: self.node_id,
            boot_id: self.boot_id,
            bump: self.bump,
            sequence: self.sequence,
            name: &self.name,
            zone: &self.zone,
            grpc_addr: &self.grpc_addr,
            http_addr: &self.http_addr,
            phase: self.phase,
            attachment: &self.attachment,
        }
    }
}

/// A [`NodeRecord`] whose text lies elsewhere, say in a datagram. It looks the same on the wire; most records that
/// arrive are known already, and need no copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct BorrowedRecord<'a> {
    pub(crate) node_id: NodeId,
    pub(crate) boot_id: BootId,
    pub(crate) bump: u64,
    pub(crate) sequence: u64,
    name: &'a str,
    zone: &'a str,
    grpc_addr: &'a str,
    http_addr: &'a str,
    pub(crate) phase: Phase,
    attachment: &'a [u8],
}

impl BorrowedRecord<'_> {
    pub(crate) fn validate(&self) -> Result<(), RecordError> {
        let lengths = [
            ("name", self.name.len(), NAME_BYTES_MAX),
            ("zone", self.zone.len(), ZONE_BYTES_MAX),
            ("grpc_addr", self.grpc_addr.len(), ADDRESS_BYTES_MAX),
            ("http_addr", self.http_addr.len(), ADDRESS_BYTES_MAX),
            ("attachment", self.attachment.len(), ATTACHMENT_BYTES_MAX),
        ];
        for (field, bytes, bytes_max) in lengths {
            if bytes > bytes_max {
                return Err(RecordError::FieldTooLong {
                    field,
                    bytes,
                    bytes_max,
                });
            }
        }
        if self.node_id == NodeId::of_name(self.name) {
            Ok(())
        } else {
            Err(RecordError::NameMismatch {
                node_id: self.node_id,
            })
        }
    }

    pub(crate) fn supersedes(&self, other: &NodeRecord) -> bool {
        self.order() > other.borrowed().order()
    }

    pub(crate) fn to_record(self) -> NodeRecord {
        NodeRecord {
            node_id: self.node_id,
            boot_id: self.boot_id,
            bump: self.bump,
            sequence: self.sequence,
            name: self.name.to_owned(),
            zone: self.zone.to_owned(),
            grpc_addr: self.grpc_addr.to_owned(),
            http_addr: self.http_addr.to_owned(),
            phase: self.phase,
            attachment: self.attachment.to_owned(),
        }
    }

    fn order(self) -> impl Ord {
        let content = (self.name, self.zone, self.grpc_addr, self.http_addr);
        (
            self.bump,
            self.sequence,
            self.boot_id,
            self.phase,
            content,
            self.attachment,
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = NodeRecord> {
        (0..3_u64, 0..3_u64, 0..2_u64, 0..2_u8).prop_map(|(bump, sequence, boot, attachment)| {
            NodeRecord {
                node_id: NodeId::of_name("a"),
                boot_id: BootId(boot),
                bump,
                sequence,
                name: "a".to_owned(),
                zone: String::new(),
                grpc_addr: String::new(),
                http_addr: String::new(),
                phase: Phase::Active,
                attachment: vec![attachment],
            }
        })
    }

    fn merged(records: &[NodeRecord]) -> NodeRecord {
        let mut kept = records[0].clone();
        for record in records {
            if record.supersedes(&kept) {
                kept = record.clone();
            }
        }
        kept
    }

    proptest! {
        #[test]
        fn merging_ends_with_one_record_in_any_order(records in proptest::collection::vec(record(), 1..8)) {
            let mut backwards = records.clone();
            backwards.reverse();
            backwards.extend(records.clone());
            prop_assert_eq!(merged(&records), merged(&backwards));
        }

        #[test]
        fn a_record_is_the_same_on_the_wire_with_its_text_elsewhere(record in record()) {
            let config = bincode::config::standard();
            let owned = bincode::serde::encode_to_vec(&record, config).unwrap();
            prop_assert_eq!(&bincode::serde::encode_to_vec(record.borrowed(), config).unwrap(), &owned);
            let (read, _): (BorrowedRecord<'_>, _) = bincode::serde::borrow_decode_from_slice(&owned, config).unwrap();
            prop_assert_eq!(read.to_record(), record);
        }

        #[test]
        fn a_higher_version_always_supersedes(a in record(), b in record()) {
            if (a.bump, a.sequence) > (b.bump, b.sequence) {
                prop_assert!(a.supersedes(&b) && !b.supersedes(&a));
            }
        }
    }

    #[test]
    fn bounds_and_names_are_checked() {
        let good = NodeRecord {
            node_id: NodeId::of_name("a"),
            boot_id: BootId(1),
            bump: 1,
            sequence: 1,
            name: "a".to_owned(),
            zone: "z".repeat(ZONE_BYTES_MAX),
            grpc_addr: String::new(),
            http_addr: String::new(),
            phase: Phase::Joining,
            attachment: vec![0; ATTACHMENT_BYTES_MAX],
        };
        assert_eq!(good.validate(), Ok(()));
        let long = NodeRecord {
            zone: "z".repeat(ZONE_BYTES_MAX + 1),
            ..good.clone()
        };
        assert_eq!(
            long.validate(),
            Err(RecordError::FieldTooLong {
                field: "zone",
                bytes: 65,
                bytes_max: 64
            })
        );
        let other = NodeRecord {
            name: "b".to_owned(),
            ..good
        };
        assert!(matches!(
            other.validate(),
            Err(RecordError::NameMismatch { .. })
        ));
    }
}
