//! The checker finds known bugs: for each one seed by which it is found, which shows nothing without it.

use std::time::Duration;

use shard_cache_sim::{
    cli::mutants::{Shown, show},
    options::{FaultKind, Options},
    plant::Plant,
};

#[track_caller]
fn expect_caught(plant: Plant, seed: u64, seconds: u64) {
    let options = Options::of_seed(seed, Duration::from_secs(seconds));
    expect_caught_in(&options, plant);
}

#[track_caller]
fn expect_caught_in(options: &Options, plant: Plant) {
    let (shown, invariant, seed) = (show(options, plant), plant.invariant(), options.seed);
    assert!(
        matches!(&shown, Shown::Caught(violated) if violated.contains(&invariant)),
        "{plant} should break {invariant} under seed {seed}, and nothing should be broken without it: {shown:?}"
    );
}

#[test]
fn ack_before_store_breaks_durability() {
    expect_caught(Plant::AckBeforeStore, 2, 10);
}

#[test]
fn answers_under_any_configuration_break_full_covers() {
    expect_caught(Plant::AnyConfiguration, 8, 30);
}

#[test]
fn deletes_without_tombstones_break_no_resurrection() {
    expect_caught(Plant::NoTombstone, 0, 10);
}

#[test]
fn tombstones_purged_early_break_no_resurrection() {
    expect_caught(Plant::TombstonePurgedEarly, 0, 30);
}

#[test]
fn time_that_is_taken_from_clocks_far_ahead_breaks_expiry() {
    let options = Options {
        faults: [FaultKind::Kill, FaultKind::Pause, FaultKind::ClockJump].into(),
        ..Options::of_seed(15, Duration::from_secs(60))
    };
    expect_caught_in(&options, Plant::DriftMerged);
}

#[test]
fn ignoring_newer_breaks_write_order() {
    expect_caught(Plant::NewerIgnored, 6, 10);
}

#[test]
fn counting_hints_breaks_durability() {
    expect_caught(Plant::HintCounted, 42, 10);
}

#[test]
fn hints_that_never_expire_break_expiry() {
    expect_caught(Plant::HintBeyondExpiry, 42, 10);
}

#[test]
fn digests_that_never_differ_break_convergence() {
    expect_caught(Plant::DigestSkipped, 15, 10);
}

#[test]
fn ghosts_that_are_ignored_break_read_your_writes() {
    expect_caught(Plant::GhostIgnored, 15, 10);
}

#[test]
fn an_empty_pull_breaks_durability() {
    expect_caught(Plant::EmptyPull, 57, 10);
}

#[test]
fn a_life_begun_anew_breaks_expiry() {
    expect_caught(Plant::ExpiryRestarted, 15, 10);
}

#[test]
fn reads_without_write_back_break_read_your_writes() {
    expect_caught(Plant::NoWriteBack, 2, 30);
}

#[test]
fn silent_degrade_breaks_no_silent_degrade() {
    expect_caught(Plant::SilentDegrade, 1, 10);
}

#[test]
fn a_failed_write_that_is_sent_breaks_failed_means_failed() {
    expect_caught(Plant::FailedWriteSent, 3, 10);
}

#[test]
fn answers_that_claim_to_be_full_break_durability() {
    expect_caught(Plant::FullClaimed, 60, 10);
}

#[test]
fn settling_early_breaks_full_covers() {
    expect_caught(Plant::SettledEarly, 8, 30);
}

#[test]
fn pulls_answered_under_another_configuration_break_full_covers() {
    expect_caught(Plant::PullUnsealed, 287, 10);
}

#[test]
fn a_boot_id_that_outlives_its_memory_breaks_durability() {
    expect_caught(Plant::BootKept, 165, 30);
}
