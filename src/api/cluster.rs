//! `shardcache.v1.Cluster`, and what the node has to answer for it, for health and for metrics.

use std::sync::Arc;

use shard_cache_proto::{
    cache as pb,
    cluster::{
        MembersRequest, MembersResponse, NodeReport, OwnersRequest, OwnersResponse, StatusRequest,
        StatusResponse, cluster_server::Cluster,
    },
};
use tonic::{Request, Response, Status};

use super::{admin::is_local, convert, convert::Limits, status::Refusal};
use crate::{clock::BoxFuture, coordinator::Unavailable, key::Key, telemetry::Snapshot};

/// Questions that only the whole node can answer; the node implements it.
///
/// Everything but [`Self::status`] answers from memory at once and may be asked often.
pub trait ClusterQueries: Send + Sync + 'static {
    /// What the node thinks of itself.
    fn health(&self) -> NodeHealth;
    /// The node's own report.
    fn report(&self) -> NodeReport;
    /// Every member's report, gathered within a bounded time; members without an answer are in it
    /// with the reason.
    fn status(&self) -> BoxFuture<StatusResponse>;
    /// The members as this node sees them.
    fn members(&self) -> MembersResponse;
    /// The owners of a key, in order of preference; `None` before the first ring.
    fn owners(&self, key: &Key) -> Option<OwnersResponse>;
    /// The figures of a scrape that live elsewhere than in the metric handles.
    fn snapshot(&self) -> Snapshot;
}

/// What a node thinks of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeHealth {
    /// In one word.
    pub condition: Condition,
    /// Why it is not [`Condition::Ok`]; empty when it is.
    pub reason: String,
    /// Whether a quorum of some slot's owners can be reached.
    pub serves: bool,
    /// The node's name.
    pub node: String,
    /// The product's version.
    pub version: &'static str,
    /// Members believed to be alive, this node included.
    pub members_alive: u32,
    /// Members known, whatever their state.
    pub members_known: u32,
    /// Hash of the ring in use; `None` before the first.
    pub ring_hash: Option<u64>,
    /// Live entries in the store.
    pub entries: u64,
    /// Seconds since the node started.
    pub uptime_seconds: u64,
}

/// A node's condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// All is well.
    Ok,
    /// It serves, but not all members are alive or not every quorum can be had.
    Degraded,
    /// It has no ring yet, or is not ready to serve in it.
    Joining,
    /// It is leaving.
    Draining,
}

impl Condition {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Joining => "joining",
            Self::Draining => "draining",
        }
    }

    /// Whether the start is over.
    #[must_use]
    pub const fn is_started(self) -> bool {
        match self {
            Self::Ok | Self::Degraded | Self::Draining => true,
            Self::Joining => false,
        }
    }
}

impl NodeHealth {
    /// Whether clients should be sent here: it is in a ring, not leaving, and has a quorum for something.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        match self.condition {
            Condition::Ok | Condition::Degraded => self.serves,
            Condition::Joining | Condition::Draining => false,
        }
    }

    /// The ring's hash as it is shown; empty before the first ring.
    #[must_use]
    pub fn ring_hash_shown(&self) -> String {
        self.ring_hash
            .map(|hash| format!("{hash:016x}"))
            .unwrap_or_default()
    }
}

impl From<NodeHealth> for pb::HealthResponse {
    fn from(health: NodeHealth) -> Self {
        Self {
            status: health.condition.as_str().to_owned(),
            ring_hash: health.ring_hash_shown(),
            node: health.node,
            version: health.version.to_owned(),
            members_alive: health.members_alive,
            members_known: health.members_known,
            entries: health.entries,
            uptime_seconds: health.uptime_seconds,
            reason: health.reason,
        }
    }
}

/// Takes the keys away from what others than operators are told; their hashes stay.
pub fn hide_keys(status: &mut StatusResponse) {
    let reports = status
        .nodes
        .iter_mut()
        .filter_map(|node| node.report.as_mut());
    for hot in reports.flat_map(|report| &mut report.hot_keys) {
        hot.key.clear();
    }
}

/// The cluster service.
#[derive(Clone)]
pub struct ClusterApi {
    queries: Arc<dyn ClusterQueries>,
    limits: Limits,
}

impl ClusterApi {
    /// A service that asks `queries`.
    #[must_use]
    pub fn new(queries: Arc<dyn ClusterQueries>, limits: Limits) -> Self {
        Self { queries, limits }
    }
}

#[tonic::async_trait]
impl Cluster for ClusterApi {
    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let mut status = self.queries.status().await;
        if !request.remote_addr().is_some_and(is_local) {
            hide_keys(&mut status);
        }
        Ok(Response::new(status))
    }

    async fn members(
        &self,
        _request: Request<MembersRequest>,
    ) -> Result<Response<MembersResponse>, Status> {
        Ok(Response::new(self.queries.members()))
    }

    async fn owners(
        &self,
        request: Request<OwnersRequest>,
    ) -> Result<Response<OwnersResponse>, Status> {
        let key = convert::key(request.into_inner().key.into(), &self.limits);
        let key = key.map_err(Refusal::from)?;
        let owners = self.queries.owners(&key);
        let owners = owners.ok_or(Refusal::Unavailable(Unavailable::Joining))?;
        Ok(Response::new(owners))
    }
}
