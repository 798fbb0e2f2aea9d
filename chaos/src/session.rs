//! One client per node, and one recorded attempt at a time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use shard_cache_client::{
    CallOptions, Client, ClientError, ClientOptions, Outcome as Effect, Ttl, Value,
};

use crate::{
    history::{Action, Operation, Outcome, Purpose, Record},
    recorder::Recorder,
};

/// How long a node is left alone after it did not answer as it should; then one request tries it.
const REST_US: u64 = 200_000;
/// Requests at one node beside each other while other nodes are idle, so that a silent node does not stop every writer.
const AT_ONE_NODE_MAX: usize = 3;

/// Connections to all nodes. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    clients: Arc<[Client]>,
    turns: Arc<[Turns]>,
    recorder: Arc<Recorder>,
    purpose: Purpose,
}

impl Session {
    /// Connects to every node.
    ///
    /// # Errors
    /// The first node that cannot be reached.
    pub(crate) async fn connect(
        nodes: &[String],
        timeout: Duration,
        recorder: Arc<Recorder>,
        purpose: Purpose,
    ) -> Result<Self, ClientError> {
        let options = ClientOptions {
            timeout,
            ..ClientOptions::default()
        };
        let mut clients = Vec::with_capacity(nodes.len());
        for node in nodes {
            clients.push(Client::connect(node, options).await?);
        }
        Ok(Self {
            turns: clients.iter().map(|_| Turns::default()).collect(),
            clients: clients.into(),
            recorder,
            purpose,
        })
    }

    /// How many nodes there are.
    #[must_use]
    pub(crate) fn nodes(&self) -> usize {
        self.clients.len()
    }

    /// The first node from this place on that is neither left alone nor busy, or else the one at the place.
    #[must_use]
    pub(crate) fn pick(&self, place: usize) -> usize {
        let now = self.recorder.now_us();
        let mut turn = (0..self.nodes()).map(|step| (place + step) % self.nodes());
        turn.find(|node| self.turns[*node].take(now))
            .unwrap_or(place % self.nodes())
    }

    /// Makes one attempt at a node and records it.
    pub(crate) async fn attempt(
        &self,
        node: usize,
        key: &str,
        action: Action,
        attempt: u32,
    ) -> (Outcome, Option<String>) {
        let turns = &self.turns[node];
        turns.under_way.fetch_add(1, Ordering::Relaxed);
        let begun_us = self.recorder.now_us();
        let done = self.call(&self.clients[node], key, action).await;
        let ended_us = self.recorder.now_us();
        let outcome = match done.error.as_ref().map(ClientError::outcome) {
            None => Outcome::Ok,
            Some(Effect::NotApplied) => Outcome::Failed,
            Some(Effect::Unknown) => Outcome::Unknown,
        };
        turns.under_way.fetch_sub(1, Ordering::Relaxed);
        let rests_until = if outcome == Outcome::Ok {
            0
        } else {
            ended_us + REST_US
        };
        turns.rests_until.store(rests_until, Ordering::Relaxed);
        let found = match &done.action {
            Action::Get { found } => found.clone(),
            Action::Set { .. } | Action::Delete => None,
        };
        self.recorder.push(Record::Operation(Operation {
            key: key.to_owned(),
            action: done.action,
            node,
            begun_us,
            ended_us,
            outcome,
            version: done.version,
            error: done.error.map(|error| error.to_string()),
            purpose: self.purpose,
            attempt,
        }));
        (outcome, found)
    }

    async fn call(&self, client: &Client, key: &str, action: Action) -> Done {
        let options = CallOptions::default();
        let (action, result) = match action {
            Action::Set { value } => {
                // Not the default TTL: an expired value would look like a lost one.
                let set = client.set(key, Value::from(value.as_str()), Ttl::Never, &options);
                let result = set.await.map(|written| Some(written.version));
                (Action::Set { value }, result)
            }
            Action::Delete => {
                let result = client.delete(key, &options).await;
                (Action::Delete, result.map(|deleted| Some(deleted.version)))
            }
            Action::Get { .. } => match client.get(key, &options).await {
                Ok(read) => {
                    let version = read.version;
                    let text =
                        |value: Value| String::from_utf8_lossy(value.as_bytes()).into_owned();
                    let found = read.hit.map(|hit| text(hit.value));
                    (Action::Get { found }, Ok(version))
                }
                Err(error) => (Action::Get { found: None }, Err(error)),
            },
        };
        match result {
            Ok(version) => Done {
                action,
                version: version.map(|v| format!("{}.{}.{}", v.millis, v.counter, v.writer)),
                error: None,
            },
            Err(error) => Done {
                action,
                version: None,
                error: Some(error),
            },
        }
    }
}

/// Which requests a node gets, as a client with some sense would share them out.
#[derive(Debug, Default)]
struct Turns {
    under_way: AtomicUsize,
    /// 0 for a node that answers.
    rests_until: AtomicU64,
}

impl Turns {
    /// Whether the caller may ask this node now. Where it rested, only the first who asks may.
    fn take(&self, now: u64) -> bool {
        let rests_until = self.rests_until.load(Ordering::Relaxed);
        if rests_until == 0 {
            return self.under_way.load(Ordering::Relaxed) < AT_ONE_NODE_MAX;
        }
        let next = now + REST_US;
        rests_until <= now
            && self
                .rests_until
                .compare_exchange(rests_until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

struct Done {
    action: Action,
    version: Option<String>,
    error: Option<ClientError>,
}
