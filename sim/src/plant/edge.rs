//! Bugs that are planted between a node and its clients.

use shard_cache::{
    api::cache::CacheApi,
    key::Key,
    store::{Body, Lookup},
};

use super::Plant;
use crate::{
    cluster::Cluster,
    history::{
        Answer, Answered, Consistency, Degrade, Outcome, Request, Unanswered, ValueId, Version,
    },
    port,
    workload::{self, Ask},
    world::clock::EPOCH_MILLIS,
};

/// Lets a node answer as one with the bug does.
pub(crate) async fn answer(cluster: &Cluster, api: &CacheApi, mut ask: Ask) -> Outcome {
    let plant = cluster.options().plant;
    if plant == Some(Plant::SilentDegrade) {
        ask.degrade = Degrade::Accept;
    }
    let outcome = port::answer(api, ask).await;
    match (plant, outcome) {
        (Some(Plant::SilentDegrade), Outcome::Ok(answered)) => Outcome::Ok(Answered {
            degraded: false,
            ..answered
        }),
        (Some(Plant::HintCounted), Outcome::Unknown(reason)) => counted(cluster, ask, reason),
        (Some(Plant::FailedWriteSent), Outcome::Failed(reason)) if ask.request.is_write() => {
            ask.degrade = Degrade::Accept;
            ask.consistency = Consistency::One;
            // What becomes of it is told to nobody.
            drop(port::answer(api, ask).await);
            Outcome::Failed(reason)
        }
        (_, outcome) => outcome,
    }
}

/// A value that some owner has stored is acknowledged: the other owners are owed a hint.
fn counted(cluster: &Cluster, ask: Ask, reason: Unanswered) -> Outcome {
    let stored = match ask.request {
        Request::Set { value, .. } => version_of(cluster, ask.key, value),
        Request::Get | Request::Delete => None,
    };
    let Some(version) = stored else {
        return Outcome::Unknown(reason);
    };
    let options = cluster.options();
    Outcome::Ok(Answered {
        answer: Answer::Written {
            version,
            replaced: None,
        },
        degraded: false,
        took_part: Some(match ask.consistency {
            Consistency::One => 1,
            Consistency::Quorum => options.write_quorum,
            Consistency::All => options.replication_factor,
        }),
        owners: None,
    })
}

/// The version under which any node holds a value.
fn version_of(cluster: &Cluster, key: u32, wanted: ValueId) -> Option<Version> {
    let key = Key::new(workload::key_name(key).into());
    let now_millis = EPOCH_MILLIS + cluster.world().now() / 1_000_000;
    let running = cluster.running().into_iter();
    let mut nodes = running.filter_map(|index| cluster.node(index));
    nodes.find_map(|node| match node.store().peek(&key, now_millis) {
        Lookup::Hit(record) => match &record.body {
            Body::Value(value) if workload::value_id(value) == wanted => {
                Some(workload::version_of(record.version))
            }
            Body::Value(_) | Body::Tombstone => None,
        },
        Lookup::Miss(_) => None,
    })
}
