//! The `shard-cache` program: see [`shard_cache::cli`].

use std::process::ExitCode;

use shard_cache::telemetry::AllocatorFigures;
use tikv_jemalloc_ctl::{epoch, stats};

/// A request allocates some dozens of times, on the thread that frees again: glibc's allocator spends twice as long on that.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    shard_cache::cli::run(std::env::args_os(), Some(allocator_figures))
}

fn allocator_figures() -> Option<AllocatorFigures> {
    // The statistics are those of the time of the last call of this.
    epoch::advance().ok()?;
    Some(AllocatorFigures {
        allocated_bytes: stats::allocated::read().ok()? as u64,
        active_bytes: stats::active::read().ok()? as u64,
        metadata_bytes: stats::metadata::read().ok()? as u64,
        resident_bytes: stats::resident::read().ok()? as u64,
        mapped_bytes: stats::mapped::read().ok()? as u64,
        retained_bytes: stats::retained::read().ok()? as u64,
    })
}
