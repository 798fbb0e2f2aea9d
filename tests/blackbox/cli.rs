//! The command line: what people and scripts see of it.

use std::{
    fs,
    process::{Output, Stdio},
};

use serde_json::Value;
use tokio::process::Command;

use crate::harness::{
    Cluster, Launch, Options, PATIENCE, Room,
    node::{Style, binary, scratch_file},
    until,
};

#[tokio::test]
async fn keys_are_set_read_and_deleted_at_any_node() {
    let cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    let at = endpoints(&cluster);
    let set = run(&[
        "set",
        "greeting",
        "hello",
        "--ttl",
        "60s",
        "--endpoint",
        &at[0],
    ])
    .await;
    assert_eq!(set.code, 0, "{set:?}");
    assert!(set.stdout.starts_with("OK"), "{set:?}");
    let get = run(&["get", "greeting", "--endpoint", &at[2]]).await;
    assert_eq!((get.code, get.stdout.as_str()), (0, "hello"), "{get:?}");
    let get = run(&["get", "greeting", "-o", "json", "--endpoint", &at[1]]).await;
    let document = get.json();
    assert_eq!(
        (&document["found"], &document["value"]),
        (&true.into(), &"hello".into())
    );
    assert!(
        document["ttl_seconds"]
            .as_f64()
            .is_some_and(|left| left > 0.0 && left <= 60.0)
    );
    let del = run(&["del", "greeting", "--endpoint", &at[1]]).await;
    assert_eq!(del.code, 0, "{del:?}");
    let get = run(&["get", "greeting", "--endpoint", &at[0]]).await;
    assert_eq!(
        (get.code, get.stdout.as_str()),
        (3, ""),
        "an absent key: {get:?}"
    );
    assert!(!get.stderr.is_empty());
    let get = run(&["get", "greeting", "-o", "json", "--endpoint", &at[2]]).await;
    assert_eq!((get.code, &get.json()["found"]), (3, &false.into()));
    let del = run(&["del", "greeting", "--endpoint", &at[0]]).await;
    assert_eq!(del.code, 3, "{del:?}");
    // The first that can be reached, and what a node refuses.
    let both = format!("127.0.0.1:1,{}", at[1]);
    let set = run(&["set", "k", "--endpoint", &both, "--", "-v"]).await;
    assert_eq!(set.code, 0, "{set:?}");
    let set = run(&["set", "", "v", "--endpoint", &at[0]]).await;
    assert_eq!(set.code, 1, "{set:?}");
    assert!(set.stderr.contains("key is empty"), "{set:?}");
}

#[tokio::test]
async fn the_cluster_is_shown_through_any_node() {
    let cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    let at = endpoints(&cluster);
    let status = run(&["cluster", "status", "--exit-code", "--endpoint", &at[1]]).await;
    assert_eq!(status.code, 0, "{status:?}");
    for name in ["n1", "n2", "n3", "rings agree: yes", "views agree: yes"] {
        assert!(status.stdout.contains(name), "no {name}: {}", status.stdout);
    }
    let status = run(&["cluster", "status", "-o", "json", "--endpoint", &at[2]])
        .await
        .json();
    assert_eq!(status["rings_agree"], true);
    let nodes = status["nodes"].as_array().expect("a list of nodes");
    assert_eq!(nodes.len(), 3);
    for node in nodes {
        assert_eq!(node["report"]["status"], "ok", "{node}");
        assert_eq!(node["report"]["owned_ratio"], 1.0, "{node}");
    }
    let members = run(&["cluster", "members", "-o", "jsonl", "--endpoint", &at[0]]).await;
    let members: Vec<Value> = members.stdout.lines().map(parse).collect();
    let names: Vec<_> = members
        .iter()
        .map(|member| member["name"].clone())
        .collect();
    assert_eq!(names, ["n1", "n2", "n3"]);
    for (member, endpoint) in members.iter().zip(&at) {
        assert_eq!(member["grpc_address"], endpoint.as_str());
    }
    let mut owners = Vec::new();
    for endpoint in &at {
        let answer = run(&["ring", "owners", "k", "-o", "jsonl", "--endpoint", endpoint]).await;
        owners.push(answer.json()["owners"].clone());
    }
    assert_eq!(owners[0].as_array().map(Vec::len), Some(3));
    assert!(
        owners.iter().all(|one| *one == owners[0]),
        "owners differ: {owners:?}"
    );
    let table = run(&["ring", "owners", "k", "--endpoint", &at[0]]).await;
    assert!(
        table.code == 0 && table.stdout.contains("OWNER"),
        "{table:?}"
    );
    let http = cluster[0].addresses().http.to_string();
    assert_eq!(
        run(&["healthcheck", "--http", &http, "--probe", "ready"])
            .await
            .code,
        0
    );
    assert_eq!(run(&["healthcheck", "--http", "127.0.0.1:1"]).await.code, 1);
}

