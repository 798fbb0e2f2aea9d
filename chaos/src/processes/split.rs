//! Nodes are cut off from each other, and every slot is tried from each side meanwhile.
//!
//! Where a slot's owners lie is known before the cut. With three owners, two of which are a quorum, exactly one side has a
//! quorum of each: there it has to be writable all the time, and nowhere else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use shard_cache_client::{Client, ClientOptions};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{claim::Claim, stage::Stage};
use crate::{
    history::{Action, Outcome, Purpose},
    nodes::{Agreement, name},
    session::Session,
};

/// Owners that must store a write.
const WRITE_QUORUM: usize = 2;
/// Keys that are tried to find one for every slot.
const CANDIDATES_MAX: usize = 20_000;
/// Slots that are tried beside each other on one side.
const PROBERS: usize = 16;
/// Between two rounds of trying all slots.
const ROUND_PAUSE: Duration = Duration::from_secs(2);
/// Longest time of one round; none is begun when less is left of the split.
const ROUND_TIME: Duration = Duration::from_secs(15);
/// Longest time until all nodes see each other again after a split.
const MEMBERS_TIME: Duration = Duration::from_secs(6);
/// Longest time until all nodes go by one ring again.
const RING_TIME: Duration = Duration::from_secs(10);
/// How long to look for these.
const PATIENCE: Duration = Duration::from_secs(40);

/// A slot, with how many of its owners each side has, and a key in it for each side: a key has one writer.
struct Probe {
    slot: u32,
    owners: Vec<usize>,
    keys: Vec<String>,
}

/// Which slots were read and written through one side.
#[derive(Default)]
struct Round {
    read: BTreeSet<u32>,
    written: BTreeSet<u32>,
    slowest: Duration,
}

/// Cuts the sides off from each other for the time that was asked for.
///
/// # Errors
/// The nodes cannot be cut off, or do not come to rest.
pub(super) async fn split(stage: &mut Stage<'_>, sides: &[Vec<usize>]) -> anyhow::Result<()> {
    let shares: Vec<String> = sides.iter().map(|side| side.len().to_string()).collect();
    let fault = format!("split {}", shares.join("|"));
    let probes: Arc<[Probe]> = find_probes(stage, sides).await?.into();
    let before = probe_once(stage, &probes, sides, "before").await;
    if before.iter().any(|side| side.written.len() < probes.len()) {
        bail!("not every slot could be written before the split");
    }
    stage.begin(&fault);
    let until = Instant::now() + stage.arguments.split_for;
    stage.nodes.network().cut(sides)?;
    let rounds = probe_rounds(stage, &probes, sides, until).await;
    tokio::time::sleep_until(until).await;
    let rings = rings(stage).await?;
    let healed = Instant::now();
    stage.nodes.network().heal()?;
    stage.end(&fault);
    stage.claims.extend(judge_rounds(&probes, sides, &rounds));
    judge_heal(stage, healed, rings).await?;
    stage.settled(&fault).await
}

/// Keys for every slot, with the owners as they are before the cut.
async fn find_probes(stage: &Stage<'_>, sides: &[Vec<usize>]) -> anyhow::Result<Vec<Probe>> {
    let addresses = stage.nodes.addresses();
    let client = Client::connect(&addresses[0], ClientOptions::default()).await?;
    let slots = usize::from(super::stage::PROBED_SLOTS);
    let places: BTreeMap<String, usize> = (0..addresses.len())
        .map(|node| (name(node), node))
        .collect();
    let mut found: BTreeMap<u32, Probe> = BTreeMap::new();
    let mut complete = 0;
    for candidate in 0..CANDIDATES_MAX {
        let key = format!("probe-{candidate}");
        let answer = client.owners(&key).await?;
        let side = |place: usize| sides.iter().position(|side| side.contains(&place));
        let mut owners = vec![0; sides.len()];
        for owner in &answer.owners {
            let member = owner.member.as_ref().context("an owner without a name")?;
            let place = places.get(&member.name).copied();
            let side = place.and_then(side).context("an owner that is nowhere")?;
            owners[side] += 1;
        }
        let slot = answer.slot;
        let keys = Vec::new();
        let probe = found.entry(slot).or_insert(Probe { slot, owners, keys });
        if probe.keys.len() < sides.len() {
            probe.keys.push(key);
            complete += usize::from(probe.keys.len() == sides.len());
        }
        if complete == slots {
            return Ok(found.into_values().collect());
        }
    }
    bail!("{CANDIDATES_MAX} keys are enough for only {complete} of {slots} slots")
}

