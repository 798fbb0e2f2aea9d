//! `cache.CacheService`: Set, Get, Delete, Health.

use std::sync::Arc;

use shard_cache_proto::cache::{self as pb, cache_service_server::CacheService};
use tonic::{Request, Response, Status, metadata::MetadataMap};

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

    pub(super) async fn carry_out_set(
        &self,
        metadata: &MetadataMap,
        request: pb::SetRequest,
    ) -> Result<pb::SetResponse, Status> {
        let edge = &self.edge;
        let span = edge.begin_span(Api::Grpc, Op::Set, metadata.as_ref());
        let trace = span.as_deref().map(|span| Arc::clone(span.scope()));
        let work = async move {
            let deadline = edge.deadline(grpc_timeout(metadata)?)?;
            let request = convert::set_request(request, deadline, &edge.limits)?;
            let request = SetRequest { trace, ..request };
            Ok(edge.coordinator.set(request).await?)
        };
        let written = edge.carry_out(Api::Grpc, Op::Set, span, work).await?;
        Ok(convert::set_response(written, &edge.node))
    }

    pub(super) async fn carry_out_get(
        &self,
        metadata: &MetadataMap,
        request: pb::GetRequest,
    ) -> Result<pb::GetResponse, Status> {
        let edge = &self.edge;
        let span = edge.begin_span(Api::Grpc, Op::Get, metadata.as_ref());
        let trace = span.as_deref().map(|span| Arc::clone(span.scope()));
        let work = async move {
            let deadline = edge.deadline(grpc_timeout(metadata)?)?;
            let request = convert::get_request(request, deadline, &edge.limits)?;
            let request = KeyRequest { trace, ..request };
            Ok(edge.coordinator.get(request).await?)
        };
        let read = edge.carry_out(Api::Grpc, Op::Get, span, work).await?;
        Ok(convert::get_response(read, &edge.node))
    }

    pub(super) async fn carry_out_delete(
        &self,
        metadata: &MetadataMap,
        request: pb::DeleteRequest,
    ) -> Result<pb::DeleteResponse, Status> {
        let edge = &self.edge;
        let span = edge.begin_span(Api::Grpc, Op::Delete, metadata.as_ref());
        let trace = span.as_deref().map(|span| Arc::clone(span.scope()));
        let work = async move {
            let deadline = edge.deadline(grpc_timeout(metadata)?)?;
            let request = convert::delete_request(request, deadline, &edge.limits)?;
            let request = KeyRequest { trace, ..request };
            Ok(edge.coordinator.delete(request).await?)
        };
        let written = edge.carry_out(Api::Grpc, Op::Delete, span, work).await?;
        Ok(convert::delete_response(written, &edge.node))
    }
}

#[tonic::async_trait]
impl CacheService for CacheApi {
    async fn set(
        &self,
        request: Request<pb::SetRequest>,
    ) -> Result<Response<pb::SetResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let answer = self.carry_out_set(&metadata, request).await;
        answer.map(Response::new)
    }

    async fn get(
        &self,
        request: Request<pb::GetRequest>,
    ) -> Result<Response<pb::GetResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let answer = self.carry_out_get(&metadata, request).await;
        answer.map(Response::new)
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteRequest>,
    ) -> Result<Response<pb::DeleteResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let answer = self.carry_out_delete(&metadata, request).await;
        answer.map(Response::new)
    }

    async fn health(
        &self,
        _request: Request<pb::HealthRequest>,
    ) -> Result<Response<pb::HealthResponse>, Status> {
        Ok(Response::new(self.edge.queries.health().into()))
    }
}
