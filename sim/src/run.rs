//! One run: the nodes form a ring, faults happen while clients work, everything heals, and what was promised must hold.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use shard_cache::store::Lookup;
use shard_cache_membership::identity::NodeId;

use crate::{
    cluster::Cluster,
    faults,
    history::{self, Clocks, Event, Floors, Header, Held, History, Invariant, OwnerCopy, Promises},
    laws::Laws,
    node,
    options::Options,
    recorder::Recorder,
    workload::{self, Ask, Client},
    world::{HostId, Nanos, World, clock::EPOCH_MILLIS, nanos},
};

/// With fewer ghosts than these some may be forgotten in a run.
const GHOSTS_MIN: usize = 10_000;
/// How long the first ring may take.
const FORMATION_TIMEOUT: Duration = Duration::from_secs(60);
/// How long after the last fault all nodes must be in one ring and say that all is well.
const HEAL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long after the last fault every node must serve every level. A node whose clock was ahead is refused by the others
/// until their clocks have come to where its own has been.
const SERVE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long after that nothing may be owed or under way any more.
const QUIET_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest run of the faults' hands past their time: a lost node has to be back, and one that left gone, before its hand
/// ends.
const HANDS_TIMEOUT: Duration = Duration::from_secs(600);
/// Tasks of a node at rest, apart from what it needs per peer.
const TASKS_MAX: usize = 18;
/// Tasks per peer: a link and its writer here, and the peer's link served.
const TASKS_PER_PEER_MAX: usize = 4;
/// How long after the last fault nodes are asked whom they see: when they must agree on the members, and on the ring.
const AGREE_TIMES: [Duration; 2] = [Duration::from_millis(6_050), Duration::from_millis(10_050)];
/// The first of the clients that look after the heal.
const OBSERVER: u32 = 1 << 30;
/// How often figures are noted.
const USAGE_INTERVAL: Duration = Duration::from_secs(10);
/// How far clocks may be off, with what faults may add.
const CLOCK_BOUND: Duration = Duration::from_millis(200);

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Hash over everything that happened.
    pub trace: u64,
    /// Events that happened.
    pub events: u64,
    /// Virtual time that passed.
    pub simulated: Duration,
    /// What was seen.
    pub history: History,
    /// How often nodes took rare paths.
    pub paths: BTreeMap<&'static str, u64>,
    /// What did not come right after everything had healed.
    pub failures: Vec<String>,
}

