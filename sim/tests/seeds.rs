//! A few seeds, so that a change that breaks a promise, or the simulator itself, is noticed at once.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use shard_cache::config::{self, Sources};
use shard_cache_sim::{
    cli::check::Exit,
    cli::run::{Finding, exit_of, judge},
    options::Options,
    run,
};

const SECONDS: u64 = 20;

#[test]
fn fixed_seeds_keep_every_promise() {
    for seed in 0..8 {
        let options = Options::of_seed(seed, Duration::from_secs(SECONDS));
        let outcome = run::run(&options, false);
        let report = judge(&outcome);
        let is_kept = exit_of(&outcome, &report) == Exit::Kept;
        assert!(is_kept, "{}", Finding::of(&outcome, &report));
    }
}

#[test]
fn two_processes_do_the_same() {
    let run = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_shard-cache-sim"));
        command.args(["run", "--seed", "104", "--seconds", "5"]);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let first = run();
    assert!(first.contains("trace "), "{first}");
    assert_eq!(first, run());
}

#[test]
fn a_run_of_a_seed_has_one_trace() {
    for seed in 100..103 {
        let options = Options::of_seed(seed, Duration::from_secs(SECONDS));
        let [first, second] = [(); 2].map(|()| run::run(&options, false));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.history, second.history, "seed {seed}");
    }
}

#[test]
fn what_a_seed_draws_is_a_configuration_that_a_node_accepts() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("drawn.yaml");
    for seed in 0..500 {
        let drawn = Options::of_seed(seed, Duration::from_secs(SECONDS)).config(0);
        std::fs::write(&file, config::print(&drawn)).unwrap();
        let sources = Sources {
            file: Some(file.clone()),
            ..Sources::default()
        };
        let accepted = config::load(sources).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(accepted.config, drawn, "seed {seed}");
    }
}
