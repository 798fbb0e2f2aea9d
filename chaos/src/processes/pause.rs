//! Nodes stand still for a while, shorter than the ring waits for them: nothing may move.

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::stage::Stage;
use crate::nodes::look::{Look, look};

/// Places of the nodes that are paused.
const PAUSED: std::ops::Range<usize> = 0..3;
const LOOK_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);
/// What counts copies and changes of configurations.
const COUNTERS: [&str; 4] = [
    "shardcache_slot_handoff_records_total",
    "shardcache_slot_handoff_pages_total",
    "shardcache_slots_lost_total",
    "shardcache_ring_changes_total",
];

/// What was seen of the slots while a node stood still.
#[derive(Default)]
struct Seen {
    looks: usize,
    missed: usize,
    unsettled: f64,
    other_rings: usize,
}

impl Seen {
    fn note(&mut self, look: &Look, ring: &str, nodes: usize) -> anyhow::Result<()> {
        self.looks += 1;
        self.missed += usize::from(look.health.members_alive < nodes);
        let unsettled = sum(std::slice::from_ref(look), "shardcache_slots_unsettled")?;
        self.unsettled = self.unsettled.max(unsettled);
        self.other_rings += usize::from(look.health.ring_hash != ring);
        Ok(())
    }
}

/// Stops nodes by SIGSTOP, one after the other, and lets them go on.
///
/// # Errors
/// Nodes do not come to rest.
pub(super) async fn pauses(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    for place in PAUSED {
        pause(stage, place).await?;
    }
    Ok(())
}

async fn pause(stage: &mut Stage<'_>, place: usize) -> anyhow::Result<()> {
    let fault = format!("pause {}", stage.nodes.node(place).name());
    let before = looks(stage).await?;
    let first = before.first().map(|look| look.health.ring_hash.clone());
    let ring = first.unwrap_or_default();
    let mut seen = Seen::default();
    stage.begin(&fault);
    stage.nodes.node(place).signal(Signal::STOP)?;
    let until = Instant::now() + stage.arguments.pause_for;
    while Instant::now() < until {
        watch_others(stage, place, &ring, &mut seen).await?;
        sleep(LOOK_PAUSE).await;
    }
    stage.nodes.node(place).signal(Signal::CONT)?;
    stage.end(&fault);
    stage.settled(&fault).await?;
    let after = looks(stage).await?;
    for look in &after {
        seen.note(look, &ring, after.len())?;
    }
    let mut counted = [0.0; COUNTERS.len()];
    for (more, name) in counted.iter_mut().zip(COUNTERS) {
        *more = sum(&after, name)? - sum(&before, name)?;
    }
    let [records, pages, lost, rings] = counted;
    let Seen {
        looks,
        missed,
        unsettled,
        other_rings,
    } = seen;
    let is_still = counted.iter().all(|more| *more == 0.0) && unsettled == 0.0 && other_rings == 0;
    stage.claim(
        is_still && missed > 0,
        format!(
            "{fault} for {:?}, which others noticed in {missed} of {looks} looks: +{records} records and +{pages} pages \
             handed off, +{lost} slots lost, +{rings} ring changes; at most {unsettled} slots unsettled, {other_rings} \
             times another ring",
            stage.arguments.pause_for
        ),
    );
    Ok(())
}

async fn watch_others(
    stage: &Stage<'_>,
    paused: usize,
    ring: &str,
    seen: &mut Seen,
) -> anyhow::Result<()> {
    let running = stage.nodes.running();
    let others = running.iter().filter(|place| **place != paused);
    for place in others {
        if let Ok(look) = look(stage.nodes.node(*place).place().http).await {
            seen.note(&look, ring, running.len())?;
        }
    }
    Ok(())
}

async fn looks(stage: &Stage<'_>) -> anyhow::Result<Vec<Look>> {
    stage.nodes.looks().await.map_err(anyhow::Error::msg)
}

fn sum(looks: &[Look], metric: &str) -> anyhow::Result<f64> {
    let sums: Result<Vec<f64>, String> = looks.iter().map(|look| look.sum(metric)).collect();
    Ok(sums.map_err(anyhow::Error::msg)?.iter().sum())
}
