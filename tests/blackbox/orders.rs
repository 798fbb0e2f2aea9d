//! What operators order about a cluster.

use shard_cache_client::{CallOptions, Ttl, Value};

use crate::{
    cli::{endpoints, run},
    harness::{Cluster, Options, PATIENCE, Room, until},
};

#[tokio::test]
async fn a_forgotten_node_leaves_the_ring_at_once_and_comes_back_empty() {
    // Long enough that nobody leaves the ring by being down.
    let options = Options::default()
        .setting("cluster.ring_down_grace", "1h")
        .setting("cluster.slots", 256);
    let mut cluster = Cluster::start(4, options, Room::alone().await).await;
    let at = endpoints(&cluster);
    let client = cluster.client(0).await;
    for number in 0..100 {
        let (key, value) = (format!("key-{number}"), Value::from("v"));
        let written = client
            .set(&key, value, Ttl::Never, &CallOptions::default())
            .await;
        written.expect("all are there");
    }
    let early = run(&["cluster", "forget", "n4", "--endpoint", &at[0]]).await;
    assert_eq!(early.code, 1, "{early:?}");
    assert!(early.stderr.contains("n4 is alive, not down"), "{early:?}");
    let nobody = run(&["cluster", "forget", "n9", "--endpoint", &at[0]]).await;
    assert_eq!(nobody.code, 1, "{nobody:?}");
    assert!(nobody.stderr.contains("n9"), "{nobody:?}");

    cluster[3].kill9();
    cluster.wait_until_down(&[0, 1, 2], "n4").await;
    let unsafe_now = run(&["node", "safe-to-stop", "--endpoint", &at[1]]).await;
    assert_eq!(unsafe_now.code, 3, "{unsafe_now:?}");
    let forgotten = run(&["cluster", "forget", "n4", "--endpoint", &at[0]]).await;
    assert_eq!(forgotten.code, 0, "{forgotten:?}");
    assert!(
        ["n1", "n2", "n3"]
            .iter()
            .all(|name| forgotten.stdout.contains(name)),
        "{forgotten:?}"
    );
    let safe = run(&[
        "node",
        "safe-to-stop",
        "--wait",
        "30s",
        "--endpoint",
        &at[1],
    ])
    .await;
    assert_eq!(safe.code, 0, "{safe:?}");
    for node in &cluster.nodes()[..3] {
        let members = node.members().await.expect("an answer");
        assert!(
            members.iter().all(|member| member.name != "n4"),
            "{members:?}"
        );
    }
    // Whatever it held was held by two others, too, and has been copied.
    cluster[2].kill9();
    for number in 0..100 {
        let key = format!("key-{number}");
        let read = until("a read", PATIENCE, async || {
            let read = client.get(&key, &CallOptions::default()).await;
            read.map_err(|error| error.to_string())
        })
        .await;
        assert!(read.hit.is_some(), "{key} is lost");
    }
    cluster[2].restart().await;
    cluster[3].restart().await;
    cluster.wait_until_safe().await;
}

