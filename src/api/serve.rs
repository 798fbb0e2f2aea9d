//! The client port: which services it has, and its HTTP/2 limits.

use std::{sync::Arc, time::Duration};

use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::TokioExecutor;
use shard_cache_proto::{
    CLIENT_DESCRIPTOR_SET,
    cache::cache_service_server::{CacheServiceServer, SERVICE_NAME},
    cluster::{admin_server::AdminServer, cluster_server::ClusterServer},
};
use tokio::net::TcpListener;
use tonic::{service::Routes, transport::server::Connected as _};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tonic_reflection::server::Builder as ReflectionBuilder;

use super::{
    admin::{AdminActions, AdminApi},
    cache::CacheApi,
    cluster::ClusterApi,
    connections::{self, Accepted, accept, serve_http2},
    edge::Edge,
    front::Front,
    socket::WholeWrites,
};
use crate::workers::Lanes;

/// Requests that one connection may have open.
const STREAMS_PER_CONNECTION_MAX: u32 = 1024;
/// Bytes of headers that one request may have.
const HEADER_LIST_BYTES_MAX: u32 = 8 * 1024;
/// Streams that a client may open and reset before we have looked at them (rapid reset). What a client gives up while
/// the node stands still for a second must not end its connection.
const PENDING_RESETS_MAX: usize = 256;
/// Bytes in flight on one stream before they are read.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes in flight on one connection before they are read.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// An idle connection is probed this often, and closed without an answer within the timeout.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Reading a request's message counts toward this much on top of the longest request timeout.
const MESSAGE_READ_GRACE: Duration = Duration::from_secs(1);

/// Whether the client port answers reflection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reflection {
    /// v1 and v1alpha.
    On,
    /// Neither.
    Off,
}

/// Sets what `grpc.health.v1` answers. Not serving until told otherwise.
#[derive(Clone, Debug)]
pub struct ServingSwitch {
    reporter: HealthReporter,
}

impl ServingSwitch {
    /// Sets the answer for the whole server and for `cache.CacheService`; watchers are told.
    /// Cancel-safe.
    pub async fn set(&self, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in ["", SERVICE_NAME] {
            self.reporter.set_service_status(service, status).await;
        }
    }
}

/// The services of the client port, and the switch of its health.
pub async fn front(
    edge: Arc<Edge>,
    admin: Arc<dyn AdminActions>,
    reflection: Reflection,
) -> (Arc<Front>, ServingSwitch) {
    let switch = ServingSwitch {
        reporter: HealthReporter::new(),
    };
    switch.set(false).await;
    let health = HealthService::from_health_reporter(switch.reporter.clone());
    let message_size_max = edge.limits.message_size_max();
    let batch_size_max = edge.limits.batch_size_max();
    let cluster = ClusterApi::new(Arc::clone(&edge.queries), edge.limits);
    let clock = Arc::clone(&edge.clock);
    let patience = edge.limits.max_request_timeout + MESSAGE_READ_GRACE;
    let api = CacheApi::new(edge);
    let cache = CacheServiceServer::new(api.clone());
    let mut others = Routes::new(HealthServer::new(health))
        .add_service(ClusterServer::new(cluster).max_decoding_message_size(message_size_max))
        .add_service(AdminServer::new(AdminApi::new(admin)));
    if reflection == Reflection::On {
        let compiled_in = "the descriptor sets are compiled in";
        others = others
            .add_service(reflected().build_v1().expect(compiled_in))
            .add_service(reflected().build_v1alpha().expect(compiled_in));
    }
    let front = Front {
        api,
        cache: cache.max_decoding_message_size(batch_size_max),
        others: others.prepare(),
        clock,
        patience,
        message_bytes_max: message_size_max,
    };
    (Arc::new(front), switch)
}

fn reflected() -> ReflectionBuilder<'static> {
    ReflectionBuilder::configure()
        .register_encoded_file_descriptor_set(CLIENT_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Serves `front` until `stop` completes, then finishes what was begun on open connections.
pub async fn serve(
    listener: TcpListener,
    front: Arc<Front>,
    lanes: Lanes,
    stop: impl Future<Output = ()>,
) {
    let clock = Arc::clone(&front.clock);
    let serve = |connection: Accepted, closing| {
        let front = Arc::clone(&front);
        async move {
            let Some(connection) = connection.into_stream() else {
                return;
            };
            let from = connection.connect_info();
            let service = service_fn(|request| front.answer(from.clone(), request));
            serve_http2(http2(), WholeWrites(connection), service, closing).await;
        }
    };
    accept(listener, clock, &lanes, "client connection", stop, serve).await;
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut http2 = connections::http2();
    http2
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX);
    http2
}
