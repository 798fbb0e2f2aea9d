//! Three nodes become six, and three again.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::stage::Stage;
use crate::history::{Action, Purpose};

/// Places of the nodes that come and go.
const PASSING: std::ops::Range<usize> = 3..6;
/// Longest time for a node to leave: its own bound is a minute.
const LEAVE_TIME: Duration = Duration::from_secs(75);
/// Readers beside each other while the cluster is at its largest, and keys that they read.
const READERS: usize = 8;
const KEYS_MAX: usize = 4_000;

/// Starts three more nodes one after the other, and ends them in order.
///
/// # Errors
/// A node does not join or leave.
pub(super) async fn scale(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    for place in PASSING {
        let fault = format!("join {}", stage.nodes.node(place).name());
        stage.begin(&fault);
        stage.nodes.node_mut(place).spawn()?;
        stage.nodes.ready(place, stage.arguments.settle).await?;
        stage.session.join(place).await?;
        stage.ended_settled(&fault).await?;
    }
    read_at_joined(stage).await;
    let mut ordered = 0;
    for place in PASSING {
        let fault = format!("leave {}", stage.nodes.node(place).name());
        stage.begin(&fault);
        let status = stage.nodes.node_mut(place).terminate(LEAVE_TIME).await?;
        stage.session.leave(place);
        ordered += usize::from(status.success());
        stage.ended_settled(&fault).await?;
    }
    stage.claim(
        ordered == PASSING.len(),
        format!(
            "{ordered} of {} nodes left in order (exit code 0)",
            PASSING.len()
        ),
    );
    Ok(())
}

/// Reads keys at the nodes that have joined, while the load goes on.
async fn read_at_joined(stage: &mut Stage<'_>) {
    let mut keys = stage.recorder.keys();
    // Spread over the time of the run: keys are sorted by writer.
    let step = keys.len().div_ceil(KEYS_MAX).max(1);
    keys = keys.into_iter().step_by(step).collect();
    let keys: Arc<[String]> = keys.into();
    eprintln!("  reading {} keys at the nodes that joined", keys.len());
    let session = stage.session.for_purpose(Purpose::Probe);
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let (keys, session) = (Arc::clone(&keys), session.clone());
        readers.spawn(async move {
            for key in keys.iter().skip(reader).step_by(READERS) {
                for place in PASSING {
                    let read = Action::Get { found: None };
                    session.attempt(place, key, read, 1).await;
                }
            }
        });
    }
    readers.join_all().await;
}