/// Tries all slots through every side at the same time, again and again.
async fn probe_rounds(
    stage: &Stage<'_>,
    probes: &Arc<[Probe]>,
    sides: &[Vec<usize>],
    until: Instant,
) -> Vec<Vec<Round>> {
    let mut rounds = Vec::new();
    while rounds.is_empty() || Instant::now() + ROUND_TIME < until {
        let name = format!("round {}", rounds.len() + 1);
        let round = probe_once(stage, probes, sides, &name).await;
        let counts = round.iter().map(|side| side.written.len().to_string());
        let counts: Vec<String> = counts.collect();
        eprintln!("  {name}: {} slots writable by side", counts.join(" and "));
        rounds.push(round);
        sleep(ROUND_PAUSE).await;
    }
    rounds
}

async fn probe_once(
    stage: &Stage<'_>,
    probes: &Arc<[Probe]>,
    sides: &[Vec<usize>],
    name: &str,
) -> Vec<Round> {
    let prober = |(side, nodes): (usize, &Vec<usize>)| Prober {
        session: stage.session.for_purpose(Purpose::Probe),
        probes: Arc::clone(probes),
        side,
        nodes: nodes.clone(),
        round: name.to_owned(),
    };
    let probers = sides.iter().enumerate().map(prober);
    futures_util::future::join_all(probers.map(Prober::probe)).await
}

/// Tries every slot once through one side.
#[derive(Clone)]
struct Prober {
    session: Session,
    probes: Arc<[Probe]>,
    side: usize,
    nodes: Vec<usize>,
    round: String,
}

impl Prober {
    async fn probe(self) -> Round {
        let mut parts = JoinSet::new();
        for number in 0..PROBERS {
            parts.spawn(self.clone().part(number));
        }
        let mut all = Round::default();
        while let Some(Ok(mut part)) = parts.join_next().await {
            all.read.append(&mut part.read);
            all.written.append(&mut part.written);
            all.slowest = all.slowest.max(part.slowest);
        }
        all
    }

    /// Reads what was written before, and writes anew.
    async fn part(self, number: usize) -> Round {
        let mut seen = Round::default();
        for (turn, probe) in self.probes.iter().enumerate().skip(number).step_by(PROBERS) {
            let (node, key) = (self.nodes[turn % self.nodes.len()], &probe.keys[self.side]);
            let value = format!("{key} {}", self.round);
            for action in [
                Action::Get { found: None },
                Action::Set {
                    value,
                    ttl_ms: None,
                },
            ] {
                let is_write = action.is_write();
                let begun = Instant::now();
                if self.session.attempt(node, key, action, 1).await.0 != Outcome::Ok {
                    continue;
                }
                let which = if is_write {
                    &mut seen.written
                } else {
                    &mut seen.read
                };
                which.insert(probe.slot);
                seen.slowest = seen.slowest.max(begun.elapsed());
            }
        }
        seen
    }
}

/// Whether every slot was writable where it has a quorum, and nowhere else.
fn judge_rounds(probes: &[Probe], sides: &[Vec<usize>], rounds: &[Vec<Round>]) -> Vec<Claim> {
    let sides_judged = sides.iter().enumerate();
    let mut claims: Vec<Claim> = sides_judged
        .map(|(side, nodes)| judge_side(probes, side, nodes.len(), rounds))
        .collect();
    let mut sides_of: BTreeMap<u32, BTreeSet<usize>> = BTreeMap::new();
    for round in rounds {
        for (side, seen) in round.iter().enumerate() {
            for slot in &seen.written {
                sides_of.entry(*slot).or_default().insert(side);
            }
        }
    }
    let twice = sides_of.values().filter(|sides| sides.len() > 1).count();
    let once = sides_of.len() - twice;
    claims.push(Claim::new(
        twice == 0 && once > 0,
        format!(
            "{twice} of {} slots were writable on two sides during the split, {once} on one",
            probes.len()
        ),
    ));
    claims
}

