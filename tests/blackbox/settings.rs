//! What all nodes of a cluster must agree on: a joiner that disagrees is refused, and told why.

use shard_cache_client::{CallOptions, Ttl, Value};

use crate::harness::{Cluster, Launch, Options, PATIENCE, Room, until};

#[tokio::test]
async fn a_joiner_with_other_settings_is_refused_with_the_reason() {
    let cluster = Cluster::start(2, Options::default(), Room::shared().await).await;
    let before = cluster[0].health().await.expect("an answer");
    for (name, path, value, word) in [
        ("slots", "cluster.slots", "1024", "slots=1024"),
        ("quorum", "client.quorum.read_quorum", "3", "read_quorum=3"),
    ] {
        let launch = Launch::new(name, 2)
            .seed(cluster[0].addresses().peer)
            .setting(path, value);
        let joiner = launch.start().await;
        until("the joiner tells why it is refused", PATIENCE, async || {
            let health = joiner.health().await?;
            let reason = health["reason"].as_str().unwrap_or_default();
            let told = health["status"] == "joining" && reason.contains("refuses");
            if told && reason.contains(word) {
                Ok(())
            } else {
                Err(health.to_string())
            }
        })
        .await;
        assert_eq!(joiner.http("/readyz").await.expect("an answer").status, 503);
        for node in cluster.nodes() {
            let members = node.members().await.expect("an answer");
            let refused = members.iter().find(|member| member.name == name);
            assert!(refused.is_none_or(|member| !member.in_ring), "{members:?}");
            let health = node.health().await.expect("an answer");
            assert_eq!(health["ring_hash"], before["ring_hash"]);
        }
        let client = cluster.client(1).await;
        let call = CallOptions::default();
        client
            .set("k", Value::from("v"), Ttl::Default, &call)
            .await
            .expect("others go on");
    }
}
