//! A node stands still for minutes while the others go on: with deletes, overwrites and values that expire meanwhile. It
//! has to catch up, serve nothing that has expired, and not be in the way of anybody.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::Signal;
use shard_cache_client::{CallOptions, Client, ClientOptions, Consistency, Ttl, Value};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    digests::{self, Digests},
    stage::{SLOTS, Stage},
};
use crate::nodes::look::look;

/// The node that is away.
const AWAY: usize = 2;
/// Values with a life of their own: so many before it goes away, then one more so often, all while it is away.
const FIRST_LIVES: u64 = 300;
const LIFE_PAUSE: Duration = Duration::from_millis(100);
/// Lives are from 2 s up to so many more.
const LIVES_SPREAD: u64 = 40;
/// A value may be served so much later than it expires.
const EXPIRY_MARGIN: Duration = Duration::from_millis(500);
/// Readers beside each other.
const READERS: usize = 8;
/// Longest time until everything that was acknowledged is at the node that was away.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);
/// The same when nothing had to be dropped of what it was owed.
const CATCH_UP_BY_HINTS: Duration = Duration::from_secs(15);
/// Bytes of hints that a node keeps for one other, by default and where they are to overflow.
const HINT_BYTES_MAX: f64 = 64.0 * 1024.0 * 1024.0;
pub(super) const OVERFLOWING_HINT_BYTES: f64 = 64.0 * 1024.0;
/// Bytes that a node may have resident: its records are far fewer, so this is what all else may take.
const RESIDENT_MAX: f64 = 256.0 * 1024.0 * 1024.0;
const GIVE_UP: Duration = Duration::from_secs(180);
/// How long requests are watched after its return, at least.
const WATCH_MIN: Duration = Duration::from_secs(5);
/// How much slower requests may be while it catches up.
const SLOWER_MAX: f64 = 2.0;

/// Keys with the time at which they have surely expired.
type Lives = Arc<Mutex<Vec<(String, Instant)>>>;

/// Stops one of three by SIGSTOP for minutes, and lets it go on. `hints_kept` says whether all that it is owed fits.
///
/// # Errors
/// Nodes do not come to rest.
pub(super) async fn away(stage: &mut Stage<'_>, hints_kept: bool) -> anyhow::Result<()> {
    let fault = format!("{} is away", stage.nodes.node(AWAY).name());
    let clients = clients(stage).await?;
    let lives = Lives::default();
    for number in 0..FIRST_LIVES {
        live(&clients[0], &lives, number).await;
    }
    let quiet = (0, stage.recorder.now_us());
    stage.begin(&fault);
    stage.nodes.node(AWAY).signal(Signal::STOP)?;
    let gone_us = stage.recorder.now_us();
    let owed = go_on(stage, &clients, &lives).await?;
    stage.nodes.node(AWAY).signal(Signal::CONT)?;
    stage.end(&fault);
    let (back, back_us) = (Instant::now(), stage.recorder.now_us());
    let places = 0..=AWAY;
    let looked_at = places.map(|place| stage.nodes.node(place).place().http);
    let digests = digests::follow(looked_at.collect(), SLOTS, GIVE_UP);
    let digests = AbortOnDropHandle::new(tokio::spawn(digests));
    let late = served_late(&clients[AWAY], &lives).await;
    // Before everything is read at it, which takes more of this machine than catching up.
    let paid = until_paid(stage, back).await?;
    let meanwhile = (back_us, stage.recorder.now_us());
    let count = stage.recorder.last_written(gone_us, back_us).len();
    let written = || stage.recorder.last_written(gone_us, back_us);
    let caught_up = catch_up(&clients[AWAY], written).await;
    let took = back.elapsed();
    let late = late + served_late(&clients[AWAY], &lives).await;

    let (most, room) = if hints_kept {
        (CATCH_UP_BY_HINTS, HINT_BYTES_MAX)
    } else {
        (CATCH_UP_MAX, OVERFLOWING_HINT_BYTES)
    };
    stage.claim(
        caught_up == 0 && took <= most,
        format!(
            "{count} keys written while it was away: {caught_up} of them not at it {took:.1?} after its return, at most {most:?} \
             are allowed; nothing owed any more after {paid:.1?}"
        ),
    );
    let found = digests.await?.map_err(anyhow::Error::msg)?;
    let Digests {
        differing,
        last,
        compared,
        agree,
    } = found;
    stage.claim(
        agree && last <= most,
        format!(
            "digests of {differing} slots differed after its return, the last of them {last:.1?} after it, at most {most:?} \
             are allowed; none differed in the next {compared} comparisons of each node or more"
        ),
    );
    let lives = lives.lock().unwrap_or_else(PoisonError::into_inner).len();
    stage.claim(
        late == 0,
        format!("{late} of {lives} values served more than {EXPIRY_MARGIN:?} after their expiry"),
    );
    let Owed {
        most,
        dropped,
        resident,
    } = owed;
    stage.claim(
        (dropped == 0.0) == hints_kept && most <= room && resident <= RESIDENT_MAX,
        format!(
            "at most {most:.0} bytes of hints at one node, {room:.0} are allowed, {dropped:.0} hints dropped for want of room; \
             at most {resident:.0} bytes resident at one node, {RESIDENT_MAX:.0} are allowed"
        ),
    );
    let [before, during] = [quiet, meanwhile].map(|(from, to)| stage.recorder.p99_ms(from, to));
    let ratio = during / before;
    stage.claim(
        ratio <= SLOWER_MAX,
        format!(
            "p99 of all requests {during:.2} ms while it caught up, {before:.2} ms before: {ratio:.2} times, at most \
             {SLOWER_MAX} are allowed"
        ),
    );
    stage.settled(&fault).await
}

