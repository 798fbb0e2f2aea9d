//! What the machine, or the cgroup that the process runs in, allows. Asked once, for defaults.

use std::{
    fs,
    num::NonZero,
    path::{Path, PathBuf},
    thread,
};

/// Assumed when nothing can be read: 1 GiB.
const MEMORY_BYTES_FALLBACK: u64 = 1 << 30;

/// Memory that this process may use, in bytes: the smallest of the machine's memory and the limits of its cgroup
/// (version 2 or 1) and of the cgroups above it.
#[must_use]
pub fn memory_bytes() -> u64 {
    memory_bytes_below(Path::new("/"))
}

/// Cores that this process may use, at least 1.
#[must_use]
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// The machine's name, without its domain.
#[must_use]
pub fn hostname() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    let short = name.split('.').next().unwrap_or_default();
    if short.is_empty() {
        "localhost".to_owned()
    } else {
        short.to_owned()
    }
}

/// As [`memory_bytes`], with the file system's root as a parameter.
fn memory_bytes_below(root: &Path) -> u64 {
    let machine = read(&root.join("proc/meminfo")).and_then(|text| total_memory(&text));
    let cgroups = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = limit_files(&cgroups)
        .into_iter()
        .filter_map(|file| read(&root.join(file)))
        .filter_map(|text| text.trim().parse::<u64>().ok());
    // A limit of "max" does not parse, and version 1 writes a huge number: the minimum is right in both cases.
    machine
        .into_iter()
        .chain(limits)
        .min()
        .unwrap_or(MEMORY_BYTES_FALLBACK)
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// `MemTotal` of /proc/meminfo, in bytes.
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The files with limits of the process's cgroups and all above them, from /proc/self/cgroup.
fn limit_files(cgroups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (base, name) = if controllers.is_empty() {
            ("sys/fs/cgroup", "memory.max")
        } else if controllers
            .split(',')
            .any(|controller| controller == "memory")
        {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let relative = Path::new(path.trim_start_matches('/'));
        // `ancestors` ends with the empty path: the root group, which a container sees as its own.
        files.extend(
            relative
                .ancestors()
                .map(|group| Path::new(base).join(group).join(name)),
        );
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_files_of_both_cgroup_versions_and_of_every_level_are_named() {
        let files = limit_files("0::/a/b\n4:cpu,memory:/c\n5:pids:/d\n");
        let names: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "sys/fs/cgroup/a/b/memory.max",
                "sys/fs/cgroup/a/memory.max",
                "sys/fs/cgroup/memory.max",
                "sys/fs/cgroup/memory/c/memory.limit_in_bytes",
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
            ]
        );
    }

    #[test]
    fn total_memory_is_read_in_bytes() {
        let meminfo = "MemTotal:       16303428 kB\nMemFree:  1 kB\n";
        assert_eq!(total_memory(meminfo), Some(16_303_428 * 1024));
        assert_eq!(total_memory("nonsense"), None);
    }

    #[test]
    fn the_smallest_limit_wins_and_max_is_none() {
        let root = std::env::temp_dir().join(format!("shard-cache-machine-{}", std::process::id()));
        let group = root.join("sys/fs/cgroup/a");
        fs::create_dir_all(&group).unwrap();
        fs::create_dir_all(root.join("proc/self")).unwrap();
        fs::write(root.join("proc/meminfo"), "MemTotal: 4096 kB\n").unwrap();
        fs::write(root.join("proc/self/cgroup"), "0::/a\n").unwrap();
        fs::write(group.join("memory.max"), "max\n").unwrap();
        let unlimited = memory_bytes_below(&root);
        fs::write(group.join("memory.max"), "1048576\n").unwrap();
        let limited = memory_bytes_below(&root);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!((unlimited, limited), (4096 * 1024, 1_048_576));
    }

    #[test]
    fn this_machine_has_a_name_a_core_and_some_memory() {
        assert!(!hostname().is_empty());
        assert!(cores() >= 1);
        assert!(memory_bytes() > 0);
    }
}
