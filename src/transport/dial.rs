//! The I/O below the transport: how a peer is reached, in messages. Production puts gRPC behind it, the simulator its own
//! network; queues, batches, reconnecting and the breaker are above it and the same for both.

use std::{net::SocketAddr, pin::Pin};

use futures_core::Stream;
use shard_cache_proto::peer;
use tonic::Status;

use crate::{
    clock::BoxFuture,
    transport::{CallError, streams::Outgoing},
};

/// The replies of a link, in the order of the operations. Ends, or fails, with the connection.
pub type Replies = Pin<Box<dyn Stream<Item = Result<peer::ReplyBatch, Status>> + Send>>;

/// Connects to peers.
pub trait Dialer: Send + Sync + 'static {
    /// Connects to the peer port at an address. The caller limits how long that may take by dropping the future.
    fn dial(&self, address: SocketAddr) -> BoxFuture<Result<Box<dyn Connection>, CallError>>;

    /// The same for a connection that will be a link, where that is another kind.
    fn dial_link(
        &self,
        address: SocketAddr,
    ) -> BoxFuture<Result<Box<dyn LinkConnection>, CallError>> {
        let dialed = self.dial(address);
        Box::pin(async move {
            dialed
                .await
                .map(|connection| connection as Box<dyn LinkConnection>)
        })
    }
}

/// A connection to a peer that can become a link.
pub trait LinkConnection: Send {
    /// Opens a link: everything that `outgoing` yields is sent, in order, whenever the connection can take more. Dropping
    /// what it returns closes the connection.
    fn link(self: Box<Self>, outgoing: Outgoing) -> BoxFuture<Result<Replies, Status>>;
}

/// A connection to a peer: good for one link or one call. Dropping what it returns closes it.
pub trait Connection: LinkConnection {
    /// Exchanges the full member state.
    fn push_pull(
        self: Box<Self>,
        request: peer::PushPullRequest,
    ) -> BoxFuture<Result<peer::PushPullResponse, Status>>;

    /// Reads a page of records.
    fn pull_slots(
        self: Box<Self>,
        request: peer::PullSlotsRequest,
    ) -> BoxFuture<Result<peer::PullSlotsResponse, Status>>;

    /// Asks where the peer is in some slots.
    fn exchange_slots(
        self: Box<Self>,
        request: peer::ExchangeSlotsRequest,
    ) -> BoxFuture<Result<peer::ExchangeSlotsResponse, Status>>;

    /// Asks in which of some slots the peer has other data.
    fn compare_slots(
        self: Box<Self>,
        request: peer::CompareSlotsRequest,
    ) -> BoxFuture<Result<peer::CompareSlotsResponse, Status>>;

    /// Hands records over.
    fn deliver(
        self: Box<Self>,
        request: peer::DeliverRequest,
    ) -> BoxFuture<Result<peer::DeliverResponse, Status>>;

    /// Asks for the peer's report.
    fn report(
        self: Box<Self>,
        request: peer::ReportRequest,
    ) -> BoxFuture<Result<peer::ReportResponse, Status>>;
}
