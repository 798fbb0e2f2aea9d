//! The baseline: a bare tonic server with the service, the messages and the options of a node, on one thread, that does
//! nothing. A write is answered with a version, a read with a value of a fixed size.

use std::net::SocketAddr;

use anyhow::Result;
use bytes::Bytes;
use shard_cache_proto::cache::{
    DeleteManyRequest, DeleteManyResponse, DeleteRequest, DeleteResponse, GetManyRequest,
    GetManyResponse, GetRequest, GetResponse, HealthRequest, HealthResponse, SetManyRequest,
    SetManyResponse, SetRequest, SetResponse, Version,
    cache_service_server::{CacheService, CacheServiceServer},
    get_response,
};
use tokio::net::TcpListener;
use tokio_stream::{StreamExt as _, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, transport::Server};

/// As a node's: requests that one connection may have open.
const STREAMS_PER_CONNECTION_MAX: u32 = 1024;
/// As a node's: bytes in flight on one stream before they are read.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// As a node's: bytes in flight on one connection before they are read.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

struct Echo {
    value: Bytes,
}

#[tonic::async_trait]
impl CacheService for Echo {
    async fn set(&self, _request: Request<SetRequest>) -> Result<Response<SetResponse>, Status> {
        Ok(Response::new(SetResponse {
            version: Some(version()),
            stored: 2,
            ..SetResponse::default()
        }))
    }

    async fn get(&self, _request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Ok(Response::new(GetResponse {
            found: Some(true),
            data: Some(get_response::Data::ValueBytes(self.value.clone())),
            version: Some(version()),
            ..GetResponse::default()
        }))
    }

    async fn delete(
        &self,
        _request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        Err(Status::unimplemented("nothing is deleted here"))
    }

    async fn get_many(
        &self,
        _request: Request<GetManyRequest>,
    ) -> Result<Response<GetManyResponse>, Status> {
        Err(Status::unimplemented("there are no batches here"))
    }

    async fn set_many(
        &self,
        _request: Request<SetManyRequest>,
    ) -> Result<Response<SetManyResponse>, Status> {
        Err(Status::unimplemented("there are no batches here"))
    }

    async fn delete_many(
        &self,
        _request: Request<DeleteManyRequest>,
    ) -> Result<Response<DeleteManyResponse>, Status> {
        Err(Status::unimplemented("there are no batches here"))
    }

    async fn health(
        &self,
        _request: Request<HealthRequest>,
    ) -> Result<Response<HealthResponse>, Status> {
        Ok(Response::new(HealthResponse::default()))
    }
}

/// As long on the wire as one of these days.
fn version() -> Version {
    Version {
        millis: 1_800_000_000_000,
        counter: 1,
        writer: u64::MAX,
    }
}

/// Serves until it is killed, after it has told its address.
pub(crate) async fn serve(value_bytes: usize) -> Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    println!(
        "{}",
        serde_json::json!({ "grpc": listener.local_addr()?.to_string() })
    );
    let echo = Echo {
        value: Bytes::from(vec![b'v'; value_bytes]),
    };
    let connections = TcpListenerStream::new(listener).map(|connection| {
        let connection = connection?;
        connection.set_nodelay(true)?;
        Ok::<_, std::io::Error>(connection)
    });
    Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_service(CacheServiceServer::new(echo))
        .serve_with_incoming(connections)
        .await?;
    Ok(())
}
