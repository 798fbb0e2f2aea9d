//! The client port: which services it has, its HTTP/2 limits, and how connections are accepted.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use shard_cache_proto::{
    CLIENT_DESCRIPTOR_SET,
    cache::cache_service_server::{CacheServiceServer, SERVICE_NAME},
    cluster::{admin_server::AdminServer, cluster_server::ClusterServer},
};
use tokio::net::{TcpListener, TcpStream};
use tonic::{
    service::Routes,
    transport::{self, Server},
};
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
    edge::Edge,
};
use crate::clock::{BoxFuture, Clock};

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
/// Pause after a failure to accept, which is nearly always a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
pub async fn routes(
    edge: Arc<Edge>,
    admin: Arc<dyn AdminActions>,
    reflection: Reflection,
) -> (Routes, ServingSwitch) {
    let switch = ServingSwitch {
        reporter: HealthReporter::new(),
    };
    switch.set(false).await;
    let health = HealthService::from_health_reporter(switch.reporter.clone());
    let message_size_max = edge.limits.message_size_max();
    let cluster = ClusterApi::new(Arc::clone(&edge.queries), edge.limits);
    let cache = CacheServiceServer::new(CacheApi::new(edge));
    let mut routes = Routes::new(cache.max_decoding_message_size(message_size_max))
        .add_service(ClusterServer::new(cluster).max_decoding_message_size(message_size_max))
        .add_service(AdminServer::new(AdminApi::new(admin)))
        .add_service(HealthServer::new(health));
    if reflection == Reflection::On {
        let compiled_in = "the descriptor sets are compiled in";
        routes = routes
            .add_service(reflected().build_v1().expect(compiled_in))
            .add_service(reflected().build_v1alpha().expect(compiled_in));
    }
    (routes.prepare(), switch)
}

fn reflected() -> ReflectionBuilder<'static> {
    ReflectionBuilder::configure()
        .register_encoded_file_descriptor_set(CLIENT_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Serves `routes` until `stop` completes, then finishes what was begun on open connections.
///
/// # Errors
/// Whatever ends the server early; a single connection never does.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    edge: &Edge,
    stop: impl Future<Output = ()>,
) -> Result<(), transport::Error> {
    let incoming = Incoming {
        listener,
        clock: Arc::clone(&edge.clock),
        pause: None,
    };
    Server::builder()
        .timeout(edge.limits.max_request_timeout + MESSAGE_READ_GRACE)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop)
        .await
}

/// Accepted connections, with small writes sent at once. A failure to accept pauses instead of
/// spinning.
pub(super) struct Incoming {
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    pause: Option<BoxFuture<()>>,
}

impl Incoming {
    pub(super) fn new(listener: TcpListener, clock: Arc<dyn Clock>) -> Self {
        Self {
            listener,
            clock,
            pause: None,
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<TcpStream>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match std::task::ready!(self.listener.poll_accept(context)) {
                Ok((connection, _address)) => {
                    if let Err(error) = connection.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY refused by an accepted connection");
                    }
                    return Poll::Ready(Some(Ok(connection)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the client port was not accepted");
                    self.pause = Some(self.clock.sleep(ACCEPT_PAUSE));
                }
            }
        }
    }
}
