//! The client against a node that is not one: it answers, keeps silent, or goes away.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests run in real time, outside of the seams"
)]

use std::{net::SocketAddr, time::Duration};

use opentelemetry::{
    global,
    trace::{SpanKind, Status as SpanStatus},
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use shard_cache_client::{
    CallOptions, Client, ClientError, ClientOptions, HealthResponse, Outcome, Ttl, Value,
};
use shard_cache_proto::cache::{
    DeleteManyRequest, DeleteManyResponse, DeleteRequest, DeleteResponse, Failure, GetManyRequest,
    GetManyResponse, GetRequest, GetResponse, GetResult, HealthRequest, SetManyRequest,
    SetManyResponse, SetRequest, SetResponse, SetResult, Version,
    cache_service_server::{CacheService, CacheServiceServer},
    get_response, get_result, set_result,
};
use tokio::{net::TcpListener, time::timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, transport::Server};

const VERSION: Version = Version {
    millis: 1,
    counter: 2,
    writer: 3,
};

/// Answers a read with what it was sent.
struct Mirror;

#[tonic::async_trait]
impl CacheService for Mirror {
    async fn set(&self, request: Request<SetRequest>) -> Result<Response<SetResponse>, Status> {
        let ttl = request.into_inner().ttl.map_or(0, |ttl| ttl.seconds);
        let stored = u32::try_from(ttl).unwrap_or_default();
        Ok(Response::new(SetResponse {
            version: Some(VERSION),
            stored,
            ..SetResponse::default()
        }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let timeout = request.metadata().get("grpc-timeout").cloned();
        let parent = request.metadata().get("traceparent").cloned();
        match request.into_inner().key.as_str() {
            "silent" => std::future::pending().await,
            "large" => Ok(Response::new(found(vec![0; 2 * 1024 * 1024].into()))),
            "refused" => Err(Status::invalid_argument("key is wrong")),
            "parent" => {
                let parent = parent.map(|parent| parent.as_bytes().to_vec());
                Ok(Response::new(found(parent.unwrap_or_default().into())))
            }
            "timeout" => {
                let timeout = timeout.map(|timeout| timeout.as_bytes().to_vec());
                Ok(Response::new(found(timeout.unwrap_or_default().into())))
            }
            _ => Ok(Response::new(GetResponse {
                found: Some(false),
                ..GetResponse::default()
            })),
        }
    }

    async fn delete(&self, _: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        Err(Status::unavailable("draining: this node is leaving"))
    }

    async fn get_many(
        &self,
        request: Request<GetManyRequest>,
    ) -> Result<Response<GetManyResponse>, Status> {
        let result = |key: String| {
            let failed = |code: Code| {
                Some(get_result::Result::Failure(Failure {
                    code: code.into(),
                    reason: "no_quorum".to_owned(),
                    message: key.clone(),
                    retry_after_ms: 7,
                }))
            };
            let result = match key.as_str() {
                "shed" => failed(Code::ResourceExhausted),
                "lonely" => failed(Code::Unavailable),
                "late" => failed(Code::DeadlineExceeded),
                "illegal" => failed(Code::InvalidArgument),
                "nothing" => None,
                _ => Some(get_result::Result::Response(found(key.into()))),
            };
            GetResult { result }
        };
        let keys = request.into_inner().keys.into_iter();
        let answered = keys.filter(|key| key != "forgotten");
        Ok(Response::new(GetManyResponse {
            results: answered.map(result).collect(),
        }))
    }

    async fn set_many(
        &self,
        _request: Request<SetManyRequest>,
    ) -> Result<Response<SetManyResponse>, Status> {
        let failure = Failure {
            code: Code::Unknown.into(),
            ..Failure::default()
        };
        let unknown = SetResult {
            result: Some(set_result::Result::Failure(failure)),
        };
        Ok(Response::new(SetManyResponse {
            results: vec![unknown],
        }))
    }

    async fn delete_many(
        &self,
        _request: Request<DeleteManyRequest>,
    ) -> Result<Response<DeleteManyResponse>, Status> {
        Err(Status::unavailable("no"))
    }

    async fn health(&self, _: Request<HealthRequest>) -> Result<Response<HealthResponse>, Status> {
        Ok(Response::new(HealthResponse {
            status: "ok".to_owned(),
            ..HealthResponse::default()
        }))
    }
}

fn found(bytes: bytes::Bytes) -> GetResponse {
    GetResponse {
        found: Some(true),
        data: Some(get_response::Data::ValueBytes(bytes)),
        ..GetResponse::default()
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Runs `test` with a client of a mirror; the server ends with the test.
async fn with_mirror<F: Future<Output = ()>>(test: impl FnOnce(Client) -> F) {
    with_mirror_for(ClientOptions::default(), test).await;
}

async fn with_mirror_for<F: Future<Output = ()>>(
    options: ClientOptions,
    test: impl FnOnce(Client) -> F,
) {
    let (listener, address) = listener().await;
    let server = Server::builder()
        .add_service(CacheServiceServer::new(Mirror))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let test = async {
        let client = Client::connect(&address.to_string(), options).await;
        test(client.unwrap()).await;
    };
    tokio::select! {
        biased;
        () = test => {}
        ended = server => panic!("the server ended: {ended:?}"),
    }
}

fn within(millis: u64) -> CallOptions {
    CallOptions {
        timeout: Some(Duration::from_millis(millis)),
        ..CallOptions::default()
    }
}

#[tokio::test]
async fn answers_come_back_as_values() {
    with_mirror(|client| async move {
        let call = CallOptions::default();
        let ttl = Ttl::After(Duration::from_secs(7));
        let written = client.set("k", Value::from("v"), ttl, &call).await.unwrap();
        assert_eq!((written.stored, written.version.writer), (7, 3));
        assert_eq!(client.get("absent", &call).await.unwrap().hit, None);
        assert_eq!(client.health().await.unwrap().status, "ok");
    })
    .await;
}

#[tokio::test]
async fn the_deadline_travels_to_the_node() {
    with_mirror(|client| async move {
        let read = client.get("timeout", &within(1234)).await.unwrap();
        assert_eq!(read.hit.unwrap().value.as_bytes(), b"1234000u");
    })
    .await;
}

#[tokio::test]
async fn a_silent_node_ends_the_call_at_its_deadline_with_an_unknown_outcome() {
    with_mirror(|client| async move {
        let error = client.get("silent", &within(50)).await.unwrap_err();
        assert!(
            matches!(error, ClientError::DeadlineExceeded { .. }),
            "{error:?}"
        );
        assert_eq!(error.outcome(), Outcome::Unknown);
    })
    .await;
}

#[tokio::test]
async fn a_machine_that_accepts_and_says_nothing_ends_the_call_at_its_deadline() {
    let (_listener, address) = listener().await;
    let client = Client::connect(&address.to_string(), ClientOptions::default())
        .await
        .unwrap();
    let error = client.get("k", &within(50)).await.unwrap_err();
    assert!(
        matches!(error, ClientError::DeadlineExceeded { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn refusals_were_surely_not_applied() {
    with_mirror(|client| async move {
        let refused = client.get("refused", &within(1000)).await.unwrap_err();
        assert!(
            matches!(refused, ClientError::Rejected { .. }),
            "{refused:?}"
        );
        assert!(refused.to_string().contains("key is wrong"), "{refused}");
        let error = client.delete("k", &within(1000)).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotApplied);
        let ClientError::Unavailable { reason, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(reason, "draining");
    })
    .await;
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_the_next_address_is_tried() {
    let (closed, address) = listener().await;
    drop(closed);
    let nobody = address.to_string();
    let options = ClientOptions::default();
    let error = Client::connect(&nobody, options).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains(&nobody), "{error}");
    with_mirror(|client| async move {
        let endpoints = [nobody, client.endpoint().to_owned()];
        let second = Client::connect_any(&endpoints, options).await.unwrap();
        assert_eq!(second.endpoint(), client.endpoint());
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_the_outcome_unknown() {
    let (listener, address) = listener().await;
    let accept_and_leave = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // Long enough for something to arrive, and then nobody.
            stream.readable().await.unwrap();
        }
    };
    let call = async {
        let client = Client::connect(&address.to_string(), ClientOptions::default()).await?;
        client
            .set("k", Value::from("v"), Ttl::Default, &within(5000))
            .await
    };
    let error = tokio::select! {
        biased;
        () = accept_and_leave => unreachable!("it accepts for ever"),
        result = call => result.unwrap_err(),
    };
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
}

#[tokio::test]
async fn an_answer_larger_than_the_limit_is_refused() {
    with_mirror(|client| async move {
        let error = client.get("large", &within(2000)).await.unwrap_err();
        assert!(matches!(error, ClientError::Rejected { .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn every_item_of_a_batch_has_an_outcome_of_its_own() {
    with_mirror(async |client| {
        let options = CallOptions::default();
        let keys = ["a", "shed", "lonely", "late", "illegal", "nothing", "b"];
        let results = client.get_many(&keys, &options).await.unwrap();
        assert!(results[0].is_ok() && results[6].is_ok());
        let failed: Vec<_> = results
            .iter()
            .filter_map(|one| one.as_ref().err())
            .collect();
        let told = failed.iter().map(|error| (error.code(), error.outcome()));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                ("SHED", Outcome::NotApplied),
                ("UNAVAILABLE", Outcome::NotApplied),
                ("DEADLINE_EXCEEDED", Outcome::Unknown),
                ("REJECTED", Outcome::NotApplied),
                ("BAD_ANSWER", Outcome::Unknown),
            ]
        );
        let short = client.get_many(&["a", "forgotten"], &options).await;
        assert!(
            matches!(short, Err(ClientError::BadAnswer { .. })),
            "{short:?}"
        );
        let value = ("k".to_owned(), Value::from("v"), Ttl::Default);
        let written = client.set_many(vec![value], &options).await.unwrap();
        let error = written[0].as_ref().unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown);
        let refused = client.delete_many(&["k"], &options).await;
        assert!(
            matches!(refused, Err(ClientError::Unavailable { .. })),
            "{refused:?}"
        );
    })
    .await;
}

/// The application's own spans are of no interest to clients that do not record any: the others of this file.
#[tokio::test]
async fn calls_are_spans_that_the_nodes_can_hang_below() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    global::set_tracer_provider(provider.clone());
    let options = ClientOptions {
        spans: true,
        ..ClientOptions::default()
    };
    with_mirror_for(options, |client| async move {
        let call = CallOptions::default();
        let read = client.get("parent", &call).await.unwrap();
        let sent = match read.hit.unwrap().value {
            Value::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Value::Text(text) => text,
        };
        client.delete("k", &call).await.unwrap_err();
        client.get_many(&["a", "b"], &call).await.unwrap();
        let silent = client.get("silent", &call);
        drop(timeout(Duration::from_millis(20), silent).await);

        let spans = exporter.get_finished_spans().unwrap();
        let [get, delete, get_many, cancelled] = spans.try_into().unwrap();
        let of = |span: &SpanData, name: &str| {
            let found = span.attributes.iter().find(|it| it.key.as_str() == name);
            found.map(|it| it.value.to_string())
        };
        let context = &get.span_context;
        let (trace_id, span_id) = (context.trace_id(), context.span_id());
        assert_eq!(sent, format!("00-{trace_id}-{span_id}-01"));
        assert_eq!((&*get.name, &get.span_kind), ("GET", &SpanKind::Client));
        assert_eq!(of(&get, "server.address").unwrap(), "127.0.0.1");
        assert_eq!(of(&get, "db.system.name").unwrap(), "shard-cache");
        assert_eq!(get.status, SpanStatus::Unset);
        assert_eq!(of(&delete, "error.type").unwrap(), "UNAVAILABLE");
        assert_eq!(
            of(&delete, "db.response.status_code").unwrap(),
            "Unavailable"
        );
        assert_eq!(of(&get_many, "db.operation.batch.size").unwrap(), "2");
        assert_eq!(of(&cancelled, "error.type").unwrap(), "cancelled");
    })
    .await;
}
