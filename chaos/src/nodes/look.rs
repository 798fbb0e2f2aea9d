//! What nodes say of themselves by `/health` and `/metrics`.

use std::{collections::BTreeMap, net::SocketAddr};

use futures_util::future::join_all;
use serde::Deserialize;

use super::http;

/// One look at a node.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// What `/health` says.
    pub(crate) health: Health,
    metrics: BTreeMap<String, Vec<Series>>,
}

/// `/health`, as far as it is looked at.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub(crate) struct Health {
    /// In one word.
    pub(crate) status: String,
    /// Why it is not ok.
    #[serde(default)]
    pub(crate) reason: String,
    /// The node's name.
    pub(crate) node: String,
    /// Members that it sees alive, itself included.
    pub(crate) members_alive: usize,
    /// Hash of its ring; empty before the first.
    pub(crate) ring_hash: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Series {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Look {
    /// The sum of a metric's series.
    ///
    /// # Errors
    /// The node has no such metric: whoever looks at it must not take that for 0.
    pub(crate) fn sum(&self, metric: &str) -> Result<f64, String> {
        let series = self.metrics.get(metric);
        let series = series.ok_or_else(|| format!("{} has no {metric}", self.health.node))?;
        Ok(series.iter().map(|one| one.value).sum())
    }

    /// The sum of those series of a metric that have this value of a label; 0 without any.
    ///
    /// # Errors
    /// As [`Self::sum`].
    pub(crate) fn sum_of(&self, metric: &str, label: &str, value: &str) -> Result<f64, String> {
        let series = self.metrics.get(metric);
        let series = series.ok_or_else(|| format!("{} has no {metric}", self.health.node))?;
        let matching = series
            .iter()
            .filter(|one| one.labels.get(label).is_some_and(|held| held == value));
        Ok(matching.map(|one| one.value).sum())
    }

    /// Why this node is not at rest; `None` if it is.
    #[must_use]
    pub(crate) fn unrest(&self, nodes: usize) -> Option<String> {
        let Health {
            status,
            reason,
            node,
            members_alive,
            ..
        } = &self.health;
        if status != "ok" {
            return Some(format!("{node} says {status}: {reason}"));
        }
        if *members_alive != nodes {
            return Some(format!(
                "{node} sees {members_alive} members alive of {nodes}"
            ));
        }
        for metric in ["shardcache_slots_unsettled", "shardcache_hints_pending"] {
            match self.sum(metric) {
                Ok(0.0) => {}
                Ok(left) => return Some(format!("{metric} is {left} at {node}")),
                Err(missing) => return Some(missing),
            }
        }
        None
    }
}

/// Looks at nodes once, at all beside each other.
///
/// # Errors
/// The first node that cannot be looked at.
pub(crate) async fn looks(
    addresses: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<Look>, String> {
    join_all(addresses.map(look)).await.into_iter().collect()
}

/// Looks at one node.
///
/// # Errors
/// It cannot be reached, or what it says is not understood.
pub(crate) async fn look(address: SocketAddr) -> Result<Look, String> {
    let health = http::get(address, "/health").await?;
    let metrics = http::get(address, "/metrics?format=json").await?;
    let no_json = |error: serde_json::Error| format!("{address}: {error}");
    Ok(Look {
        health: serde_json::from_slice(&health.body).map_err(no_json)?,
        metrics: read_metrics(&metrics.body).map_err(no_json)?,
    })
}

/// Only series with a plain value: histograms are not looked at.
fn read_metrics(body: &[u8]) -> Result<BTreeMap<String, Vec<Series>>, serde_json::Error> {
    let all: BTreeMap<String, serde_json::Value> = serde_json::from_slice(body)?;
    let plain = |(name, value)| Some((name, serde_json::from_value(value).ok()?));
    Ok(all.into_iter().filter_map(plain).collect())
}

/// Whether all of so many nodes are at rest and go by one ring.
///
/// # Errors
/// The first thing that is missing.
pub(crate) fn all_at_rest(looks: &[Look], nodes: usize) -> Result<(), String> {
    if let Some(unrest) = looks.iter().find_map(|look| look.unrest(nodes)) {
        return Err(unrest);
    }
    let first = looks.first().map(|look| &look.health.ring_hash);
    let other = looks
        .iter()
        .find(|look| Some(&look.health.ring_hash) != first);
    match other {
        Some(other) => Err(format!("{} has another ring", other.health.node)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_at(status: &str, alive: usize, ring: &str, unsettled: f64) -> Look {
        let metrics = format!(
            r#"{{"shardcache_slots_unsettled":[{{"labels":{{}},"value":{unsettled}}}],
                "shardcache_hints_pending":[{{"labels":{{"peer":"a"}},"value":0}}],
                "shardcache_request_duration_seconds":[{{"labels":{{}},"buckets":{{}}}}]}}"#
        );
        Look {
            health: Health {
                status: status.to_owned(),
                reason: String::new(),
                node: "n1".to_owned(),
                members_alive: alive,
                ring_hash: ring.to_owned(),
            },
            metrics: read_metrics(metrics.as_bytes()).unwrap(),
        }
    }

    #[test]
    fn nodes_are_at_rest_when_all_are_well_agree_and_have_settled() {
        let well = look_at("ok", 2, "a", 0.0);
        assert_eq!(all_at_rest(&[well.clone(), well.clone()], 2), Ok(()));
        for unwell in [
            look_at("joining", 2, "a", 0.0),
            look_at("ok", 1, "a", 0.0),
            look_at("ok", 2, "b", 0.0),
            look_at("ok", 2, "a", 3.0),
        ] {
            all_at_rest(&[well.clone(), unwell], 2).unwrap_err();
        }
        let mut silent = well.clone();
        silent.metrics.clear();
        all_at_rest(&[well, silent], 2).unwrap_err();
    }
}