#[tokio::test]
async fn a_node_that_cannot_be_reached_is_told_by_the_exit_code() {
    let nowhere = ["--endpoint", "127.0.0.1:1", "--timeout", "2s"];
    for command in [
        vec!["get", "k"],
        vec!["set", "k", "v"],
        vec!["del", "k"],
        vec!["cluster", "status"],
        vec!["ring", "owners", "k"],
    ] {
        let refused = run(&[command.as_slice(), &nowhere].concat()).await;
        assert_eq!(refused.code, 4, "{command:?}: {refused:?}");
        assert!(refused.stderr.contains("127.0.0.1:1") && refused.stdout.is_empty());
    }
    assert_eq!(run(&["get"]).await.code, 2);
    assert_eq!(run(&["no-such-command"]).await.code, 2);
    assert_eq!(run(&["--help"]).await.code, 0);
}

#[tokio::test]
async fn a_lost_quorum_is_told_by_the_exit_code_and_degraded_service_is_opt_in() {
    let mut cluster = Cluster::start(2, Options::default(), Room::shared().await).await;
    let at = endpoints(&cluster).swap_remove(0);
    let set = run(&["set", "k", "v", "--consistency", "all", "--endpoint", &at]).await;
    assert_eq!(set.code, 0, "{set:?}");
    cluster[1].kill9();
    until(
        "writes are refused before anything is sent",
        PATIENCE,
        async || {
            let set = run(&["set", "k", "w", "--endpoint", &at]).await;
            let refused = set.code == 5 && set.stderr.contains("no_quorum");
            if refused {
                Ok(())
            } else {
                Err(format!("{set:?}"))
            }
        },
    )
    .await;
    let get = run(&["get", "k", "--endpoint", &at]).await;
    assert_eq!((get.code, get.stdout.as_str()), (5, ""), "{get:?}");
    let status = run(&["cluster", "status", "--exit-code", "--endpoint", &at]).await;
    assert_eq!(status.code, 6, "{status:?}");
    let get = run(&["get", "k", "--degrade", "--endpoint", &at]).await;
    assert_eq!(get.code, 0, "{get:?}");
    assert!(get.stderr.contains("degraded"), "{get:?}");
    let health = cluster[0].health().await.expect("an answer");
    assert_eq!(health["status"], "degraded", "{health}");
}

#[tokio::test]
async fn a_node_says_whether_it_may_stop_and_leaves_when_it_is_told_to() {
    let mut cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    let at = endpoints(&cluster);
    let safe = run(&[
        "node",
        "safe-to-stop",
        "--wait",
        "20s",
        "--endpoint",
        &at[0],
    ])
    .await;
    assert_eq!(safe.code, 0, "{safe:?}");
    assert!(safe.stdout.contains("n1 is safe to stop"), "{safe:?}");

    cluster[1].freeze();
    let frozen = run(&["node", "safe-to-stop", "--endpoint", &at[0]]).await;
    assert_eq!(frozen.code, 3, "{frozen:?}");
    assert!(frozen.stdout.contains("n2 did not say"), "{frozen:?}");
    cluster[1].thaw();
    cluster.wait_until_safe().await;

    let set = run(&["set", "k", "v", "--endpoint", &at[0]]).await;
    assert_eq!(set.code, 0, "{set:?}");
    let drained = run(&["node", "drain", "--endpoint", &at[2], "-o", "json"]).await;
    assert_eq!(drained.code, 0, "{drained:?}");
    assert!(drained.stdout.contains("\"safe\": true"), "{drained:?}");
    let status = cluster[2].ended(PATIENCE).await;
    assert_eq!(status.code(), Some(0));
    let get = run(&["get", "k", "--endpoint", &at[1]]).await;
    assert_eq!(get.code, 0, "{get:?}");
}

