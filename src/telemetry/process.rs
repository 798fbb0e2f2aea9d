//! Figures of the running process, from `/proc/self`. Where that does not exist they are zero.

use std::fs;

/// The figures of the standard `process_*` metrics.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ProcessFigures {
    /// User and system CPU time, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Virtual memory.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// How many there may be; `u64::MAX` when unlimited.
    pub max_fds: u64,
    /// When the process started, in seconds since the Unix epoch.
    pub start_time_seconds: f64,
}

impl ProcessFigures {
    /// The figures as they are now. Reads a few small files; a figure that cannot be read is zero.
    #[must_use]
    pub fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let mut figures = Self::parse(
            &text("/proc/self/stat"),
            &text("/proc/self/status"),
            &text("/proc/self/limits"),
            &text("/proc/stat"),
        );
        // The directory that is being counted is itself open meanwhile.
        let listed = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        figures.open_fds = u64::try_from(listed.saturating_sub(1)).unwrap_or(u64::MAX);
        figures
    }

    fn parse(stat: &str, status: &str, limits: &str, system: &str) -> Self {
        let ticks_per_second = rustix::param::clock_ticks_per_second().max(1) as f64;
        // The program's name stands in parentheses and may hold anything; fields are counted behind
        // it, from 3.
        let fields: Vec<&str> = stat
            .rsplit_once(") ")
            .map(|(_, fields)| fields.split(' ').collect())
            .unwrap_or_default();
        let seconds = |field: usize| {
            let ticks = fields.get(field - 3).and_then(|ticks| ticks.parse().ok());
            ticks.unwrap_or(0_u64) as f64 / ticks_per_second
        };
        let (utime, stime, starttime) = (seconds(14), seconds(15), seconds(22));
        let boot = number_after(system, "btime ", 0).unwrap_or(0) as f64;
        Self {
            cpu_seconds: utime + stime,
            resident_bytes: number_after(status, "VmRSS:", 0)
                .unwrap_or(0)
                .saturating_mul(1024),
            virtual_bytes: number_after(status, "VmSize:", 0)
                .unwrap_or(0)
                .saturating_mul(1024),
            open_fds: 0,
            max_fds: match limits.is_empty() {
                true => 0,
                false => number_after(limits, "Max open files", 0).unwrap_or(u64::MAX),
            },
            start_time_seconds: boot + starttime,
        }
    }
}

/// The number in the given column after `label`, in the line that starts with it.
fn number_after(text: &str, label: &str, column: usize) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_whitespace().nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_taken_from_their_fields() {
        let stat = "7 (a) b c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 4 0 200 1 2 3";
        let status = "Name:\tx\nVmSize:\t    2048 kB\nVmRSS:\t     512 kB\n";
        let limits = "Limit Soft Hard\nMax open files            1024                 4096 files\n";
        let figures = ProcessFigures::parse(stat, status, limits, "cpu 1\nbtime 1000\n");
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(figures.cpu_seconds, 200.0 / ticks);
        assert_eq!(
            (figures.virtual_bytes, figures.resident_bytes),
            (2048 * 1024, 512 * 1024)
        );
        assert_eq!(figures.max_fds, 1024);
        assert_eq!(figures.start_time_seconds, 1000.0 + 200.0 / ticks);
    }

    #[test]
    fn unreadable_files_give_zeros() {
        assert_eq!(
            ProcessFigures::parse("", "", "", ""),
            ProcessFigures::default()
        );
    }
}
