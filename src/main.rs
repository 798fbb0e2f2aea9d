//! The `shard-cache` program: see [`shard_cache::cli`].

use std::process::ExitCode;

/// A request allocates some dozens of times, on the thread that frees again: glibc's allocator spends twice as long on that.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    shard_cache::cli::run(std::env::args_os())
}
