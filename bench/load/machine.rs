//! What it was measured on, and with.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// Names and values, in the order of the names.
pub(crate) fn describe(binary: &Path, realtime: bool) -> BTreeMap<&'static str, String> {
    let mut told = BTreeMap::new();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, model)| model.trim());
    told.insert("cpu", model.to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    told.insert("cores", cores.to_string());
    told.insert("memory", memory());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    told.insert("kernel", kernel.trim().to_owned());
    told.insert("shard-cache", version(&binary.to_string_lossy(), "version"));
    told.insert("redis", version("redis-server", "--version"));
    told.insert("memcached", version("memcached", "--version"));
    told.insert("etcd", version("etcd", "--version"));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split_ascii_whitespace().take(3).collect();
    told.insert("load before", load.join(" "));
    let scheduler = if realtime {
        "SCHED_RR, priority 1, for servers and clients alike"
    } else {
        "as usual"
    };
    told.insert("scheduling", scheduler.to_owned());
    told
}

fn memory() -> String {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .unwrap_or("unknown");
    total.trim().to_owned()
}

/// The first line of what a program says of its version.
fn version(program: &str, argument: &str) -> String {
    match Command::new(program).arg(argument).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            said.lines().next().unwrap_or_default().trim().to_owned()
        }
        Err(_) => "not installed".to_owned(),
    }
}
