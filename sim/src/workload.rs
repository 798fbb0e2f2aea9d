//! Clients: each sends one request after the other to some node and notes what became of it.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use shard_cache::store::Value;
use tokio::sync::oneshot;

use crate::{
    cluster::Cluster,
    history::{self, Life, Operation, Outcome, Request, ValueId, Version},
    plant::edge,
    port,
    world::{HostId, Nanos, nanos},
};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// Times to live that clients ask for, in milliseconds: usual ones, and in one of so many sets each very short and very
/// long ones, up to ten years.
const TTL_MILLIS: std::ops::Range<u64> = 1_000..20_000;
const TTL_MILLIS_SHORT: std::ops::Range<u64> = 1..1_000;
const TTL_MILLIS_LONG: std::ops::RangeInclusive<u64> = 3_600_000..=10 * 365 * 86_400_000;
const TTL_ODD: u32 = 6;
/// One set in so many leaves the life of the value to the nodes.
const TTL_DEFAULT: u32 = 10;
/// One set in so many has an empty value, and one in so many a huge one.
const EMPTY: u32 = 40;
const HUGE: u32 = 400;
/// The id of every empty value: it has no room for one of its own.
const EMPTY_ID: ValueId = ValueId(u64::MAX);
/// A client waits so much longer for an answer than it says.
const PATIENCE_NANOS: Nanos = 100_000_000;
/// Between a client and a node, one way.
const CLIENT_DELAY_NANOS: std::ops::Range<Nanos> = 30_000..400_000;
/// Smallest value that is not empty, in bytes: its id.
const VALUE_BYTES_MIN: usize = 8;
/// One request in so many has hardly any time.
const HASTY: u32 = 12;
/// Of one request in so many the client goes away at once.
const FICKLE: u32 = 30;

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Which node it asks.
    pub node: u16,
    /// Which key.
    pub key: u32,
    /// What.
    pub request: Request,
    /// Owners that must take part.
    pub consistency: history::Consistency,
    /// Whether fewer would do.
    pub degrade: history::Degrade,
    /// How long it gives the request.
    pub budget: Duration,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Whether the life of the value is left to the node.
    pub by_default: bool,
    /// How long the client waits for the answer.
    pub patience: Duration,
    /// How long it takes to the node.
    pub there: Duration,
    /// And back.
    pub back: Duration,
}

impl Ask {
    /// Reads a key, with a second for it.
    #[must_use]
    pub const fn read(node: u16, key: u32, consistency: history::Consistency) -> Self {
        Self {
            node,
            key,
            request: Request::Get,
            consistency,
            degrade: history::Degrade::Refuse,
            budget: Duration::from_secs(1),
            value_bytes: VALUE_BYTES_MIN,
            by_default: false,
            patience: Duration::from_millis(1_100),
            there: Duration::from_micros(100),
            back: Duration::from_micros(100),
        }
    }
}

/// The name of a key. One is as short and one as long as a key may be.
#[must_use]
pub fn key_name(key: u32) -> String {
    match key {
        SHORT_KEY => "k".to_owned(),
        LONG_KEY => format!("{:-<KEY_BYTES_MAX$}", format!("key-{key}")),
        _ => format!("key-{key}"),
    }
}

const SHORT_KEY: u32 = 1;
const LONG_KEY: u32 = 2;

/// One client.
pub struct Client {
    cluster: Cluster,
    id: u32,
    rng: SmallRng,
    asked: u32,
}

impl Client {
    /// A client of a cluster.
    #[must_use]
    pub fn new(cluster: Cluster, id: u32) -> Self {
        let seed = cluster.options().seed ^ (u64::from(id) + 1) << 32;
        Self {
            cluster,
            id,
            rng: SmallRng::seed_from_u64(seed),
            asked: 0,
        }
    }

    /// Sends requests until a time. Every other client waits for an answer before it asks again.
    pub async fn run(mut self, until: Nanos) {
        let options = self.cluster.options().clone();
        let mean = 2_000_000_000 * u64::from(options.clients) / u64::from(options.rate.max(1));
        let world = self.cluster.world().clone();
        loop {
            let pause = self.rng.random_range(0..mean);
            world.sleep(Duration::from_nanos(pause)).await;
            if world.now() >= until {
                return;
            }
            let ask = self.choose();
            let asked = self.ask(ask);
            if self.id.is_multiple_of(2) {
                asked.await;
            } else {
                let asked = async move {
                    asked.await;
                };
                world.spawn(self.cluster.outside(), "ask", Box::pin(asked));
            }
        }
    }

