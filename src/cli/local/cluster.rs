//! The directory that remembers a local cluster: `cluster.json` with the nodes, and a process id and a log per node.
//!
//! Only files of these names are ever written or removed; the directory itself is removed when nothing else is in it.

use std::{
    fs,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    ports::Ports,
    process::{self, ProcessId, ProcessState},
};
use crate::cli::exit::{Exit, Failure};

const CLUSTER_FILE: &str = "cluster.json";
/// Bytes read from the end of a log.
const LOG_TAIL_BYTES_MAX: u64 = 1024 * 1024;

/// One node of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct LocalNode {
    pub(super) name: String,
    pub(super) ports: Ports,
    /// What its process is started with.
    pub(super) arguments: Vec<String>,
}

impl LocalNode {
    /// Where clients reach it.
    pub(super) fn endpoint(&self) -> String {
        format!("localhost:{}", self.ports.grpc)
    }
}

/// A local cluster and its directory.
#[derive(Debug)]
pub(super) struct LocalCluster {
    directory: PathBuf,
    pub(super) nodes: Vec<LocalNode>,
}

impl LocalCluster {
    /// Writes a new cluster down. Fails when the directory holds one already.
    pub(super) fn create(directory: &Path, nodes: Vec<LocalNode>) -> Result<Self, Failure> {
        let failed =
            |error| Failure::system(&format!("cannot use {}", directory.display()), &error);
        fs::create_dir_all(directory).map_err(failed)?;
        let text = serde_json::to_string_pretty(&nodes).map_err(|error| failed(error.into()))?;
        // Only one of two commands at the same time succeeds here.
        let mut file = match File::create_new(directory.join(CLUSTER_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(running(directory));
            }
            result => result.map_err(failed)?,
        };
        file.write_all(text.as_bytes()).map_err(failed)?;
        Ok(Self {
            directory: directory.to_owned(),
            nodes,
        })
    }

