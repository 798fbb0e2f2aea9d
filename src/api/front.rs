//! What is done with a request of the client port before a service sees it: its path decides where it goes, and a caller
//! who sends its message too slowly is cut off.
//!
//! `cache.CacheService` is reached by one comparison, without the layers and the timer per request that the other services
//! have: its requests nearly always arrive whole, and bound their own time from there on. Plain calls of it, which is all
//! that usual clients make, are read and answered by hand ([`super::plain`]); the generated service answers the rest.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use prometheus_client::metrics::counter::Counter;
use shard_cache_proto::cache::cache_service_server::{CacheServiceServer, SERVICE_NAME};
use tonic::{Status, metadata::MetadataMap, service::Routes, transport::server::TcpConnectInfo};
use tower_service::Service as _;

use super::{
    cache::CacheApi,
    pieces::Pieces,
    plain::{self, Answer},
};
use crate::{
    clock::{BoxFuture, Clock},
    telemetry::{Api, Metrics},
};

/// The services of the client port.
pub struct Front {
    pub(super) api: CacheApi,
    /// The same for calls that are not plain.
    pub(super) cache: CacheServiceServer<CacheApi>,
    /// Everything else.
    pub(super) others: Routes,
    pub(super) clock: Arc<dyn Clock>,
    /// How long a caller may take to send its message, and another service to answer.
    pub(super) patience: Duration,
    pub(super) message_bytes_max: usize,
}

/// What goes back over a connection.
type Answered = Result<Response<Pieces<Answer>>, Infallible>;

/// The methods of the cache service of which there are many calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Method {
    Set,
    Get,
    Delete,
}

impl Front {
    /// Answers a request that came over a connection. Each kind has a future of its own, boxed, because the largest would
    /// be moved into its task several times, and copied for the smallest.
    pub(super) fn answer(
        self: &Arc<Self>,
        from: TcpConnectInfo,
        request: Request<Incoming>,
    ) -> BoxFuture<Answered> {
        let front = Arc::clone(self);
        let Some(method) = cache_method(request.uri().path()).map(Method::of) else {
            return Box::pin(front.answer_other(from, request));
        };
        let (parts, message) = request.into_parts();
        let message = Punctual {
            message,
            front: Arc::clone(self),
            end: None,
        };
        let method = method
            .filter(|_| parts.method == http::Method::POST && plain::is_plain(&parts.headers));
        let Some(method) = method else {
            let request = Request::from_parts(parts, message);
            return Box::pin(front.answer_in_general(request));
        };
        let metadata = MetadataMap::from_headers(parts.headers);
        let bytes_max = self.message_bytes_max;
        match method {
            Method::Set => Box::pin(async move {
                let answer = match plain::receive(message, bytes_max).await {
                    Ok(request) => front.api.carry_out_set(&metadata, request).await,
                    Err(refused) => Err(refused),
                };
                Ok(plain::respond(answer, front.bytes_sent()))
            }),
            Method::Get => Box::pin(async move {
                let answer = match plain::receive(message, bytes_max).await {
                    Ok(request) => front.api.carry_out_get(&metadata, request).await,
                    Err(refused) => Err(refused),
                };
                Ok(plain::respond(answer, front.bytes_sent()))
            }),
            Method::Delete => Box::pin(async move {
                let answer = match plain::receive(message, bytes_max).await {
                    Ok(request) => front.api.carry_out_delete(&metadata, request).await,
                    Err(refused) => Err(refused),
                };
                Ok(plain::respond(answer, front.bytes_sent()))
            }),
        }
    }

    /// Has the generated service answer a call.
    async fn answer_in_general(self: Arc<Self>, request: Request<Punctual>) -> Answered {
        let answer = self.cache.clone().call(request).await;
        answer.map(|answer| general(answer, Some(self.bytes_sent().clone())))
    }

    async fn answer_other(
        self: Arc<Self>,
        from: TcpConnectInfo,
        mut request: Request<Incoming>,
    ) -> Answered {
        request.extensions_mut().insert(from);
        let answer = self
            .others
            .clone()
            .call(request.map(tonic::body::Body::new));
        tokio::select! {
            biased;
            answer = answer => answer.map(|answer| general(answer, None)),
            () = self.clock.sleep(self.patience) => {
                let late = Status::deadline_exceeded("the request took too long");
                Ok(general(late.into_http(), None))
            }
        }
    }

    fn metrics(&self) -> &Metrics {
        &self.api.edge().metrics
    }

    fn bytes_sent(&self) -> &Counter {
        self.metrics().response_bytes.get(Api::Grpc)
    }
}

/// The answer of a service, whose bytes are counted by `sent`.
fn general(answer: Response<tonic::body::Body>, sent: Option<Counter>) -> Response<Pieces<Answer>> {
    answer.map(|body| Pieces::of(Answer::General(body, sent)))
}

/// The name of the method, if the path is one of the cache service.
fn cache_method(path: &str) -> Option<&str> {
    path.strip_prefix('/')?
        .strip_prefix(SERVICE_NAME)?
        .strip_prefix('/')
}

impl Method {
    fn of(name: &str) -> Option<Self> {
        match name {
            "Set" => Some(Self::Set),
            "Get" => Some(Self::Get),
            "Delete" => Some(Self::Delete),
            _ => None,
        }
    }
}

/// A message that has to arrive in time. Time is measured only when it does not arrive with its headers. Its bytes are
/// counted.
struct Punctual {
    message: Incoming,
    front: Arc<Front>,
    end: Option<BoxFuture<()>>,
}

impl Body for Punctual {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.message).poll_frame(context) {
            if let Some(Ok(frame)) = &frame
                && let Some(data) = frame.data_ref()
            {
                let received = this.front.metrics().request_bytes.get(Api::Grpc);
                received.inc_by(data.len() as u64);
            }
            return Poll::Ready(
                frame.map(|frame| frame.map_err(|broken| Status::from_error(Box::new(broken)))),
            );
        }
        let end = this
            .end
            .get_or_insert_with(|| this.front.clock.sleep(this.front.patience));
        end.as_mut().poll(context).map(|()| {
            let late = Status::deadline_exceeded("the message took too long to arrive");
            Some(Err(late))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.message.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_methods_of_the_cache_service_go_there() {
        let method = |path| cache_method(path).and_then(Method::of);
        assert_eq!(method("/cache.CacheService/Set"), Some(Method::Set));
        assert_eq!(method("/cache.CacheService/Get"), Some(Method::Get));
        assert_eq!(method("/cache.CacheService/Delete"), Some(Method::Delete));
        // The service itself answers these.
        assert_eq!(cache_method("/cache.CacheService/Health"), Some("Health"));
        assert_eq!(method("/cache.CacheService/Set/"), None);
        for path in [
            "",
            "/",
            "/cache.CacheService",
            "/cache.CacheServiceV2/Set",
            "cache.CacheService/Set",
            "/shardcache.v1.Cluster/Members",
        ] {
            assert_eq!(cache_method(path), None, "{path:?}");
        }
    }
}
