//! One client per node, and one recorded attempt at a time.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
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

/// Connections to all nodes that are there. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    nodes: Arc<[Asked]>,
    timeout: Duration,
    recorder: Arc<Recorder>,
    purpose: Purpose,
}

/// A node, and whether it is among those that are asked.
#[derive(Debug)]
struct Asked {
    address: String,
    /// None before it has joined and after it has left.
    client: Mutex<Option<Client>>,
    turns: Turns,
}

impl Asked {
    fn client(&self) -> Option<Client> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.clone()
    }

    fn set_client(&self, client: Option<Client>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }
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
        let session = Self::without_nodes(nodes, timeout, recorder, purpose);
        for place in 0..nodes.len() {
            session.join(place).await?;
        }
        Ok(session)
    }

    /// Connects to nobody yet.
    #[must_use]
    pub(crate) fn without_nodes(
        nodes: &[String],
        timeout: Duration,
        recorder: Arc<Recorder>,
        purpose: Purpose,
    ) -> Self {
        let asked = |address: &String| Asked {
            address: address.clone(),
            client: Mutex::new(None),
            turns: Turns::default(),
        };
        Self {
            nodes: nodes.iter().map(asked).collect(),
            timeout,
            recorder,
            purpose,
        }
    }

    /// Connects to a node, and asks it from now on.
    ///
    /// # Errors
    /// It cannot be reached.
    pub(crate) async fn join(&self, place: usize) -> Result<(), ClientError> {
        let options = ClientOptions {
            timeout: self.timeout,
            ..ClientOptions::default()
        };
        let node = &self.nodes[place];
        node.set_client(Some(Client::connect(&node.address, options).await?));
        Ok(())
    }

    /// Asks a node no more.
    pub(crate) fn leave(&self, place: usize) {
        self.nodes[place].set_client(None);
    }

    /// Over the same connections for another purpose.
    #[must_use]
    pub(crate) fn for_purpose(&self, purpose: Purpose) -> Self {
        Self {
            purpose,
            ..self.clone()
        }
    }

    /// Places of the nodes that are asked.
    #[must_use]
    pub(crate) fn places(&self) -> Vec<usize> {
        let places = 0..self.nodes.len();
        places.filter(|place| self.is_asked(*place)).collect()
    }

    /// Addresses of the nodes that are asked.
    #[must_use]
    pub(crate) fn addresses(&self) -> Vec<String> {
        let places = self.places().into_iter();
        places
            .map(|place| self.nodes[place].address.clone())
            .collect()
    }

    fn is_asked(&self, place: usize) -> bool {
        self.nodes[place].client().is_some()
    }

    /// The first node from this place on that is neither left alone nor busy, or else one that answers.
    #[must_use]
    pub(crate) fn pick(&self, place: usize) -> usize {
        let now = self.recorder.now_us();
        let turn = self.turn(place);
        let idle = turn.iter().find(|node| self.nodes[**node].turns.take(now));
        idle.copied().unwrap_or_else(|| {
            self.first_answering(&turn)
                .unwrap_or(place % self.nodes.len())
        })
    }

    /// Where to try again what failed at a node: another one that answers, if there is one.
    #[must_use]
    pub(crate) fn pick_other(&self, place: usize, than: usize) -> usize {
        let mut turn = self.turn(place);
        turn.retain(|node| *node != than);
        self.first_answering(&turn).unwrap_or(than)
    }

    /// The nodes that are asked, from a place on.
    fn turn(&self, place: usize) -> Vec<usize> {
        let count = self.nodes.len();
        let turn = (0..count).map(|step| (place + step) % count);
        turn.filter(|node| self.is_asked(*node)).collect()
    }

    fn first_answering(&self, turn: &[usize]) -> Option<usize> {
        let answering = turn.iter().find(|node| self.nodes[**node].turns.answers());
        answering.or(turn.first()).copied()
    }

    /// Makes one attempt at a node and records it.
    pub(crate) async fn attempt(
        &self,
        node: usize,
        key: &str,
        action: Action,
        attempt: u32,
    ) -> (Outcome, Option<String>) {
        let turns = &self.nodes[node].turns;
        turns.under_way.fetch_add(1, Ordering::Relaxed);
        let begun_us = self.recorder.now_us();
        let done = match self.nodes[node].client() {
            Some(client) => self.call(&client, key, action).await,
            // It left between being picked and being asked.
            None => Done {
                action,
                version: None,
                error: Some(ClientError::Unreachable {
                    endpoint: self.nodes[node].address.clone(),
                    message: "it has left".to_owned(),
                }),
            },
        };
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

    /// Deletes a key by the first node that does it, and records nothing.
    pub(crate) async fn delete(&self, key: &str) -> bool {
        for place in self.places() {
            let client = self.nodes[place].client();
            if let Some(client) = client
                && client.delete(key, &CallOptions::default()).await.is_ok()
            {
                return true;
            }
        }
        false
    }

    async fn call(&self, client: &Client, key: &str, action: Action) -> Done {
        let options = CallOptions::default();
        let (action, result) = match action {
            Action::Set { value, ttl_ms } => {
                // Not the default TTL, which nobody here would know.
                let ttl = ttl_ms.map_or(Ttl::Never, |ttl| Ttl::After(Duration::from_millis(ttl)));
                let set = client.set(key, Value::from(value.as_str()), ttl, &options);
                let result = set.await.map(|written| Some(written.version));
                (Action::Set { value, ttl_ms }, result)
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
    /// Whether the node did what it was asked last.
    fn answers(&self) -> bool {
        self.rests_until.load(Ordering::Relaxed) == 0
    }

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
