//! The peer port of a simulated node: production's messages, encoded and decoded by production's codecs, over the
//! connections of the world.
//!
//! A connection begins with one byte that says what it is for. A link then carries batches one way and reply batches the
//! other; a call carries one request and one answer, which begins with the code of its status.

use std::{
    collections::VecDeque,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_core::Stream;
use futures_util::StreamExt as _;
use prost::Message;
use shard_cache::{
    api::peer::{PeerApi, PeerParts},
    clock::BoxFuture,
    transport::{
        CallError, Outgoing,
        dial::{Connection, Dialer, LinkConnection, Replies},
    },
};
use shard_cache_proto::peer::{self, peer_server::Peer as _};
use tonic::{Code, Request, Response, Status};

use crate::{
    plant::{self, Plant},
    repeats::Repeats,
    world::{
        HostId, World,
        streams::{Duplex, Listener},
    },
};

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Purpose {
    Link = 1,
    PushPull = 2,
    PullSlots = 3,
    Deliver = 4,
    Report = 5,
    ExchangeSlots = 6,
    CompareSlots = 7,
}

impl Purpose {
    const fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Link),
            2 => Some(Self::PushPull),
            3 => Some(Self::PullSlots),
            4 => Some(Self::Deliver),
            5 => Some(Self::Report),
            6 => Some(Self::ExchangeSlots),
            7 => Some(Self::CompareSlots),
            _ => None,
        }
    }
}

/// Connects a node to others over the world's network.
pub struct SimDialer {
    world: World,
    host: HostId,
    repeats: Repeats,
}

impl SimDialer {
    /// For the node on a host, whose sends are counted.
    #[must_use]
    pub const fn new(world: World, host: HostId, repeats: Repeats) -> Self {
        Self {
            world,
            host,
            repeats,
        }
    }
}

impl Dialer for SimDialer {
    fn dial(&self, address: SocketAddr) -> BoxFuture<Result<Box<dyn Connection>, CallError>> {
        let (world, host, repeats) = (self.world.clone(), self.host, self.repeats.clone());
        let connecting = world.connect(host, address);
        Box::pin(async move {
            let duplex = connecting.await.ok_or_else(|| CallError::Unreachable {
                reason: "connection refused".to_owned(),
            })?;
            Ok(Box::new(SimConnection {
                world,
                host,
                duplex,
                repeats,
            }) as Box<dyn Connection>)
        })
    }
}

struct SimConnection {
    world: World,
    host: HostId,
    duplex: Duplex,
    repeats: Repeats,
}

impl SimConnection {
    async fn call<R: Message + Default>(
        self,
        purpose: Purpose,
        request: impl Message,
    ) -> Result<R, Status> {
        self.duplex.send(framed(purpose as u8, &request));
        let answer = self.duplex.receive().await.ok_or_else(broken)?;
        let (code, body) = answer.split_first().ok_or_else(broken)?;
        match Code::from(i32::from(*code)) {
            Code::Ok => R::decode(body).map_err(|error| Status::internal(error.to_string())),
            code => Err(Status::new(code, String::from_utf8_lossy(body))),
        }
    }
}

impl LinkConnection for SimConnection {
    fn link(self: Box<Self>, outgoing: Outgoing) -> BoxFuture<Result<Replies, Status>> {
        Box::pin(async move {
            let Self {
                world,
                host,
                duplex,
                ..
            } = *self;
            duplex.send(Bytes::from_static(&[Purpose::Link as u8]));
            duplex.receive().await.ok_or_else(broken)?;
            let sender = duplex.sender();
            let mut outgoing = Box::pin(outgoing);
            let pump = async move {
                while sender.writable().await {
                    match outgoing.next().await {
                        Some(batch) => sender.send(batch.encode_to_vec().into()),
                        None => return,
                    }
                }
            };
            world.spawn(host, "outgoing", Box::pin(pump));
            Ok(Box::pin(LinkReplies(duplex)) as Replies)
        })
    }
}

impl Connection for SimConnection {
    fn push_pull(
        self: Box<Self>,
        request: peer::PushPullRequest,
    ) -> BoxFuture<Result<peer::PushPullResponse, Status>> {
        Box::pin(self.call(Purpose::PushPull, request))
    }

    fn pull_slots(
        self: Box<Self>,
        request: peer::PullSlotsRequest,
    ) -> BoxFuture<Result<peer::PullSlotsResponse, Status>> {
        self.repeats.pull(self.host, &request);
        Box::pin(self.call(Purpose::PullSlots, request))
    }

    fn exchange_slots(
        self: Box<Self>,
        request: peer::ExchangeSlotsRequest,
    ) -> BoxFuture<Result<peer::ExchangeSlotsResponse, Status>> {
        Box::pin(self.call(Purpose::ExchangeSlots, request))
    }

    fn compare_slots(
        self: Box<Self>,
        request: peer::CompareSlotsRequest,
    ) -> BoxFuture<Result<peer::CompareSlotsResponse, Status>> {
        Box::pin(self.call(Purpose::CompareSlots, request))
    }

