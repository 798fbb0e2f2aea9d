//! A push-pull of a node that does not take part yet: it has no links, no replica and no clock of its own that others
//! should hear.

use std::net::SocketAddr;

use bytes::Bytes;
use shard_cache_proto::peer;

use crate::transport::{CallError, PushPull, dial::Dialer, streams::call_error};

/// Which cluster the node wants to join, and by which terms.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The cluster's id.
    pub cluster_id: String,
    /// Settings that must be equal on all nodes.
    pub parameters: String,
}

/// Sends the member state to the node at an address and returns its own. The caller limits how long that may take by
/// dropping the future, which leaves nothing behind.
///
/// # Errors
/// [`CallError`]; the other node may have taken the state in all the same.
pub async fn push_pull(
    dialer: &dyn Dialer,
    terms: &Terms,
    address: SocketAddr,
    members: Bytes,
) -> Result<PushPull, CallError> {
    let request = peer::PushPullRequest {
        cluster_id: terms.cluster_id.clone(),
        parameters: terms.parameters.clone(),
        members,
        ring: Bytes::new(),
        orders: Bytes::new(),
        clock: 0,
    };
    let connection = dialer.dial(address).await?;
    let response = connection.push_pull(request).await.map_err(call_error)?;
    Ok(PushPull {
        members: response.members,
        ring: response.ring,
        orders: response.orders,
    })
}
