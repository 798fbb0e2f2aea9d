//! `/metrics`: classic Prometheus text, OpenMetrics or JSON, by `Accept` and by `?format=json`.

use std::sync::Arc;

use axum::{
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header};
use serde::Deserialize;

use crate::{api::Edge, telemetry::Format};

#[derive(Deserialize)]
pub(super) struct Parameters {
    format: Option<String>,
}

pub(super) async fn metrics(
    State(edge): State<Arc<Edge>>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    let format = Format::negotiate(accept, parameters.format.as_deref());
    let body = edge.metrics.render(&edge.queries.snapshot(), format);
    ([(header::CONTENT_TYPE, format.content_type())], body).into_response()
}
