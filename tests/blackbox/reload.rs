//! What changes while a node runs: the configuration read again, and what is logged.

use std::{fs, path::Path};

use shard_cache_client::{CallOptions, Ttl, Value};

use crate::{
    cli::run,
    harness::{
        Launch, PATIENCE, Room,
        node::{NodeProcess, scratch_file},
        until,
    },
};

fn write(file: &Path, text: &str) {
    fs::write(file, text).expect("the file can be written");
}

/// Whether a key that is set without a time to live has one.
async fn expires(node: &NodeProcess) -> bool {
    let client = node.client().await;
    let call = CallOptions::default();
    let value = Value::from("v");
    let set = async || {
        let set = client.set("k", value.clone(), Ttl::Default, &call).await;
        set.map_err(|error| error.to_string())
    };
    until("the node serves", PATIENCE, set).await;
    let got = client.get("k", &call).await.expect("the node serves");
    got.hit.expect("it was set").expires_in.is_some()
}

#[tokio::test]
async fn a_hangup_puts_a_changed_configuration_into_use() {
    let _room = Room::shared().await;
    let file = scratch_file("node.yaml");
    write(&file, "server:\n  cache:\n    default_ttl: 0s\n");
    let node = Launch::new("n1", 1)
        .argument("--config")
        .argument(file.display())
        .start()
        .await;
    assert!(!expires(&node).await);
    write(
        &file,
        "server:\n  cache:\n    default_ttl: 60s\n  limits:\n    max_batch_items: 7\n",
    );
    node.hang_up();
    until("the new time to live", PATIENCE, async || {
        if expires(&node).await {
            Ok(())
        } else {
            Err(node.log())
        }
    })
    .await;
    let log = node.log();
    assert!(
        log.contains("server.limits.max_batch_items") && log.contains("a restart is needed"),
        "{log}"
    );
    // Wrong as a whole: nothing of it is used.
    write(
        &file,
        "server:\n  cache:\n    default_ttl: 0s\n    capacity: many\n",
    );
    let endpoint = node.addresses().grpc.to_string();
    let refused = run(&["node", "reload", "--endpoint", &endpoint]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("capacity"), "{refused:?}");
    assert!(expires(&node).await, "the configuration in use stays");
    let successful = "shardcache_config_last_reload_successful";
    assert_eq!(node.figure(successful, &[]).await, 0);
    write(&file, "server:\n  cache:\n    default_ttl: 0s\n");
    let reload = run(&["node", "reload", "-o", "json", "--endpoint", &endpoint]).await;
    let changed = &reload.json()["changed"][0];
    assert_eq!(
        (&changed["path"], &changed["before"]),
        (&"server.cache.default_ttl".into(), &"1m".into()),
        "{reload:?}"
    );
    assert!(!expires(&node).await);
    assert_eq!(node.figure(successful, &[]).await, 1);
    drop(fs::remove_file(file));
}

#[tokio::test]
async fn the_log_level_changes_while_a_node_runs() {
    let _room = Room::shared().await;
    let node = Launch::new("n1", 1).start().await;
    let endpoint = node.addresses().grpc.to_string();
    let level =
        async |level: &str| run(&["node", "log-level", level, "--endpoint", &endpoint]).await;
    let finished = || node.log().matches("request finished").count();
    expires(&node).await;
    assert_eq!(finished(), 0);
    let changed = level("debug").await;
    assert_eq!(
        changed.stdout.trim(),
        "n1 logs by debug now, and did by info"
    );
    expires(&node).await;
    until("lines at debug", PATIENCE, async || {
        if finished() >= 2 {
            Ok(())
        } else {
            Err(node.log())
        }
    })
    .await;
    let refused = level("loud").await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("loud"), "{refused:?}");
    assert_eq!(level("info").await.code, 0);
    let before = finished();
    expires(&node).await;
    assert_eq!(finished(), before);
}
