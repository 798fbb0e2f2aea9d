//! The client port of a simulated node: requests and answers of the protocol, encoded and decoded as on the wire, and
//! what a client makes of them.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;
use shard_cache::api::cache::CacheApi;
use shard_cache_proto::cache::{self as pb, cache_service_server::CacheService as _};
use tonic::{Code, Request, Response, Status};

use crate::{
    history::{
        Answer, Answered, Consistency, Degrade, Life, Outcome, Request as Wanted, Unanswered,
        ValueId, Version,
    },
    workload::{self, Ask},
};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Asks a node and says what a client makes of the answer.
pub(crate) async fn answer(api: &CacheApi, ask: Ask) -> Outcome {
    let answered = match ask.request {
        Wanted::Set { value, life } => set(api, &ask, value, life).await,
        Wanted::Delete => delete(api, &ask).await,
        Wanted::Get => get(api, &ask).await,
    };
    answered.map_or_else(|status| refused(&ask, &status), Outcome::Ok)
}

async fn set(api: &CacheApi, ask: &Ask, value: ValueId, life: Life) -> Result<Answered, Status> {
    let mut bytes = BytesMut::with_capacity(ask.value_bytes.max(size_of::<u64>()));
    bytes.put_u64(value.0);
    bytes.resize(ask.value_bytes, 0);
    let request = pb::SetRequest {
        key: workload::key_name(ask.key),
        data: Some(pb::set_request::Data::ValueBytes(bytes.freeze())),
        ttl: match life {
            _ if ask.by_default => None,
            Life::Unrecorded => None,
            Life::Never => Some(pb::Ttl::default()),
            Life::AfterNs(nanos) => Some(ttl(nanos)),
        },
        consistency: consistency(ask).into(),
        degrade: ask.degrade == Degrade::Accept,
        explain: false,
    };
    let response = received(api.set(sent(ask, &request)?).await?)?;
    Ok(Answered {
        answer: Answer::Written {
            version: version_of(response.version)?,
            replaced: None,
        },
        degraded: response.degraded,
        took_part: Some(owners(response.stored)?),
        owners: None,
    })
}

async fn delete(api: &CacheApi, ask: &Ask) -> Result<Answered, Status> {
    let request = pb::DeleteRequest {
        key: workload::key_name(ask.key),
        consistency: consistency(ask).into(),
        degrade: ask.degrade == Degrade::Accept,
        explain: false,
    };
    let response = received(api.delete(sent(ask, &request)?).await?)?;
    Ok(Answered {
        answer: Answer::Written {
            version: version_of(response.version)?,
            replaced: response.found,
        },
        degraded: response.degraded,
        took_part: Some(owners(response.stored)?),
        owners: None,
    })
}

async fn get(api: &CacheApi, ask: &Ask) -> Result<Answered, Status> {
    let request = pb::GetRequest {
        key: workload::key_name(ask.key),
        consistency: consistency(ask).into(),
        degrade: ask.degrade == Degrade::Accept,
        explain: false,
    };
    let response = received(api.get(sent(ask, &request)?).await?)?;
    let answer = match response.data {
        Some(data) => Answer::Hit {
            value: match data {
                pb::get_response::Data::Value(text) => workload::id_of(text.as_bytes()),
                pb::get_response::Data::ValueBytes(bytes) => workload::id_of(&bytes),
            },
            version: version_of(response.version)?,
            expires_in_ns: response.ttl.map(nanos_of).transpose()?,
        },
        None => Answer::Miss {
            version: response
                .version
                .map(|version| version_of(Some(version)))
                .transpose()?,
        },
    };
    Ok(Answered {
        answer,
        degraded: response.degraded,
        took_part: None,
        owners: None,
    })
}

/// A request as the node gets it.
fn sent<M: Message + Default>(ask: &Ask, request: &M) -> Result<Request<M>, Status> {
    let bytes = Bytes::from(request.encode_to_vec());
    let mut request = Request::new(M::decode(bytes).map_err(malformed)?);
    let timeout = format!("{}u", ask.budget.as_micros());
    let timeout = timeout.parse().map_err(malformed)?;
    request.metadata_mut().insert("grpc-timeout", timeout);
    Ok(request)
}

/// An answer as the client gets it.
fn received<M: Message + Default>(response: Response<M>) -> Result<M, Status> {
    let bytes = Bytes::from(response.into_inner().encode_to_vec());
    M::decode(bytes).map_err(malformed)
}

/// What a client may conclude from a status: whether a write surely had no effect.
fn refused(ask: &Ask, status: &Status) -> Outcome {
    let why = reason(&format!("{:?}: {}", status.code(), status.message()));
    match status.code() {
        Code::InvalidArgument | Code::ResourceExhausted | Code::Unavailable => Outcome::Failed(why),
        _ if ask.request.is_write() => Outcome::Unknown(why),
        _ => Outcome::Failed(why),
    }
}

/// Why a request was not answered.
pub(crate) fn reason(reason: &str) -> Unanswered {
    Unanswered {
        reason: reason.to_owned(),
    }
}

const fn consistency(ask: &Ask) -> pb::Consistency {
    match ask.consistency {
        Consistency::One => pb::Consistency::One,
        Consistency::Quorum => pb::Consistency::Quorum,
        Consistency::All => pb::Consistency::All,
    }
}

fn ttl(nanos: u64) -> pb::Ttl {
    pb::Ttl {
        seconds: i64::try_from(nanos / NANOS_PER_SECOND).unwrap_or(i64::MAX),
        nanos: i32::try_from(nanos % NANOS_PER_SECOND).unwrap_or(i32::MAX),
    }
}

fn nanos_of(ttl: pb::Ttl) -> Result<u64, Status> {
    let seconds = u64::try_from(ttl.seconds).map_err(malformed)?;
    let nanos = u64::try_from(ttl.nanos).map_err(malformed)?;
    Ok(seconds
        .saturating_mul(NANOS_PER_SECOND)
        .saturating_add(nanos))
}

fn version_of(version: Option<pb::Version>) -> Result<Version, Status> {
    let version = version.ok_or_else(|| malformed("an answer without a version"))?;
    Ok(Version::new(
        version.millis,
        version.counter,
        version.writer,
    ))
}

fn owners(stored: u32) -> Result<u8, Status> {
    u8::try_from(stored).map_err(malformed)
}

/// An answer that no client understands.
fn malformed(error: impl std::fmt::Display) -> Status {
    Status::data_loss(error.to_string())
}
