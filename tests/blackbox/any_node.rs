//! Any node serves any key.

use shard_cache_client::{CallOptions, Ttl, Value};

use crate::harness::{Cluster, Options, Room, http};

const KEYS_PER_NODE: usize = 40;

#[tokio::test]
async fn every_node_serves_what_was_set_and_deleted_at_any_other() {
    let cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    let clients = cluster.clients().await;
    let call = CallOptions::default();
    for (writer, client) in clients.iter().enumerate() {
        for number in 0..KEYS_PER_NODE {
            let (key, value) = (
                format!("{writer}:{number}"),
                format!("from n{}", writer + 1),
            );
            let written = client
                .set(&key, Value::from(value), Ttl::Default, &call)
                .await;
            assert!(written.expect("a whole cluster takes writes").stored >= 2);
        }
    }
    for reader in &clients {
        for writer in 0..clients.len() {
            for number in 0..KEYS_PER_NODE {
                let read = reader.get(&format!("{writer}:{number}"), &call).await;
                let hit = read
                    .expect("a whole cluster answers reads")
                    .hit
                    .expect("a hit");
                assert_eq!(hit.value, Value::from(format!("from n{}", writer + 1)));
            }
        }
    }
    for writer in 0..clients.len() {
        let key = format!("{writer}:0");
        let deleter = &clients[(writer + 1) % clients.len()];
        let deleted = deleter
            .delete(&key, &call)
            .await
            .expect("a whole cluster takes deletes");
        assert!(deleted.found && deleted.stored >= 2, "{deleted:?}");
        for reader in &clients {
            let read = reader
                .get(&key, &call)
                .await
                .expect("a whole cluster answers reads");
            assert_eq!(read.hit, None, "{key} at {}", reader.endpoint());
        }
        let again = deleter
            .delete(&key, &call)
            .await
            .expect("deleting an absent key is legal");
        assert!(!again.found);
    }
}

#[tokio::test]
async fn every_node_serves_keys_over_http_too() {
    let cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    for writer in cluster.nodes() {
        let path = format!("/v1/keys/http:{}", writer.name());
        let body = writer.name().as_bytes();
        let put = http::request(writer.addresses().http, "PUT", &path, &[], body).await;
        assert_eq!(put.expect("an answer").status, 204);
        for reader in cluster.nodes() {
            let read = reader.http(&path).await.expect("an answer");
            assert_eq!(
                (read.status, read.body.as_slice()),
                (200, body),
                "at {}",
                reader.name()
            );
        }
    }
    let (first, last) = (cluster[0].addresses().http, cluster[2].addresses().http);
    let deleted = http::request(last, "DELETE", "/v1/keys/http:n1", &[], b"").await;
    assert_eq!(deleted.expect("an answer").status, 204);
    for reader in cluster.nodes() {
        assert_eq!(
            reader
                .http("/v1/keys/http:n1")
                .await
                .expect("an answer")
                .status,
            404
        );
    }
    assert_eq!(
        http::get(first, "/v1/keys/http:n2")
            .await
            .expect("an answer")
            .status,
        200
    );
}
