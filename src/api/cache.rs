//! `cache.CacheService`: Set, Get, Delete, the same for many keys, Health.

use std::{pin::pin, sync::Arc};

use shard_cache_proto::cache::{self as pb, cache_service_server::CacheService};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::{
    Refusal, batch,
    convert::{self, Window},
    deadline::grpc_timeout,
    edge::Edge,
    status::Refused,
};
use crate::{
    clock::Monotonic,
    coordinator::{Explanation, Failed, KeyRequest, SetRequest},
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

    pub(super) fn edge(&self) -> &Edge {
        &self.edge
    }

    pub(super) fn now(&self) -> Monotonic {
        self.edge.clock.monotonic()
    }

    /// When a call that arrived at that time has to be answered.
    pub(super) fn deadline(
        &self,
        arrived: Monotonic,
        metadata: &MetadataMap,
    ) -> Result<Monotonic, Refusal> {
        self.edge.deadline(arrived, grpc_timeout(metadata)?)
    }

    /// Carries out one Set with the time that is left.
    pub(super) async fn set_by(
        &self,
        metadata: &MetadataMap,
        arrived: Monotonic,
        deadline: Result<Monotonic, Refusal>,
        request: pb::SetRequest,
    ) -> Result<pb::SetResponse, Refused> {
        let edge = &self.edge;
        let span = edge.begin_span(Api::Grpc, Op::Set, metadata.as_ref());
        let trace = span.as_deref().map(|span| Arc::clone(span.scope()));
        let mut unanswered = None;
        let why = &mut unanswered;
        let outcome = {
            let work = pin!(async move {
                let window = Window {
                    arrived,
                    deadline: deadline?,
                };
                let request = convert::set_request(request, window, &edge.limits)?;
                let request = SetRequest { trace, ..request };
                let done = edge.coordinator.set_explained(request).await;
                done.map_err(|failed| note(failed, why))
            });
            edge.carry_out(Api::Grpc, Op::Set, arrived, span, work)
                .await
        };
        match outcome {
            Ok(written) => Ok(convert::set_response(written, &edge.node, &*edge.clock)),
            Err(refusal) => Err(edge.refused(refusal, unanswered)),
        }
    }

    pub(super) async fn carry_out_set(
        &self,
        metadata: &MetadataMap,
        request: pb::SetRequest,
    ) -> Result<pb::SetResponse, Status> {
        let arrived = self.now();
        let deadline = self.deadline(arrived, metadata);
        let answer = self.set_by(metadata, arrived, deadline, request);
        Ok(answer.await?)
    }

    /// Carries out one Get with the time that is left.
    pub(super) async fn get_by(
        &self,
        metadata: &MetadataMap,
        arrived: Monotonic,
        deadline: Result<Monotonic, Refusal>,
        request: pb::GetRequest,
    ) -> Result<pb::GetResponse, Refused> {
        let edge = &self.edge;
        let span = edge.begin_span(Api::Grpc, Op::Get, metadata.as_ref());
        let trace = span.as_deref().map(|span| Arc::clone(span.scope()));
        let mut unanswered = None;
        let why = &mut unanswered;
        let outcome = {
            let work = pin!(async move {
                let window = Window {
                    arrived,
                    deadline: deadline?,
                };
                let request = convert::get_request(request, window, &edge.limits)?;
                let request = KeyRequest { trace, ..request };
                let done = edge.coordinator.get_explained(request).await;
                done.map_err(|failed| note(failed, why))
            });
            edge.carry_out(Api::Grpc, Op::Get, arrived, span, work)
                .await
        };
        match outcome {
            Ok(read) => Ok(convert::get_response(read, &edge.node, &*edge.clock)),
            Err(refusal) => Err(edge.refused(refusal, unanswered)),
        }
    }

    pub(super) async fn carry_out_get(
        &self,
        metadata: &MetadataMap,
        request: pb::GetRequest,
    ) -> Result<pb::GetResponse, Status> {
        let arrived = self.now();
        let deadline = self.deadline(arrived, metadata);
        let answer = self.get_by(metadata, arrived, deadline, request);
        Ok(answer.await?)
    }

    /// Carries out one Delete with the time that is left.
    pub(super) async fn delete_by(
        &self,
        metadata: &MetadataMap,
        arrived: Monotonic,
        deadline: Result<Monotonic, Refusal>,
        request: pb::DeleteRequest,
    ) -> Result<pb::DeleteResponse, Refused> {
        let edge = &self.edge;
        let span = edge.begin_span(Api::Grpc, Op::Delete, metadata.as_ref());
        let trace = span.as_deref().map(|span| Arc::clone(span.scope()));
        let mut unanswered = None;
        let why = &mut unanswered;
        let outcome = {
            let work = pin!(async move {
                let window = Window {
                    arrived,
                    deadline: deadline?,
                };
                let request = convert::delete_request(request, window, &edge.limits)?;
                let request = KeyRequest { trace, ..request };
                let done = edge.coordinator.delete_explained(request).await;
                done.map_err(|failed| note(failed, why))
            });
            edge.carry_out(Api::Grpc, Op::Delete, arrived, span, work)
                .await
        };
        match outcome {
            Ok(written) => Ok(convert::delete_response(written, &edge.node, &*edge.clock)),
            Err(refusal) => Err(edge.refused(refusal, unanswered)),
        }
    }

    pub(super) async fn carry_out_delete(
        &self,
        metadata: &MetadataMap,
        request: pb::DeleteRequest,
    ) -> Result<pb::DeleteResponse, Status> {
        let arrived = self.now();
        let deadline = self.deadline(arrived, metadata);
        let answer = self.delete_by(metadata, arrived, deadline, request);
        Ok(answer.await?)
    }
}

/// Keeps how far a request got, and passes on why it failed.
fn note<E: Into<Refusal>>(failed: Failed<E>, why: &mut Option<Box<Explanation>>) -> Refusal {
    *why = failed.explain;
    failed.error.into()
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

    async fn get_many(
        &self,
        request: Request<pb::GetManyRequest>,
    ) -> Result<Response<pb::GetManyResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let answer = batch::get(self, &metadata, request).await;
        Ok(Response::new(answer?))
    }

    async fn set_many(
        &self,
        request: Request<pb::SetManyRequest>,
    ) -> Result<Response<pb::SetManyResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let answer = batch::set(self, &metadata, request).await;
        Ok(Response::new(answer?))
    }

    async fn delete_many(
        &self,
        request: Request<pb::DeleteManyRequest>,
    ) -> Result<Response<pb::DeleteManyResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let answer = batch::delete(self, &metadata, request).await;
        Ok(Response::new(answer?))
    }

    async fn health(
        &self,
        _request: Request<pb::HealthRequest>,
    ) -> Result<Response<pb::HealthResponse>, Status> {
        Ok(Response::new(self.edge.queries.health().into()))
    }
}
