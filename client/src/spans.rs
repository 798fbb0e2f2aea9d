//! Spans of calls, after OpenTelemetry's conventions for database clients, made with the provider that the application
//! has set globally. Their context travels to the node, so that its spans hang below.
//!
//! Conventions: <https://opentelemetry.io/docs/specs/semconv/database/database-spans/>.

use std::borrow::Cow;

use opentelemetry::{
    Context, KeyValue, global,
    trace::{Span as _, SpanKind, Status, Tracer as _},
};
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::error::ClientError;

const LIBRARY: &str = "shard-cache-client";
const PORT_DEFAULT: i64 = 8080;

/// The span of a call under way, if there is one. Dropping it ends it: a call that is given up has failed as cancelled.
pub(crate) struct CallSpan(Option<global::BoxedSpan>);

impl CallSpan {
    /// Of a client that records none.
    pub(crate) const fn off() -> Self {
        Self(None)
    }

    /// Begins below the span that the application works in, if it does. `items` is the size of a batch.
    pub(crate) fn begin(operation: &'static str, endpoint: &str, items: Option<usize>) -> Self {
        let tracer = global::tracer(LIBRARY);
        let (host, port) = place(endpoint);
        let mut attributes = vec![
            KeyValue::new("db.system.name", "shard-cache"),
            KeyValue::new("db.operation.name", operation),
            KeyValue::new("server.address", host.to_owned()),
            KeyValue::new("server.port", port),
        ];
        let items = items.and_then(|items| i64::try_from(items).ok());
        attributes.extend(items.map(|items| KeyValue::new("db.operation.batch.size", items)));
        let builder = tracer
            .span_builder(operation)
            .with_kind(SpanKind::Client)
            .with_attributes(attributes);
        Self(Some(
            builder.start_with_context(&tracer, &Context::current()),
        ))
    }

    /// Adds the context to what travels with the request.
    pub(crate) fn send_along(&self, metadata: &mut MetadataMap) {
        let Some(span) = &self.0 else { return };
        let own = span.span_context();
        if !own.is_valid() {
            return;
        }
        let (trace_id, span_id) = (own.trace_id(), own.span_id());
        let flags = own.trace_flags().to_u8();
        let parent = format!("00-{trace_id}-{span_id}-{flags:02x}");
        if let Ok(parent) = MetadataValue::try_from(parent) {
            metadata.insert("traceparent", parent);
        }
        let state = own.trace_state().header();
        if let (false, Ok(state)) = (state.is_empty(), MetadataValue::try_from(state)) {
            metadata.insert("tracestate", state);
        }
    }

    /// The call is over.
    pub(crate) fn end(mut self, failure: Option<&ClientError>) {
        let Some(mut span) = self.0.take() else {
            return;
        };
        if let Some(error) = failure {
            span.set_attribute(KeyValue::new("error.type", error.code()));
            if let Some(code) = error.grpc_code() {
                let code = format!("{code:?}");
                span.set_attribute(KeyValue::new("db.response.status_code", code));
            }
            span.set_status(Status::error(Cow::Borrowed(error.code())));
        }
        span.end();
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("error.type", "cancelled"));
            span.set_status(Status::error("cancelled"));
        }
    }
}

/// Host and port of an endpoint as it was given.
fn place(endpoint: &str) -> (&str, i64) {
    let authority = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    let authority = authority.trim_end_matches('/');
    let split = authority
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse().ok()?)));
    // An IPv6 address without a port has colons, too.
    let split = split.filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
    split.unwrap_or((authority, PORT_DEFAULT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for (endpoint, host, port) in [
            ("localhost", "localhost", 8080),
            ("localhost:9090", "localhost", 9090),
            ("http://cache.example:80/", "cache.example", 80),
            ("[::1]:7", "[::1]", 7),
            ("[::1]", "[::1]", 8080),
        ] {
            assert_eq!(place(endpoint), (host, port), "{endpoint}");
        }
    }
}
