//! `/api/v1/overview`: the whole cluster in one document, the same as `cluster status -o json`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{ConnectInfo, State},
};
use serde_json::Value;

use super::Caller;
use crate::{
    api::{Edge, hide_keys, is_local},
    documents::status_document,
};

/// Keys are for callers on the node's own machine; others have their hashes.
pub(super) async fn overview(
    State(edge): State<Arc<Edge>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
) -> Json<Value> {
    let mut status = edge.queries.status().await;
    if !is_local(caller.0) {
        hide_keys(&mut status);
    }
    Json(status_document(&status))
}
