//! `cache.CacheService`: Set, Get, Delete, Health.

use std::sync::Arc;

use shard_cache_proto::cache::{self as pb, cache_service_server::CacheService};
use tonic::{Request, Response, Status};

use super::{convert, deadline::grpc_timeout, edge::Edge};
use crate::{
    coordinator::{KeyRequest, SetRequest},
    telemetry::{Api, Op},
};

/// The client interface over gRPC.
#[derive(Clone)]
pub struct CacheApi {
    edge: Arc<Edge>,
}

impl CacheApi {
    /// A service that answers through `edge`.
    #[must_use]
    pub const fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }
}

#[tonic::async_trait]
impl CacheService for CacheApi {
    async fn set(
        &self,
        request: Request<pb::SetRequest>,
    ) -> Result<Response<pb::SetResponse>, Status> {
        let edge = &self.edge;
        let span = edge.begin_span(Api::Grpc, Op::Set, request.metadata().as_ref());
        let trace = span.as_deref().map(|span| Arc::clone(span.scope()));
        let work = async move {
            let deadline = edge.deadline(grpc_timeout(request.metadata())?)?;
            let request = convert::set_request(request.into_inner(), deadline, &edge.limits)?;
            let request = SetRequest { trace, ..request };
            Ok(edge.coordinator.set(request).await?)
        };
        let written = edge.carry_out(Api::Grpc, Op::Set, span, work).await?;
        Ok(Response::new(convert::set_response(written, &edge.node)))
    }

    async fn get(
        &self,
        request: Request<pb::GetRequest>,
    ) -> Result<Response<pb::GetResponse>, Status> {
        let edge = &self.edge;
        let span = edge.begin_span(Api::Grpc, Op::Get, request.metadata().as_ref());
        let trace = span.as_deref().map(|span| Arc::clone(span.scope()));
        let work = async move {
            let deadline = edge.deadline(grpc_timeout(request.metadata())?)?;
            let request = convert::get_request(request.into_inner(), deadline, &edge.limits)?;
            let request = KeyRequest { trace, ..request };
            Ok(edge.coordinator.get(request).await?)
        };
        let read = edge.carry_out(Api::Grpc, Op::Get, span, work).await?;
        Ok(Response::new(convert::get_response(read, &edge.node)))
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteRequest>,
    ) -> Result<Response<pb::DeleteResponse>, Status> {
        let edge = &self.edge;
        let span = edge.begin_span(Api::Grpc, Op::Delete, request.metadata().as_ref());
        let trace = span.as_deref().map(|span| Arc::clone(span.scope()));
        let work = async move {
            let deadline = edge.deadline(grpc_timeout(request.metadata())?)?;
            let request = convert::delete_request(request.into_inner(), deadline, &edge.limits)?;
            let request = KeyRequest { trace, ..request };
            Ok(edge.coordinator.delete(request).await?)
        };
        let written = edge.carry_out(Api::Grpc, Op::Delete, span, work).await?;
        Ok(Response::new(convert::delete_response(written, &edge.node)))
    }

    async fn health(
        &self,
        _request: Request<pb::HealthRequest>,
    ) -> Result<Response<pb::HealthResponse>, Status> {
        Ok(Response::new(self.edge.queries.health().into()))
    }
}