fn judge_side(probes: &[Probe], side: usize, nodes: usize, rounds: &[Vec<Round>]) -> Claim {
    let expected: BTreeSet<u32> = probes
        .iter()
        .filter(|probe| probe.owners[side] >= WRITE_QUORUM)
        .map(|probe| probe.slot)
        .collect();
    let least = |of: fn(&Round) -> &BTreeSet<u32>| {
        let seen = rounds
            .iter()
            .map(|round| expected.intersection(of(&round[side])).count());
        seen.min().unwrap_or_default()
    };
    let (written, read) = (least(|seen| &seen.written), least(|seen| &seen.read));
    let slowest = rounds.iter().map(|round| round[side].slowest).max();
    let all = expected.len();
    let what = format!(
        "side of {nodes}: of {all} slots with a quorum there, {written} were writable and {read} readable in each of {} \
         rounds at the first try (slowest {:.0} ms)",
        rounds.len(),
        slowest.unwrap_or_default().as_secs_f64() * 1e3
    );
    Claim::new(written == all && read == all && all > 0, what)
}

/// How many rings the nodes go by.
async fn rings(stage: &Stage<'_>) -> anyhow::Result<usize> {
    let looks = stage.nodes.looks().await.map_err(anyhow::Error::msg)?;
    let rings: BTreeSet<&str> = looks.iter().map(|look| &*look.health.ring_hash).collect();
    Ok(rings.len())
}

/// Looks at members and rings until all agree.
async fn judge_heal(stage: &mut Stage<'_>, healed: Instant, rings: usize) -> anyhow::Result<()> {
    let Agreement { members, ring } = stage.nodes.agreement(healed, PATIENCE).await?;
    stage.claim(
        members <= MEMBERS_TIME,
        format!("all members agree {members:.2?} after the split (at most {MEMBERS_TIME:?})"),
    );
    stage.claim(
        ring <= RING_TIME,
        format!("one ring {ring:.2?} after the split (at most {RING_TIME:?}), {rings} just before"),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slot 1 has its quorum on side 0, slots 2 and 3 on side 1.
    fn probes() -> Vec<Probe> {
        let probe = |slot, owners: [usize; 2]| Probe {
            slot,
            owners: owners.to_vec(),
            keys: Vec::new(),
        };
        vec![probe(1, [2, 1]), probe(2, [0, 3]), probe(3, [1, 2])]
    }

    fn round(written: [&[u32]; 2], read: [&[u32]; 2]) -> Vec<Round> {
        let side = |(written, read): (&[u32], &[u32])| Round {
            written: written.iter().copied().collect(),
            read: read.iter().copied().collect(),
            slowest: Duration::ZERO,
        };
        written.into_iter().zip(read).map(side).collect()
    }

    fn held(rounds: &[Vec<Round>]) -> Vec<bool> {
        let sides = [vec![0, 1], vec![2, 3, 4]];
        let claims = judge_rounds(&probes(), &sides, rounds);
        claims.iter().map(Claim::held).collect()
    }

    #[test]
    fn slots_are_served_where_their_quorum_is_and_nowhere_else() {
        let well = || round([&[1], &[2, 3]], [&[1], &[2, 3]]);
        assert_eq!(held(&[well(), well()]), [true, true, true]);
        let unwritable = round([&[1], &[2]], [&[1], &[2, 3]]);
        assert_eq!(held(&[well(), unwritable]), [true, false, true]);
        let unreadable = round([&[1], &[2, 3]], [&[], &[2, 3]]);
        assert_eq!(held(&[unreadable, well()]), [false, true, true]);
        // In different rounds of one split, too.
        let moved = round([&[1, 2], &[3]], [&[1], &[2, 3]]);
        assert_eq!(held(&[well(), moved]), [true, false, false]);
        assert_eq!(held(&[]), [false, false, false]);
    }
}
