//! `GetMany`, `SetMany`, `DeleteMany`: many keys in one call.
//!
//! Every item is a request of its own to admission, to the coordinator and to the metrics, and has an outcome of its own.
//! What they share is the call, its deadline, and the way to the owners: the operations of all items that are under way
//! are queued before any link is written to, so that each peer gets them in one message.
//!
//! Some items are under way at a time ([`TOGETHER`]), in order: a call takes no more room than that, and does not keep
//! other requests of its thread waiting for long. Of items with the same key the last one wins.

use futures_util::future::join_all;
use prost::Message as _;
use shard_cache_proto::cache as pb;
use tonic::metadata::MetadataMap;

use super::{Invalid, Refusal, cache::CacheApi, convert::Limits};

/// Items under way at a time.
const TOGETHER: usize = 64;

pub(super) async fn get(
    api: &CacheApi,
    metadata: &MetadataMap,
    request: pb::GetManyRequest,
) -> Result<pb::GetManyResponse, Refusal> {
    use pb::get_result::Result::{Failure, Response};

    let limits = api.edge().limits;
    let (consistency, degrade) = (request.consistency, request.degrade);
    check(&limits, request.keys.len(), request.encoded_len())?;
    let deadline = api.deadline(api.now(), metadata)?;
    let max = limits.max_batch_bytes;
    let (mut results, mut size) = (Vec::with_capacity(request.keys.len()), 0);
    let mut keys = request.keys.into_iter();
    while keys.len() > 0 {
        if size >= max {
            // Nothing more fits: no owner is asked in vain.
            results.extend(keys.by_ref().map(|_| Failure(unanswered(max))));
            break;
        }
        let some = keys.by_ref().take(TOGETHER).map(|key| {
            let one = pb::GetRequest {
                key,
                consistency,
                degrade,
                explain: false,
            };
            api.get_by(metadata, api.now(), Ok(deadline), one)
        });
        for answer in join_all(some).await {
            let bytes = answer.as_ref().map_or(0, pb::GetResponse::encoded_len);
            results.push(match answer {
                Ok(_) if size + bytes > max => {
                    size = max;
                    Failure(unanswered(max))
                }
                Ok(response) => {
                    size += bytes;
                    Response(response)
                }
                Err(refused) => Failure(refused.refusal.into()),
            });
        }
    }
    let results = results.into_iter();
    Ok(pb::GetManyResponse {
        results: results
            .map(|result| pb::GetResult {
                result: Some(result),
            })
            .collect(),
    })
}

pub(super) async fn set(
    api: &CacheApi,
    metadata: &MetadataMap,
    request: pb::SetManyRequest,
) -> Result<pb::SetManyResponse, Refusal> {
    use pb::{
        set_item, set_request,
        set_result::Result::{Failure, Response},
    };

    let (consistency, degrade) = (request.consistency, request.degrade);
    check(
        &api.edge().limits,
        request.items.len(),
        request.encoded_len(),
    )?;
    let deadline = api.deadline(api.now(), metadata)?;
    let one = |item: pb::SetItem| {
        let one = pb::SetRequest {
            key: item.key,
            data: item.data.map(|data| match data {
                set_item::Data::Value(text) => set_request::Data::Value(text),
                set_item::Data::ValueBytes(bytes) => set_request::Data::ValueBytes(bytes),
            }),
            ttl: item.ttl,
            consistency,
            degrade,
            explain: false,
        };
        api.set_by(metadata, api.now(), Ok(deadline), one)
    };
    let results = in_turn(request.items, one).await.into_iter();
    Ok(pb::SetManyResponse {
        results: results
            .map(|result| pb::SetResult {
                result: Some(
                    result.map_or_else(|refused| Failure(refused.refusal.into()), Response),
                ),
            })
            .collect(),
    })
}

pub(super) async fn delete(
    api: &CacheApi,
    metadata: &MetadataMap,
    request: pb::DeleteManyRequest,
) -> Result<pb::DeleteManyResponse, Refusal> {
    use pb::delete_result::Result::{Failure, Response};

    let (consistency, degrade) = (request.consistency, request.degrade);
    check(
        &api.edge().limits,
        request.keys.len(),
        request.encoded_len(),
    )?;
    let deadline = api.deadline(api.now(), metadata)?;
    let one = |key| {
        let one = pb::DeleteRequest {
            key,
            consistency,
            degrade,
            explain: false,
        };
        api.delete_by(metadata, api.now(), Ok(deadline), one)
    };
    let results = in_turn(request.keys, one).await.into_iter();
    Ok(pb::DeleteManyResponse {
        results: results
            .map(|result| pb::DeleteResult {
                result: Some(
                    result.map_or_else(|refused| Failure(refused.refusal.into()), Response),
                ),
            })
            .collect(),
    })
}

/// Carries items out, some at a time.
async fn in_turn<I, F: Future>(items: Vec<I>, one: impl Fn(I) -> F) -> Vec<F::Output> {
    let mut results = Vec::with_capacity(items.len());
    let mut items = items.into_iter();
    while items.len() > 0 {
        results.extend(join_all(items.by_ref().take(TOGETHER).map(&one)).await);
    }
    results
}

fn check(limits: &Limits, count: usize, size: usize) -> Result<(), Invalid> {
    let max = limits.max_batch_items;
    if count == 0 || count > max {
        return Err(Invalid::BatchCount { count, max });
    }
    let max = limits.max_batch_bytes;
    if size > max {
        return Err(Invalid::BatchSize { size, max });
    }
    Ok(())
}

/// A key whose value found no room in the answer.
fn unanswered(max: usize) -> pb::Failure {
    Refusal::from(Invalid::LongAnswer { max }).into()
}

impl From<Refusal> for pb::Failure {
    fn from(refusal: Refusal) -> Self {
        let pause = refusal.retry_after().unwrap_or_default();
        Self {
            code: refusal.code().into(),
            reason: refusal.reason().to_owned(),
            message: refusal.to_string(),
            retry_after_ms: u32::try_from(pause.as_millis()).unwrap_or(u32::MAX),
        }
    }
}
