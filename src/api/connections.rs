//! How both gRPC ports accept connections, which thread serves each, and how they end.

use std::{error::Error, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http_body::Body;
use hyper::{body::Incoming as Message, server::conn::http2, service::HttpService};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{clock::Clock, telemetry::Complaints, workers::Lanes};

/// Pause after a failure to accept, which is nearly always a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until `stop` completes and has each served on a lane by `serve`, as a task of this name; then tells
/// them that they are closing, and waits until all have ended.
pub(super) async fn accept<F>(
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    lanes: &Lanes,
    name: &'static str,
    stop: impl Future<Output = ()>,
    serve: impl Fn(Accepted, CancellationToken) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let (closing, connections) = (CancellationToken::new(), TaskTracker::new());
    let mut door = Door::new(listener, clock);
    let mut stop = pin!(stop);
    loop {
        let connection = tokio::select! {
            biased;
            () = &mut stop => break,
            (connection, _address) = door.accept() => Accepted(connection.into_std()),
        };
        let served = serve(connection, closing.clone());
        lanes.spawn(name, connections.track_future(served));
    }
    drop(door);
    closing.cancel();
    connections.close();
    connections.wait().await;
}

/// Takes connections from a listener, also when there are no file descriptors for a while.
pub(crate) struct Door {
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    complaints: Complaints,
}

impl Door {
    /// Of a listener that is bound.
    pub(crate) fn new(listener: TcpListener, clock: Arc<dyn Clock>) -> Self {
        Self {
            listener,
            clock,
            complaints: Complaints::default(),
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection, with small writes sent at once. A failure to accept pauses instead of spinning. Cancel-safe.
    pub(crate) async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((connection, address)) => {
                    if let Err(error) = connection.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY refused by an accepted connection");
                    }
                    return (connection, address);
                }
                Err(error) => {
                    self.complain(&error);
                    self.clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn complain(&self, error: &io::Error) {
        if let Some(before) = self.complaints.due(self.clock.monotonic()) {
            tracing::warn!(%error, before, "a connection was not accepted");
        }
    }
}

/// An accepted connection that belongs to no thread yet.
pub(super) struct Accepted(io::Result<std::net::TcpStream>);

impl Accepted {
    /// Makes it the present thread's. `None`, if it is broken already.
    pub(super) fn into_stream(self) -> Option<TcpStream> {
        let stream = self.0.and_then(TcpStream::from_std);
        stream
            .inspect_err(|error| tracing::debug!(%error, "an accepted connection was lost"))
            .ok()
    }
}

/// Serves HTTP/2 on a connection. When it is `closing`, requests that have begun are still finished.
pub(super) async fn serve_http2<S, B>(
    http2: http2::Builder<TokioExecutor>,
    socket: impl AsyncRead + AsyncWrite + Unpin,
    service: S,
    closing: CancellationToken,
) where
    S: HttpService<Message, ResBody = B>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut served = pin!(http2.serve_connection(TokioIo::new(socket), service));
    let ended = tokio::select! {
        biased;
        ended = &mut served => ended,
        () = closing.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

/// HTTP/2 with what both ports have in common.
pub(super) fn http2() -> http2::Builder<TokioExecutor> {
    let mut http2 = http2::Builder::new(TokioExecutor::new());
    http2
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(None)
        // They are counted over the whole life of a connection: a caller that now and then opens too many streams would lose
        // it in the end.
        .max_local_error_reset_streams(None);
    http2
}
