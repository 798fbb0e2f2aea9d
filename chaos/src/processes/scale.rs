//! Three nodes become six, and three again.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::stage::Stage;
use crate::history::{Action, Purpose};

/// Places of the nodes that come and go.
const PASSING: std::ops::Range<usize> = 3..6;
/// Longest time for a node to leave: its own bound is a minute.
const LEAVE_TIME: Duration = Duration::from_secs(75);
/// Readers beside each other while the cluster is at its largest.
const READERS: usize = 8;

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
        stage.settled(&fault).await?;
        stage.end(&fault);
    }
    read_at_joined(stage).await;
    let mut ordered = 0;
    for place in PASSING {
        let fault = format!("leave {}", stage.nodes.node(place).name());
        stage.begin(&fault);
        let status = stage.nodes.node_mut(place).terminate(LEAVE_TIME).await?;
        stage.session.leave(place);
        ordered += usize::from(status.success());
        stage.settled(&fault).await?;
        stage.end(&fault);
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

/// Reads every key so far at the nodes that have joined, while the load goes on.
async fn read_at_joined(stage: &mut Stage<'_>) {
    let keys: Arc<[String]> = stage.recorder.keys().into();
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