#[tokio::test]
async fn what_is_owed_to_a_stopped_node_is_listed_and_dropped() {
    let mut cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    let at = endpoints(&cluster);
    let none = run(&["node", "hints", "list", "--endpoint", &at[0]]).await;
    assert_eq!(
        (none.code, none.stdout.as_str()),
        (0, "n1 owes nothing\n"),
        "{none:?}"
    );
    cluster[2].kill9();
    cluster.wait_until_down(&[0], "n3").await;
    let client = cluster.client(0).await;
    for number in 0..20 {
        let key = format!("key-{number}");
        let written = client
            .set(&key, "v".into(), Ttl::Never, &CallOptions::default())
            .await;
        written.expect("two of three are there");
    }
    let owed = until("they are owed", PATIENCE, async || {
        let listed = run(&["node", "hints", "list", "-o", "json", "--endpoint", &at[0]]).await;
        assert_eq!(listed.code, 0, "{listed:?}");
        let listed = listed.json();
        match listed[0]["pending"].as_u64() {
            Some(20) => Ok(listed),
            _ => Err(listed.to_string()),
        }
    })
    .await;
    assert_eq!(owed.as_array().map(Vec::len), Some(1), "{owed}");
    assert_eq!(
        (&owed[0]["node"], &owed[0]["refused"]),
        (&"n3".into(), &0.into())
    );
    assert!(owed[0]["bytes"].as_u64() >= Some(20 * 256), "{owed}");
    let table = run(&["node", "hints", "list", "--endpoint", &at[0]]).await;
    assert!(
        ["TARGET", "n3", "20"]
            .iter()
            .all(|text| table.stdout.contains(text)),
        "{table:?}"
    );

    for (target, code) in [(vec![], 2), (vec!["n3", "--all"], 2), (vec!["n9"], 1)] {
        let refused =
            run(&[&["node", "hints", "drop", "--endpoint", &at[0]], &*target].concat()).await;
        assert_eq!(refused.code, code, "{target:?}: {refused:?}");
    }
    // It is owed nothing, and nothing else is touched.
    let other = run(&["node", "hints", "drop", "n2", "--endpoint", &at[0]]).await;
    assert_eq!(other.code, 0, "{other:?}");
    let dropped = run(&[
        "node",
        "hints",
        "drop",
        "n3",
        "-o",
        "jsonl",
        "--endpoint",
        &at[0],
    ])
    .await;
    assert_eq!(
        (dropped.code, &dropped.json()["pending"]),
        (0, &20.into()),
        "{dropped:?}"
    );
    let count = cluster
        .sum(
            &[0],
            "shardcache_hints_dropped_total",
            &[("reason", "operator")],
        )
        .await;
    assert_eq!(count, 20);
    let all = run(&["node", "hints", "drop", "--all", "--endpoint", &at[0]]).await;
    assert_eq!(
        (all.code, all.stdout.as_str()),
        (0, "nothing was owed, nothing is dropped\n"),
        "{all:?}"
    );
    let none = run(&["node", "hints", "list", "-o", "jsonl", "--endpoint", &at[0]]).await;
    assert_eq!((none.code, none.stdout.as_str()), (0, ""), "{none:?}");
}

#[tokio::test]
async fn lost_slots_wait_for_an_operator_where_that_is_configured() {
    let options = Options::default()
        .setting("cluster.on_loss", "manual")
        .setting("cluster.slots", 64);
    let mut cluster = Cluster::start(2, options, Room::shared().await).await;
    let client = cluster.client(0).await;
    let written = client
        .set("k", "v".into(), Ttl::Never, &CallOptions::default())
        .await;
    assert_eq!(written.expect("both are there").stored, 2);
    cluster.wait_until_safe().await;
    // Of two owners one is no cover: that the other held everything is not known.
    cluster[1].kill9();
    cluster[1].restart().await;
    until("slots wait", PATIENCE, async || {
        let mut waiting = 0;
        for node in cluster.nodes() {
            waiting += node.metric("shardcache_slots_lost_waiting", &[]).await?;
        }
        match waiting {
            64 => Ok(()),
            some => Err(format!("{some} wait")),
        }
    })
    .await;
    let read = client.get("k", &CallOptions::default()).await;
    assert!(read.is_err(), "{read:?}");
    let lost = cluster
        .sum(&[0, 1], "shardcache_slots_lost_total", &[])
        .await;
    assert_eq!(lost, 0);

    let at = endpoints(&cluster);
    let accepted = run(&["cluster", "accept-losses", "--endpoint", &at[1]]).await;
    assert_eq!(accepted.code, 0, "{accepted:?}");
    cluster.wait_until_safe().await;
    let lost = cluster
        .sum(&[0, 1], "shardcache_slots_lost_total", &[])
        .await;
    assert_eq!(lost, 64);
    let read = client.get("k", &CallOptions::default()).await;
    let hit = read.expect("served again").hit;
    assert!(hit.is_some(), "one of two kept what it had");
}