    fn deliver(
        self: Box<Self>,
        request: peer::DeliverRequest,
    ) -> BoxFuture<Result<peer::DeliverResponse, Status>> {
        self.repeats.deliver(self.host, &request);
        Box::pin(self.call(Purpose::Deliver, request))
    }

    fn report(
        self: Box<Self>,
        request: peer::ReportRequest,
    ) -> BoxFuture<Result<peer::ReportResponse, Status>> {
        Box::pin(self.call(Purpose::Report, request))
    }
}

struct LinkReplies(Duplex);

impl Stream for LinkReplies {
    type Item = Result<peer::ReplyBatch, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let decode = |bytes: Bytes| {
            peer::ReplyBatch::decode(bytes).map_err(|error| Status::internal(error.to_string()))
        };
        self.0
            .poll_receive(context)
            .map(|received| received.map(decode))
    }
}

/// Serves the peer port of a node, with a bug or without.
#[must_use]
pub fn listener(parts: Arc<PeerParts>, plant: Option<Plant>) -> Listener {
    Arc::new(move |duplex| Box::pin(serve(duplex, Arc::clone(&parts), plant)))
}

async fn serve(duplex: Duplex, parts: Arc<PeerParts>, plant: Option<Plant>) {
    let Some(first) = duplex.receive().await else {
        return;
    };
    let Some((purpose, body)) = first.split_first() else {
        return;
    };
    let body = first.slice_ref(body);
    let api = PeerApi {
        parts: Arc::clone(&parts),
    };
    match Purpose::of(*purpose) {
        Some(Purpose::Link) => serve_link(&duplex, &parts, plant).await,
        Some(Purpose::PushPull) => answer(&duplex, body, |request| api.push_pull(request)).await,
        Some(Purpose::PullSlots) => {
            let pull = async |request| {
                let page: Response<_> = api.pull_slots(request).await?;
                Ok(page.map(|page| plant::wire::page(plant, page)))
            };
            answer(&duplex, body, pull).await;
        }
        Some(Purpose::Deliver) => {
            let deliver = async |request: Request<_>| {
                let request = plant::wire::deliver(plant, request.into_inner());
                api.deliver(Request::new(request)).await
            };
            answer(&duplex, body, deliver).await;
        }
        Some(Purpose::ExchangeSlots) => {
            let exchange = async |request: Request<peer::ExchangeSlotsRequest>| {
                let asked = plant.is_some().then(|| request.get_ref().clone());
                let response = api.exchange_slots(request).await?;
                Ok(match asked {
                    Some(asked) => response.map(|it| plant::slots::replies(plant, &asked, it)),
                    None => response,
                })
            };
            answer(&duplex, body, exchange).await;
        }
        Some(Purpose::CompareSlots) => {
            let compare = async |request: Request<_>| {
                let request = request.map(|it| plant::wire::compare(plant, it));
                let response: Response<_> = api.compare_slots(request).await?;
                Ok(response.map(|it| plant::wire::comparison(plant, it)))
            };
            answer(&duplex, body, compare).await;
        }
        Some(Purpose::Report) => answer(&duplex, body, |request| api.report(request)).await,
        None => {}
    }
}

async fn serve_link(duplex: &Duplex, parts: &PeerParts, plant: Option<Plant>) {
    duplex.send(Bytes::from_static(&[Purpose::Link as u8]));
    let mut ready = VecDeque::new();
    while let Some(bytes) = duplex.receive().await {
        let Ok(batch) = peer::Batch::decode(bytes) else {
            return;
        };
        plant::wire::answer(plant, parts, batch, &mut ready);
        for replies in ready.drain(..) {
            if !duplex.writable().await {
                return;
            }
            duplex.send(replies.encode_to_vec().into());
        }
    }
}

async fn answer<Q: Message + Default, A: Message, F>(
    duplex: &Duplex,
    body: Bytes,
    call: impl FnOnce(Request<Q>) -> F,
) where
    F: Future<Output = Result<Response<A>, Status>>,
{
    let Ok(request) = Q::decode(body) else {
        return;
    };
    let answer = match call(Request::new(request)).await {
        Ok(response) => framed(Code::Ok as u8, response.get_ref()),
        Err(status) => {
            let code = u8::try_from(i32::from(status.code())).unwrap_or(u8::MAX);
            let mut frame = BytesMut::with_capacity(1 + status.message().len());
            frame.put_u8(code);
            frame.put_slice(status.message().as_bytes());
            frame.freeze()
        }
    };
    duplex.send(answer);
    // The caller closes when it has its answer: closing first would reset what is on its way.
    duplex.receive().await;
}

fn framed(first: u8, message: &impl Message) -> Bytes {
    let mut frame = BytesMut::with_capacity(1 + message.encoded_len());
    frame.put_u8(first);
    frame.put_slice(&message.encode_to_vec());
    frame.freeze()
}

fn broken() -> Status {
    Status::unavailable("the connection broke")
}
