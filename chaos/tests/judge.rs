//! The checker as a program: recorded histories judged by their exit code and their words.

#![allow(
    clippy::disallowed_methods,
    reason = "a test starts the program that it tests"
)]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

const RUN: &str = r#"{"record":"run","format":1,"run":"r","nodes":["127.0.0.1:1","127.0.0.1:2"]}"#;
const FAULT_ON: &str = r#"{"record":"fault","fault":"kill","state":"on","at_us":10}"#;
const FAULT_OFF: &str = r#"{"record":"fault","fault":"kill","state":"off","at_us":90}"#;

/// A write of key `r-0-1` that was acknowledged while the fault was on.
const WRITE: &str = r#"{"record":"operation","key":"r-0-1","action":"set","value":"v","node":0,"begun_us":20,"ended_us":30,"outcome":"ok","purpose":"load","attempt":1}"#;

/// A read of that key at a node after the fault.
fn read(node: usize, found: &str) -> String {
    format!(
        r#"{{"record":"operation","key":"r-0-1","action":"get","found":{found},"node":{node},"begun_us":100,"ended_us":110,"outcome":"ok","purpose":"audit","attempt":1}}"#
    )
}

fn judge(name: &str, lines: &[&str]) -> Output {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, lines.join("\n")).expect("the history can be written");
    let judged = checker()
        .args(["--min-acked", "1", "--min-during", "0.3", "--judge"])
        .arg(&path)
        .output()
        .expect("the checker runs");
    drop(fs::remove_file(path));
    judged
}

fn checker() -> Command {
    Command::new(env!("CARGO_BIN_EXE_shard-cache-chaos"))
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_history_in_which_everything_is_read_back_passes() {
    let (first, second) = (read(0, r#""v""#), read(1, r#""v""#));
    let judged = judge("whole", &[RUN, FAULT_ON, WRITE, FAULT_OFF, &first, &second]);
    let words = words(&judged);
    assert_eq!(judged.status.code(), Some(0), "{words}");
    assert!(words.contains("0 lost"), "{words}");
}

#[test]
fn an_acknowledged_write_that_one_node_misses_is_a_violation() {
    let (first, second) = (read(0, r#""v""#), read(1, "null"));
    let judged = judge("lost", &[RUN, FAULT_ON, WRITE, FAULT_OFF, &first, &second]);
    let words = words(&judged);
    assert_eq!(judged.status.code(), Some(1), "{words}");
    assert!(words.contains("1 lost"), "{words}");
}

#[test]
fn a_history_that_proves_nothing_does_not_pass() {
    let audit = read(0, r#""v""#);
    // One of the nodes was never asked.
    let judged = judge("vacuous", &[RUN, FAULT_ON, WRITE, FAULT_OFF, &audit]);
    assert_eq!(judged.status.code(), Some(5), "{}", words(&judged));
}

#[test]
fn wrong_usage_is_told_from_a_violation() {
    let refused = checker()
        .arg("--writers=0")
        .output()
        .expect("the checker runs");
    assert_eq!(refused.status.code(), Some(2), "{}", words(&refused));
}
