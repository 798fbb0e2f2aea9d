//! `GET|PUT|DELETE /v1/keys/{key}` with raw bodies.
//!
//! The key is percent-decoded and must be text, as over gRPC. A body sent as `text/*` that is valid
//! UTF-8 is stored as text, everything else as bytes; a read answers accordingly. A miss is 404.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest as _, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use http_body::Body as _;
use serde_json::json;

use super::parameters::Asked;
use crate::{
    api::{Answered as _, Edge, Invalid, Refusal, convert},
    clock::Monotonic,
    coordinator::{KeyRequest, Read, SetRequest, Ttl, Written},
    key::Key,
    store::{Form, Value},
    telemetry::{Api, Op},
    version::Version,
};

const PREFIX: &str = "/v1/keys/";

const VERSION: HeaderName = HeaderName::from_static("x-shardcache-version");
const TTL_SECONDS: HeaderName = HeaderName::from_static("x-shardcache-ttl-seconds");
const DEGRADED: HeaderName = HeaderName::from_static("x-shardcache-degraded");
const STORED: HeaderName = HeaderName::from_static("x-shardcache-stored");
const FOUND: HeaderName = HeaderName::from_static("x-shardcache-found");

pub(super) async fn read(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let arrived = edge.clock.monotonic();
    // The body is not wanted, and could not be shared between threads.
    let asked = request.into_parts().0;
    let span = edge.begin_span(Api::Http, Op::Get, &asked.headers);
    let trace = span.as_deref().map(|span| Arc::clone(span.scope()));
    let work = pin!(async {
        let request = key_request(&edge, arrived, &asked.uri)?;
        let request = KeyRequest { trace, ..request };
        Ok(edge.coordinator.get(request).await?)
    });
    answer(
        &edge,
        edge.carry_out(Api::Http, Op::Get, arrived, span, work)
            .await,
        read_answer,
    )
}

pub(super) async fn store(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let edge = &*edge;
    let arrived = edge.clock.monotonic();
    let span = edge.begin_span(Api::Http, Op::Set, request.headers());
    let trace = span.as_deref().map(|span| Arc::clone(span.scope()));
    let work = pin!(async move {
        let asked = Asked::parse(request.uri())?;
        let ttl = asked.ttl.map_or(Ok(Ttl::Default), convert::ttl)?;
        let key = key(edge, request.uri())?;
        let value = body(edge, request).await?;
        // How long the body takes is the caller's affair.
        let terms = asked.terms(edge, edge.clock.monotonic())?;
        Ok(edge
            .coordinator
            .set(SetRequest {
                key,
                value,
                ttl,
                terms,
                trace,
            })
            .await?)
    });
    answer(
        edge,
        edge.carry_out(Api::Http, Op::Set, arrived, span, work)
            .await,
        |written| written_answer(&written),
    )
}

pub(super) async fn remove(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let arrived = edge.clock.monotonic();
    let asked = request.into_parts().0;
    let span = edge.begin_span(Api::Http, Op::Delete, &asked.headers);
    let trace = span.as_deref().map(|span| Arc::clone(span.scope()));
    let work = pin!(async {
        let request = key_request(&edge, arrived, &asked.uri)?;
        let request = KeyRequest { trace, ..request };
        Ok(edge.coordinator.delete(request).await?)
    });
    answer(
        &edge,
        edge.carry_out(Api::Http, Op::Delete, arrived, span, work)
            .await,
        |written| {
            let mut response = written_answer(&written);
            response
                .headers_mut()
                .insert(FOUND, boolean(written.replaced));
            response
        },
    )
}

fn key_request(edge: &Edge, arrived: Monotonic, uri: &Uri) -> Result<KeyRequest, Refusal> {
    let asked = Asked::parse(uri)?;
    if asked.ttl.is_some() {
        return Err(Invalid::Parameters {
            reason: "ttl belongs to PUT".to_owned(),
        }
        .into());
    }
    Ok(KeyRequest {
        key: key(edge, uri)?,
        terms: asked.terms(edge, arrived)?,
        trace: None,
    })
}

fn key(edge: &Edge, uri: &Uri) -> Result<Key, Invalid> {
    let encoded = uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let bytes = percent_decoded(encoded.as_bytes());
    if std::str::from_utf8(&bytes).is_err() {
        return Err(Invalid::KeyNotText);
    }
    convert::key(bytes.into(), &edge.limits)
}

/// A percent sign that is not followed by two hexadecimal digits stands for itself.
fn percent_decoded(encoded: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [first, after @ ..] = rest {
        let digit = |at: usize| {
            after
                .get(at)
                .and_then(|&byte| char::from(byte).to_digit(16))
        };
        let escaped = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        decoded.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() {
            &after[2..]
        } else {
            after
        };
    }
    decoded
}

