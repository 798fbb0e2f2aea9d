//! `chaos/figures`: measures how changes of owners go, with real processes.

mod arguments;
mod joins;
mod memory;
mod refill;
mod rounds;
mod table;

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

pub(crate) use self::arguments::FigureArguments;
use self::{arguments::Figure, table::Row};
use crate::{
    INTERRUPTED, PASSED, UNREACHABLE,
    nodes::{
        self, Nodes, Planned,
        network::{Namespaces, Network},
    },
};

/// Room for all keys: what is evicted is not copied.
const CAPACITY: usize = 2_000_000;

/// Measures one thing after the other, prints the table and returns the exit code.
pub(crate) async fn run(arguments: &FigureArguments, cancelled: &CancellationToken) -> u8 {
    let measured = cancelled.run_until_cancelled(all(arguments)).await;
    let outcome = match measured {
        None => {
            remove_logs(arguments);
            return INTERRUPTED;
        }
        Some((rows, Ok(()))) => publish(arguments, &rows),
        Some((rows, Err(error))) => {
            print!("{}", table::render(&rows));
            Err(error)
        }
    };
    match outcome {
        Ok(()) => PASSED,
        Err(error) => {
            eprintln!("error: {error:#}");
            if let Ok(logs) = nodes::log_directory(arguments.logs.as_deref(), "") {
                eprintln!("the logs are in {}", logs.display());
            }
            UNREACHABLE
        }
    }
}

/// What was measured, up to the first failure.
async fn all(arguments: &FigureArguments) -> (Vec<Row>, anyhow::Result<()>) {
    let mut rows = Vec::new();
    for figure in arguments.figures() {
        let measured = match figure {
            Figure::Detection => rounds::detection(arguments).await,
            Figure::Heal => rounds::heal(arguments).await,
            Figure::Join => joins::joins(arguments).await,
            Figure::Refill => refill::refills(arguments).await,
            Figure::Memory => memory::memory(arguments).await,
        };
        match measured.with_context(|| format!("{figure:?}")) {
            Ok(mut measured) => rows.append(&mut measured),
            Err(error) => return (rows, Err(error)),
        }
    }
    (rows, Ok(()))
}

fn publish(arguments: &FigureArguments, rows: &[Row]) -> anyhow::Result<()> {
    let table = table::render(rows);
    print!("{table}");
    let Some(path) = &arguments.write else {
        return Ok(());
    };
    let shown = path.display();
    let document = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let Some(document) = table::insert(&document, &table) else {
        bail!(
            "{shown} lacks the lines {} and {}",
            table::BEGIN,
            table::END
        );
    };
    std::fs::write(path, document).with_context(|| format!("cannot write {shown}"))
}

/// What a cluster is measured with.
struct Bench<'a> {
    arguments: &'a FigureArguments,
    name: &'a str,
    first: usize,
    most: usize,
    settings: Vec<(&'static str, String)>,
}

impl Bench<'_> {
    /// Nodes that are started and at rest. Dropping them ends them.
    async fn start(self, network: Network) -> anyhow::Result<Nodes> {
        eprintln!("{}: starting {} nodes", self.name, self.first);
        let binary = &self.arguments.binary;
        let mut settings = vec![
            ("server.cache.capacity", CAPACITY.to_string()),
            ("server.limits.cpu_threshold", "1".to_owned()),
            ("telemetry.log_format", "json".to_owned()),
        ];
        settings.extend(self.settings);
        let planned = Planned {
            binary: std::path::absolute(binary).context("no current directory")?,
            nodes: self.most,
            first: self.first,
            settings,
            logs: nodes::log_directory(self.arguments.logs.as_deref(), self.name)?,
        };
        let mut nodes = Nodes::new(&planned, network)?;
        nodes.start(self.first, self.arguments.settle).await?;
        Ok(nodes)
    }
}

/// Ends the nodes and removes their logs, unless those are kept.
async fn finish(arguments: &FigureArguments, nodes: Nodes) {
    nodes.remove().await;
    remove_logs(arguments);
}

fn remove_logs(arguments: &FigureArguments) {
    if arguments.logs.is_none()
        && let Ok(logs) = nodes::log_directory(None, "")
    {
        std::fs::remove_dir_all(logs).ok();
    }
}

/// Namespaces for nodes that are cut off, or why there are none.
fn namespaces(nodes: usize) -> anyhow::Result<Result<Network, String>> {
    match Namespaces::missing() {
        Some(missing) => Ok(Err(missing)),
        None => Ok(Ok(Network::Namespaces(Namespaces::new(nodes)?))),
    }
}

fn seconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(Duration::as_secs_f64).collect()
}
