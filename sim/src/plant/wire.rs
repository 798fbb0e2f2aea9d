//! Bugs that are planted where messages of peers arrive at a node, and in the answers that it sends.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use shard_cache::{
    api::peer::PeerParts,
    handoff::records,
    key::Slot,
    store::{Body, Form, Inventory, Record, SlotSet},
    version::{Stamp, Version},
};
use shard_cache_proto::peer::{self, operation::Kind, reply::Outcome};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Plant;

/// Of so many writes one is said to be stored and is not.
const FORGOTTEN_ONE_IN: u64 = 4;
/// Most bytes of a page in which a key is looked for.
const PAGE_BYTES_MAX: usize = 64 << 20;

/// Carries a batch out as a node with the bug does.
pub(crate) fn answer(
    plant: Option<Plant>,
    parts: &PeerParts,
    mut batch: peer::Batch,
    ready: &mut VecDeque<peer::ReplyBatch>,
) {
    let Some(plant) = plant else {
        parts.answer(batch, ready);
        return;
    };
    if plant == Plant::DriftMerged {
        let stamp = Stamp::from_raw(batch.clock);
        // By its own clock, a peer is never ahead: this is never refused.
        let _merged = parts.hybrid.observe(stamp, stamp.millis());
    }
    let mut forgeries = BTreeMap::new();
    for operation in &mut batch.operations {
        let sent = Sent {
            sender: batch.sender,
            clock: batch.clock,
        };
        if let Some(forgery) = sent.tamper(plant, parts, operation) {
            forgeries.insert(operation.token, forgery);
        }
    }
    parts.answer(batch, ready);
    for reply in ready.iter_mut().flat_map(|batch| &mut batch.replies) {
        let is_vote = matches!(
            reply.outcome(),
            Outcome::Ok | Outcome::Miss | Outcome::Newer
        );
        reply.full |= plant == Plant::FullClaimed && is_vote;
        if let Some(forgery) = forgeries.remove(&reply.token) {
            forgery.forge(parts, reply);
        }
        if plant == Plant::GhostIgnored && reply.outcome() == Outcome::Miss {
            let is_trace = |record: &peer::Record| {
                use peer::record::Kind::{Ghost, Unsure};
                matches!(record.kind(), Ghost | Unsure)
            };
            reply.record = reply.record.take().filter(|record| !is_trace(record));
        }
    }
}

/// What becomes of an answer.
enum Forgery {
    /// It says that the write is stored, unless it was refused.
    Stored,
    /// It says so even if something newer is held.
    StoredThoughNewer,
    /// It says so if it is stored, even though the configuration is another.
    StoredAnywhere {
        slot: Slot,
        key: Bytes,
        version: Version,
    },
    /// It says what is held, even though the configuration is another.
    ReadAnywhere {
        slot: Slot,
        key: Bytes,
        version_only: bool,
    },
}

/// The batch that an operation came with.
struct Sent {
    sender: u64,
    clock: u64,
}

impl Sent {
    fn tamper(
        &self,
        plant: Plant,
        parts: &PeerParts,
        operation: &mut peer::Operation,
    ) -> Option<Forgery> {
        if plant == Plant::AnyConfiguration {
            return any_configuration(operation);
        }
        let Some(Kind::Write(write)) = &mut operation.kind else {
            return None;
        };
        let record = write.record.as_mut()?;
        // What another than its writer sends is a repair.
        let is_repair = record.writer != self.sender;
        match plant {
            Plant::NewerIgnored => return Some(Forgery::StoredThoughNewer),
            Plant::NoTombstone if record.kind() == peer::record::Kind::Tombstone => {
                return Some(swallow(operation));
            }
            Plant::ExpiryRestarted if is_repair && record.expires_at > 0 => {
                let age = millis(self.clock).saturating_sub(millis(record.stamp));
                record.expires_at += age;
            }
            Plant::AckBeforeStore if is_forgotten(parts, record.stamp) => {
                return Some(swallow(operation));
            }
            Plant::NoWriteBack if is_repair => return Some(swallow(operation)),
            _ => {}
        }
        None
    }
}

/// Turns a write into a look at the version, whose answer then says that the write is stored.
fn swallow(operation: &mut peer::Operation) -> Forgery {
    if let Some(Kind::Write(write)) = operation.kind.take() {
        operation.kind = Some(Kind::Read(peer::Read {
            key: write.key,
            version_only: true,
            explain: false,
        }));
    }
    Forgery::Stored
}

fn any_configuration(operation: &peer::Operation) -> Option<Forgery> {
    let slot = Slot(u16::try_from(operation.slot).ok()?);
    match operation.kind.as_ref()? {
        Kind::Write(write) => {
            let record = write.record.as_ref()?;
            Some(Forgery::StoredAnywhere {
                slot,
                key: write.key.clone(),
                version: Version::new(Stamp::from_raw(record.stamp), record.writer),
            })
        }
        Kind::Read(read) => Some(Forgery::ReadAnywhere {
            slot,
            key: read.key.clone(),
            version_only: read.version_only,
        }),
    }
}

