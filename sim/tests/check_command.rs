//! `shard-cache-sim check`, as a script sees it: exit codes, output and the report file.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const HEADER: &str = r#"{"history":{"format":1,"seed":42,"cluster":{"nodes":["a","b","c"],"replication_factor":3,"read_quorum":2,"write_quorum":2},"evictions_recorded":true}}"#;
const SET: &str = r#"{"operation":{"id":1,"node":0,"key":"k","kind":"set","value":"0a","life":"never","consistency":"quorum","invoked_ns":1000,"completed_ns":2000,"outcome":"ok","version":"1.0.7"}}"#;
const HIT: &str = r#"{"operation":{"id":2,"node":1,"key":"k","kind":"get","consistency":"quorum","invoked_ns":3000,"completed_ns":4000,"outcome":"ok","found":true,"value":"0a","version":"1.0.7"}}"#;
const MISS: &str = r#"{"operation":{"id":2,"node":1,"key":"k","kind":"get","consistency":"quorum","invoked_ns":3000,"completed_ns":4000,"outcome":"ok","found":false}}"#;

fn file(name: &str, lines: &[&str]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, lines.join("\n")).expect("the file can be written");
    path
}

fn check(arguments: &[&str]) -> (Option<i32>, String, String) {
    let program = env!("CARGO_BIN_EXE_shard-cache-sim");
    let mut command = Command::new(program);
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .arg("check")
        .args(arguments)
        .output()
        .expect("the program runs");
    let words = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    (status.code(), words(stdout), words(stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

fn check_file(path: &Path) -> (Option<i32>, String, String) {
    check(&[text(path)])
}

#[test]
fn kept_promises_exit_with_0() {
    let (code, stdout, _) = check_file(&file("kept.jsonl", &[HEADER, SET, HIT]));
    assert_eq!(code, Some(0), "{stdout}");
    assert!(stdout.starts_with("KEPT"), "{stdout}");
}

#[test]
fn a_broken_promise_exits_with_1_and_is_reported() {
    let history = file("violated.jsonl", &[HEADER, SET, MISS]);
    let report = file("violated.report.json", &[]);
    let (code, stdout, _) = check(&[text(&history), "--report", text(&report)]);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.starts_with("VIOLATED: G1 durability"), "{stdout}");
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
    assert_eq!(json["seed"], 42);
    assert_eq!(
        json["violations"][0]["operations"],
        serde_json::json!([1, 2])
    );
}

#[test]
fn wrong_usage_exits_with_2() {
    assert_eq!(check(&[]).0, Some(2));
    assert_eq!(check(&["a", "--promises", "none"]).0, Some(2));
}

#[test]
fn too_little_exits_with_5() {
    let asking = HEADER.replace(
        r#""evictions_recorded""#,
        r#""promises":{"floors":{"faults_min":1}},"evictions_recorded""#,
    );
    let (code, stdout, _) = check_file(&file("vacuous.jsonl", &[&asking, SET, HIT]));
    assert_eq!(code, Some(5), "{stdout}");
    assert!(
        stdout.contains("too few faults: 0, and 1 are needed"),
        "{stdout}"
    );
}

#[test]
fn what_cannot_be_read_exits_with_7_and_names_line_and_field() {
    let broken = SET.replace(r#""quorum""#, r#""most""#);
    let (code, _, stderr) = check_file(&file("broken.jsonl", &[HEADER, &broken]));
    assert_eq!(code, Some(7));
    assert!(
        stderr.contains("line 2, field `operation.consistency`"),
        "{stderr}"
    );
    assert_eq!(check(&["no such file"]).0, Some(7));
}
