//! The generator that is the ordinary Rust client: a call per outstanding request.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use shard_cache_client::{CallOptions, Client, ClientOptions, Ttl, Value};

use crate::{
    lane::{CONNECT_TIMEOUT, Lane, Shared},
    operation::{Answer, Ended, Kind, Operation},
    plan::Plan,
    timer::Timer,
    value::{self, Keys},
    wire::{Completed, Ticket},
};

/// Room for everything in a message beside key and value, in bytes.
const MESSAGE_SLACK_BYTES: usize = 64 * 1024;
/// Pause of a connection after its node could not be reached, in a closed loop.
const PAUSE: Duration = Duration::from_millis(100);

/// How the requests of a plan are put to a client.
#[derive(Clone, Debug)]
struct Terms {
    keys: Keys,
    ttl: Ttl,
    call: CallOptions,
    verify: bool,
}

/// Makes the requests of one lane until the run is over.
pub(crate) async fn drive(
    shared: Rc<Shared>,
    mut lane: Lane,
    plan: Plan,
    endpoint: String,
) -> io::Result<()> {
    let options = ClientOptions {
        connect_timeout: CONNECT_TIMEOUT,
        timeout: plan.timeout,
        message_bytes_max: plan.value_size.most as usize + plan.key_bytes + MESSAGE_SLACK_BYTES,
        ..ClientOptions::default()
    };
    let terms = Terms {
        keys: plan.keys_format(),
        ttl: plan.ttl,
        call: CallOptions {
            consistency: plan.consistency,
            ..CallOptions::default()
        },
        verify: plan.verify,
    };
    let mut timer = Timer::new()?;
    while !shared.is_over(Instant::now()) {
        match Client::connect(&endpoint, options).await {
            Ok(client) => {
                let mut work = Work {
                    client,
                    terms: &terms,
                    lane: &mut lane,
                    timer: &mut timer,
                    calls: FuturesUnordered::new(),
                };
                poll_fn(|cx| work.poll(&shared, cx)).await?;
                break;
            }
            Err(_unreachable) => lane.unreachable(&shared).await,
        }
    }
    lane.give_up(&shared);
    Ok(())
}

type Call = Pin<Box<dyn Future<Output = Completed>>>;

/// One client at work. It reconnects by itself.
struct Work<'a> {
    client: Client,
    terms: &'a Terms,
    lane: &'a mut Lane,
    timer: &'a mut Timer,
    calls: FuturesUnordered<Call>,
}

impl Work<'_> {
    fn poll(&mut self, shared: &Shared, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let now = Instant::now();
            while let Some((ticket, operation)) = self.lane.begin(shared, now) {
                let call = call(self.client.clone(), self.terms.clone(), ticket, operation);
                self.calls.push(Box::pin(call));
            }
            if let Poll::Ready(Some(Completed { ticket, ended })) = self.calls.poll_next_unpin(cx) {
                if ended == Ended::unreachable() && !self.lane.is_open() {
                    self.lane.pause(now + PAUSE);
                }
                self.lane.end(shared, ticket, ended, Instant::now());
                continue;
            }
            if self.lane.is_finished(shared, now) {
                return Poll::Ready(Ok(()));
            }
            if self.lane.sweep_is_due(now) {
                // The client keeps the deadlines itself.
                self.lane.put_off_sweep(now);
            }
            let wake = self.lane.wakes_at(shared, now, true);
            match self.timer.poll(wake, now, cx) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
        }
    }
}

async fn call(client: Client, terms: Terms, ticket: Ticket, operation: Operation) -> Completed {
    let mut key = Vec::with_capacity(terms.keys.bytes());
    terms.keys.write(operation.key, &mut key);
    let text = String::from_utf8_lossy(&key);
    let result = match operation.kind {
        Kind::Read => client
            .get(&text, &terms.call)
            .await
            .map(|read| match read.hit {
                None => Answer::Miss,
                Some(hit) if terms.verify && !value::verify(&key, hit.value.as_bytes()) => {
                    Answer::Corrupt
                }
                Some(_) => Answer::Hit,
            }),
        Kind::Write => {
            let bytes = operation.value_bytes as usize;
            let mut data = Vec::with_capacity(bytes + 8);
            value::write(&key, operation.sequence, bytes, &mut data);
            let value = Value::Bytes(Bytes::from(data));
            let written = client.set(&text, value, terms.ttl, &terms.call).await;
            written.map(|_| Answer::Stored)
        }
    };
    let ended = match result {
        Ok(answer) => Ended::Ok(answer),
        Err(error) => Ended::of_error(&error),
    };
    Completed { ticket, ended }
}