async fn clients(stage: &Stage<'_>) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::new();
    for address in stage.nodes.addresses() {
        let options = ClientOptions {
            timeout: stage.arguments.timeout,
            ..ClientOptions::default()
        };
        clients.push(Client::connect(&address, options).await?);
    }
    Ok(clients)
}

async fn live(client: &Client, lives: &Lives, number: u64) {
    let key = format!("life-{number}");
    let life = Duration::from_secs(2 + number % LIVES_SPREAD);
    let value = Value::from(key.as_str());
    let options = CallOptions::default();
    let set = client.set(&key, value, Ttl::After(life), &options).await;
    if set.is_ok() {
        let until = Instant::now() + life + EXPIRY_MARGIN;
        lives
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((key, until));
    }
}

/// What the others kept for the node.
struct Owed {
    /// Bytes at one node, at most.
    most: f64,
    dropped: f64,
    /// Bytes of memory at one node, at most.
    resident: f64,
}

/// The time for which it is away.
async fn go_on(stage: &Stage<'_>, clients: &[Client], lives: &Lives) -> anyhow::Result<Owed> {
    let until = Instant::now() + stage.arguments.away_for;
    let mut owed = Owed {
        most: 0.0,
        dropped: 0.0,
        resident: 0.0,
    };
    let mut number = FIRST_LIVES;
    while Instant::now() < until {
        live(&clients[(number % 2) as usize], lives, number).await;
        number += 1;
        sleep(LIFE_PAUSE).await;
        if number.is_multiple_of(10) {
            let mut dropped = 0.0;
            for place in 0..AWAY {
                let seen = look(stage.nodes.node(place).place().http).await;
                let seen = seen.map_err(anyhow::Error::msg)?;
                let sum = |metric| seen.sum(metric).map_err(anyhow::Error::msg);
                owed.most = owed.most.max(sum("shardcache_hints_pending_bytes")?);
                owed.resident = owed.resident.max(sum("process_resident_memory_bytes")?);
                let overflow = seen.sum_of("shardcache_hints_dropped_total", "reason", "overflow");
                dropped += overflow.map_err(anyhow::Error::msg)?;
            }
            owed.dropped = dropped;
        }
    }
    Ok(owed)
}

/// How many values that must have expired the node still serves, by itself and as coordinator.
async fn served_late(client: &Client, lives: &Lives) -> usize {
    let expired: Vec<String> = {
        let (lives, now) = (
            lives.lock().unwrap_or_else(PoisonError::into_inner),
            Instant::now(),
        );
        let over = lives.iter().filter(|(_, until)| *until < now);
        over.map(|(key, _)| key.clone()).collect()
    };
    let mut late = 0;
    for key in expired {
        for consistency in [Consistency::One, Consistency::Quorum] {
            let options = CallOptions {
                consistency,
                ..CallOptions::default()
            };
            let read = client.get(&key, &options).await;
            late += usize::from(read.is_ok_and(|read| read.hit.is_some()));
        }
    }
    late
}

/// Asks the node itself for what was written, until it has all of it that was not changed since; returns how many keys it
/// lacks in the end.
async fn catch_up(
    client: &Client,
    written: impl Fn() -> BTreeMap<String, Option<String>>,
) -> usize {
    let mut lacking: Vec<(String, Option<String>)> = written().into_iter().collect();
    let begun = Instant::now();
    while !lacking.is_empty() && begun.elapsed() < GIVE_UP {
        let share = lacking.len().div_ceil(READERS);
        let mut readers = JoinSet::new();
        for some in lacking.chunks(share) {
            let (client, some) = (client.clone(), some.to_vec());
            readers.spawn(async move {
                let mut lacking = Vec::new();
                for (key, value) in some {
                    let options = CallOptions {
                        consistency: Consistency::One,
                        ..CallOptions::default()
                    };
                    let held = client.get(&key, &options).await;
                    let held = held.map(|read| read.hit.map(|hit| hit.value.as_bytes().to_vec()));
                    let wanted = value.as_ref().map(|value| value.as_bytes().to_vec());
                    if !held.is_ok_and(|held| held == wanted) {
                        lacking.push((key, value));
                    }
                }
                lacking
            });
        }
        lacking = readers.join_all().await.into_iter().flatten().collect();
        let unchanged = written();
        lacking.retain(|(key, _)| unchanged.contains_key(key));
        sleep(Duration::from_millis(100)).await;
    }
    lacking.len()
}

/// Waits until the others owe nothing, and for a while at least; returns how long they did after the return.
async fn until_paid(stage: &Stage<'_>, back: Instant) -> anyhow::Result<Duration> {
    let mut paid = None;
    while back.elapsed() < GIVE_UP && (paid.is_none() || back.elapsed() < WATCH_MIN) {
        let mut pending = 0.0;
        for place in 0..AWAY {
            let seen = look(stage.nodes.node(place).place().http).await;
            let seen = seen.map_err(anyhow::Error::msg)?;
            pending += seen
                .sum("shardcache_hints_pending")
                .map_err(anyhow::Error::msg)?;
        }
        if pending == 0.0 {
            paid.get_or_insert_with(|| back.elapsed());
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(paid.unwrap_or_else(|| back.elapsed()))
}
