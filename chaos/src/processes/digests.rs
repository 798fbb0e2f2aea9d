//! Whether all nodes find, in comparisons of their own, that the digests of their slots agree.

use std::{net::SocketAddr, time::Duration};

use tokio::time::{Instant, sleep};

use crate::nodes::look::looks;

/// Two nodes compare each slot that both own at least this often, by default.
const INTERVAL: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// What nodes found since a time.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Digests {
    /// Slots that differed twice in a row, by whatever two nodes.
    pub(super) differing: f64,
    /// When one was found last.
    pub(super) last: Duration,
    /// Comparisons of a slot since then, at the node with fewest.
    pub(super) compared: f64,
    /// Whether each node has compared everything with every other one since then.
    pub(super) agree: bool,
}

/// Follows what nodes that own all `slots` find, until none differs any more in a whole round, or for `longest`.
///
/// # Errors
/// A node cannot be looked at.
pub(super) async fn follow(
    nodes: Vec<SocketAddr>,
    slots: f64,
    longest: Duration,
) -> Result<Digests, String> {
    let begun = Instant::now();
    let others = (nodes.len() - 1) as f64;
    let (first, mut compared_by_then) = counts(&nodes).await?;
    let (mut differing, mut last) = (0.0, Duration::ZERO);
    loop {
        sleep(PAUSE).await;
        let (found, compared) = counts(&nodes).await?;
        if found - first > differing {
            (differing, last) = (found - first, begun.elapsed());
            compared_by_then.clone_from(&compared);
        }
        let since = compared.iter().zip(&compared_by_then);
        let fewest = since.map(|(now, then)| now - then).fold(f64::MAX, f64::min);
        let agree = begun.elapsed() >= last + INTERVAL && fewest >= others * slots;
        if agree || begun.elapsed() >= longest {
            return Ok(Digests {
                differing,
                last,
                compared: fewest,
                agree,
            });
        }
    }
}

/// Slots that differed, at all nodes together, and slots that were compared, at each.
async fn counts(nodes: &[SocketAddr]) -> Result<(f64, Vec<f64>), String> {
    let looks = looks(nodes.iter().copied()).await?;
    let sum = |metric: &'static str| looks.iter().map(move |look| look.sum(metric));
    let differing = sum("shardcache_repair_slots_differing_total").sum::<Result<f64, _>>()?;
    let compared = sum("shardcache_repair_slots_compared_total").collect::<Result<_, _>>()?;
    Ok((differing, compared))
}
