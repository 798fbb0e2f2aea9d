//! A link made of calls: one call and one task per operation. There to be compared with the stream, in the same binary and
//! under the same rules; answers keep the order of the operations here as well.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use futures_util::stream::FuturesOrdered;
use shard_cache_proto::peer::{self, peer_client::PeerClient};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Response, Status, transport::Channel};

use crate::transport::streams::Outgoing;

/// The answers to the calls, each of which is made as soon as its operation is queued. Dropping it ends them.
pub(super) struct UnaryReplies {
    client: PeerClient<Channel>,
    outgoing: Outgoing,
    calls: FuturesOrdered<AbortOnDropHandle<Result<peer::ReplyBatch, Status>>>,
}

impl UnaryReplies {
    pub(super) fn new(client: PeerClient<Channel>, outgoing: Outgoing) -> Self {
        Self {
            client,
            outgoing,
            calls: FuturesOrdered::new(),
        }
    }

    fn call(&mut self, batch: peer::Batch) {
        let mut client = self.client.clone();
        let call = async move { client.operate(batch).await.map(Response::into_inner) };
        let call = Handle::current().spawn(call);
        self.calls.push_back(AbortOnDropHandle::new(call));
    }

    /// Makes a call of each operation.
    fn call_each(&mut self, batch: peer::Batch) {
        if batch.operations.is_empty() {
            self.call(batch);
            return;
        }
        for operation in batch.operations {
            self.call(peer::Batch {
                sender: batch.sender,
                receiver: batch.receiver,
                clock: batch.clock,
                operations: vec![operation],
            });
        }
    }
}

impl Stream for UnaryReplies {
    type Item = Result<peer::ReplyBatch, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match Pin::new(&mut self.outgoing).poll_next(context) {
                Poll::Ready(Some(batch)) => self.call_each(batch),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        match Pin::new(&mut self.calls).poll_next(context) {
            Poll::Ready(Some(Ok(answered))) => Poll::Ready(Some(answered)),
            Poll::Ready(Some(Err(ended))) => {
                Poll::Ready(Some(Err(Status::internal(ended.to_string()))))
            }
            // Without a call under way there is nothing to wait for but the next operation.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}
