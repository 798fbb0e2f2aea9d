//! Reads the CPU counters of the machine and of the process's cgroups, from `/proc` and the cgroup
//! file systems. What is not there is left out.
//!
//! The cgroup is looked up at every reading, because a process may be moved. Version 2 has the quota
//! in `cpu.max` and the usage in `cpu.stat`; version 1 has them in `cpu.cfs_*` of the controller
//! `cpu` and `cpuacct.usage` of `cpuacct`. Every level up to the mount counts: the tightest quota may
//! be a parent's. In a container `/proc/self/cgroup` may name a path that does not exist below the
//! mount; then the mount's root is the process's cgroup.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::meter::{Counters, CpuTime, GroupTime};

/// Where CPU counters come from.
pub trait CpuSource: Send + 'static {
    /// The counters now; `None` when there are none to be had. Takes microseconds.
    fn read(&mut self) -> Option<Counters>;
}

/// Where the size of the process comes from.
pub trait MemorySource: Send + 'static {
    /// Resident bytes now; `None` when they cannot be had. Takes microseconds.
    fn resident_bytes(&mut self) -> Option<u64>;
}

/// The machine that this process runs on.
#[derive(Clone, Debug)]
pub struct SystemCpu {
    root: PathBuf,
}

impl SystemCpu {
    /// This machine.
    #[must_use]
    pub fn new() -> Self {
        Self::below(Path::new("/"))
    }

    /// A machine whose file system is below `root`.
    fn below(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let path = path.as_ref();
        let path = path.strip_prefix("/").unwrap_or(path);
        fs::read_to_string(self.root.join(path)).ok()
    }

    fn number(&self, path: impl AsRef<Path>) -> Option<i64> {
        self.text(path)?.trim().parse().ok()
    }

    fn groups(&self) -> Vec<GroupTime> {
        let (Some(cgroups), Some(mounts)) = (
            self.text("proc/self/cgroup"),
            self.text("proc/self/mountinfo"),
        ) else {
            return Vec::new();
        };
        let mut groups = Vec::new();
        if let Some(levels) = self.levels(Hierarchy::Unified, &cgroups, &mounts) {
            groups.extend(levels.iter().filter_map(|level| self.unified(level)));
        }
        let cpu = self.levels(Hierarchy::Controller("cpu"), &cgroups, &mounts);
        let usage = self.levels(Hierarchy::Controller("cpuacct"), &cgroups, &mounts);
        if let (Some(cpu), Some(usage)) = (cpu, usage) {
            // The usage of a group is known only where both controllers have the same groups.
            let pairs = cpu.iter().rev().zip(usage.iter().rev());
            let same = pairs.take_while(|(cpu, usage)| cpu.path == usage.path);
            groups.extend(same.filter_map(|(cpu, usage)| self.legacy(cpu, usage)));
        }
        groups
    }

    /// The directories of the process's group and of those above it, innermost first.
    fn levels(&self, hierarchy: Hierarchy, cgroups: &str, mounts: &str) -> Option<Vec<Level>> {
        let path = hierarchy.path(cgroups)?;
        let mount = hierarchy.mount(mounts)?;
        let below = Path::new(&path).strip_prefix(&mount.root);
        let inner = below.unwrap_or(Path::new(path.trim_start_matches('/')));
        let exists = |inner: &Path| {
            let directory = mount.point.join(inner);
            let directory = directory.strip_prefix("/").unwrap_or(&directory);
            self.root.join(directory).is_dir()
        };
        let escapes = path.split('/').any(|part| part == "..");
        let inner = if !escapes && exists(inner) {
            inner
        } else {
            Path::new("")
        };
        let level = |inner: &Path| Level {
            path: inner.to_owned(),
            // Collecting the components leaves no slash at the end.
            directory: mount.point.join(inner).components().collect(),
        };
        Some(inner.ancestors().map(level).collect())
    }

    fn unified(&self, level: &Level) -> Option<GroupTime> {
        let limit = self.text(level.directory.join("cpu.max"))?;
        let mut limit = limit.split_whitespace();
        // "max" is no number: there is no quota.
        let quota: i64 = limit.next()?.parse().ok()?;
        let period: i64 = limit.next()?.parse().ok()?;
        let stat = self.text(level.directory.join("cpu.stat"))?;
        let used = stat
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "))?;
        group(
            level,
            Duration::from_micros(used.trim().parse().ok()?),
            quota,
            period,
        )
    }

    fn legacy(&self, cpu: &Level, usage: &Level) -> Option<GroupTime> {
        // A quota of -1 is none.
        let quota = self.number(cpu.directory.join("cpu.cfs_quota_us"))?;
        let period = self.number(cpu.directory.join("cpu.cfs_period_us"))?;
        let used = self.number(usage.directory.join("cpuacct.usage"))?;
        let used = Duration::from_nanos(u64::try_from(used).ok()?);
        group(cpu, used, quota, period)
    }
}

