//! What holds memory.

use std::{io::Read as _, path::Path, sync::Once};

use flate2::read::GzDecoder;
use jemalloc_pprof::PROF_CTL;
use pprof::protos::{Message as _, Profile};

use super::{ProfileError, encoded, forget_names, text};

/// The allocator's own functions, which are on top of every stack. Readers drop them with what they call, so that a
/// function counts for what it allocates.
const ALLOCATOR_FRAMES: &str =
    "_rjem_.*|prof_backtrace_impl|do_rallocx|.*tikv_jemallocator::.*|.*__rust_.*alloc.*";

/// The allocator writes its samples to a file. Where the directory for such may not be written to, as in a container
/// with nothing that can be, this one still may, which is in memory.
const SHARED_MEMORY: &str = "/dev/shm";

/// What is allocated now, by the stack that did it: from samples that the allocator takes all the time, one for every 2
/// MiB allocated. Names functions, which takes a second of a core: not for a thread that serves.
///
/// # Errors
/// The allocator takes no samples, or cannot write them down.
pub(crate) fn heap() -> Result<Vec<u8>, ProfileError> {
    static CHOOSE: Once = Once::new();
    CHOOSE.call_once(|| {
        if tempfile::tempfile().is_err() {
            // Refused only if somebody has chosen before.
            tempfile::env::override_temp_dir(Path::new(SHARED_MEMORY)).ok();
        }
    });
    let profiler = PROF_CTL.as_ref().ok_or(ProfileError::NoSamples)?;
    let dumped = profiler.blocking_lock().dump_pprof();
    forget_names();
    let dumped = dumped.map_err(|error| ProfileError::Heap(format!("{error:#}")))?;
    let mut bytes = Vec::new();
    GzDecoder::new(dumped.as_slice()).read_to_end(&mut bytes)?;
    let mut profile = Profile::parse_from_bytes(&bytes).map_err(std::io::Error::from)?;
    for mapping in &mut profile.mapping {
        // Or a reader that has the binary at hand names them again, without their modules.
        mapping.has_functions = true;
        mapping.has_filenames = true;
        mapping.has_line_numbers = true;
        mapping.has_inline_frames = true;
    }
    profile.drop_frames = text(&mut profile, ALLOCATOR_FRAMES);
    encoded(&profile)
}