    fn choose(&mut self) -> Ask {
        let options = self.cluster.options();
        let (mix, rng) = (options.mix, &mut self.rng);
        let percent = |rng: &mut SmallRng, share: u32| rng.random_range(0..100) < share;
        let kind = rng.random_range(0..100);
        let by_default = rng.random_ratio(1, TTL_DEFAULT);
        let mut value_bytes = rng.random_range(VALUE_BYTES_MIN..=options.value_bytes_max);
        let request = if kind < mix.set {
            let life = if by_default && options.default_ttl.is_zero() {
                Life::Never
            } else if by_default {
                Life::AfterNs(nanos(options.default_ttl))
            } else if percent(rng, mix.ttl) {
                Life::AfterNs(ttl_millis(rng) * 1_000_000)
            } else {
                Life::Never
            };
            let mut value = ValueId(u64::from(self.id) << 32 | u64::from(self.asked));
            if rng.random_ratio(1, EMPTY) {
                (value, value_bytes) = (EMPTY_ID, 0);
            } else if rng.random_ratio(1, HUGE) {
                value_bytes = options.huge_value_bytes;
            }
            Request::Set { value, life }
        } else if kind < mix.set + mix.delete {
            Request::Delete
        } else {
            Request::Get
        };
        let level = rng.random_range(0..100);
        // A quarter of the keys has three quarters of the requests.
        let keys = if percent(rng, 75) {
            options.keys.div_ceil(4)
        } else {
            options.keys
        };
        let budget = if rng.random_ratio(1, HASTY) {
            rng.random_range(100_000..20_000_000)
        } else {
            rng.random_range(nanos(options.deadline_max) / 10..=nanos(options.deadline_max))
        };
        let patience = if rng.random_ratio(1, FICKLE) {
            rng.random_range(0..budget.min(20_000_000))
        } else {
            budget + PATIENCE_NANOS
        };
        Ask {
            node: rng.random_range(0..options.nodes),
            key: rng.random_range(0..keys),
            request,
            consistency: if level < mix.one {
                history::Consistency::One
            } else if level < mix.one + mix.all {
                history::Consistency::All
            } else {
                history::Consistency::Quorum
            },
            degrade: if percent(rng, mix.degrade) {
                history::Degrade::Accept
            } else {
                history::Degrade::Refuse
            },
            budget: Duration::from_nanos(budget),
            patience: Duration::from_nanos(patience),
            value_bytes,
            by_default,
            there: Duration::from_nanos(rng.random_range(CLIENT_DELAY_NANOS)),
            back: Duration::from_nanos(rng.random_range(CLIENT_DELAY_NANOS)),
        }
    }

    /// Sends one request and waits for what becomes of it. Returns whether it was answered.
    pub fn ask(&mut self, ask: Ask) -> impl Future<Output = bool> + Send + use<> {
        self.asked += 1;
        let id = u64::from(self.id) << 32 | u64::from(self.asked);
        let (client, cluster) = (self.id, self.cluster.clone());
        async move {
            let world = cluster.world();
            let invoked_ns = world.now();
            world.sleep(ask.there).await;
            let outcome = carry_out(&cluster, ask).await;
            world.sleep(ask.back).await;
            let is_ok = matches!(outcome, Outcome::Ok(_));
            let operation = Operation {
                id,
                client,
                node: u32::from(ask.node),
                key: key_name(ask.key),
                request: ask.request,
                consistency: ask.consistency,
                degrade: ask.degrade,
                invoked_ns,
                completed_ns: world.now(),
                outcome,
            };
            cluster.recorder().operation(world, operation);
            is_ok
        }
    }
}

/// Hands a request to its node and waits for the answer, as long as a client does.
async fn carry_out(cluster: &Cluster, ask: Ask) -> Outcome {
    let Some(api) = cluster.api(ask.node) else {
        return Outcome::Failed(port::reason("connection refused"));
    };
    let world = cluster.world();
    let asked = cluster.clone();
    let (mut answer, answered) = oneshot::channel();
    let task = async move {
        let outcome = tokio::select! {
            biased;
            outcome = edge::answer(&asked, &api, ask) => outcome,
            // The client has gone.
            () = answer.closed() => return,
        };
        drop(answer.send(outcome));
    };
    world.spawn(HostId(ask.node), "request", Box::pin(task));
    let unanswered = |why: &str| {
        if ask.request.is_write() {
            Outcome::Unknown(port::reason(why))
        } else {
            Outcome::Failed(port::reason(why))
        }
    };
    tokio::select! {
        biased;
        answered = answered => answered.unwrap_or_else(|_| unanswered("the node went away")),
        () = world.sleep(ask.patience) => unanswered("the client gave up"),
    }
}

fn ttl_millis(rng: &mut SmallRng) -> u64 {
    match rng.random_range(0..TTL_ODD) {
        0 => rng.random_range(TTL_MILLIS_SHORT),
        1 => rng.random_range(TTL_MILLIS_LONG),
        _ => rng.random_range(TTL_MILLIS),
    }
}

/// The id that a value begins with; of an empty one the id of all empty ones.
#[must_use]
pub fn value_id(value: &Value) -> ValueId {
    id_of(&value.bytes)
}

/// The id that bytes begin with.
pub(crate) fn id_of(bytes: &[u8]) -> ValueId {
    let id = bytes.first_chunk::<8>();
    id.map_or(EMPTY_ID, |id| ValueId(u64::from_be_bytes(*id)))
}

/// A version as a history names it.
#[must_use]
pub fn version_of(version: shard_cache::version::Version) -> Version {
    let stamp = version.stamp;
    Version::new(stamp.millis(), u32::from(stamp.counter()), version.writer)
}
