//! `shard-cache bench`: it counts what it should, a stall counts for everything that it held up, and results are told in
//! three values.

use std::{process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::cli::{Ended, endpoints, run};
use crate::harness::{Cluster, NodeProcess, Options, PATIENCE, Room, node::binary, until};

/// How long a node stands still.
const STALL: Duration = Duration::from_millis(300);

#[tokio::test]
async fn both_generators_count_hits_and_writes_and_broken_thresholds_have_their_exit_code() {
    let cluster = Cluster::start(1, Options::default(), Room::alone().await).await;
    let at = &endpoints(&cluster)[0];
    for generator in ["wire", "client"] {
        let flags = "--duration 500ms --warm-up 50ms --keys 300 --value-size 0..3000 --timeout 5s";
        let ended = bench(
            "ycsb-a",
            at,
            &format!(
                "{flags} --generator {generator} --distribution zipf --fail-if unknown>0 \
                 --fail-if throughput<1000M"
            ),
        )
        .await;
        assert_eq!(ended.code, 8, "{ended:?}");
        assert!(ended.stderr.contains("throughput<1000M"), "{ended:?}");
        assert!(!ended.stderr.contains("unknown>0"), "{ended:?}");
        let report = ended.json();
        let count = |kind: &str, what: &str| report[kind][what].as_u64().unwrap_or_default();
        assert!(count("reads", "hits") > 50, "{report:#}");
        assert!(count("writes", "stored") > 50, "{report:#}");
        for none in ["misses", "corrupt", "failed", "unknown"] {
            assert_eq!(count("all", none), 0, "{none}: {report:#}");
        }
        assert_eq!(
            count("all", "ok"),
            count("reads", "ok") + count("writes", "ok")
        );
        assert!(micros(&report, "all", "p50_us") > 0.0);
        assert_eq!(report["cpu"]["servers"].as_array().map(Vec::len), Some(1));
        assert_eq!(report["thresholds"][1]["broken"], true);
    }
}

#[tokio::test]
async fn an_open_loop_makes_all_its_requests_and_a_stall_counts_for_each_that_it_held_up() {
    let cluster = Cluster::start(1, Options::default(), Room::alone().await).await;
    let flags =
        "--rate 500 --duration 2s --warm-up 0s --connections 1 --outstanding 1 --timeout 5s";
    let at = endpoints(&cluster);
    let running = spawn("set", &at[0], flags);
    until("writes are made", PATIENCE, async || {
        some_writes(&cluster[0], 50).await
    })
    .await;
    cluster[0].freeze();
    tokio::time::sleep(STALL).await;
    cluster[0].thaw();
    let report = finish(running).await.json();
    assert_eq!(report["writes"]["ended"], 1000, "{report:#}");
    assert_eq!(report["writes"]["ok"], 1000, "{report:#}");
    let stall = STALL.as_micros() as f64;
    assert!(micros(&report, "all", "max_us") > 0.9 * stall, "{report:#}");
    // 150 of 1000 were due while it stood still. One of them was sent then, and a closed loop would have seen that one.
    assert!(micros(&report, "all", "p95_us") > 0.4 * stall, "{report:#}");
    let service = report["service"]["p95_us"].as_f64().unwrap_or(f64::MAX);
    assert!(service < 0.4 * stall, "{report:#}");
}

#[tokio::test]
async fn a_killed_node_leaves_unknown_and_failed_requests_that_are_told_apart() {
    let mut cluster = Cluster::start(3, Options::default(), Room::alone().await).await;
    let at = endpoints(&cluster);
    let flags = "--duration 3s --warm-up 0s --consistency one --timeout 2s";
    let running = spawn("set", &at.join(","), flags);
    until("writes are made at the third", PATIENCE, async || {
        some_writes(&cluster[2], 50).await
    })
    .await;
    cluster[2].kill9();
    let ended = finish(running).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let report = ended.json();
    // What was outstanding on its two connections may have been applied; later nobody listened.
    let interrupted = failures(&report, "unknown", "interrupted");
    assert!((1..=32).contains(&interrupted), "{report:#}");
    assert!(failures(&report, "failed", "connect") > 0, "{report:#}");

    cluster[1].kill9();
    let flags = "--duration 300ms --warm-up 0s --timeout 1s";
    until(
        "writes are refused before anything is sent",
        PATIENCE,
        async || {
            let ended = bench("set", &at[0], flags).await;
            let report = ended.json();
            let refused = failures(&report, "failed", "no_quorum");
            if ended.code == 5 && refused > 0 && report["all"]["unknown"] == 0 {
                return Ok(());
            }
            Err(format!("{ended:?}"))
        },
    )
    .await;
}

#[tokio::test]
async fn values_that_nobody_wrote_are_counted_and_fail_the_run() {
    let cluster = Cluster::start(1, Options::default(), Room::shared().await).await;
    let at = &endpoints(&cluster)[0];
    let key = "bench-00000000000000000000000000";
    let set = run(&["set", key, "foreign", "--endpoint", at]).await;
    assert_eq!(set.code, 0, "{set:?}");
    let flags = "--duration 100ms --warm-up 0s --keys 1 --load=false --timeout 5s";
    for generator in ["wire", "client"] {
        let generator = format!("{flags} --generator {generator}");
        let ended = bench("get", at, &generator).await;
        assert_eq!(ended.code, 1, "{ended:?}");
        let report = ended.json();
        assert!(report["all"]["corrupt"].as_u64() > Some(0), "{report:#}");
        assert_eq!(report["all"]["ok"], 0, "{report:#}");
        let ended = bench("get", at, &format!("{generator} --verify off")).await;
        assert_eq!(ended.code, 0, "{ended:?}");
    }
}

#[tokio::test]
async fn an_interrupt_ends_it_early_with_what_was_measured() {
    let cluster = Cluster::start(1, Options::default(), Room::shared().await).await;
    let at = endpoints(&cluster);
    let running = spawn("set", &at[0], "--duration 1h --warm-up 0s --timeout 5s");
    until("writes are made", PATIENCE, async || {
        some_writes(&cluster[0], 50).await
    })
    .await;
    let pid = running
        .id()
        .and_then(|pid| Pid::from_raw(pid.cast_signed()));
    kill_process(pid.expect("it runs"), Signal::INT).expect("a child can be signalled");
    let ended = finish(running).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let report = ended.json();
    assert_eq!(report["interrupted"], true);
    assert!(report["all"]["ok"].as_u64() > Some(0), "{report:#}");
}

#[tokio::test]
async fn what_cannot_be_measured_is_told_by_the_exit_code() {
    let nobody = bench("set", "127.0.0.1:1", "").await;
    assert_eq!(nobody.code, 4, "{nobody:?}");
    for (flags, word) in [
        ("--connections 0", "connections"),
        ("--key-size 4", "4 bytes"),
        ("--fail-if p99", "p99>10ms"),
        ("--rate 1 --duration 30d", "604800s"),
    ] {
        let refused = bench("set", "127.0.0.1:1", flags).await;
        assert_eq!(refused.code, 2, "{flags}: {refused:?}");
        assert!(refused.stderr.contains(word), "{flags}: {refused:?}");
    }
}

fn arguments<'a>(shape: &'a str, endpoint: &'a str, flags: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["bench", shape, "--endpoint", endpoint, "-o", "json"];
    arguments.extend(flags.split_ascii_whitespace());
    arguments
}

