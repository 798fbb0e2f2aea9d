//! Watches whether this node's clock agrees with those of its peers.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Clock,
    offsets::{PeerClocks, Turn},
};

/// How often what was heard is judged.
const JUDGE_INTERVAL: Duration = Duration::from_millis(250);

/// Judges for as long as the node runs.
pub(super) async fn watch(clocks: Arc<PeerClocks>, clock: Arc<dyn Clock>) {
    loop {
        clock.sleep(JUDGE_INTERVAL).await;
        match clocks.judge(clock.monotonic()) {
            Some(Turn::Refuses(off)) => {
                tracing::error!(
                    ahead_millis = off.ahead_millis,
                    "refusing clients' requests: {off}"
                );
            }
            Some(Turn::Coordinates) => {
                let ahead_millis = clocks.median_ahead_millis();
                tracing::info!(
                    ahead_millis,
                    "serving clients' requests again: this node's clock agrees with its peers'"
                );
            }
            None => {}
        }
    }
}
