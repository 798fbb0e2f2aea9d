//! Profiles of this process in pprof's format (`profile.proto` of github.com/google/pprof): where its CPU time goes, what
//! holds its memory, and which tasks it has. `go tool pprof` reads them; functions are named here, so that no binary is
//! needed there.

mod cpu;
mod heap;
mod tasks;

use std::io::{self, Write as _};

use flate2::{Compression, write::GzEncoder};
use pprof::protos::{Message as _, Profile};

pub(crate) use cpu::CpuProfiler;
pub(crate) use heap::heap;
pub(crate) use tasks::{describe, tasks};

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProfileError {
    /// The profiler of CPU time cannot be started, or its samples not be read.
    #[error("no CPU profile: {0}")]
    Cpu(#[from] pprof::Error),
    /// The allocator was built without its profiler.
    #[error("no heap profile: the allocator does not take samples")]
    NoSamples,
    /// The allocator gives no profile.
    #[error("no heap profile: {0}")]
    Heap(String),
    /// A profile cannot be read or written.
    #[error("the profile cannot be encoded: {0}")]
    Encoding(#[from] io::Error),
}

/// A profile as it travels: gzipped, as every reader of the format expects it to be.
fn encoded(profile: &Profile) -> Result<Vec<u8>, ProfileError> {
    let bytes = profile.write_to_bytes().map_err(io::Error::from)?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&bytes)?;
    Ok(encoder.finish()?)
}

/// What names functions keeps what it has read of the binary's debug information, some 70 MB: more than a profile is worth
/// once it is made. The next one reads it again.
fn forget_names() {
    backtrace::clear_symbol_cache();
}

/// The place of a text in a profile's table; it is added if it is not there.
fn text(profile: &mut Profile, text: &str) -> i64 {
    let table = &mut profile.string_table;
    if table.is_empty() {
        // The format wants the first to be empty.
        table.push(String::new());
    }
    let place = table.iter().position(|known| known == text);
    let place = place.unwrap_or_else(|| {
        table.push(text.to_owned());
        table.len() - 1
    });
    i64::try_from(place).unwrap_or_default()
}
