use super::*;

/// Files of a machine that does not exist, removed in the end.
struct Machine {
    root: PathBuf,
}

impl Machine {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let process = std::process::id();
        let root = std::env::temp_dir().join(format!("shard-cache-cpu-{name}-{process}"));
        let machine = Self { root };
        for (path, text) in files {
            machine.write(path, text);
        }
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn groups(&self) -> Vec<(String, u64, f64)> {
        let read = SystemCpu::below(&self.root).read().unwrap();
        let groups = read.groups.into_iter();
        groups
            .map(|group| (group.group, group.used.as_micros() as u64, group.quota_cpus))
            .collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.root));
    }
}

const STAT: &str = "\
cpu  40986 0 3352 61506 427 0 54 1215 0 0
cpu0 20312 10 1473 31276 93 1 14 625 7 7
cpu1 20673 0 1879 30230 333 0 39 590 0 0
intr 1 2 3
ctxt 99
btime 1000
";

const UNIFIED: &str =
    "42 31 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

fn unified(name: &str, cgroup: &str, files: &[(&str, &str)]) -> Machine {
    let machine = Machine::new(name, files);
    machine.write("proc/stat", STAT);
    machine.write("proc/self/cgroup", cgroup);
    machine.write("proc/self/mountinfo", UNIFIED);
    machine
}

#[test]
fn idle_and_waiting_is_to_be_had_and_the_rest_is_busy() {
    let times = cpu_times(STAT, &None);
    let first = CpuTime {
        id: 0,
        busy: 20312 + 10 + 1473 + 1 + 14 + 625,
        idle: 31276 + 93,
    };
    assert_eq!(times.len(), 2);
    assert_eq!(times[0], first);
}

#[test]
fn only_cpus_that_the_process_may_run_on_count() {
    let allowed = allowed_cpus("Name:\tx\nCpus_allowed:\tf\nCpus_allowed_list:\t1,4-7\n");
    assert_eq!(allowed, Some(vec![(1, 1), (4, 7)]));
    let ids: Vec<u32> = cpu_times(STAT, &allowed).iter().map(|cpu| cpu.id).collect();
    assert_eq!(ids, [1]);
    assert_eq!(allowed_cpus("Name:\tx\n"), None);
}

#[test]
fn malformed_lines_are_left_out() {
    assert_eq!(cpu_times("cpu0 1 2\ncpux 1 2 3 4 5\ncpu\n\n", &None), []);
}

#[test]
fn the_quota_and_usage_of_every_level_of_version_2_are_read() {
    let machine = unified(
        "levels",
        "0::/pod/box\n",
        &[
            ("sys/fs/cgroup/pod/box/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/pod/box/cpu.stat", "usage_usec 5\n"),
            ("sys/fs/cgroup/pod/cpu.max", "50000 100000\n"),
            (
                "sys/fs/cgroup/pod/cpu.stat",
                "usage_usec 1234567\nuser_usec 1\nsystem_usec 2\n",
            ),
        ],
    );
    assert_eq!(
        machine.groups(),
        [("/sys/fs/cgroup/pod".to_owned(), 1_234_567, 0.5)]
    );
}

#[test]
fn in_a_container_the_root_of_the_mount_is_the_own_group() {
    for (name, cgroup) in [
        ("foreign", "0::/docker/abc\n"),
        ("outside", "0::/../../other\n"),
        ("own", "0::/\n"),
    ] {
        let files = [
            ("sys/fs/cgroup/cpu.max", "20000 100000\n"),
            ("sys/fs/cgroup/cpu.stat", "usage_usec 7\n"),
        ];
        let machine = unified(name, cgroup, &files);
        assert_eq!(
            machine.groups(),
            [("/sys/fs/cgroup".to_owned(), 7, 0.2)],
            "{name}"
        );
    }
}

#[test]
fn a_mount_of_a_part_of_the_tree_is_looked_at_below_it() {
    let machine = unified(
        "part",
        "0::/docker/abc/inner\n",
        &[
            ("sys/fs/cgroup/inner/cpu.max", "200000 100000\n"),
            ("sys/fs/cgroup/inner/cpu.stat", "usage_usec 9\n"),
        ],
    );
    let mounts = UNIFIED.replace(" / /sys", " /docker/abc /sys");
    machine.write("proc/self/mountinfo", &mounts);
    assert_eq!(
        machine.groups(),
        [("/sys/fs/cgroup/inner".to_owned(), 9, 2.0)]
    );
}

/// As captured on a machine with version 1, whose version 2 has no controllers.
const LEGACY_MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

fn legacy(name: &str, cgroup: &str, mounts: &str, files: &[(&str, &str)]) -> Machine {
    let machine = Machine::new(name, files);
    machine.write("proc/stat", STAT);
    machine.write("proc/self/cgroup", cgroup);
    machine.write("proc/self/mountinfo", mounts);
    machine
}

#[test]
fn version_1_has_quota_and_usage_in_two_controllers() {
    let cgroup = "3:cpuset:/\n2:cpuacct:/box\n1:cpu:/box\n0::/\n";
    let machine = legacy(
        "legacy",
        cgroup,
        LEGACY_MOUNTS,
        &[
            ("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "20000\n"),
            ("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpuacct/box/cpuacct.usage", "3000000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpuacct/cpuacct.usage", "9000000\n"),
            ("sys/fs/cgroup/unified/cgroup.procs", ""),
        ],
    );
    assert_eq!(
        machine.groups(),
        [("/sys/fs/cgroup/cpu/box".to_owned(), 3000, 0.2)]
    );
}

#[test]
fn version_1_may_mount_both_controllers_together() {
    let mounts =
        "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n";
    let machine = legacy(
        "together",
        "4:cpu,cpuacct:/docker/abc\n",
        mounts,
        &[
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "150000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", "1000\n"),
        ],
    );
    assert_eq!(
        machine.groups(),
        [("/sys/fs/cgroup/cpu,cpuacct".to_owned(), 1, 1.5)]
    );
}

#[test]
fn a_quota_whose_usage_is_counted_elsewhere_is_left_out() {
    let machine = legacy(
        "apart",
        "2:cpuacct:/\n1:cpu:/box\n",
        LEGACY_MOUNTS,
        &[
            ("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "20000\n"),
            ("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpuacct/cpuacct.usage", "3000000\n"),
        ],
    );
    assert_eq!(machine.groups(), []);
}

#[test]
fn without_any_of_it_there_is_nothing_to_read() {
    let machine = Machine::new("nothing", &[]);
    assert_eq!(SystemCpu::below(&machine.root).read(), None);
}

#[cfg(target_os = "linux")]
#[test]
fn this_machine_can_be_read() {
    let read = SystemCpu::new().read().unwrap();
    assert!(!read.cpus.is_empty());
}
