//! A collector of traces: OTLP over gRPC in this process. It keeps all spans, can be told to answer nothing, and is gone
//! when it is dropped.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value},
    trace::v1::{self, span::SpanKind, status::StatusCode},
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, metadata::MetadataMap, transport::Server};

/// A span as it was exported.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    /// `service.instance.id` of its resource.
    pub(crate) node: String,
    /// `service.name` of its resource.
    pub(crate) service: String,
    /// All of its resource.
    pub(crate) resource: Vec<KeyValue>,
    /// All else.
    pub(crate) span: v1::Span,
}

impl Span {
    pub(crate) fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub(crate) fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub(crate) fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    pub(crate) fn is(&self, name: &str, kind: SpanKind) -> bool {
        self.span.name == name && self.span.kind() == kind
    }

    /// The word for its failure, if it failed.
    pub(crate) fn failure(&self) -> Option<&str> {
        let status = self.span.status.as_ref()?;
        (status.code() == StatusCode::Error).then_some(status.message.as_str())
    }

    /// An attribute of its resource.
    pub(crate) fn resource(&self, name: &str) -> Option<String> {
        text_of(&self.resource, name)
    }

    /// The names of its events, in order.
    pub(crate) fn events(&self) -> Vec<&str> {
        let events = self.span.events.iter();
        events.map(|event| event.name.as_str()).collect()
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        text_of(&self.span.attributes, name)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text_of(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        any_value::Value::BoolValue(truth) => Some(truth.to_string()),
        other => Some(format!("{other:?}")),
    }
}

#[derive(Clone, Default)]
struct Kept {
    spans: Arc<Mutex<Vec<Span>>>,
    hangs: Arc<AtomicBool>,
    headers: Arc<Mutex<MetadataMap>>,
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if self.hangs.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
        let headers = request.metadata().clone();
        *self.headers.lock().unwrap_or_else(PoisonError::into_inner) = headers;
        let mut kept = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        for resource_spans in request.into_inner().resource_spans {
            let resource = resource_spans.resource.unwrap_or_default().attributes;
            let of = |name| text_of(&resource, name).unwrap_or_default();
            let (node, service) = (of("service.instance.id"), of("service.name"));
            for span in resource_spans
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
            {
                kept.push(Span {
                    node: node.clone(),
                    service: service.clone(),
                    resource: resource.clone(),
                    span,
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A running collector.
pub(crate) struct Collector {
    address: SocketAddr,
    kept: Kept,
    /// Its own, so that its connections end with it.
    runtime: Option<Runtime>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address")).await
    }

    /// At the address of another one that is gone.
    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listening = runtime.spawn(TcpListener::bind(address));
        let listener = listening.await.expect("no panic").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let kept = Kept::default();
        let service = TraceServiceServer::new(kept.clone());
        let serving = async move {
            let serving = Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener));
            serving.await.expect("the collector serves");
        };
        drop(runtime.spawn(serving));
        Self {
            address,
            kept,
            runtime: Some(runtime),
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// As nodes are told to reach it.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it takes requests and answers none.
    pub(crate) fn hang(&self) {
        self.kept.hangs.store(true, Ordering::Release);
    }

    /// A header of the last export.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let headers = self.kept.headers.lock();
        let headers = headers.unwrap_or_else(PoisonError::into_inner);
        let value = headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let kept = self.kept.spans.lock();
        kept.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All spans so far of one trace.
    pub(crate) fn trace(&self, trace_id: &str) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|span| span.trace_id() == trace_id);
        spans
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
