//! More is asked of a node than it can do: it refuses the excess at once, does the rest as well as before, and nobody
//! takes it for dead.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use shard_cache_client::{CallOptions, Client, ClientError, Ttl, Value};
use tokio::task::JoinSet;

use crate::harness::{Cluster, Options, Room, lookout::Lookout};

/// Client requests in flight that a node allows in the test of concurrency.
const LIMIT: usize = 16;
/// As many callers as `LIMIT` times this.
const EXCESS: usize = 5;
/// Callers beside each other on one connection.
const CALLERS_PER_CLIENT: usize = 8;
/// Within this the callers of a phase arrive, evenly: all at one moment they would wait for each other, and not only for
/// the node.
const ARRIVAL: Duration = Duration::from_millis(100);
/// Requests answered in each phase.
const ANSWERED: usize = 4_000;
/// The pushback of refusals lies within.
pub(crate) const PUSHBACK: RangeInclusive<Duration> =
    Duration::from_millis(50)..=Duration::from_millis(150);
/// A refusal has to be at its client within this.
const SHED_WITHIN: Duration = Duration::from_millis(5);
/// Every one of them, but for a machine that is shared and stands still at times for longer than that: then every
/// refusal under way is late, measured at the client as it is. So this share has to keep the bound in one round of
/// these, or, where normal requests are slower than the bound because of the machine, be no slower than their p99. The
/// rest is told.
const SHED_QUANTILE: f64 = 0.99;
const ROUNDS_MAX: usize = 5;
/// What an admitted request may take in comparison with normal.
const SLOWER_MAX: u32 = 3;

/// What the callers of a phase saw.
#[derive(Default)]
struct Seen {
    admitted: Vec<Duration>,
    shed: Vec<Duration>,
    other: Vec<String>,
}

impl Seen {
    fn add(&mut self, more: Self) {
        self.admitted.extend(more.admitted);
        self.shed.extend(more.shed);
        self.other.extend(more.other);
    }
}