#[tokio::test]
async fn a_bad_configuration_is_refused_with_line_and_column() {
    let file = scratch_file("bad.yaml");
    let name = file.to_str().expect("a path that is text");
    for (text, place, words) in [
        (
            "server:\n  grpc:\n    prot: 8080\n",
            "3:5",
            vec!["prot", "port"],
        ),
        (
            "server:\n  cache:\n    capacity: 0\n",
            "3:15",
            vec!["capacity"],
        ),
        (
            "server:\n  cache:\n    default_ttl: 60 parsecs\n",
            "3:18",
            vec!["default_ttl"],
        ),
        (
            "client:\n  quorum:\n    read_quorum: 5\n",
            "3:18",
            vec!["read_quorum", "3"],
        ),
    ] {
        fs::write(&file, text).expect("the file can be written");
        for command in [
            vec!["config", "check", name],
            vec!["serve", "--config", name],
        ] {
            let refused = run(&command).await;
            assert_eq!(refused.code, 7, "{command:?}: {refused:?}");
            let place = format!("{name}:{place}");
            assert!(
                refused.stderr.contains(&place),
                "no {place}: {}",
                refused.stderr
            );
            let all = words.iter().all(|word| refused.stderr.contains(word));
            assert!(all, "no {words:?}: {}", refused.stderr);
        }
    }
    let example = run(&["config", "example"]).await;
    fs::write(&file, &example.stdout).expect("the file can be written");
    assert_eq!(
        run(&["config", "check", name]).await.code,
        0,
        "the example is legal"
    );
    fs::remove_file(&file).expect("the file can be removed");
    let refused = run(&["serve", "--grpc-port=http"]).await;
    assert!(
        refused.code == 7 && refused.stderr.contains("grpc-port"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn flags_as_the_original_wrote_them_start_a_node() {
    let _room = Room::shared().await;
    let mut launch = Launch::new("go", 1).argument("-log-level=debug");
    launch = launch.setting("cluster.bootstrap_wait", "100ms");
    launch.style = Style::Go;
    let node = launch.start().await;
    let endpoint = node.addresses().grpc.to_string();
    until("it serves", PATIENCE, async || {
        let set = run(&["set", "k", "v", "--endpoint", &endpoint]).await;
        if set.code == 0 {
            Ok(())
        } else {
            Err(set.stderr)
        }
    })
    .await;
    assert_eq!(
        run(&["get", "k", "--endpoint", &endpoint]).await.stdout,
        "v"
    );
}

#[tokio::test]
async fn the_program_has_no_test_features() {
    let version = run(&["version", "-o", "json"]).await;
    let document = version.json();
    assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["features"], Value::Array(Vec::new()));
}

pub(crate) fn endpoints(cluster: &Cluster) -> Vec<String> {
    cluster
        .nodes()
        .iter()
        .map(|node| node.addresses().grpc.to_string())
        .collect()
}

/// What a command ended with.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn json(&self) -> Value {
        assert!(!self.stdout.is_empty(), "{self:?}");
        parse(&self.stdout)
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("no JSON: {error}: {text}"))
}

pub(crate) async fn run(arguments: &[&str]) -> Ended {
    let mut command = Command::from(binary());
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{arguments:?} did not end"));
    let Output {
        status,
        stdout,
        stderr,
    } = output.expect("the binary can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ended {
        code: status
            .code()
            .unwrap_or_else(|| panic!("{arguments:?} was killed: {status}")),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}
