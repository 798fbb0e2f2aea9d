//! What operators do with nodes.

use shard_cache_proto::cluster::{
    AcceptLossesRequest, AcceptLossesResponse, DrainProgress, DrainRequest, DropHintsRequest,
    DropHintsResponse, ForgetRequest, ForgetResponse, ListHintsRequest, ListHintsResponse,
    ReloadRequest, ReloadResponse, SafeToStopRequest, SafeToStopResponse, SetLogLevelRequest,
    SetLogLevelResponse,
};
use tonic::Streaming;

use crate::{
    client::Client,
    deadline::{bounded, request},
    error::ClientError,
};

/// Whose hints are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HintTarget<'a> {
    /// Those of the member of this name or id.
    Node(&'a str),
    /// Everybody's.
    All,
}

impl Client {
    /// Whether the node may stop, or be lost, without the loss of anything acknowledged, and why not.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn safe_to_stop(&self) -> Result<SafeToStopResponse, ClientError> {
        let mut admin = self.admin.clone();
        let call = admin.safe_to_stop(request(SafeToStopRequest {}, self.timeout));
        self.name(bounded(self.timeout, call).await)
    }

    /// Has the node leave in order and end. Returns once the node has begun; how far it is follows. Dropping that, or
    /// this future, does not end the drain. The node carries it out for callers on its own machine only.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn drain(&self) -> Result<DrainProgresses, ClientError> {
        let mut admin = self.admin.clone();
        // The stream goes on for as long as the drain does: no deadline of the whole call.
        let call = admin.drain(DrainRequest {});
        let stream = self.name(bounded(self.timeout, call).await)?;
        Ok(DrainProgresses {
            stream,
            client: self.clone(),
        })
    }

    /// Has the node read its configuration again and put into use what may change while it runs. The node carries it out
    /// for callers on its own machine only.
    ///
    /// # Errors
    /// See [`ClientError`]. Where the configuration is wrong, nothing has changed.
    pub async fn reload(&self) -> Result<ReloadResponse, ClientError> {
        let mut admin = self.admin.clone();
        let call = admin.reload(request(ReloadRequest {}, self.timeout));
        self.name(bounded(self.timeout, call).await)
    }

    /// Has the node log by another level, or by directives, until it is restarted or reads its configuration again. The
    /// node carries it out for callers on its own machine only.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_log_level(&self, level: &str) -> Result<SetLogLevelResponse, ClientError> {
        let mut admin = self.admin.clone();
        let message = SetLogLevelRequest {
            level: level.to_owned(),
        };
        let call = admin.set_log_level(request(message, self.timeout));
        self.name(bounded(self.timeout, call).await)
    }

    /// Declares a member gone for good, by its name or id. The node carries it out for callers on its own machine only.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn forget(&self, node: &str) -> Result<ForgetResponse, ClientError> {
        let mut admin = self.admin.clone();
        let message = ForgetRequest {
            node: node.to_owned(),
        };
        let call = admin.forget(request(message, self.timeout));
        self.name(bounded(self.timeout, call).await)
    }

    /// Lets slots start afresh that have lost their data, where that waits for an operator. The node carries it out for
    /// callers on its own machine only.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn accept_losses(&self) -> Result<AcceptLossesResponse, ClientError> {
        let mut admin = self.admin.clone();
        let call = admin.accept_losses(request(AcceptLossesRequest {}, self.timeout));
        self.name(bounded(self.timeout, call).await)
    }

    /// What the node owes to others because they did not answer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_hints(&self) -> Result<ListHintsResponse, ClientError> {
        let mut admin = self.admin.clone();
        let call = admin.list_hints(request(ListHintsRequest {}, self.timeout));
        self.name(bounded(self.timeout, call).await)
    }

    /// Drops what the node owes to one member, or to all. The node carries it out for callers on its own machine only.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn drop_hints(
        &self,
        target: HintTarget<'_>,
    ) -> Result<DropHintsResponse, ClientError> {
        let mut admin = self.admin.clone();
        let message = match target {
            HintTarget::Node(node) => DropHintsRequest {
                node: node.to_owned(),
                all: false,
            },
            HintTarget::All => DropHintsRequest {
                node: String::new(),
                all: true,
            },
        };
        let call = admin.drop_hints(request(message, self.timeout));
        self.name(bounded(self.timeout, call).await)
    }
}

/// How far a drain is, as the node tells it.
#[derive(Debug)]
pub struct DrainProgresses {
    stream: Streaming<DrainProgress>,
    client: Client,
}

impl DrainProgresses {
    /// The next news; `None` when there are no more. The last one says that the drain is done. Cancel-safe.
    ///
    /// # Errors
    /// See [`ClientError`]: the connection broke. The node goes on leaving.
    pub async fn next(&mut self) -> Result<Option<DrainProgress>, ClientError> {
        let told = self.stream.message().await;
        self.client
            .name(told.map_err(|status| ClientError::from_status(status, self.client.timeout)))
    }
}