fn quantile(took: &[Duration], quantile: f64) -> Duration {
    let mut took = took.to_vec();
    took.sort_unstable();
    let place = (took.len() as f64 * quantile).ceil() as usize;
    took.get(place.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

/// Callers in closed loops, each with one request under way, until so many were answered. Who is shed waits as told.
async fn callers(clients: &[Client], count: usize, answered: usize) -> Seen {
    let left = Arc::new(AtomicUsize::new(answered));
    let mut running = JoinSet::new();
    for caller in 0..count {
        let client = clients[caller / CALLERS_PER_CLIENT].clone();
        let left = Arc::clone(&left);
        running.spawn(async move {
            tokio::time::sleep(ARRIVAL.mul_f64(caller as f64 / count as f64)).await;
            let mut seen = Seen::default();
            let mut round = 0_usize;
            while left.load(Ordering::Relaxed) > 0 {
                round += 1;
                let begun = Instant::now();
                let outcome = call(&client, caller, round).await;
                let took = begun.elapsed();
                match outcome {
                    Ok(()) => {
                        seen.admitted.push(took);
                        // More may be under way than are left.
                        let less = |left: usize| Some(left.saturating_sub(1));
                        let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
                    }
                    Err(ClientError::Shed { retry_after, .. }) => {
                        seen.shed.push(took);
                        let Some(pause) = retry_after.filter(|pause| PUSHBACK.contains(pause))
                        else {
                            seen.other
                                .push(format!("shed with pushback {retry_after:?}"));
                            continue;
                        };
                        tokio::time::sleep(pause).await;
                    }
                    Err(error) => seen.other.push(error.to_string()),
                }
            }
            seen
        });
    }
    let mut seen = Seen::default();
    while let Some(ended) = running.join_next().await {
        seen.add(ended.expect("a caller does not panic"));
    }
    seen
}

async fn call(client: &Client, caller: usize, round: usize) -> Result<(), ClientError> {
    let key = format!("overload-{caller}-{}", round % 16);
    let call = CallOptions::default();
    if round.is_multiple_of(2) {
        client.get(&key, &call).await.map(|_| ())
    } else {
        let value = Value::from("some value");
        client
            .set(&key, value, Ttl::Default, &call)
            .await
            .map(|_| ())
    }
}

async fn clients(cluster: &Cluster, callers: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..callers.div_ceil(CALLERS_PER_CLIENT) {
        clients.push(cluster.client(0).await);
    }
    clients
}

#[tokio::test]
async fn the_excess_over_the_limit_is_shed_at_once_and_the_rest_is_served_as_before() {
    let options = Options::default().setting("server.limits.max_concurrent_requests", LIMIT);
    let cluster = Cluster::start(3, options, Room::alone().await).await;
    for reason in ["concurrency", "cpu"] {
        assert_eq!(cluster[0].shed(reason).await, 0, "there from the start");
    }
    let clients = clients(&cluster, EXCESS * LIMIT).await;
    // Warms up connections and code.
    callers(&clients[..LIMIT / CALLERS_PER_CLIENT], LIMIT, ANSWERED / 4).await;
    let mut slow = Vec::new();
    for _ in 0..ROUNDS_MAX {
        match round(&cluster, &clients).await {
            Ok(()) => return,
            Err(reason) => slow.push(reason),
        }
    }
    panic!("{}", slow.join("; "));
}

/// Normal load and the excess, one after the other. The error is one of time, which may be the machine's.
async fn round(cluster: &Cluster, clients: &[Client]) -> Result<(), String> {
    let shed_before = cluster[0].shed("concurrency").await;
    let normal = callers(&clients[..LIMIT / CALLERS_PER_CLIENT], LIMIT, ANSWERED).await;
    assert!(normal.other.is_empty(), "{:?}", normal.other);
    let normal_p99 = quantile(&normal.admitted, 0.99);

    let lookout = Lookout::start(cluster);
    let begun = Instant::now();
    let excess = callers(clients, EXCESS * LIMIT, ANSWERED).await;
    let took = begun.elapsed();
    let looks = lookout.finish().await;
    assert!(excess.other.is_empty(), "{:?}", excess.other);
    let counted = cluster[0].shed("concurrency").await - shed_before;
    let excess_p99 = quantile(&excess.admitted, 0.99);
    let late = excess
        .shed
        .iter()
        .filter(|took| **took > SHED_WITHIN)
        .count();
    let of_shed = |share| quantile(&excess.shed, share);
    println!(
        "{LIMIT} callers: {} answered, p50 {:.1?}, p99 {normal_p99:.1?}, {} shed. {} callers for {took:.1?}: {} answered, \
         p50 {:.1?}, p99 {excess_p99:.1?}; {} shed, p50 {:.1?}, p90 {:.1?}, p99 {:.1?}, {late} later than \
         {SHED_WITHIN:?}; members looked at {looks} times",
        normal.admitted.len(),
        quantile(&normal.admitted, 0.5),
        normal.shed.len(),
        EXCESS * LIMIT,
        excess.admitted.len(),
        quantile(&excess.admitted, 0.5),
        excess.shed.len(),
        of_shed(0.5),
        of_shed(0.9),
        of_shed(0.99),
    );
    let all_shed = normal.shed.len() + excess.shed.len();
    assert_eq!(counted, all_shed as u64, "every refusal is counted once");
    assert!(excess.shed.len() >= EXCESS * LIMIT, "the limit was hit");
    let again = callers(&clients[..1], CALLERS_PER_CLIENT, ANSWERED / 10).await;
    assert!(
        again.shed.is_empty() && again.other.is_empty(),
        "all is served again"
    );
    if excess_p99 > normal_p99 * SLOWER_MAX {
        return Err(format!(
            "p99 {excess_p99:?} is more than {SLOWER_MAX} times {normal_p99:?}"
        ));
    }
    if of_shed(SHED_QUANTILE) > SHED_WITHIN.max(normal_p99) {
        return Err(format!(
            "{late} of {} refusals took more than {SHED_WITHIN:?}",
            excess.shed.len()
        ));
    }
    Ok(())
}