    /// The cluster of a directory; `None` when it holds none.
    pub(super) fn find(directory: &Path) -> Result<Option<Self>, Failure> {
        let file = directory.join(CLUSTER_FILE);
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::system(&file.display().to_string(), &error)),
            Ok(text) => text,
        };
        let nodes = serde_json::from_str(&text).map_err(|error| {
            Failure::failed(format!("{} is damaged: {error}", file.display()))
                .with_hint("end its processes, and remove the directory by hand")
        })?;
        Ok(Some(Self {
            directory: directory.to_owned(),
            nodes,
        }))
    }

    /// The cluster of a directory.
    pub(super) fn open(directory: &Path) -> Result<Self, Failure> {
        Self::find(directory)?.ok_or_else(|| {
            Failure::failed(format!("no local cluster in {}", directory.display()))
                .with_hint("start one: shard-cache local up")
        })
    }

    /// The node with this number, from 1.
    pub(super) fn node(&self, number: usize) -> Result<&LocalNode, Failure> {
        let node = number
            .checked_sub(1)
            .and_then(|index| self.nodes.get(index));
        node.ok_or_else(|| {
            let count = self.nodes.len();
            Failure::new(
                Exit::Usage,
                "USAGE",
                format!("no node {number}: there are 1 to {count}"),
            )
        })
    }

    /// Starts a node's process and writes its id down.
    pub(super) fn start(&self, node: &LocalNode) -> Result<ProcessId, Failure> {
        let failed = |error| Failure::system(&format!("cannot start {}", node.name), &error);
        let process = process::spawn(&node.arguments, &self.log_file(node)).map_err(failed)?;
        fs::write(self.process_file(node), format!("{process}\n")).map_err(failed)?;
        Ok(process)
    }

    /// The process of a node; `None` when it was never started or what was written down is unreadable.
    pub(super) fn process(&self, node: &LocalNode) -> Option<ProcessId> {
        fs::read_to_string(self.process_file(node))
            .ok()?
            .parse()
            .ok()
    }

    /// What a node's process does.
    pub(super) fn state(&self, node: &LocalNode) -> ProcessState {
        self.process(node)
            .map_or(ProcessState::Gone, ProcessId::state)
    }

    /// Whether any node's process lives.
    pub(super) fn lives(&self) -> bool {
        self.nodes
            .iter()
            .any(|node| self.state(node) != ProcessState::Gone)
    }

    /// The last lines of a node's log; empty when there is none.
    pub(super) fn log_tail(&self, node: &LocalNode, lines: usize) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(self.log_file(node))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES_MAX)))?;
            let mut bytes = Vec::new();
            file.take(LOG_TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        let all: Vec<_> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Removes what this cluster wrote, and the directory when nothing else is in it.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        let mut files: Vec<_> = self
            .nodes
            .iter()
            .flat_map(|node| [self.process_file(node), self.log_file(node)])
            .collect();
        files.push(self.directory.join(CLUSTER_FILE));
        for file in files {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Failure::system(&file.display().to_string(), &error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        match fs::remove_dir(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(Failure::system(
                &self.directory.display().to_string(),
                &error,
            )),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn process_file(&self, node: &LocalNode) -> PathBuf {
        self.directory.join(format!("{}.pid", node.name))
    }

    fn log_file(&self, node: &LocalNode) -> PathBuf {
        self.directory.join(format!("{}.log", node.name))
    }
}

/// A cluster is there already.
pub(super) fn running(directory: &Path) -> Failure {
    Failure::failed(format!(
        "a local cluster is running already (in {})",
        directory.display()
    ))
    .with_hint("look at it: shard-cache local status; end it: shard-cache local down")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Vec<LocalNode> {
        let ports = Ports {
            grpc: 1,
            http: 2,
            gossip: 3,
        };
        vec![LocalNode {
            name: "node1".to_owned(),
            ports,
            arguments: Vec::new(),
        }]
    }

    /// Runs a test with a directory of its own.
    fn with_directory(name: &str, test: impl FnOnce(&Path)) {
        let process = std::process::id();
        let directory = std::env::temp_dir().join(format!("shard-cache-{name}-{process}"));
        test(&directory);
        assert!(!directory.exists(), "the directory was left behind");
    }

    #[test]
    fn a_cluster_that_was_written_down_is_found_again_and_removed_without_a_trace() {
        with_directory("found", |directory| {
            assert!(LocalCluster::find(directory).unwrap().is_none());
            let created = LocalCluster::create(directory, nodes()).unwrap();
            assert_eq!(LocalCluster::open(directory).unwrap().nodes, created.nodes);
            assert!(created.node(1).is_ok());
            assert!(created.node(0).is_err() && created.node(2).is_err());
            created.remove().unwrap();
        });
    }

    #[test]
    fn a_second_cluster_in_the_same_directory_is_refused() {
        with_directory("second", |directory| {
            let first = LocalCluster::create(directory, nodes()).unwrap();
            assert!(LocalCluster::create(directory, nodes()).is_err());
            first.remove().unwrap();
        });
    }

    #[test]
    fn a_process_file_of_a_process_that_is_gone_or_was_never_one_does_not_make_a_node_live() {
        with_directory("stale", |directory| {
            let cluster = LocalCluster::create(directory, nodes()).unwrap();
            assert!(!cluster.lives());
            let file = directory.join("node1.pid");
            // This process is alive, but it did not start at the tick 1.
            for stale in ["nonsense".to_owned(), format!("{} 1", std::process::id())] {
                fs::write(&file, stale).unwrap();
                assert!(!cluster.lives());
            }
            cluster.remove().unwrap();
        });
    }

    #[test]
    fn the_end_of_a_log_is_shown() {
        with_directory("log", |directory| {
            let cluster = LocalCluster::create(directory, nodes()).unwrap();
            assert_eq!(cluster.log_tail(&cluster.nodes[0], 2), "");
            fs::write(directory.join("node1.log"), "a\nb\nc\n").unwrap();
            assert_eq!(cluster.log_tail(&cluster.nodes[0], 2), "b\nc");
            assert_eq!(cluster.log_tail(&cluster.nodes[0], 9), "a\nb\nc");
            cluster.remove().unwrap();
        });
    }

    #[test]
    fn files_of_others_are_left_alone() {
        with_directory("others", |directory| {
            let cluster = LocalCluster::create(directory, nodes()).unwrap();
            let other = directory.join("notes.txt");
            fs::write(&other, "mine").unwrap();
            cluster.remove().unwrap();
            assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
            fs::remove_dir_all(directory).unwrap();
        });
    }
}