fn is_forgotten(parts: &PeerParts, stamp: u64) -> bool {
    let chance = xxh3_64_with_seed(&stamp.to_le_bytes(), parts.desk.boot());
    chance.is_multiple_of(FORGOTTEN_ONE_IN)
}

impl Forgery {
    fn forge(self, parts: &PeerParts, reply: &mut peer::Reply) {
        let is_stored = match (&self, reply.outcome()) {
            (Self::Stored, Outcome::Ok | Outcome::Miss)
            | (Self::StoredThoughNewer, Outcome::Newer) => true,
            (Self::StoredAnywhere { slot, key, version }, Outcome::WrongConfig) => {
                look_up(parts, *slot, key).is_some_and(|held| held.version == *version)
            }
            (
                Self::ReadAnywhere {
                    slot,
                    key,
                    version_only,
                },
                Outcome::WrongConfig,
            ) => {
                let held = look_up(parts, *slot, key);
                let is_value = matches!(&held, Some(record) if record.body != Body::Tombstone);
                reply.set_outcome(if is_value { Outcome::Ok } else { Outcome::Miss });
                reply.record = held.map(|record| on_the_wire(record, *version_only || !is_value));
                reply.full = true;
                false
            }
            _ => false,
        };
        if is_stored {
            reply.set_outcome(Outcome::Ok);
            reply.record = None;
            reply.full = true;
        }
    }
}

fn look_up(parts: &PeerParts, slot: Slot, key: &Bytes) -> Option<Record> {
    let mut slots = SlotSet::new();
    slots.insert(slot);
    let page = parts.replica.scan(
        &slots,
        0,
        PAGE_BYTES_MAX,
        &Inventory::nothing(),
        parts.clock.now(),
    );
    let mut held = page.records.into_iter();
    held.find(|(held, _)| held.bytes() == key)
        .map(|(_, record)| record)
}

fn on_the_wire(record: Record, version_only: bool) -> peer::Record {
    let (kind, value) = match record.body {
        _ if version_only => (peer::record::Kind::VersionOnly, Bytes::new()),
        Body::Tombstone => (peer::record::Kind::Tombstone, Bytes::new()),
        Body::Value(value) => match value.form {
            Form::Bytes => (peer::record::Kind::Bytes, value.bytes),
            Form::Text => (peer::record::Kind::Text, value.bytes),
        },
    };
    peer::Record {
        stamp: record.version.stamp.raw(),
        writer: record.version.writer,
        expires_at: record.expires_at.unwrap_or(0),
        kind: kind.into(),
        value,
    }
}

/// A delivery of hints as a node with the bug takes it.
pub(crate) fn deliver(
    plant: Option<Plant>,
    mut request: peer::DeliverRequest,
) -> peer::DeliverRequest {
    let Some(plant @ (Plant::NoTombstone | Plant::ExpiryRestarted | Plant::HintBeyondExpiry)) =
        plant
    else {
        return request;
    };
    if let Ok(mut records) = records::decode(&request.records) {
        if plant == Plant::NoTombstone {
            records.retain(|(_, record)| record.body != Body::Tombstone);
        }
        for (_, record) in &mut records {
            tamper_hint(plant, request.clock, record);
        }
        request.records = records::encode(&records).unwrap_or(request.records);
    }
    request
}

fn tamper_hint(plant: Plant, clock: u64, record: &mut Record) {
    match (plant, &mut record.expires_at) {
        (Plant::ExpiryRestarted, Some(expires_at)) => {
            *expires_at += millis(clock).saturating_sub(record.version.stamp.millis());
        }
        (Plant::HintBeyondExpiry, expires_at) => *expires_at = None,
        _ => {}
    }
}

/// A comparison of slots as a node with the bug takes it.
pub(crate) fn compare(
    plant: Option<Plant>,
    mut request: peer::CompareSlotsRequest,
) -> peer::CompareSlotsRequest {
    // Whoever is away counts as having everything.
    if plant == Some(Plant::TombstonePurgedEarly) && request.agreed_millis > 0 {
        request.agreed_millis = u64::MAX;
    }
    request
}

/// A comparison of slots as a node with the bug answers it.
pub(crate) fn comparison(
    plant: Option<Plant>,
    mut response: peer::CompareSlotsResponse,
) -> peer::CompareSlotsResponse {
    if plant == Some(Plant::DigestSkipped) {
        response.slots.clear();
        response.digests.clear();
        response.ghosts.clear();
    }
    response
}

/// A page of a bulk pull as a node with the bug sends it.
pub(crate) fn page(
    plant: Option<Plant>,
    mut page: peer::PullSlotsResponse,
) -> peer::PullSlotsResponse {
    if plant == Some(Plant::EmptyPull)
        && let Ok(nothing) = records::encode(&[])
    {
        page.records = nothing;
        page.next_cursor = None;
    }
    if plant == Some(Plant::GhostIgnored) {
        page.ghosts.clear();
        page.marks.clear();
    }
    page
}

/// The milliseconds of a packed hybrid time.
const fn millis(clock: u64) -> u64 {
    clock >> 16
}
