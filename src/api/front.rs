//! What is done with a request of the client port before a service sees it: its path decides where it goes, and a caller
//! who sends its message too slowly is cut off.
//!
//! `cache.CacheService` is reached by one comparison, without the layers and the timer per request that the other services
//! have: its requests nearly always arrive whole, and bound their own time from there on.

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
use hyper::{body::Incoming, service::Service};
use shard_cache_proto::cache::cache_service_server::{CacheServiceServer, SERVICE_NAME};
use tonic::{Status, service::Routes, transport::server::TcpConnectInfo};
use tower_service::Service as _;

use super::{cache::CacheApi, pieces::Pieces};
use crate::clock::{BoxFuture, Clock};

/// The services of the client port.
#[derive(Clone)]
pub struct Front {
    pub(super) cache: CacheServiceServer<CacheApi>,
    /// Everything else.
    pub(super) others: Routes,
    pub(super) clock: Arc<dyn Clock>,
    /// How long a caller may take to send its message, and another service to answer.
    pub(super) patience: Duration,
}

/// The services for one connection.
pub(super) struct ConnectionFront {
    pub(super) front: Front,
    pub(super) from: TcpConnectInfo,
}

impl Service<Request<Incoming>> for ConnectionFront {
    type Response = Response<Pieces<tonic::body::Body>>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let front = &self.front;
        if !is_for_cache(request.uri().path()) {
            return front.call_other(self.from.clone(), request);
        }
        let request = request.map(|message| Punctual {
            message,
            patience: front.patience,
            clock: Arc::clone(&front.clock),
            end: None,
        });
        let answer = front.cache.clone().call(request);
        Box::pin(async move { answer.await.map(|answer| answer.map(Pieces::of)) })
    }
}

impl Front {
    fn call_other(
        &self,
        from: TcpConnectInfo,
        mut request: Request<Incoming>,
    ) -> BoxFuture<Result<Response<Pieces<tonic::body::Body>>, Infallible>> {
        request.extensions_mut().insert(from);
        let answer = self
            .others
            .clone()
            .call(request.map(tonic::body::Body::new));
        let late = self.clock.sleep(self.patience);
        Box::pin(async move {
            let answer = tokio::select! {
                biased;
                answer = answer => match answer {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                },
                () = late => Status::deadline_exceeded("the request took too long").into_http(),
            };
            Ok(answer.map(Pieces::of))
        })
    }
}

fn is_for_cache(path: &str) -> bool {
    path.strip_prefix('/')
        .and_then(|path| path.strip_prefix(SERVICE_NAME))
        .is_some_and(|method| method.starts_with('/'))
}

/// A message that has to arrive in time. Time is measured only when it does not arrive with its headers.
struct Punctual {
    message: Incoming,
    patience: Duration,
    clock: Arc<dyn Clock>,
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
            return Poll::Ready(
                frame.map(|frame| frame.map_err(|broken| Status::from_error(Box::new(broken)))),
            );
        }
        let end = this
            .end
            .get_or_insert_with(|| this.clock.sleep(this.patience));
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
        assert!(is_for_cache("/cache.CacheService/Set"));
        assert!(is_for_cache("/cache.CacheService/"));
        for path in [
            "",
            "/",
            "/cache.CacheService",
            "/cache.CacheServiceV2/Set",
            "cache.CacheService/Set",
            "/shardcache.v1.Cluster/Members",
        ] {
            assert!(!is_for_cache(path), "{path:?}");
        }
    }
}
