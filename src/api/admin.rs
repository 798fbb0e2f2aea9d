//! `shardcache.v1.Admin`: what operators do with the asked node, and what the node has to answer for it.

use std::{net::SocketAddr, pin::Pin, sync::Arc};

use futures_core::Stream;
use futures_util::stream;
use shard_cache_proto::cluster::{
    AcceptLossesRequest, AcceptLossesResponse, DrainProgress, DrainRequest, DropHintsRequest,
    DropHintsResponse, ForgetRequest, ForgetResponse, ListHintsRequest, ListHintsResponse,
    ReloadRequest, ReloadResponse, SafeToStopRequest, SafeToStopResponse, SetLogLevelRequest,
    SetLogLevelResponse, admin_server::Admin,
};
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status};

use crate::{clock::BoxFuture, telemetry::logs::LogsError};

/// What only the whole node can do; the node implements it.
pub trait AdminActions: Send + Sync + 'static {
    /// Whether the node may stop without the loss of anything acknowledged, and why not: by the reports of all members,
    /// gathered within a bounded time.
    fn safe_to_stop(&self) -> BoxFuture<SafeToStopResponse>;

    /// Has the node leave and end, if it does not already. How far it is; the last value is done.
    fn drain(&self) -> watch::Receiver<DrainProgress>;

    /// Declares a member gone for good and tells the others, within a bounded time.
    fn forget(&self, node: &str) -> BoxFuture<Result<ForgetResponse, ForgetRefusal>>;

    /// Lets slots be declared lost that are so now, where that waits for an operator, and tells the others.
    fn accept_losses(&self) -> BoxFuture<AcceptLossesResponse>;

    /// What the node owes to others.
    fn list_hints(&self) -> ListHintsResponse;

    /// Drops what the node owes to one member, or to all.
    ///
    /// # Errors
    /// [`DropRefusal`]: nothing was dropped.
    fn drop_hints(&self, target: HintTarget) -> Result<DropHintsResponse, DropRefusal>;

    /// Reads the configuration again and puts into use what may change.
    ///
    /// # Errors
    /// [`NotReloaded`]: nothing was changed.
    fn reload(&self) -> Result<ReloadResponse, NotReloaded>;

    /// Logs by another level, or by directives, from now on.
    ///
    /// # Errors
    /// [`LogsError`]: it is neither, and nothing was changed.
    fn set_log_level(&self, level: &str) -> Result<SetLogLevelResponse, LogsError>;
}

/// Why the configuration was not reloaded, in words. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotReloaded(pub String);

impl From<NotReloaded> for Status {
    fn from(refusal: NotReloaded) -> Self {
        Self::failed_precondition(refusal.0)
    }
}

impl From<LogsError> for Status {
    fn from(error: LogsError) -> Self {
        let code = match error {
            LogsError::Filter { .. } => Code::InvalidArgument,
            LogsError::AlreadySet | LogsError::NotSet => Code::FailedPrecondition,
        };
        Self::new(code, error.to_string())
    }
}

/// Whose hints are meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HintTarget {
    /// Those of the member of this name or id.
    Node(String),
    /// Everybody's.
    All,
}

/// Why no hints were dropped.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DropRefusal {
    /// No member has this name or id, and nobody of this name is owed anything.
    #[error("no member is called `{node}`: `node hints list` shows who is owed something")]
    NoMember {
        /// As it was asked for.
        node: String,
    },
    /// It was not said whose are meant, or said twice.
    #[error("either a member has to be named, or all")]
    NoTarget,
}

impl From<DropRefusal> for Status {
    fn from(refusal: DropRefusal) -> Self {
        let code = match refusal {
            DropRefusal::NoMember { .. } => Code::NotFound,
            DropRefusal::NoTarget => Code::InvalidArgument,
        };
        Self::new(code, refusal.to_string())
    }
}

impl TryFrom<DropHintsRequest> for HintTarget {
    type Error = DropRefusal;

    fn try_from(request: DropHintsRequest) -> Result<Self, DropRefusal> {
        match (request.node.is_empty(), request.all) {
            (false, false) => Ok(Self::Node(request.node)),
            (true, true) => Ok(Self::All),
            (true, false) | (false, true) => Err(DropRefusal::NoTarget),
        }
    }
}

/// Why a member was not forgotten. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ForgetRefusal {
    /// No member has this name or id.
    #[error("no member is called `{node}`: `cluster members` lists them")]
    NoMember {
        /// As it was asked for.
        node: String,
    },
    /// It is there: a node that lives leaves by draining.
    #[error(
        "{name} is {liveness}, not down: drain it instead, or stop it and wait until it is seen down"
    )]
    NotDown {
        /// Its name.
        name: String,
        /// What it is instead.
        liveness: &'static str,
    },
    /// The ring would have no member left.
    #[error("{name} is the only member of the ring")]
    OnlyMember {
        /// Its name.
        name: String,
    },
    /// The node stops or has no ring.
    #[error("this node has no ring from which {name} could be removed")]
    NoRing {
        /// Its name.
        name: String,
    },
    /// The node is about to end.
    #[error("this node is about to end")]
    Stopped,
}

