//! Follows what the nodes say of the cluster, and writes down what changes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    history::{Record, View},
    nodes::{http, look::Health},
    recorder::Recorder,
};

/// How often a node is asked.
const PERIOD: Duration = Duration::from_millis(100);
/// A node that takes longer to answer counts as one that does not.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// Follows the nodes at these addresses until it is dropped.
pub(crate) async fn follow(nodes: Vec<SocketAddr>, recorder: Arc<Recorder>) {
    let mut followers = JoinSet::new();
    for (place, node) in nodes.into_iter().enumerate() {
        followers.spawn(follow_one(place, node, Arc::clone(&recorder)));
    }
    while followers.join_next().await.is_some() {}
}

async fn follow_one(place: usize, node: SocketAddr, recorder: Arc<Recorder>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: Option<View> = None;
    loop {
        ticks.tick().await;
        let asked_us = recorder.now_us();
        let view = match health(node).await {
            Some(health) => View {
                at_us: recorder.now_us(),
                node: place,
                alive: Some(health.members_alive),
                ring: health.ring_hash,
                status: health.status,
            },
            // Since it was asked, at the latest, it has not answered.
            None => View {
                at_us: asked_us,
                node: place,
                alive: None,
                ring: String::new(),
                status: String::new(),
            },
        };
        let is_news = last.as_ref().is_none_or(|last| {
            (last.alive, &last.ring, &last.status) != (view.alive, &view.ring, &view.status)
        });
        if is_news {
            recorder.push(Record::View(view.clone()));
            last = Some(view);
        }
    }
}

async fn health(node: SocketAddr) -> Option<Health> {
    let answer = timeout(ANSWER_TIMEOUT, http::get(node, "/health")).await;
    serde_json::from_slice(&answer.ok()?.ok()?.body).ok()
}
