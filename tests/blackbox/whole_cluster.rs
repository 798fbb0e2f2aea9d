//! The whole cluster from any node: who is well, who sees whom, and what is asked for most.

use serde_json::Value;
use shard_cache_client::{CallOptions, Ttl, Value as Stored};

use crate::{
    cli::{endpoints, run},
    harness::{Cluster, Options, PATIENCE, Room, until},
};

/// Requests for one key, of which some are counted.
const REQUESTS: usize = 4000;

fn names(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    let mut names: Vec<String> = list
        .filter_map(|name| name.as_str())
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn health_is_waited_for_and_says_what_is_wrong() {
    let mut cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    let at = endpoints(&cluster);
    let health = async |more: &[&str], node: usize| {
        let mut arguments = vec!["cluster", "health", "--endpoint", &at[node]];
        arguments.extend(more);
        run(&arguments).await
    };
    let well = health(&["--wait", "30s", "-o", "json"], 0).await;
    assert_eq!(well.code, 0, "{well:?}");
    assert_eq!(well.json()["healthy"], true);
    let lost = cluster[2].name().to_owned();
    cluster[2].kill9();
    until("the loss is told", PATIENCE, async || {
        let ill = health(&["-o", "json"], 0).await;
        let problems = names(&ill.json()["problems"]);
        let told = problems.iter().any(|problem| problem.starts_with(&lost));
        if ill.code == 6 && told {
            Ok(())
        } else {
            Err(format!("{ill:?}"))
        }
    })
    .await;
    cluster[2].restart().await;
    let again = health(&["--wait", "60s"], 1).await;
    assert_eq!(again.code, 0, "{again:?}");
    let nobody = run(&["cluster", "health", "--endpoint", "127.0.0.1:1"]).await;
    assert_eq!(nobody.code, 4, "{nobody:?}");
}

#[tokio::test]
async fn any_node_tells_of_all_and_of_the_views_they_have() {
    let cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    for node in cluster.nodes() {
        let overview = node.http("/api/v1/overview").await.expect("an answer");
        let overview = overview.json();
        assert_eq!(overview["asked"], node.name());
        assert_eq!(overview["views_agree"], true, "{overview}");
        let all: Vec<_> = cluster.nodes().iter().map(|node| node.name()).collect();
        assert_eq!(overview["views"].as_array().map(Vec::len), Some(1));
        assert_eq!(names(&overview["views"][0]["seen_by"]), all);
        assert_eq!(names(&overview["views"][0]["alive"]), all);
        assert_eq!(names(&overview["views"][0]["not_alive"]), [""; 0]);
    }
}

#[tokio::test]
async fn a_key_that_is_asked_for_more_than_others_is_named() {
    let cluster = Cluster::start(1, Options::default(), Room::shared().await).await;
    let client = cluster.client(0).await;
    let call = CallOptions::default();
    let set = client.set("celebrity", Stored::from("v"), Ttl::Default, &call);
    set.await.expect("the node serves");
    for _ in 0..REQUESTS {
        client
            .get("celebrity", &call)
            .await
            .expect("the node serves");
    }
    let status = run(&["cluster", "status", "--endpoint", &endpoints(&cluster)[0]]).await;
    assert!(
        status.stdout.contains("hot key celebrity: "),
        "{}",
        status.stdout
    );
    let overview = cluster[0]
        .http("/api/v1/overview")
        .await
        .expect("an answer");
    let hot = &overview.json()["nodes"][0]["report"]["hot_keys"][0];
    assert_eq!(hot["key"], "celebrity", "{hot}");
    assert!(
        hot["share"].as_f64().is_some_and(|share| share > 0.9),
        "{hot}"
    );
}
