//! `shard-cache local up`.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, ValueEnum};

use super::{
    DirectoryArguments, agreement,
    cluster::{LocalCluster, LocalNode, running},
    down,
    ports::{self, Ports},
};
use crate::{
    cli::{
        connection::block_on,
        exit::{Exit, Failure},
        output::{self, Column},
    },
    config::{environment, parse_duration},
};

/// The nodes share the machine with whatever else its owner does: a build must not make them refuse requests.
const CPU_NEVER_SHEDS: &str = "--set=server.limits.cpu_threshold=1";

/// Lines of each log that are shown when the cluster does not come up.
const LOG_LINES_ON_FAILURE: usize = 20;

/// Start nodes on this machine and wait until they agree on the ring. A busy CPU sheds nothing there, unless a flag, the
/// environment or a configuration file says otherwise (server.limits.cpu_threshold).
#[derive(Debug, Args)]
pub(in crate::cli) struct UpArguments {
    /// How many nodes, 1 to 16.
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u8).range(1..=16)
    )]
    nodes: u8,
    /// gRPC port of the first node; its HTTP port is the next one, and so on in pairs.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    base_port: u16,
    /// Gossip port of the first node, counted up for the others.
    #[arg(long, value_name = "PORT", default_value_t = 7946)]
    gossip_base_port: u16,
    /// Count up from the base ports, or take any that are free.
    #[arg(long, value_enum, default_value_t)]
    ports: PortChoice,
    /// How long to wait until the nodes agree.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
    /// Further flags for every node, behind `--`: `local up -- --log-level debug`.
    #[arg(last = true, value_name = "FLAG")]
    flags: Vec<String>,
    #[command(flatten)]
    directory: DirectoryArguments,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum PortChoice {
    /// From --base-port and --gossip-base-port.
    #[default]
    Base,
    /// Free ones.
    Auto,
}

pub(super) fn run(arguments: &UpArguments) -> Result<Exit, Failure> {
    let directory = &arguments.directory.directory;
    if let Some(present) = LocalCluster::find(directory)? {
        if present.lives() {
            return Err(running(directory));
        }
        output::note("the nodes of an earlier cluster are gone: removing what it left behind");
        present.remove()?;
    }
    let count = usize::from(arguments.nodes);
    let ports = match arguments.ports {
        PortChoice::Base => {
            let ports = ports::counted(count, arguments.base_port, arguments.gossip_base_port)?;
            ports::check_free(&ports)?;
            ports
        }
        PortChoice::Auto => ports::free(count)?,
    };
    let nodes = nodes(&ports, &arguments.flags, &environment::variables());
    let cluster = LocalCluster::create(directory, nodes)?;
    match start(&cluster, arguments.timeout) {
        Ok(()) => {
            output::write_line(&render(&cluster))?;
            Ok(Exit::Ok)
        }
        Err(failure) => {
            show_logs(&cluster);
            down::end(&cluster, Duration::ZERO)?;
            Err(failure)
        }
    }
}

/// The nodes with what their processes are started with. The first one's gossip address is everybody's seed; it skips
/// itself.
fn nodes(
    ports: &[Ports],
    flags: &[String],
    variables: &BTreeMap<String, String>,
) -> Vec<LocalNode> {
    let threshold = (!decides_on_the_cpu(flags, variables)).then(|| CPU_NEVER_SHEDS.to_owned());
    let seed = ports.first().map_or(0, |first| first.gossip);
    let min_members = ports.len().min(2);
    let node = |(index, ports): (usize, &Ports)| {
        let name = format!("node{}", index + 1);
        let mut arguments = vec![
            "serve".to_owned(),
            format!("--node-name={name}"),
            format!("--grpc-port={}", ports.grpc),
            format!("--http-port={}", ports.http),
            format!("--gossip-port={}", ports.gossip),
            format!("--seed=127.0.0.1:{seed}"),
            format!("--min-members={min_members}"),
            "--set=server.threads=1".to_owned(),
        ];
        arguments.extend(threshold.clone());
        arguments.extend_from_slice(flags);
        LocalNode {
            name,
            ports: *ports,
            arguments,
        }
    };
    ports.iter().enumerate().map(node).collect()
}

