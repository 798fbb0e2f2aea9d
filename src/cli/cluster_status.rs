//! `shard-cache cluster status`: all nodes in one table, asked through one of them.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use shard_cache_client::cluster::{HotKey, NodeReport, NodeStatus, StatusResponse, View};

use super::{
    cluster::{dash, state},
    connection::{ConnectionArguments, WaitArguments, block_on},
    exit::{Exit, Failure},
    output::{self, Column, Format, OutputArguments},
};
use crate::documents::status_document;

const LEGEND: &str = "\
State: U up  S suspect  D down  /  N normal  J joining  L leaving  X draining
RING and VIEW are hashes: nodes that agree show the same. OWNS counts copies, so that it sums up to RF.";

/// Share of a node's requests from which a key is shown.
const HOT_SHARE_MIN: f64 = 0.05;

/// Characters of a hash that are shown.
const HASH_CHARS: usize = 8;

/// Show all nodes, what each says of itself, and whether they agree.
#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// Exit with 6 when a node is not up and well, or nodes disagree.
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl StatusArguments {
    pub(super) const fn format(&self) -> Format {
        self.output.format
    }
}

/// Say whether every node is up and well, and all agree: exits with 0 if so, with 6 and what is wrong if not.
#[derive(Debug, Args)]
pub(super) struct HealthArguments {
    #[command(flatten)]
    wait: WaitArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl HealthArguments {
    pub(super) const fn format(&self) -> Format {
        self.output.format
    }
}

pub(super) fn health(arguments: &HealthArguments) -> Result<Exit, Failure> {
    let ask = async || {
        let client = arguments.connection.connect().await?;
        Ok(client.cluster_status().await?)
    };
    // Nobody may be there yet to be asked.
    let is_over = |answer: &Result<_, _>| answer.as_ref().is_ok_and(is_well);
    let status = block_on(arguments.wait.ask(ask, is_over))?;
    let problems = problems(&status);
    match arguments.format() {
        Format::Table => {
            let mut text = headline(&status);
            for problem in &problems {
                text.push_str(&output::printable(&format!("\n{problem}")));
            }
            output::write_line(&text)?;
        }
        format @ (Format::Json | Format::Jsonl) => {
            let healthy = problems.is_empty();
            output::write_json(format, &json!({ "healthy": healthy, "problems": problems }))?;
        }
    }
    let is_well = problems.is_empty();
    Ok(if is_well { Exit::Ok } else { Exit::Degraded })
}

/// What is wrong, a line each.
fn problems(status: &StatusResponse) -> Vec<String> {
    let mut problems = Vec::new();
    if !status.rings_agree {
        problems.push("nodes go by different rings".to_owned());
    }
    problems.extend(disagreement(status));
    for node in &status.nodes {
        let member = node.member.as_ref();
        let name = member.map_or("?", |member| &member.name);
        let liveness = member.map_or("?", |member| &member.liveness);
        match &node.report {
            None => problems.push(format!("{name}: no report: {}", node.error)),
            Some(report) if report.status != "ok" => {
                problems.push(format!("{name}: {}", report.status));
            }
            Some(_) if liveness != "alive" => problems.push(format!("{name}: {liveness}")),
            Some(_) => {}
        }
    }
    problems
}

/// Who sees whom, where nodes do not agree on that.
fn disagreement(status: &StatusResponse) -> Vec<String> {
    if status.views_agree {
        return Vec::new();
    }
    let line = |view: &View| {
        let seers = view.seen_by.join(", ");
        let alive = match view.alive.as_slice() {
            [] => format!("a view of their own, {}", short_hash(&view.hash)),
            alive => format!("{} alive", alive.join(", ")),
        };
        let not = match view.not_alive.as_slice() {
            [] => String::new(),
            not => format!(", not {}", not.join(", ")),
        };
        let verb = if view.seen_by.len() == 1 {
            "sees"
        } else {
            "see"
        };
        format!("views differ: {seers} {verb} {alive}{not}")
    };
    status.views.iter().map(line).collect()
}

pub(super) fn run(arguments: &StatusArguments) -> Result<Exit, Failure> {
    let mut status = block_on(async {
        let client = arguments.connection.connect().await?;
        Ok(client.cluster_status().await?)
    })?;
    status.nodes.sort_by(|a, b| order(a).cmp(&order(b)));
    match arguments.format() {
        Format::Table => output::write_line(&render(&status))?,
        format @ (Format::Json | Format::Jsonl) => {
            output::write_json(format, &status_document(&status))?;
        }
    }
    let degraded = arguments.exit_code && !is_well(&status);
    Ok(if degraded { Exit::Degraded } else { Exit::Ok })
}

fn order(node: &NodeStatus) -> (&str, &str) {
    node.member
        .as_ref()
        .map_or(("", ""), |member| (&member.zone, &member.name))
}

/// Whether every node is up and well, and all agree.
pub(super) fn is_well(status: &StatusResponse) -> bool {
    problems(status).is_empty()
}

fn render(status: &StatusResponse) -> String {
    let columns = [
        Column::Left("--"),
        Column::Left("NODE"),
        Column::Left("ADDRESS"),
        Column::Left("ZONE"),
        Column::Right("OWNS"),
        Column::Right("ENTRIES"),
        Column::Left("MEM (LIMIT)"),
        Column::Right("OPS"),
        Column::Right("HIT%"),
        Column::Right("HINTS"),
        Column::Left("UP"),
        Column::Left("VERSION"),
        Column::Left("RING"),
        Column::Left("VIEW"),
    ];
    let rows: Vec<_> = status.nodes.iter().map(row).collect();
    let mut text = format!(
        "{}\n{LEGEND}\n{}",
        headline(status),
        output::table(&columns, &rows)
    );
    for line in disagreement(status) {
        text.push_str(&output::printable(&format!("\n{line}")));
    }
    for node in &status.nodes {
        let name = node.member.as_ref().map_or("?", |member| &member.name);
        let trouble = match &node.report {
            None => format!("no report: {}", node.error),
            Some(report) => match (report.status.as_str(), moving(report)) {
                ("ok", None) => continue,
                ("ok", Some(moving)) => moving,
                (status, None) => status.to_owned(),
                (status, Some(moving)) => format!("{status}; {moving}"),
            },
        };
        text.push_str(&output::printable(&format!("\n{name}: {trouble}")));
    }
    for line in hot_keys(status) {
        text.push_str(&format!("\n{line}"));
    }
    text
}

/// Keys that stand out, by the node that is asked for them.
fn hot_keys(status: &StatusResponse) -> Vec<String> {
    let mut lines = Vec::new();
    for node in &status.nodes {
        let (Some(member), Some(report)) = (&node.member, &node.report) else {
            continue;
        };
        let standing_out = |hot: &&HotKey| hot.share >= HOT_SHARE_MIN;
        for hot in report.hot_keys.iter().filter(standing_out) {
            let key = if hot.key.is_empty() {
                format!("with hash {:016x}", hot.hash)
            } else {
                output::printable_bytes(&hot.key)
            };
            let (name, percent) = (output::printable(&member.name), hot.share * 100.0);
            lines.push(format!(
                "hot key {key}: {percent:.1} % of the requests at {name}"
            ));
        }
    }
    lines
}

/// How far slots that change owners are, if any do.
fn moving(report: &NodeReport) -> Option<String> {
    let (unsettled, wanting) = (report.slots_unsettled, report.slots_wanting);
    let wanted = |_| match wanting {
        0 => format!("{unsettled} slots are not settled yet"),
        _ => format!(
            "{unsettled} slots are not settled yet, {wanting} of them are still being copied here"
        ),
    };
    Some(unsettled)
        .filter(|unsettled| *unsettled > 0)
        .map(wanted)
}

fn headline(status: &StatusResponse) -> String {
    let count = |liveness: &str| {
        let is = |node: &&NodeStatus| {
            node.member
                .as_ref()
                .is_some_and(|member| member.liveness == liveness)
        };
        status.nodes.iter().filter(is).count()
    };
    let yes = |agree: bool| if agree { "yes" } else { "NO" };
    output::printable(&format!(
        "Cluster {} (asked {}): RF {}, R {} / W {}; {} up, {} suspect, {} down; rings agree: {}, \
         views agree: {}",
        status.cluster_id,
        status.asked,
        status.replication_factor,
        status.read_quorum,
        status.write_quorum,
        count("alive"),
        count("suspect"),
        count("down"),
        yes(status.rings_agree),
        yes(status.views_agree),
    ))
}

fn row(node: &NodeStatus) -> Vec<String> {
    let member = node.member.clone().unwrap_or_default();
    let mut letters = state(&member);
    if node
        .report
        .as_ref()
        .is_some_and(|report| report.status == "draining")
    {
        letters.replace_range(1.., "X");
    }
    let of =
        |show: fn(&NodeReport) -> String| node.report.as_ref().map_or_else(|| "-".to_owned(), show);
    vec![
        letters,
        dash(&member.name),
        dash(&member.grpc_address),
        dash(&member.zone),
        of(|report| format!("{:.1}%", report.owned_ratio * 100.0)),
        of(|report| report.entries.to_string()),
        of(|report| {
            format!(
                "{} ({})",
                bytes(report.memory_bytes),
                bytes(report.memory_limit_bytes)
            )
        }),
        of(|report| report.operations_total.to_string()),
        of(hit_percent),
        of(|report| report.hints_pending.to_string()),
        of(|report| uptime(report.uptime_seconds)),
        of(|report| dash(&report.version)),
        of(|report| short_hash(&report.ring_hash)),
        of(|report| short_hash(&report.view_hash)),
    ]
}

fn hit_percent(report: &NodeReport) -> String {
    let reads = report.hits_total.saturating_add(report.misses_total);
    if reads == 0 {
        return "-".to_owned();
    }
    // Precision is lost only beyond 2^53 reads.
    format!("{:.1}", report.hits_total as f64 * 100.0 / reads as f64)
}

pub(super) fn bytes(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// The two largest units.
pub(super) fn uptime(seconds: u64) -> String {
    let text = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    text.split(' ').take(2).collect()
}

fn short_hash(hash: &str) -> String {
    dash(&hash.chars().take(HASH_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use shard_cache_client::cluster::Member;

    use super::*;

    fn member(name: &str, liveness: &str) -> Member {
        Member {
            name: name.to_owned(),
            liveness: liveness.to_owned(),
            phase: "active".to_owned(),
            grpc_address: format!("{name}:8080"),
            ..Member::default()
        }
    }

    fn status() -> StatusResponse {
        let report = NodeReport {
            status: "ok".to_owned(),
            version: "0.1.0".to_owned(),
            uptime_seconds: 11_530,
            entries: 3301,
            memory_bytes: 41 << 20,
            memory_limit_bytes: 512 << 20,
            ring_hash: "0123456789abcdef".to_owned(),
            view_hash: "fedcba9876543210".to_owned(),
            owned_ratio: 1.0,
            operations_total: 4120,
            hits_total: 931,
            misses_total: 69,
            ..NodeReport::default()
        };
        StatusResponse {
            cluster_id: "orders".to_owned(),
            asked: "node1".to_owned(),
            nodes: vec![
                NodeStatus {
                    member: Some(member("node1", "alive")),
                    report: Some(report),
                    error: String::new(),
                },
                NodeStatus {
                    member: Some(member("node3", "down")),
                    report: None,
                    error: "not reachable\x1b[2J".to_owned(),
                },
            ],
            rings_agree: true,
            views_agree: false,
            views: vec![View {
                hash: "fedcba9876543210".to_owned(),
                seen_by: vec!["node1".to_owned()],
                alive: vec!["node1".to_owned()],
                not_alive: vec!["node3".to_owned()],
            }],
            replication_factor: 3,
            read_quorum: 2,
            write_quorum: 2,
        }
    }

    #[test]
    fn the_table_shows_every_node_also_the_dead_one() {
        let expected = format!(
            "\
Cluster orders (asked node1): RF 3, R 2 / W 2; 1 up, 0 suspect, 1 down; rings agree: yes, views agree: NO
{LEGEND}
--  NODE   ADDRESS     ZONE    OWNS  ENTRIES  MEM (LIMIT)            OPS  HIT%  HINTS  UP     VERSION  RING      VIEW
UN  node1  node1:8080  -     100.0%     3301  41.0 MiB (512.0 MiB)  4120  93.1      0  3h12m  0.1.0    01234567  fedcba98
DN  node3  node3:8080  -          -        -  -                        -     -      -  -      -        -         -
views differ: node1 sees node1 alive, not node3
node3: no report: not reachable\\x1b[2J"
        );
        assert_eq!(render(&status()), expected);
    }

    #[test]
    fn a_cluster_is_well_when_all_nodes_are_and_agree() {
        let mut status = status();
        assert!(!is_well(&status));
        status.nodes.pop();
        assert!(!is_well(&status));
        status.views_agree = true;
        assert!(is_well(&status));
    }

    #[test]
    fn json_has_base_units_and_ids_as_text() {
        let document = status_document(&status());
        assert_eq!(document["nodes"][0]["report"]["memory_bytes"], 41 << 20);
        assert_eq!(
            document["nodes"][0]["member"]["node_id"],
            "0000000000000000"
        );
        assert_eq!(document["nodes"][1]["report"], Value::Null);
    }
}
