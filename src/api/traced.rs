//! The server span of a client's request: who asks, whether it is recorded, and what it says. Requests that are not
//! recorded pass through with one look at a header.

use std::{pin::Pin, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName};

use super::{
    edge::Edge,
    status::{Answered, Refusal},
};
use crate::{
    telemetry::{
        Api, Code, Op,
        labels::Label as _,
        traces::{KeyValue, Span},
    },
    trace::TraceParent,
};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

impl Edge {
    /// Begins the span of a request with these headers, if it is recorded.
    pub(crate) fn begin_span(&self, api: Api, op: Op, headers: &HeaderMap) -> Option<Box<Span>> {
        let parent = || TraceParent::parse(headers.get(TRACEPARENT)?.to_str().ok()?);
        let mut span = self
            .tracer
            .begin_request(name(api, op), parent, || state(headers))?;
        span.note([
            KeyValue::new("db.system.name", "shard-cache"),
            KeyValue::new("db.operation.name", op.as_str()),
        ]);
        match api {
            Api::Grpc => span.note([
                KeyValue::new("rpc.system.name", "grpc"),
                KeyValue::new("rpc.method", method(api, op)),
            ]),
            Api::Http => span.note([
                KeyValue::new("http.request.method", method(api, op)),
                KeyValue::new("http.route", "/v1/keys/{key}"),
                KeyValue::new("url.scheme", "http"),
            ]),
        }
        Some(span)
    }
}

/// Does `work`; log lines that it writes carry the ids of `span`.
pub(super) fn under<'a, F: Future>(
    span: Option<&Span>,
    mut work: Pin<&'a mut F>,
) -> impl Future<Output = F::Output> + use<'a, F> {
    let context = span.map(|span| span.scope().context());
    std::future::poll_fn(move |poll| {
        let _attached = context.as_ref().map(|context| context.clone().attach());
        work.as_mut().poll(poll)
    })
}

/// Writes down how the request ended.
pub(super) fn conclude<T: Answered>(span: &mut Span, api: Api, outcome: &Result<T, Refusal>) {
    span.note([match api {
        Api::Grpc => {
            let refused = outcome.as_ref().err();
            let code = refused.map_or(Code::Ok.as_str(), Refusal::code_name);
            KeyValue::new("rpc.response.status_code", code)
        }
        Api::Http => {
            let answered = outcome.as_ref().map(T::http_status);
            let status = answered.unwrap_or_else(Refusal::http_status);
            KeyValue::new("http.response.status_code", i64::from(status.as_u16()))
        }
    }]);
    match outcome {
        Ok(_) => span.succeed(),
        Err(refusal) => span.fail(refusal.reason()),
    }
}

/// Tells the log that a request has ended: for whoever sets the level to debug.
pub(super) fn log_finished(span: Option<&Span>, api: Api, op: Op, code: Code, taken: Duration) {
    let _attached = span.map(|span| span.scope().context().attach());
    tracing::debug!(
        api = api.as_str(),
        op = op.as_str(),
        code = code.as_str(),
        duration_micros = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX),
        "request finished"
    );
}

/// Several headers are one list.
fn state(headers: &HeaderMap) -> Option<Arc<str>> {
    let mut values = headers
        .get_all(TRACESTATE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let first = values.next()?.to_owned();
    TraceParent::legal_state(&values.fold(first, |list, more| list + "," + more))
}

const fn name(api: Api, op: Op) -> &'static str {
    match (api, op) {
        (Api::Grpc, Op::Get) => "cache.CacheService/Get",
        (Api::Grpc, Op::Set) => "cache.CacheService/Set",
        (Api::Grpc, Op::Delete) => "cache.CacheService/Delete",
        (Api::Http, Op::Get) => "GET /v1/keys/{key}",
        (Api::Http, Op::Set) => "PUT /v1/keys/{key}",
        (Api::Http, Op::Delete) => "DELETE /v1/keys/{key}",
    }
}

const fn method(api: Api, op: Op) -> &'static str {
    match (api, op) {
        (Api::Grpc, Op::Get | Op::Set | Op::Delete) => name(api, op),
        (Api::Http, Op::Get) => "GET",
        (Api::Http, Op::Set) => "PUT",
        (Api::Http, Op::Delete) => "DELETE",
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn states_in_several_headers_are_one_list() {
        let mut headers = HeaderMap::new();
        assert_eq!(state(&headers), None);
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
        assert_eq!(state(&headers).as_deref(), Some("a=1,b=2"));
    }
}
