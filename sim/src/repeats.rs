//! How often nodes send the same thing again: a hint to its owner, or a request for a page of a bulk pull. What is
//! refused has to be tried again, but after a pause that grows.

use std::{
    collections::BTreeMap,
    hash::Hasher as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shard_cache::handoff::records;
use shard_cache_proto::peer;
use xxhash_rust::xxh3::Xxh3;

use crate::{
    history::Resource,
    world::{HostId, Nanos, nanos},
};

/// Sends of one thing that are no sign of haste, whatever the time: pauses are short at first, and answers get lost.
const SENDS_MAX: u64 = 20;
/// One more is no sign of haste after each time as long as this.
const SEND_INTERVAL: Duration = Duration::from_secs(1);

/// What all nodes of a run have sent since it was last looked at. Clones are the same.
#[derive(Clone, Default)]
pub struct Repeats {
    sent: Arc<Mutex<Sent>>,
}

#[derive(Default)]
struct Sent {
    since: Nanos,
    /// By node and kind, and then by a hash of the thing with its sender's and receiver's lives.
    counts: BTreeMap<(HostId, Resource), BTreeMap<u64, u64>>,
}

/// How often a node has sent one thing, of those of a kind that which it has sent most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MostSent {
    /// The node.
    pub host: HostId,
    /// The kind: [`Resource::HintSends`] or [`Resource::PageSends`].
    pub resource: Resource,
    /// How often.
    pub sends: u64,
    /// How often is often enough.
    pub limit: u64,
}

impl Repeats {
    pub(crate) fn deliver(&self, from: HostId, request: &peer::DeliverRequest) {
        // What cannot be read is refused by its receiver.
        let Ok(hints) = records::decode(&request.records) else {
            return;
        };
        for (key, record) in hints {
            let mut hash = between(request.sender, request.receiver);
            hash.write(key.bytes());
            hash.write_u64(record.version.stamp.raw());
            hash.write_u64(record.version.writer);
            self.count(from, Resource::HintSends, &hash);
        }
    }

    pub(crate) fn pull(&self, from: HostId, request: &peer::PullSlotsRequest) {
        let mut hash = between(request.sender, request.receiver);
        hash.write(&request.slots);
        hash.write_u64(request.cursor);
        self.count(from, Resource::PageSends, &hash);
    }

    fn count(&self, from: HostId, resource: Resource, hash: &Xxh3) {
        let mut sent = self.sent();
        let of_node = sent.counts.entry((from, resource)).or_default();
        *of_node.entry(hash.digest()).or_default() += 1;
    }

    /// What was sent most since the last look.
    #[must_use]
    pub fn take(&self, now: Nanos) -> Vec<MostSent> {
        let mut sent = self.sent();
        let limit = SENDS_MAX + (now - sent.since) / nanos(SEND_INTERVAL);
        sent.since = now;
        let counts = std::mem::take(&mut sent.counts).into_iter();
        let most = counts.map(|((host, resource), counts)| MostSent {
            host,
            resource,
            sends: counts.into_values().max().unwrap_or_default(),
            limit,
        });
        most.collect()
    }

    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn between(sender: u64, receiver: u64) -> Xxh3 {
    let mut hash = Xxh3::new();
    hash.write_u64(sender);
    hash.write_u64(receiver);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pull(sender: u64, cursor: u64) -> peer::PullSlotsRequest {
        peer::PullSlotsRequest {
            sender,
            receiver: 9,
            cursor,
            ..Default::default()
        }
    }

    #[test]
    fn what_was_sent_most_is_counted_for_each_node_and_life_and_only_once() {
        let repeats = Repeats::default();
        for (host, sender, cursor) in [(1, 1, 0), (1, 1, 0), (1, 1, 5), (1, 2, 0), (2, 3, 0)] {
            repeats.pull(HostId(host), &pull(sender, cursor));
        }
        let most = |host, sends| MostSent {
            host: HostId(host),
            resource: Resource::PageSends,
            sends,
            limit: SENDS_MAX + 10,
        };
        let ten_seconds = nanos(Duration::from_secs(10));
        assert_eq!(repeats.take(ten_seconds), [most(1, 2), most(2, 1)]);
        assert_eq!(repeats.take(2 * ten_seconds), []);
    }
}