impl Default for SystemCpu {
    fn default() -> Self {
        Self::new()
    }
}

impl CpuSource for SystemCpu {
    fn read(&mut self) -> Option<Counters> {
        let stat = self.text("proc/stat").unwrap_or_default();
        let status = self.text("proc/self/status").unwrap_or_default();
        let counters = Counters {
            cpus: cpu_times(&stat, &allowed_cpus(&status)),
            groups: self.groups(),
        };
        let nothing = counters.cpus.is_empty() && counters.groups.is_empty();
        (!nothing).then_some(counters)
    }
}

/// The process itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemMemory;

impl MemorySource for SystemMemory {
    fn resident_bytes(&mut self) -> Option<u64> {
        let pages = fs::read_to_string("/proc/self/statm").ok()?;
        let pages: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
        pages.checked_mul(rustix::param::page_size() as u64)
    }
}

/// A tree of cgroups.
#[derive(Clone, Copy)]
enum Hierarchy {
    /// Version 2.
    Unified,
    /// That of a controller of version 1.
    Controller(&'static str),
}

/// A group's place in its tree.
struct Level {
    /// Below the mount.
    path: PathBuf,
    directory: PathBuf,
}

/// Where a tree, or the part of it that can be seen, is mounted.
struct Mount {
    /// The group that is at the mount point.
    root: PathBuf,
    point: PathBuf,
}

impl Hierarchy {
    /// The process's group, from `/proc/self/cgroup`.
    fn path(self, cgroups: &str) -> Option<String> {
        let path = |line: &str| {
            let mut parts = line.splitn(3, ':');
            let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let is_it = match self {
                Self::Unified => number == "0" && controllers.is_empty(),
                Self::Controller(name) => controllers.split(',').any(|one| one == name),
            };
            is_it.then(|| path.to_owned())
        };
        cgroups.lines().find_map(path)
    }

    /// Where the tree is mounted, from `/proc/self/mountinfo`.
    fn mount(self, mounts: &str) -> Option<Mount> {
        let mount = |line: &str| {
            let (place, kind) = line.split_once(" - ")?;
            let mut place = place.split(' ').skip(3);
            let (root, point) = (place.next()?, place.next()?);
            let mut kind = kind.split(' ');
            let (name, options) = (kind.next()?, kind.nth(1)?);
            let is_it = match self {
                Self::Unified => name == "cgroup2",
                Self::Controller(controller) => {
                    name == "cgroup" && options.split(',').any(|option| option == controller)
                }
            };
            is_it.then(|| Mount {
                root: root.into(),
                point: point.into(),
            })
        };
        mounts.lines().find_map(mount)
    }
}

fn group(level: &Level, used: Duration, quota: i64, period: i64) -> Option<GroupTime> {
    (quota > 0 && period > 0).then(|| GroupTime {
        group: level.directory.to_string_lossy().into_owned(),
        used,
        quota_cpus: quota as f64 / period as f64,
    })
}

/// The CPUs that the process may run on, from `/proc/self/status`; `None` when it does not say.
fn allowed_cpus(status: &str) -> Option<Vec<(u32, u32)>> {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    list.trim().split(',').map(range).collect()
}

/// The lines of single CPUs in `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
/// Time of guests is in user and nice already.
fn cpu_times(stat: &str, allowed: &Option<Vec<(u32, u32)>>) -> Vec<CpuTime> {
    let may_use = |id: u32| {
        let ranges = allowed.as_ref();
        ranges.is_none_or(|ranges| ranges.iter().any(|(from, to)| (*from..=*to).contains(&id)))
    };
    let cpu = |line: &str| {
        let mut fields = line.strip_prefix("cpu")?.split_whitespace();
        // The line of all CPUs together has no number.
        let id: u32 = line
            .as_bytes()
            .get(3)?
            .is_ascii_digit()
            .then(|| fields.next()?.parse().ok())??;
        let ticks: Vec<u64> = fields
            .map_while(|field| field.parse().ok())
            .take(8)
            .collect();
        let (used, idle) = (ticks.get(..3)?, ticks.get(3..5)?);
        let taken = ticks.get(5..).unwrap_or_default();
        may_use(id).then(|| CpuTime {
            id,
            busy: used.iter().chain(taken).sum(),
            idle: idle.iter().sum(),
        })
    };
    stat.lines().filter_map(cpu).collect()
}

#[cfg(test)]
#[path = "system_tests.rs"]
mod tests;
