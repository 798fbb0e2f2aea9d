//! Health. `/health` is 200 whenever the process can answer: it serves as a liveness probe, and a
//! node that lacks a quorum must not be killed for it. `/readyz` says whether clients should be
//! sent here.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::{Value, json};

use crate::api::{Edge, NodeHealth};

pub(super) async fn health(State(edge): State<Arc<Edge>>) -> Json<Value> {
    Json(shown(&edge.queries.health()))
}

pub(super) async fn live() -> &'static str {
    "ok\n"
}

pub(super) async fn ready(State(edge): State<Arc<Edge>>) -> Response {
    let health = edge.queries.health();
    probe(&health, health.is_ready())
}

pub(super) async fn started(State(edge): State<Arc<Edge>>) -> Response {
    let health = edge.queries.health();
    probe(&health, health.condition.is_started())
}

fn probe(health: &NodeHealth, passes: bool) -> Response {
    let status = if passes {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(shown(health))).into_response()
}

fn shown(health: &NodeHealth) -> Value {
    json!({
        "status": health.condition.as_str(),
        "reason": health.reason,
        "node": health.node,
        "version": health.version,
        "members_alive": health.members_alive,
        "members_known": health.members_known,
        "ring_hash": health.ring_hash_shown(),
        "entries": health.entries,
        "uptime_seconds": health.uptime_seconds,
    })
}
