//! Two nodes that cannot reach each other for longer than the suspicion time find each other again by themselves.

use std::time::{Duration, Instant};

use shard_cache_client::{CallOptions, Client, ClientError, Outcome, Ttl, Value};

use crate::harness::{
    Room,
    relay::{Cable, relayed_pair},
};

/// Within which a refusal has to come, beyond the request's own deadline.
const SLACK: Duration = Duration::from_millis(500);
const DEADLINE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_split_of_two_nodes_acknowledges_nothing_and_heals_by_itself() {
    let cable = Cable::new();
    let room = Room::shared().await;
    let (cluster, _relays) = relayed_pair(room, &cable, &[]).await;
    let clients = cluster.clients().await;
    set(&clients[0], "before", "1")
        .await
        .expect("a whole cluster takes writes");

    cable.cut();
    let cut_at = Instant::now();
    let down = async {
        cluster.wait_until_down(&[0], "n2").await;
        cluster.wait_until_down(&[1], "n1").await;
    };
    let (refused, ()) = tokio::join!(refuse_until(&clients, cut_at), down);
    let known_after = cut_at.elapsed();
    // And still, when each knows that the other is gone.
    for client in &clients {
        let refused = set(client, "during", "split").await.expect_err("no quorum");
        assert_eq!(refused.outcome(), Outcome::NotApplied, "{refused}");
        let refused = client.get("before", &CallOptions::default()).await;
        refused.expect_err("a read without a quorum");
    }

    cable.heal();
    let healed_at = Instant::now();
    cluster.wait_until_ready().await;
    println!(
        "split of two: {refused} writes refused, down after {known_after:.1?}, whole again \
         {:.1?} after it healed",
        healed_at.elapsed()
    );
    for (writer, reader) in [(0, 1), (1, 0)] {
        let written = set(&clients[writer], "after", "2")
            .await
            .expect("a quorum again");
        assert_eq!(written, 2);
        for (key, value) in [("before", "1"), ("after", "2")] {
            let read = clients[reader]
                .get(key, &CallOptions::default())
                .await
                .expect("an answer");
            assert_eq!(
                read.hit.map(|hit| hit.value),
                Some(Value::from(value)),
                "{key}"
            );
        }
    }
}

/// Writes at both sides for some time; each write has to fail, within its deadline.
async fn refuse_until(clients: &[Client], cut_at: Instant) -> usize {
    let mut refused = 0;
    while cut_at.elapsed() < Duration::from_secs(3) {
        for client in clients {
            let begun = Instant::now();
            let key = format!("during-{refused}");
            let failure = set(client, &key, "split").await.expect_err("no quorum");
            assert!(
                begun.elapsed() < DEADLINE + SLACK,
                "{failure} after {:?}",
                begun.elapsed()
            );
            match failure {
                ClientError::Unavailable { .. }
                | ClientError::Unknown { .. }
                | ClientError::DeadlineExceeded { .. } => refused += 1,
                other => panic!("refused otherwise: {other}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    refused
}

async fn set(client: &Client, key: &str, value: &str) -> Result<u32, ClientError> {
    let call = CallOptions {
        timeout: Some(DEADLINE),
        ..CallOptions::default()
    };
    client
        .set(key, Value::from(value), Ttl::Default, &call)
        .await
        .map(|written| written.stored)
}
