//! The `shard-cache` program: see [`shard_cache::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    shard_cache::cli::run(std::env::args_os())
}
