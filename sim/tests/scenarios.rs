//! Scenarios: the examples keep what they promise, files are refused in words, and a run is the same from its file.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use shard_cache_sim::{
    cli::report_file::RunReport,
    cli::run::{Finding, judge},
    options::{FaultKind, Options},
    plan, run,
    scenario::{Scenario, read_file},
};

fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path
}

fn sim(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shard-cache-sim"));
    let output = command.args(arguments).output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn refused(name: &str, text: &str) -> String {
    let path = file(name, text);
    let (code, _, stderr) = sim(&["scenario", path.to_str().unwrap()]);
    assert_eq!(code, 7, "{stderr}");
    stderr
}

#[test]
fn the_examples_have_the_verdict_that_they_expect() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let scenario = read_file(&path).unwrap();
        assert!(scenario.floors.is_some(), "{}", path.display());
        let options = scenario.options(String::new());
        let outcome = run::run(&options, false);
        let report = judge(&outcome);
        let full = RunReport::new(&options, &outcome, &report);
        let expected = scenario.expect.unwrap();
        let finding = Finding::of(&outcome, &report);
        assert_eq!(
            full.report.verdict,
            expected,
            "{}: {finding}",
            path.display()
        );
        count += 1;
    }
    assert!(count >= 2, "{count}");
}

#[test]
fn a_run_of_a_seed_is_the_same_from_its_file() {
    for seed in [5, 21] {
        let mut options = Options::of_seed(seed, Duration::from_secs(15));
        options.faults.extend(FaultKind::ALL);
        let scenario = Scenario::of(&options);
        assert!(!scenario.faults.is_empty());
        let path = file(&format!("seed-{seed}.yaml"), &scenario.to_yaml().unwrap());
        let again = read_file(&path).unwrap();
        assert_eq!(again, scenario);
        let given = again.options(String::new());
        assert_eq!(plan::of(&given), plan::of(&options));
        let [drawn, read] = [&options, &given].map(|options| run::run(options, false));
        assert_eq!(drawn.trace, read.trace, "seed {seed}");
    }
}

#[test]
fn unknown_keys_and_values_are_refused_with_their_place_and_what_is_accepted() {
    let stderr = refused("key.yaml", "seed: 3\ntopology:\n  owners: 2\n");
    assert!(
        stderr.contains("key.yaml:3:3: unknown key `owners`"),
        "{stderr}"
    );
    assert!(
        stderr.contains("accepted: nodes, first_nodes, "),
        "{stderr}"
    );
    let stderr = refused("kind.yaml", "faults:\n  - {at: 1s, kind: burn}\n");
    assert!(
        stderr.contains("kind.yaml:2:20: unknown value `burn`"),
        "{stderr}"
    );
    assert!(stderr.contains("accepted: kill, vanish, "), "{stderr}");
    let stderr = refused("span.yaml", "faults:\n  - {at: soon, kind: kill}\n");
    assert!(
        stderr.contains("span.yaml:2:10: `soon` is not a duration"),
        "{stderr}"
    );
    let stderr = refused("number.yaml", "load:\n  rate: many\n");
    assert!(
        stderr.contains("number.yaml:2:9: is not a whole number"),
        "{stderr}"
    );
    let stderr = refused("promises.yaml", "promises: most\n");
    assert!(
        stderr.contains("accepted: all, a list of invariants"),
        "{stderr}"
    );
}

#[test]
fn values_that_do_not_fit_each_other_are_refused_with_their_place() {
    let text = "minutes: 1\ntopology:\n  write_quorum: 1\nfaults:\n  - at: 10s\n    kind: kill\n    nodes: [3]\n";
    let stderr = refused("fit.yaml", text);
    assert!(
        stderr.contains("fit.yaml:3:17: topology.write_quorum: 2 x write_quorum 1"),
        "{stderr}"
    );
    assert!(
        stderr.contains("fit.yaml:3:3: topology.read_quorum: "),
        "{stderr}"
    );
    assert!(
        stderr.contains("fit.yaml:7:12: faults[0].nodes: there is no node 3, only 0 to 2"),
        "{stderr}"
    );
}

#[test]
fn faults_without_bounds_are_refused() {
    let text = "seconds: 5\nfaults:\n  - {at: 1s, kind: pause, nodes: [0], for: 1h}\n  - {at: 2s, kind: clock_jump, nodes: [0], offset_ms: 9223372036854775807}\n";
    let stderr = refused("bounds.yaml", text);
    assert!(
        stderr.contains("bounds.yaml:3:44: faults[0].for: it ends at 1h 1s"),
        "{stderr}"
    );
    assert!(
        stderr.contains("faults[1].offset_ms: 9223372036854775807 is not"),
        "{stderr}"
    );
}

#[test]
fn too_little_exits_with_5_and_the_report_has_its_form() {
    let scenario = file(
        "little.yaml",
        "seconds: 5\nfloors: {operations_min: 1000000}\n",
    );
    let (json, text) = (file("little.json", ""), file("little.txt", ""));
    for report in [&json, &text] {
        let arguments = [
            "scenario",
            scenario.to_str().unwrap(),
            "--report",
            report.to_str().unwrap(),
        ];
        assert_eq!(sim(&arguments).0, 5);
    }
    let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(json["verdict"], "vacuous");
    assert_eq!(json["options"]["seconds"], 5);
    assert!(json["rare_paths"].is_object() && json["counts"].is_object());
    assert!(fs::read_to_string(text).unwrap().contains("\nVACUOUS"));
}

#[test]
fn replay_says_whether_the_trace_is_the_recorded_one() {
    let text = "seconds: 5\nfloors: {}\ntrace: 0123456789abcdef\n";
    let path = file("replay.yaml", text);
    let (code, stdout, _) = sim(&["replay", path.to_str().unwrap()]);
    assert_eq!(code, 1, "{stdout}");
    let found = stdout
        .lines()
        .last()
        .unwrap()
        .split([' ', ','])
        .nth(3)
        .unwrap();
    file("replay.yaml", &text.replace("0123456789abcdef", found));
    let (code, stdout, _) = sim(&["replay", path.to_str().unwrap()]);
    assert_eq!(code, 0, "{stdout}");
    assert!(
        stdout.ends_with("the trace is the recorded one\n"),
        "{stdout}"
    );
}

#[test]
fn shrinking_leaves_out_faults_that_do_not_matter() {
    // Hardly anything arrives, so that no ring is formed, whatever else goes wrong.
    let text = "seconds: 30\nnetwork: {loss_percent: 99}\nfaults:\n  - {at: 1s, kind: kill, nodes: [0]}\n  - {at: 2s, kind: pause, nodes: [1]}\n";
    let (path, out) = (file("shrink.yaml", text), file("shrunk.yaml", ""));
    let out = out.to_str().unwrap();
    let (code, stdout, stderr) = sim(&["shrink", path.to_str().unwrap(), "--out", out]);
    assert_eq!(code, 1, "{stdout}");
    assert!(
        stdout.contains("0 of 2 faults are enough for liveness, found in 1 runs"),
        "{stdout}"
    );
    assert!(
        stderr.contains("run 1: 0 of 2 faults, still broken"),
        "{stderr}"
    );
    let (code, stdout, _) = sim(&["replay", out]);
    assert_eq!(code, 1, "{stdout}");
    assert!(
        stdout.ends_with("the trace is the recorded one\n"),
        "{stdout}"
    );
}