impl From<ForgetRefusal> for Status {
    fn from(refusal: ForgetRefusal) -> Self {
        let code = match refusal {
            ForgetRefusal::NoMember { .. } => Code::NotFound,
            ForgetRefusal::NotDown { .. }
            | ForgetRefusal::OnlyMember { .. }
            | ForgetRefusal::NoRing { .. } => Code::FailedPrecondition,
            ForgetRefusal::Stopped => Code::Unavailable,
        };
        Self::new(code, refusal.to_string())
    }
}

/// The admin service.
#[derive(Clone)]
pub struct AdminApi {
    actions: Arc<dyn AdminActions>,
}

impl AdminApi {
    /// A service that has `actions` done.
    #[must_use]
    pub fn new(actions: Arc<dyn AdminActions>) -> Self {
        Self { actions }
    }
}

#[tonic::async_trait]
impl Admin for AdminApi {
    type DrainStream = Pin<Box<dyn Stream<Item = Result<DrainProgress, Status>> + Send>>;

    async fn safe_to_stop(
        &self,
        _request: Request<SafeToStopRequest>,
    ) -> Result<Response<SafeToStopResponse>, Status> {
        Ok(Response::new(self.actions.safe_to_stop().await))
    }

    async fn drain(
        &self,
        request: Request<DrainRequest>,
    ) -> Result<Response<Self::DrainStream>, Status> {
        expect_local(request.remote_addr())?;
        let mut news = self.actions.drain();
        news.mark_changed();
        Ok(Response::new(Box::pin(stream::unfold(Some(news), told))))
    }

    async fn forget(
        &self,
        request: Request<ForgetRequest>,
    ) -> Result<Response<ForgetResponse>, Status> {
        expect_local(request.remote_addr())?;
        let node = request.into_inner().node;
        Ok(Response::new(self.actions.forget(&node).await?))
    }

    async fn accept_losses(
        &self,
        request: Request<AcceptLossesRequest>,
    ) -> Result<Response<AcceptLossesResponse>, Status> {
        expect_local(request.remote_addr())?;
        Ok(Response::new(self.actions.accept_losses().await))
    }

    async fn list_hints(
        &self,
        _request: Request<ListHintsRequest>,
    ) -> Result<Response<ListHintsResponse>, Status> {
        Ok(Response::new(self.actions.list_hints()))
    }

    async fn reload(
        &self,
        request: Request<ReloadRequest>,
    ) -> Result<Response<ReloadResponse>, Status> {
        expect_local(request.remote_addr())?;
        Ok(Response::new(self.actions.reload()?))
    }

    async fn set_log_level(
        &self,
        request: Request<SetLogLevelRequest>,
    ) -> Result<Response<SetLogLevelResponse>, Status> {
        expect_local(request.remote_addr())?;
        let level = request.into_inner().level;
        Ok(Response::new(self.actions.set_log_level(&level)?))
    }

    async fn drop_hints(
        &self,
        request: Request<DropHintsRequest>,
    ) -> Result<Response<DropHintsResponse>, Status> {
        expect_local(request.remote_addr())?;
        let target = HintTarget::try_from(request.into_inner())?;
        Ok(Response::new(self.actions.drop_hints(target)?))
    }
}

/// The next news of a drain, and who waits for those after it: nobody, once it is over.
async fn told(
    news: Option<watch::Receiver<DrainProgress>>,
) -> Option<(
    Result<DrainProgress, Status>,
    Option<watch::Receiver<DrainProgress>>,
)> {
    let mut news = news?;
    news.changed().await.ok()?;
    let progress = news.borrow_and_update().clone();
    let rest = (!progress.done).then_some(news);
    Some((Ok(progress), rest))
}

/// Whoever changes the cluster has to be on the node's own machine, as long as callers cannot show who they are.
fn expect_local(caller: Option<SocketAddr>) -> Result<(), Status> {
    if caller.is_some_and(is_local) {
        return Ok(());
    }
    Err(Status::permission_denied(
        "this changes the cluster: it is for callers on the node's own machine, at a loopback address",
    ))
}

/// Whether a caller is on the node's own machine.
#[must_use]
pub fn is_local(caller: SocketAddr) -> bool {
    caller.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_hints_are_dropped_has_to_be_said_once() {
        let meant = |node: &str, all| {
            let node = node.to_owned();
            HintTarget::try_from(DropHintsRequest { node, all })
        };
        assert_eq!(meant("n1", false), Ok(HintTarget::Node("n1".to_owned())));
        assert_eq!(meant("", true), Ok(HintTarget::All));
        assert_eq!(meant("", false), Err(DropRefusal::NoTarget));
        assert_eq!(meant("n1", true), Err(DropRefusal::NoTarget));
    }

    #[test]
    fn only_loopback_callers_may_change_anything() {
        for (caller, may) in [
            (Some("127.0.0.1:5000"), true),
            (Some("[::1]:5000"), true),
            (Some("[::ffff:127.0.0.1]:5000"), true),
            (Some("10.0.0.7:5000"), false),
            (Some("[::ffff:10.0.0.7]:5000"), false),
            (None, false),
        ] {
            let address = caller.map(|caller| caller.parse().unwrap());
            assert_eq!(expect_local(address).is_ok(), may, "{caller:?}");
        }
    }
}
