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
    unsettled: f64,
    other_rings: usize,
}

impl Seen {
    fn note(&mut self, look: &Look, ring: &str) {
        self.looks += 1;
        let unsettled = look.sum("shardcache_slots_unsettled");
        self.unsettled = self.unsettled.max(unsettled);
        self.other_rings += usize::from(look.health.ring_hash != ring);
    }
}

/// Stops nodes by SIGSTOP, one after the other, and lets them go on.
///
/// # Errors
/// Nodes do not come to rest.
pub(super) async fn pauses(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    for place in PAUSED {
        let fault = format!("pause {}", stage.nodes.node(place).name());
        let before = looks(stage).await?;
        let ring = before
            .first()
            .map(|look| look.health.ring_hash.clone())
            .unwrap_or_default();
        let mut seen = Seen::default();
        stage.begin(&fault);
        stage.nodes.node(place).signal(Signal::STOP)?;
        let until = Instant::now() + stage.arguments.pause_for;
        while Instant::now() < until {
            watch_others(stage, place, &ring, &mut seen).await;
            sleep(LOOK_PAUSE).await;
        }
        stage.nodes.node(place).signal(Signal::CONT)?;
        stage.end(&fault);
        stage.settled(&fault).await?;
        let after = looks(stage).await?;
        for look in &after {
            seen.note(look, &ring);
        }
        let counted = COUNTERS.map(|name| sum(&after, name) - sum(&before, name));
        let [records, pages, lost, rings] = counted;
        let Seen {
            looks,
            unsettled,
            other_rings,
        } = seen;
        stage.claim(
            counted.iter().all(|more| *more == 0.0) && unsettled == 0.0 && other_rings == 0,
            format!(
                "{fault} for {:?}: +{records} records and +{pages} pages handed off, +{lost} slots lost, +{rings} ring \
                 changes; at most {unsettled} slots unsettled and {other_rings} times another ring in {looks} looks",
                stage.arguments.pause_for
            ),
        );
    }
    Ok(())
}

async fn watch_others(stage: &Stage<'_>, paused: usize, ring: &str, seen: &mut Seen) {
    let others = stage.nodes.running().into_iter();
    for place in others.filter(|place| *place != paused) {
        if let Ok(look) = look(stage.nodes.node(place).place().http).await {
            seen.note(&look, ring);
        }
    }
}

async fn looks(stage: &Stage<'_>) -> anyhow::Result<Vec<Look>> {
    stage.nodes.looks().await.map_err(anyhow::Error::msg)
}

fn sum(looks: &[Look], metric: &str) -> f64 {
    looks.iter().map(|look| look.sum(metric)).sum()
}
