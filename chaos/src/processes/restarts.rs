//! Every node once: ended in order, or killed, and started again with an empty memory.

use std::time::Duration;

use tokio::time::sleep;

use super::stage::Stage;

/// Longest time for a node to leave: its own bound is a minute.
const LEAVE_TIME: Duration = Duration::from_secs(75);
/// How long every second killed node stays away: long enough for the others to notice. The rest is back at once.
const AWAY: Duration = Duration::from_secs(6);

/// Ends every node in order and starts it again, when nothing needs it.
///
/// # Errors
/// A node does not leave or come back.
pub(super) async fn rolling(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut ordered = 0;
    let places = stage.nodes.running();
    for place in &places {
        let fault = format!("restart {}", stage.nodes.node(*place).name());
        stage
            .nodes
            .safe_to_stop(*place, stage.arguments.settle)
            .await?;
        stage.begin(&fault);
        let status = stage.nodes.node_mut(*place).terminate(LEAVE_TIME).await?;
        ordered += usize::from(status.success());
        if !status.success() {
            stage.claim(false, format!("{fault}: ended with {status}"));
        }
        come_back(stage, *place, &fault).await?;
    }
    stage.claim(
        ordered == places.len(),
        format!(
            "{ordered} of {} nodes left in order (exit code 0)",
            places.len()
        ),
    );
    Ok(())
}

/// Kills every node and starts it again, when nothing needs it.
///
/// # Errors
/// A node does not come back.
pub(super) async fn kills(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    for place in stage.nodes.running() {
        let fault = format!("kill {}", stage.nodes.node(place).name());
        stage
            .nodes
            .safe_to_stop(place, stage.arguments.settle)
            .await?;
        stage.begin(&fault);
        stage.nodes.node_mut(place).kill9().await?;
        if place % 2 == 0 {
            sleep(AWAY).await;
        }
        come_back(stage, place, &fault).await?;
    }
    Ok(())
}

async fn come_back(stage: &mut Stage<'_>, place: usize, fault: &str) -> anyhow::Result<()> {
    stage.nodes.node_mut(place).spawn()?;
    stage.nodes.ready(place, stage.arguments.settle).await?;
    stage.end(fault);
    stage.settled(fault).await
}