/// The body as a value. Its size is checked before it is read where the client says it, and while
/// it is read.
async fn body(edge: &Edge, request: Request) -> Result<Value, Invalid> {
    let (max, read_max) = (edge.limits.max_value_size, edge.limits.message_size_max());
    let headers = request.headers();
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    if let Some(size) = announced.and_then(|size| size.parse::<u64>().ok())
        && size > u64::try_from(read_max).unwrap_or(u64::MAX)
    {
        return Err(Invalid::LargeValue { size, max });
    }
    let declared_text = is_text(headers);
    let bytes = read_body(edge, request).await?;
    let received = edge.metrics.request_bytes.get(Api::Http);
    received.inc_by(bytes.len() as u64);
    let text = declared_text && std::str::from_utf8(&bytes).is_ok();
    convert::value(
        bytes,
        if text { Form::Text } else { Form::Bytes },
        &edge.limits,
    )
}

/// A client that trickles its body holds its place only as long as the longest request.
async fn read_body(edge: &Edge, request: Request) -> Result<Bytes, Invalid> {
    let too_slow = edge.clock.sleep(edge.limits.max_request_timeout);
    tokio::select! {
        biased;
        bytes = Bytes::from_request(request, &()) => bytes.map_err(|refused| {
            match refused.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Invalid::EndlessValue {
                    read: edge.limits.message_size_max(),
                    max: edge.limits.max_value_size,
                },
                _ => Invalid::Body { reason: refused.body_text() },
            }
        }),
        () = too_slow => Err(Invalid::Body { reason: "it took too long to arrive".to_owned() }),
    }
}

fn is_text(headers: &HeaderMap) -> bool {
    let declared = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    declared
        .and_then(|kind| kind.get(..5))
        .is_some_and(|kind| kind.eq_ignore_ascii_case("text/"))
}

fn answer<T>(
    edge: &Edge,
    outcome: Result<T, Refusal>,
    answered: impl FnOnce(T) -> Response,
) -> Response {
    let response = match outcome {
        Ok(outcome) => answered(outcome),
        Err(refusal) => refused(&refusal),
    };
    if let Some(bytes) = response.body().size_hint().exact() {
        edge.metrics.response_bytes.get(Api::Http).inc_by(bytes);
    }
    response
}

fn refused(refusal: &Refusal) -> Response {
    let error = json!({
        "code": refusal.code_name(),
        "reason": refusal.reason(),
        "message": refusal.to_string(),
    });
    let mut response = (refusal.http_status(), Json(json!({ "error": error }))).into_response();
    if let Some(pause) = refusal.retry_after() {
        // The header counts whole seconds.
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, number(whole_seconds(pause)));
    }
    response
}

fn read_answer(read: Read) -> Response {
    let status = read.http_status();
    let Some(hit) = read.hit else {
        let mut response = super::failure(status, "NOT_FOUND", "no such key");
        describe(&mut response, read.version, read.degraded);
        return response;
    };
    let kind = match hit.value.form {
        Form::Text => "text/plain; charset=utf-8",
        Form::Bytes => "application/octet-stream",
    };
    let headers = [(header::CONTENT_TYPE, kind)];
    let mut response = (status, headers, hit.value.bytes).into_response();
    describe(&mut response, read.version, read.degraded);
    let headers = response.headers_mut();
    // Values come from anybody: a browser must not take one for a page or a script.
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Some(left) = hit.expires_in {
        headers.insert(TTL_SECONDS, number(whole_seconds(left)));
    }
    response
}

fn written_answer(written: &Written) -> Response {
    let mut response = written.http_status().into_response();
    describe(&mut response, Some(written.version), written.degraded);
    response
        .headers_mut()
        .insert(STORED, number(written.stored.into()));
    response
}

fn describe(response: &mut Response, version: Option<Version>, degraded: bool) {
    let headers = response.headers_mut();
    headers.insert(DEGRADED, boolean(degraded));
    if let Some(Version { stamp, writer }) = version
        && let Ok(shown) = HeaderValue::try_from(format!(
            "{}.{}.{writer:016x}",
            stamp.millis(),
            stamp.counter()
        ))
    {
        headers.insert(VERSION, shown);
    }
}

/// Rounded up, so that what is still there never shows 0.
const fn whole_seconds(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add((duration.subsec_nanos() > 0) as u64)
}

fn number(value: u64) -> HeaderValue {
    HeaderValue::from(value)
}

const fn boolean(value: bool) -> HeaderValue {
    HeaderValue::from_static(if value { "true" } else { "false" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_percent_decoded() {
        for (encoded, decoded) in [
            ("user%3A1%2Fx", "user:1/x"),
            ("a/b", "a/b"),
            ("%00%1b%5B31m", "\0\u{1b}[31m"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("a+b", "a+b"),
        ] {
            assert_eq!(
                percent_decoded(encoded.as_bytes()),
                decoded.as_bytes(),
                "{encoded}"
            );
        }
    }

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(60)), 60);
    }
}
