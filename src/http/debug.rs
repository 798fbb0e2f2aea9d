//! `/debug/pprof`: profiles of this process, at the paths that `go tool pprof` users know.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, Query, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Caller, failure};
use crate::{
    api::is_local,
    clock::Clock,
    config::{DebugConfig, Exposure},
    profiles::{self, CpuProfiler, ProfileError},
    workers::{self, TaskRegistry},
};

/// How long a CPU profile takes unless the caller says.
const SECONDS_DEFAULT: u64 = 30;
/// How long one may take.
const SECONDS_MAX: u64 = 60;

const INDEX: &str = "\
profile?seconds=30  where CPU time goes, for so many seconds
heap                what holds memory
goroutine           which tasks there are; as text with ?debug=1, each of them with ?debug=2

go tool pprof reads all of them: go tool pprof http://HOST:PORT/debug/pprof/profile
";

/// What profiles are made from, and who may have them.
#[derive(Clone)]
pub struct Debugging {
    exposure: Exposure,
    clock: Arc<dyn Clock>,
    registry: TaskRegistry,
    /// One profile at a time, over all listeners: each costs CPU time, and one of CPU time would show the others.
    turn: Arc<Semaphore>,
}

impl Debugging {
    /// Of this process and these tasks.
    #[must_use]
    pub fn new(config: DebugConfig, clock: Arc<dyn Clock>, registry: TaskRegistry) -> Self {
        Self {
            exposure: config.pprof,
            clock,
            registry,
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    fn admit(&self, caller: Caller) -> Result<OwnedSemaphorePermit, Refused> {
        match self.exposure {
            Exposure::All => {}
            Exposure::Loopback if is_local(caller.0) => {}
            Exposure::Loopback => return Err(Refused::NotLocal),
            Exposure::Off => return Err(Refused::Off),
        }
        let turn = Arc::clone(&self.turn).try_acquire_owned();
        turn.map_err(|_busy| Refused::Busy)
    }
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("profiles are off: debug.pprof is off")]
    Off,
    #[error(
        "profiles are for callers on the node's own machine; debug.pprof: all would let others have them"
    )]
    NotLocal,
    #[error(
        "another profile is being taken, and one at a time is the limit: try again when it is done"
    )]
    Busy,
    #[error("seconds is {0}, but must be 1 to {SECONDS_MAX}")]
    Seconds(String),
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error("the profile was given up: {0}")]
    GivenUp(#[from] tokio::task::JoinError),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::Off => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            Self::NotLocal => (StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED"),
            Self::Seconds(_) => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
            Self::Profile(_) | Self::GivenUp(_) => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
        };
        failure(status, code, &self.to_string())
    }
}

pub(super) fn routes(debugging: Debugging) -> Router {
    Router::new()
        .route("/debug/pprof/", get(index))
        .route("/debug/pprof", get(index))
        .route("/debug/pprof/profile", get(profile))
        .route("/debug/pprof/heap", get(heap))
        .route("/debug/pprof/goroutine", get(goroutine))
        .with_state(debugging)
}

#[derive(Deserialize)]
struct Parameters {
    seconds: Option<String>,
    debug: Option<String>,
}

type Asked = (State<Debugging>, ConnectInfo<Caller>, Query<Parameters>);

async fn index(
    State(debugging): State<Debugging>,
    ConnectInfo(caller): ConnectInfo<Caller>,
) -> Response {
    match debugging.admit(caller) {
        Ok(_turn) => INDEX.into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// Dropped, because the caller is gone, it ends at once.
async fn profile(
    (State(debugging), ConnectInfo(caller), Query(parameters)): Asked,
) -> Result<Response, Refused> {
    let turn = debugging.admit(caller)?;
    let seconds = match parameters.seconds {
        None => SECONDS_DEFAULT,
        Some(text) => {
            let seconds = text.parse().ok();
            let seconds = seconds.filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
            seconds.ok_or(Refused::Seconds(text))?
        }
    };
    let began = debugging.clock.monotonic();
    let profiler = CpuProfiler::begin()?;
    debugging.clock.sleep(Duration::from_secs(seconds)).await;
    let lasted = debugging.clock.monotonic().saturating_sub(began);
    made(turn, "profile", move || profiler.finish(lasted)).await
}

async fn heap(
    (State(debugging), ConnectInfo(caller), Query(_)): Asked,
) -> Result<Response, Refused> {
    let turn = debugging.admit(caller)?;
    made(turn, "heap", profiles::heap).await
}

async fn goroutine(
    (State(debugging), ConnectInfo(caller), Query(parameters)): Asked,
) -> Result<Response, Refused> {
    let turn = debugging.admit(caller)?;
    let tasks = debugging.registry.tasks();
    match parameters.debug.as_deref() {
        None | Some("0") => made(turn, "goroutine", move || profiles::tasks(&tasks)).await,
        Some(debug) => Ok(profiles::describe(&tasks, debug != "1").into_response()),
    }
}

/// The profile that `make` gives, as a file. It works on a thread where nothing is served.
async fn made(
    turn: OwnedSemaphorePermit,
    name: &'static str,
    make: impl FnOnce() -> Result<Vec<u8>, ProfileError> + Send + 'static,
) -> Result<Response, Refused> {
    let work = move || {
        // Kept until it is done, also when the caller is gone.
        let _turn = turn;
        make()
    };
    let profile = workers::aside(work).await??;
    let attachment = format!("attachment; filename=\"{name}.pb.gz\"");
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, attachment.as_str()),
    ];
    Ok((headers, profile).into_response())
}
