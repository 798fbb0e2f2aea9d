//! How long it takes to notice a loss, and the end of a split.

use std::time::Duration;

use futures_util::future::join_all;
use shard_cache_client::{Client, ClientOptions};
use tokio::time::{Instant, sleep};

use super::{
    Bench, FigureArguments, finish, namespaces, seconds,
    table::{Row, Worst},
};
use crate::nodes::{Nodes, name, network::Network, until};

/// Between two looks at a node's members.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// Longest time to notice a loss.
const NOTICE_TIME: Duration = Duration::from_secs(30);
/// Longest time for the sides of a split to go by rings of their own.
const PARTED_TIME: Duration = Duration::from_secs(40);
/// Longest time to agree after a split.
const HEAL_TIME: Duration = Duration::from_secs(60);
/// How long a member that is down stays in the ring, in seconds: shorter than by default, so that the sides of a split
/// soon go by rings of their own.
const GRACE_SECONDS: u32 = 5;

/// From `kill -9` until every other node says that the member is down.
pub(super) async fn detection(arguments: &FigureArguments) -> anyhow::Result<Vec<Row>> {
    let bench = Bench {
        arguments,
        name: "detection",
        first: 5,
        most: 5,
        settings: Vec::new(),
    };
    let mut nodes = bench.start(Network::Loopback).await?;
    let mut times = Vec::new();
    for run in 0..arguments.runs() {
        let place = run % 5;
        nodes.safe_to_stop(place, arguments.settle).await?;
        let clients = clients(&nodes, place).await?;
        let begun = Instant::now();
        nodes.node_mut(place).kill9().await?;
        let lost = name(place);
        let noticed = clients.iter().map(|client| notices(client, &lost));
        for noticed in join_all(noticed).await {
            noticed?;
        }
        times.push(begun.elapsed());
        eprintln!("detection {}: {:.2?}", run + 1, begun.elapsed());
        nodes.node_mut(place).spawn()?;
        nodes.ready(place, arguments.settle).await?;
        nodes.at_rest(arguments.settle).await?;
    }
    finish(arguments, nodes).await;
    let label = "kill -9 of one of 5 nodes: until all others know";
    Ok(vec![Row::new(label, &seconds(&times), "s", Worst::Largest)])
}

async fn clients(nodes: &Nodes, but: usize) -> anyhow::Result<Vec<Client>> {
    let others = nodes.running().into_iter().filter(|place| *place != but);
    let mut clients = Vec::new();
    for place in others {
        let address = nodes.node(place).place().grpc.to_string();
        clients.push(Client::connect(&address, ClientOptions::default()).await?);
    }
    Ok(clients)
}

async fn notices(client: &Client, lost: &str) -> anyhow::Result<()> {
    let what = format!("{} does not see that {lost} is down", client.endpoint());
    let until = Instant::now() + NOTICE_TIME;
    loop {
        let members = client.cluster_members().await;
        let is_down = members.is_ok_and(|answer| {
            let mut lives = answer.members.iter().filter(|member| member.name == lost);
            lives.all(|member| member.liveness == "down")
        });
        if is_down {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < until, "{what} within {NOTICE_TIME:?}");
        sleep(LOOK_PAUSE).await;
    }
}

/// From the end of a split until all see all alive, and until they go by one ring.
pub(super) async fn heal(arguments: &FigureArguments) -> anyhow::Result<Vec<Row>> {
    let labels = [
        format!(
            "end of a split of 2 from 3 nodes, each with a ring of its own (ring_down_grace {GRACE_SECONDS} s): until \
             all see all alive"
        ),
        "the same: until there is one ring".to_owned(),
        "the same: until all slots have settled".to_owned(),
    ];
    let network = match namespaces(5)? {
        Ok(network) => network,
        Err(why) => return Ok(labels.iter().map(|it| Row::missing(it, &why)).collect()),
    };
    let bench = Bench {
        arguments,
        name: "heal",
        first: 5,
        most: 5,
        settings: vec![("cluster.ring_down_grace", format!("{GRACE_SECONDS}s"))],
    };
    let nodes = bench.start(network).await?;
    let mut times: [Vec<Duration>; 3] = Default::default();
    for run in 0..arguments.runs() {
        nodes.network().cut(&[vec![0, 1], vec![2, 3, 4]])?;
        until("the sides keep one ring", PARTED_TIME, async || {
            let looks = nodes.looks().await?;
            let ring = |place: usize| &looks[place].health.ring_hash;
            let alone = looks.iter().all(|look| look.health.members_alive < 4);
            if alone && ring(0) != ring(2) && ring(0) == ring(1) && ring(2) == ring(4) {
                Ok(())
            } else {
                Err(format!("rings {} and {}", ring(0), ring(2)))
            }
        })
        .await?;
        let healed = Instant::now();
        nodes.network().heal()?;
        let agreement = nodes.agreement(healed, HEAL_TIME).await?;
        let settled = nodes.at_rest(arguments.settle).await? - healed;
        eprintln!("heal {}: {agreement:.2?}, settled {settled:.2?}", run + 1);
        for (times, time) in times
            .iter_mut()
            .zip([agreement.members, agreement.ring, settled])
        {
            times.push(time);
        }
    }
    finish(arguments, nodes).await;
    let rows = labels.iter().zip(&times);
    let row = |(label, times): (&String, &Vec<Duration>)| {
        Row::new(label, &seconds(times), "s", Worst::Largest)
    };
    Ok(rows.map(row).collect())
}
