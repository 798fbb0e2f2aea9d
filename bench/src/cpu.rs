//! CPU time of this process and of servers on this machine.
//!
//! Servers are processes that listen on the port of an endpoint whose address is one of this machine, or those that were
//! named. Their time is `utime + stime` of `/proc/<pid>/stat`: all threads, user and system, in ticks of 10 ms. Where
//! there is no `/proc`, or another user's processes may not be looked into, there are no servers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::report::{Cpu, ServerCpu};

/// State of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";
/// Fields of `/proc/<pid>/stat` behind the name: state is the first, utime the twelfth, stime the thirteenth.
const UTIME: usize = 11;

/// A process that is watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Server {
    pid: u32,
    name: String,
}

/// CPU time at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    client: Duration,
    servers: BTreeMap<u32, Duration>,
}

/// Finds the servers: those named, otherwise those that listen at the addresses.
pub(crate) fn servers(pids: &[u32], addresses: &[SocketAddr]) -> Vec<Server> {
    let pids: BTreeSet<u32> = if pids.is_empty() {
        listeners(addresses)
    } else {
        pids.iter().copied().collect()
    };
    pids.into_iter()
        .filter_map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            Some(Server {
                pid,
                name: name.trim().to_owned(),
            })
        })
        .collect()
}

pub(crate) fn snapshot(servers: &[Server]) -> Snapshot {
    Snapshot {
        client: own_time(),
        servers: servers
            .iter()
            .filter_map(|server| Some((server.pid, time_of(server.pid)?)))
            .collect(),
    }
}

/// What was used between two moments. A server that ended meanwhile is left out.
pub(crate) fn used(servers: &[Server], from: &Snapshot, to: &Snapshot, answered: u64) -> Cpu {
    let per_op = |seconds: f64| seconds * 1e6 / answered.max(1) as f64;
    let client_seconds = to.client.saturating_sub(from.client).as_secs_f64();
    let servers: Vec<ServerCpu> = servers
        .iter()
        .filter_map(|Server { pid, name }| {
            let used = to.servers.get(pid)?.saturating_sub(*from.servers.get(pid)?);
            let seconds = used.as_secs_f64();
            Some(ServerCpu {
                pid: *pid,
                name: name.clone(),
                seconds,
                us_per_op: per_op(seconds),
            })
        })
        .collect();
    let sum = servers.iter().map(|server| server.us_per_op).sum();
    Cpu {
        client_seconds,
        client_us_per_op: per_op(client_seconds),
        server_us_per_op: (!servers.is_empty()).then_some(sum),
        servers,
    }
}

fn own_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn time_of(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = ticks(&stat)?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_nanos(ticks * 1_000_000_000 / per_second))
}

/// utime + stime. The name may hold anything, so what follows its last bracket counts.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(UTIME);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The processes that listen at these addresses, as far as those are this machine's.
fn listeners(addresses: &[SocketAddr]) -> BTreeSet<u32> {
    let ports: BTreeSet<u16> = addresses
        .iter()
        .filter(|address| is_local(address))
        .map(SocketAddr::port)
        .collect();
    let mut inodes = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let table = fs::read_to_string(table).unwrap_or_default();
        inodes.extend(listening(&table, &ports));
    }
    holders(&inodes)
}

/// An address is this machine's if one can listen there.
fn is_local(address: &SocketAddr) -> bool {
    address.ip().is_loopback() || TcpListener::bind((address.ip(), 0)).is_ok()
}

/// Inodes of the sockets in a table that listen on one of the ports.
fn listening(table: &str, ports: &BTreeSet<u16>) -> Vec<u64> {
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, port) = fields.get(1)?.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let listens = fields.get(3) == Some(&LISTEN) && ports.contains(&port);
        if listens {
            fields.get(9)?.parse().ok()
        } else {
            None
        }
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// The processes that have one of these sockets open.
fn holders(inodes: &BTreeSet<u64>) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    if inodes.is_empty() {
        return found;
    }
    let Ok(processes) = fs::read_dir("/proc") else {
        return found;
    };
    for process in processes.flatten() {
        let name = process.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok())
            && holds_one(&process.path(), inodes)
        {
            found.insert(pid);
        }
    }
    found
}

fn holds_one(process: &Path, inodes: &BTreeSet<u64>) -> bool {
    let Ok(files) = fs::read_dir(process.join("fd")) else {
        // It has ended, or is another user's.
        return false;
    };
    files.flatten().any(|file| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        let inode = target.to_str().and_then(|target| {
            let inode = target.strip_prefix("socket:[")?.strip_suffix(']')?;
            inode.parse().ok()
        });
        inode.is_some_and(|inode: u64| inodes.contains(&inode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 1 1 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 1 0 100 0 0";
        assert_eq!(ticks(stat), Some(12));
        assert_eq!(ticks("42 (a"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_listens_is_found_by_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let found = servers(&[], &[listener.local_addr().unwrap()]);
        let pids: Vec<u32> = found.iter().map(|server| server.pid).collect();
        assert_eq!(pids, [std::process::id()]);
        let at = snapshot(&found);
        assert!(at.client > Duration::ZERO && at.servers.len() == 1);
    }
}
