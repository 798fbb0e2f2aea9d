//! Connections of production: gRPC over TCP, by tonic.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use shard_cache_proto::peer::{self, peer_client::PeerClient};
use tonic::{
    Response, Status,
    transport::{Channel, Endpoint},
};

use crate::{
    clock::{BoxFuture, Clock},
    transport::{
        CallError, MESSAGE_BYTES_MAX,
        dial::{Connection, Dialer, LinkConnection, Replies},
        frames::FramedConnection,
        streams::Outgoing,
        unary::UnaryReplies,
    },
};

/// A quiet link is pinged this often and closed when the answer takes as long again, so that a silent cut is noticed.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// How the operations of a link travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkMode {
    /// In batches, in bare frames on a connection of their own.
    Frames,
    /// In batches on one long-lived gRPC stream.
    Stream,
    /// In a call of its own each: for comparison.
    Unary,
}

/// Connects over TCP.
#[derive(Clone)]
pub struct GrpcDialer {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How the operations of a link travel.
    pub mode: LinkMode,
}

impl GrpcDialer {
    fn endpoint(&self, address: SocketAddr) -> Endpoint {
        // A socket address always makes a valid URI.
        Endpoint::from_shared(format!("http://{address}"))
            .unwrap_or_else(|_invalid| Endpoint::from_static("http://0.0.0.0:0"))
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(8 * 1024 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
    }
}

impl Dialer for GrpcDialer {
    fn dial(&self, address: SocketAddr) -> BoxFuture<Result<Box<dyn Connection>, CallError>> {
        let endpoint = self.endpoint(address);
        let mode = self.mode;
        Box::pin(async move {
            let channel = endpoint.connect().await.map_err(|error| {
                let reason = error.to_string();
                CallError::Unreachable { reason }
            })?;
            let client = PeerClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            Ok(Box::new(GrpcConnection { client, mode }) as Box<dyn Connection>)
        })
    }

    fn dial_link(
        &self,
        address: SocketAddr,
    ) -> BoxFuture<Result<Box<dyn LinkConnection>, CallError>> {
        if self.mode != LinkMode::Frames {
            let dialed = self.dial(address);
            return Box::pin(async move { Ok(dialed.await? as Box<dyn LinkConnection>) });
        }
        let clock = Arc::clone(&self.clock);
        Box::pin(async move {
            let connected = FramedConnection::connect(address, clock).await;
            let connection = connected.map_err(|error| CallError::Unreachable {
                reason: error.to_string(),
            })?;
            Ok(Box::new(connection) as Box<dyn LinkConnection>)
        })
    }
}

struct GrpcConnection {
    client: PeerClient<Channel>,
    mode: LinkMode,
}

impl LinkConnection for GrpcConnection {
    fn link(mut self: Box<Self>, outgoing: Outgoing) -> BoxFuture<Result<Replies, Status>> {
        Box::pin(async move {
            match self.mode {
                LinkMode::Unary => {
                    Ok(Box::pin(UnaryReplies::new(self.client, outgoing)) as Replies)
                }
                LinkMode::Stream | LinkMode::Frames => {
                    let opened = self.client.link(outgoing).await?;
                    Ok(Box::pin(opened.into_inner()) as Replies)
                }
            }
        })
    }
}

impl Connection for GrpcConnection {
    fn push_pull(
        mut self: Box<Self>,
        request: peer::PushPullRequest,
    ) -> BoxFuture<Result<peer::PushPullResponse, Status>> {
        Box::pin(async move {
            self.client
                .push_pull(request)
                .await
                .map(Response::into_inner)
        })
    }

    fn pull_slots(
        mut self: Box<Self>,
        request: peer::PullSlotsRequest,
    ) -> BoxFuture<Result<peer::PullSlotsResponse, Status>> {
        Box::pin(async move {
            self.client
                .pull_slots(request)
                .await
                .map(Response::into_inner)
        })
    }

    fn exchange_slots(
        mut self: Box<Self>,
        request: peer::ExchangeSlotsRequest,
    ) -> BoxFuture<Result<peer::ExchangeSlotsResponse, Status>> {
        Box::pin(async move {
            self.client
                .exchange_slots(request)
                .await
                .map(Response::into_inner)
        })
    }

    fn compare_slots(
        mut self: Box<Self>,
        request: peer::CompareSlotsRequest,
    ) -> BoxFuture<Result<peer::CompareSlotsResponse, Status>> {
        Box::pin(async move {
            self.client
                .compare_slots(request)
                .await
                .map(Response::into_inner)
        })
    }

    fn deliver(
        mut self: Box<Self>,
        request: peer::DeliverRequest,
    ) -> BoxFuture<Result<peer::DeliverResponse, Status>> {
        Box::pin(async move { self.client.deliver(request).await.map(Response::into_inner) })
    }

    fn report(
        mut self: Box<Self>,
        request: peer::ReportRequest,
    ) -> BoxFuture<Result<peer::ReportResponse, Status>> {
        Box::pin(async move { self.client.report(request).await.map(Response::into_inner) })
    }
}