async fn bench(shape: &str, endpoint: &str, flags: &str) -> Ended {
    run(&arguments(shape, endpoint, flags)).await
}

fn spawn(shape: &str, endpoint: &str, flags: &str) -> Child {
    Command::from(binary())
        .args(arguments(shape, endpoint, flags))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary can be started")
}

async fn finish(running: Child) -> Ended {
    let output = tokio::time::timeout(PATIENCE, running.wait_with_output()).await;
    let output = output
        .expect("it ends in time")
        .expect("it can be waited for");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ended {
        code: output.status.code().expect("it ends by itself"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

async fn some_writes(node: &NodeProcess, least: u64) -> Result<(), String> {
    let labels = [("op", "set"), ("code", "OK")];
    let writes = node.metric("shardcache_requests_total", &labels).await?;
    if writes >= least {
        Ok(())
    } else {
        Err(format!("{writes} writes"))
    }
}

fn micros(report: &Value, kind: &str, what: &str) -> f64 {
    report[kind]["latency"][what].as_f64().unwrap_or_default()
}

fn failures(report: &Value, outcome: &str, reason: &str) -> u64 {
    let all = report["failures"].as_array().cloned().unwrap_or_default();
    all.iter()
        .filter(|one| one["outcome"] == outcome && one["reason"] == reason)
        .filter_map(|one| one["count"].as_u64())
        .sum()
}
