//! The HTTP port: health for people and orchestrators, metrics, keys for curl and load generators, and profiles.

mod debug;
mod keys;
mod overview;
mod parameters;
mod probes;
mod scrape;

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, connect_info::Connected},
    response::{IntoResponse, Response},
    routing::get,
    serve::{IncomingStream, Listener},
};
use http::StatusCode;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::{
    api::{Door, Edge},
    clock::Clock,
};

pub use debug::Debugging;

/// Everything that the HTTP port answers. What it does not have a path for gets a failure in the same form as others.
pub fn router(edge: Arc<Edge>, debugging: Debugging) -> Router {
    let body_size_max = edge.limits.message_size_max();
    let keys = get(keys::read).put(keys::store).delete(keys::remove);
    Router::new()
        .route("/health", get(probes::health))
        .route("/livez", get(probes::live))
        .route("/readyz", get(probes::ready))
        .route("/startupz", get(probes::started))
        .route("/metrics", get(scrape::metrics))
        .route("/api/v1/overview", get(overview::overview))
        // A key may hold slashes, and an empty one gets its own refusal instead of "not found".
        .route("/v1/keys/", keys.clone())
        .route("/v1/keys/{*key}", keys)
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(body_size_max))
        .with_state(edge)
        .merge(debug::routes(debugging))
}

/// Serves `router` until `stop` completes, then finishes what was begun on open connections.
///
/// # Errors
/// Whatever ends the server early; a single connection never does.
pub async fn serve(
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = router.into_make_service_with_connect_info::<Caller>();
    axum::serve(HttpDoor(Door::new(listener, clock)), router)
        .with_graceful_shutdown(stop)
        .await
}

/// Axum's own way to accept waits a second after each failure, during which nobody hears how this node is.
struct HttpDoor(Door);

impl Listener for HttpDoor {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        self.0.accept().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
struct Caller(SocketAddr);

impl Connected<IncomingStream<'_, HttpDoor>> for Caller {
    fn connect_info(stream: IncomingStream<'_, HttpDoor>) -> Self {
        Self(*stream.remote_addr())
    }
}

async fn unknown_path() -> Response {
    failure(StatusCode::NOT_FOUND, "NOT_FOUND", "no such path")
}

async fn unknown_method() -> Response {
    failure(
        StatusCode::METHOD_NOT_ALLOWED,
        "METHOD_NOT_ALLOWED",
        "this path has other methods",
    )
}

/// The form of every failure: `{"error": {"code": ..., "message": ...}}`.
fn failure(status: StatusCode, code: &str, message: &str) -> Response {
    (
        status,
        Json(json!({ "error": { "code": code, "message": message } })),
    )
        .into_response()
}
