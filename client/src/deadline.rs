//! The deadline of one call, and the only place of this crate that uses a timer.
//!
//! tonic enforces `grpc-timeout` from the moment a request is handed to the connection until the first byte of the
//! answer. The bound here covers the whole call: waiting for the connection and receiving the answer too.

use std::{future::Future, time::Duration};

use shard_cache_proto::{cache::Explain, explained};
use tonic::{Request, Response, Status};

use crate::error::ClientError;

/// Shortest deadline that is sent: a zero timeout would be none at all to some servers.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// Longest deadline: grpc-timeout has eight digits, and nobody waits longer than a day.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// A request that carries `timeout` to the server.
pub(crate) fn request<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(clamp(timeout));
    request
}

/// Awaits `call`, at most for `timeout`. Dropping the future cancels the call at the server too, as far as it can be.
pub(crate) async fn bounded<T>(
    timeout: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, ClientError> {
    let answer = bounded_explained(timeout, call).await;
    answer.map_err(|(error, _)| error)
}

/// The same, and how far the call got, when the node told that of one that failed.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the client's seam to the timer"
)]
pub(crate) async fn bounded_explained<T>(
    timeout: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, (ClientError, Option<Explain>)> {
    let timeout = clamp(timeout);
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => {
            let explain = explained::find(status.details());
            Err((ClientError::from_status(status, timeout), explain))
        }
        Err(_elapsed) => Err((ClientError::deadline(timeout), None)),
    }
}

fn clamp(timeout: Duration) -> Duration {
    timeout.clamp(TIMEOUT_MIN, TIMEOUT_MAX)
}