/// Runs a seed's options to the end.
#[must_use]
pub fn run(options: &Options, print: bool) -> Outcome {
    let world = World::new(options.seed);
    if print {
        world.print_events();
    }
    let recorder = Recorder::new(header(options));
    let cluster = Cluster::new(world.clone(), options.clone(), recorder.clone());
    let failures = Failures::default();
    let over = Arc::new(Mutex::new(false));
    let script = {
        let (cluster, failures, over) = (cluster.clone(), failures.clone(), Arc::clone(&over));
        async move {
            phases(&cluster, &failures).await;
            *over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
    };
    world.spawn(cluster.outside(), "script", Box::pin(script));
    let slice = nanos(Duration::from_millis(100));
    while !*over.lock().unwrap_or_else(PoisonError::into_inner) {
        world.run_until(world.now() + slice);
    }
    let mut history = recorder.take();
    let mut lived = (0..options.nodes).filter(|index| world.life(HostId(*index)) > 0);
    let named = lived.next_back().map_or(0, |last| usize::from(last) + 1);
    history.header.cluster.nodes.truncate(named);
    let outcome = Outcome {
        trace: world.trace_hash(),
        events: world.events(),
        simulated: Duration::from_nanos(world.now()),
        history,
        paths: cluster.rare_paths(),
        failures: failures.take(),
    };
    // Tasks hold the world: end them, so that it is freed.
    for index in 0..=options.nodes {
        world.crash(HostId(index), crate::world::Power::Gone);
    }
    outcome
}

async fn phases(cluster: &Cluster, failures: &Failures) {
    if let Err(reason) = form(cluster).await {
        failures.add(format!(
            "no first ring within {FORMATION_TIMEOUT:?}: {reason}"
        ));
        return;
    }
    let laws = Laws::new(cluster.clone());
    drop(begin(cluster, "laws", laws.clone().run()));
    disturb(cluster, failures).await;
    heal(cluster);
    converge(cluster, failures).await;
    laws.look();
    cluster.count_path("full owner compared", laws.compared());
}

async fn form(cluster: &Cluster) -> Result<(), String> {
    let mut rng = SmallRng::seed_from_u64(cluster.options().seed ^ 0x666f_726d);
    for index in 0..cluster.options().first_nodes() {
        let pause = Duration::from_millis(rng.random_range(0..1000));
        cluster.world().sleep(pause).await;
        cluster.start(index).map_err(|error| error.to_string())?;
    }
    cluster
        .await_none(FORMATION_TIMEOUT, || cluster.unwell())
        .await?;
    cluster.recorder().mark(cluster.world(), Event::Settled);
    Ok(())
}

/// Safety: clients work while faults happen.
async fn disturb(cluster: &Cluster, failures: &Failures) {
    let world = cluster.world();
    let until = world.now() + nanos(cluster.options().duration);
    let mut working = Vec::new();
    for client in 0..cluster.options().clients {
        let client = Client::new(cluster.clone(), u32::from(client));
        working.push(begin(cluster, "client", client.run(until)));
    }
    let mut hands = Vec::new();
    for hand in faults::hands(cluster) {
        hands.push(begin(cluster, "fault", hand.run(until)));
    }
    while world.now() < until {
        let next = until.min(world.now() + nanos(USAGE_INTERVAL));
        world.sleep_until(next).await;
        cluster.note_usage();
    }
    for hand in hands {
        let give_up = world.sleep(HANDS_TIMEOUT);
        tokio::select! {
            biased;
            _ = hand => {}
            () = give_up => failures.add("not all members are in one ring long after the last fault".to_owned()),
        }
    }
    for client in working {
        // A client that has ended has dropped its sender.
        drop(client.await);
    }
}

fn heal(cluster: &Cluster) {
    let nodes = cluster.running().into_iter().map(u32::from).collect();
    cluster
        .recorder()
        .mark(cluster.world(), Event::Healed { nodes });
}

/// Liveness: everything has healed, so everything has to come right.
async fn converge(cluster: &Cluster, failures: &Failures) {
    let world = cluster.world();
    let healed = world.now();
    let well = cluster.await_none(HEAL_TIMEOUT, || cluster.unwell()).await;
    if let Err(reason) = well {
        failures.add(format!(
            "not well {HEAL_TIMEOUT:?} after the heal: {reason}"
        ));
    }
    serve(cluster, healed + nanos(SERVE_TIMEOUT), failures).await;
    let quiet = cluster.await_none(QUIET_TIMEOUT, || unquiet(cluster)).await;
    if let Err(reason) = quiet {
        failures.add(format!(
            "not at rest {QUIET_TIMEOUT:?} after the heal: {reason}"
        ));
    }
    read_back(cluster).await;
    for time in AGREE_TIMES {
        world.sleep_until(healed + nanos(time)).await;
        cluster.note_membership();
    }
    cluster.note_usage();
    for index in cluster.running() {
        cluster.note_end(index);
    }
    let promises = promises(cluster.options());
    if promises.hold(Invariant::Convergence) {
        world
            .sleep_until(healed + promises.data_agrees_within_ns)
            .await;
    }
    note_copies(cluster);
    let took = Duration::from_nanos(world.now() - healed);
    world.note(|| format!("converged {took:?} after the heal"));
}

/// Every node serves every level again, soon after the heal.
async fn serve(cluster: &Cluster, give_up: Nanos, failures: &Failures) {
    let world = cluster.world();
    let mut client = Client::new(cluster.clone(), OBSERVER);
    for node in cluster.running() {
        for consistency in [history::Consistency::Quorum, history::Consistency::All] {
            while !client.ask(Ask::read(node, 0, consistency)).await {
                if world.now() >= give_up {
                    failures.add(format!(
                        "node-{node} does not serve reads at {consistency:?} {SERVE_TIMEOUT:?} after the heal"
                    ));
                    return;
                }
                world.sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

fn unquiet(cluster: &Cluster) -> Option<String> {
    let nodes = cluster.running().len();
    let tasks_max = TASKS_MAX + TASKS_PER_PEER_MAX * (nodes - 1);
    cluster.left_over().into_iter().find_map(|left| {
        let is_quiet = left.exchanges == 0 && left.hints == 0 && left.tasks <= tasks_max;
        (!is_quiet).then(|| format!("{left:?}, where {tasks_max} tasks are expected at most"))
    })
}

/// Every key is read at two nodes: what was acknowledged must be there.
async fn read_back(cluster: &Cluster) {
    let mut client = Client::new(cluster.clone(), OBSERVER + 1);
    for key in 0..cluster.options().keys {
        let running = cluster.running();
        for place in [key, key + 1] {
            let Some(node) = running.get(place as usize % running.len().max(1)) else {
                return;
            };
            let ask = Ask::read(*node, key, history::Consistency::Quorum);
            client.ask(ask).await;
        }
    }
}

fn note_copies(cluster: &Cluster) {
    let world = cluster.world();
    let at_ns: Nanos = world.now();
    for key in 0..cluster.options().keys {
        let name = workload::key_name(key);
        let key = shard_cache::key::Key::new(name.clone().into());
        for index in cluster.running() {
            let Some(node) = cluster.node(index) else {
                continue;
            };
            let owns = node.ring().is_some_and(|ring| {
                let own = NodeId::of_name(&node::name(index));
                ring.owners(ring.slot(&key)).place(own).is_some()
            });
            if !owns {
                continue;
            }
            let now_millis = EPOCH_MILLIS + at_ns / 1_000_000;
            let held = match node.store().peek(&key, now_millis) {
                Lookup::Hit(record) => match &record.body {
                    shard_cache::store::Body::Value(value) => Held::Value {
                        value: workload::value_id(value),
                        version: workload::version_of(record.version),
                    },
                    shard_cache::store::Body::Tombstone => Held::Gone {
                        version: workload::version_of(record.version),
                    },
                },
                Lookup::Miss(absence) => {
                    absence.known().map_or(Held::Nothing, |version| Held::Gone {
                        version: workload::version_of(version),
                    })
                }
            };
            cluster.recorder().copy(OwnerCopy {
                at_ns,
                node: u32::from(index),
                key: name.clone(),
                held,
            });
        }
    }
}

/// Starts a task; the receiver ends when the task does.
fn begin(
    cluster: &Cluster,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> tokio::sync::oneshot::Receiver<()> {
    let (ended, end) = tokio::sync::oneshot::channel();
    let task = async move {
        task.await;
        drop(ended);
    };
    cluster
        .world()
        .spawn(cluster.outside(), name, Box::pin(task));
    end
}

fn header(options: &Options) -> Header {
    Header {
        seed: Some(options.seed),
        replay: Some(replay(options)),
        cluster: history::Cluster {
            nodes: (0..options.nodes).map(node::name).collect(),
            replication_factor: options.replication_factor,
            read_quorum: options.quorum,
            write_quorum: options.write_quorum,
        },
        clocks: Clocks {
            uncertainty_ns: 0,
            bound_ns: nanos(CLOCK_BOUND),
            epoch_millis: Some(EPOCH_MILLIS),
            // A node that stands still stamps what waits for it when it goes on.
            stamps_within_ns: None,
        },
        tombstone_life_ns: Some(nanos(options.config(0).tombstones.life)),
        evictions_recorded: true,
        promises: Some(promises(options)),
        ..Header::default()
    }
}

/// What is promised, and how much has to happen for a run to prove anything.
fn promises(options: &Options) -> Promises {
    let seconds = options.duration.as_secs();
    let operations = seconds * u64::from(options.rate);
    let with_faults = u64::from(!options.faults.is_empty() && seconds >= 60);
    let given = options.given.as_ref();
    let mut promises = Promises {
        // Beyond the limit of ghosts older values may be taken for the newest.
        gone_leaves_a_trace: options.ghosts_max >= GHOSTS_MIN,
        ..Promises::full()
    };
    if let Some(only) = given.and_then(|given| given.invariants.clone()) {
        promises.invariants = only;
    }
    Promises {
        floors: given.and_then(|given| given.floors).unwrap_or(Floors {
            operations_min: operations / 10,
            acknowledged_min: operations / 100,
            hits_min: operations / 1000,
            judged_min: operations / 1000,
            faults_min: with_faults,
            during_faults_min: with_faults * 10,
            compared_min: 0,
        }),
        ..promises
    }
}

/// The command that does the same again.
#[must_use]
pub fn replay(options: &Options) -> String {
    if let Some(given) = &options.given {
        return given.replay.clone();
    }
    let (seed, seconds) = (options.seed, options.duration.as_secs());
    let mut command = format!("shard-cache-sim run --seed {seed} --seconds {seconds}");
    if options.faults != Options::of_seed(seed, options.duration).faults {
        let faults: Vec<_> = options.faults.iter().map(|kind| kind.name()).collect();
        command.push_str(&format!(" --faults {}", faults.join(",")));
    }
    if let Some(plant) = options.plant {
        command.push_str(&format!(" --plant {plant}"));
    }
    command
}

/// What did not come right.
#[derive(Clone, Default)]
struct Failures {
    found: Arc<Mutex<Vec<String>>>,
}

impl Failures {
    fn add(&self, failure: String) {
        self.found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(failure);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