/// Whether the user may have said what is to be done when the CPU is busy: by a flag, the environment or a file.
fn decides_on_the_cpu(flags: &[String], variables: &BTreeMap<String, String>) -> bool {
    let names = |text: &str| {
        let text = text.to_ascii_lowercase();
        text.contains("cpu_threshold") || text.contains("config")
    };
    flags.iter().any(|flag| names(flag)) || variables.keys().any(|name| names(name))
}

fn start(cluster: &LocalCluster, timeout: Duration) -> Result<(), Failure> {
    for node in &cluster.nodes {
        cluster.start(node)?;
    }
    let all: Vec<_> = cluster.nodes.iter().collect();
    block_on(async {
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => Err(Failure::failed("interrupted")),
            agreed = agreement::wait(cluster, &all, timeout) => agreed,
        }
    })
}

fn show_logs(cluster: &LocalCluster) {
    for node in &cluster.nodes {
        let tail = cluster.log_tail(node, LOG_LINES_ON_FAILURE);
        output::note(&format!(
            "--- the end of {}'s log ---\n{}",
            node.name,
            output::printable(&tail)
        ));
    }
}

fn render(cluster: &LocalCluster) -> String {
    let columns = [
        Column::Left("NODE"),
        Column::Left("GRPC"),
        Column::Left("HTTP"),
        Column::Left("GOSSIP AND PEERS"),
    ];
    let rows: Vec<_> = cluster
        .nodes
        .iter()
        .map(|node| {
            vec![
                node.name.clone(),
                node.endpoint(),
                format!("http://localhost:{}", node.ports.http),
                format!("127.0.0.1:{}", node.ports.gossip),
            ]
        })
        .collect();
    let headline = match cluster.nodes.len() {
        1 => "1 node is up.".to_owned(),
        count => format!("{count} nodes are up and agree on the ring."),
    };
    format!("{headline}\n{}", output::table(&columns, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_the_first_one_as_its_seed_and_two_form_the_first_ring() {
        let ports = ports::counted(3, 8080, 7946).unwrap();
        let nodes = nodes(&ports, &["--log-level=debug".to_owned()], &BTreeMap::new());
        for node in &nodes {
            assert!(node.arguments.contains(&"--seed=127.0.0.1:7946".to_owned()));
            assert!(node.arguments.contains(&"--min-members=2".to_owned()));
            assert_eq!(node.arguments.last().unwrap(), "--log-level=debug");
        }
        assert_eq!(nodes[2].name, "node3");
        assert!(nodes[2].arguments.contains(&"--grpc-port=8084".to_owned()));
    }

    #[test]
    fn a_single_node_forms_its_ring_alone() {
        let ports = ports::counted(1, 8080, 7946).unwrap();
        let nodes = nodes(&ports, &[], &BTreeMap::new());
        assert!(nodes[0].arguments.contains(&"--min-members=1".to_owned()));
    }

    #[test]
    fn a_busy_machine_sheds_nothing_unless_the_user_decides_it() {
        let never_sheds = |flags: &[&str], variables: &[&str]| {
            let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
            let variables = variables.iter();
            let variables = variables
                .map(|name| ((*name).to_owned(), "0.5".to_owned()))
                .collect();
            let nodes = nodes(&ports::counted(1, 8080, 7946).unwrap(), &flags, &variables);
            nodes[0].arguments.contains(&CPU_NEVER_SHEDS.to_owned())
        };
        assert!(never_sheds(&[], &[]));
        assert!(never_sheds(&["--log-level=debug"], &["SHARD_CACHE_BIND"]));
        assert!(!never_sheds(
            &["--set=server.limits.cpu_threshold=0.5"],
            &[]
        ));
        assert!(!never_sheds(&["--config=node.yaml"], &[]));
        let variable = "SHARD_CACHE__SERVER__LIMITS__CPU_THRESHOLD";
        assert!(!never_sheds(&[], &[variable]));
        assert!(!never_sheds(&[], &["SHARD_CACHE_CONFIG"]));
    }
}
