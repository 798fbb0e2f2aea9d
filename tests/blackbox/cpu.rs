//! A CPU that is used up: part of the requests is shed, writes first, until it is free again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use shard_cache::{
    node::{Drained, Node, Seams},
    overload::{
        meter::{Counters, CpuTime},
        system::{CpuSource, SystemCpu},
    },
};
use shard_cache_client::{CallOptions, Client, ClientError, ClientOptions, Ttl, Value};

use crate::harness::{Cluster, Options, PATIENCE, Room, http, inside, lookout::Lookout, until};
use crate::overload::PUSHBACK;

const THRESHOLD: f64 = 0.9;
/// After the load a node gets so long to serve everything again, twice its window, and a little for a slow machine.
const RELEASED_WITHIN: Duration = Duration::from_secs(4);

/// What became of requests: reads first, then writes.
#[derive(Default, Debug)]
struct Tally {
    ok: [u32; 2],
    shed: [u32; 2],
    first_shed: Option<usize>,
}

impl Tally {
    /// One read and one write.
    async fn ask(&mut self, client: &Client) -> Result<(), String> {
        let call = CallOptions::default();
        let value = Value::from("value");
        let outcomes = [
            client.get("key", &call).await.map(|_| ()),
            client
                .set("key", value, Ttl::Default, &call)
                .await
                .map(|_| ()),
        ];
        for (kind, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(()) => self.ok[kind] += 1,
                Err(ClientError::Shed {
                    message,
                    retry_after,
                }) => {
                    self.shed[kind] += 1;
                    self.first_shed.get_or_insert(kind);
                    assert!(
                        retry_after.is_some_and(|pause| PUSHBACK.contains(&pause)),
                        "{retry_after:?}"
                    );
                    assert!(
                        message.contains("CPU utilisation") && message.contains("90 %"),
                        "{message}"
                    );
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Asks until both kinds are shed.
    async fn until_shed(&mut self, client: &Client) {
        let end = Instant::now() + PATIENCE;
        while self.shed.iter().any(|shed| *shed <= 5) {
            self.ask(client).await.expect("served or shed");
            assert!(Instant::now() < end, "{self:?}");
        }
    }
}

/// A machine whose CPU is used up at the turn of a switch.
struct Switched {
    busy: Arc<AtomicBool>,
    counted: CpuTime,
}

impl CpuSource for Switched {
    fn read(&mut self) -> Option<Counters> {
        if self.busy.load(Ordering::Relaxed) {
            self.counted.busy += 1;
        } else {
            self.counted.idle += 1;
        }
        Some(Counters {
            cpus: vec![self.counted],
            groups: Vec::new(),
        })
    }
}

/// Whatever else the machine does.
#[tokio::test]
async fn a_node_that_reads_a_used_up_cpu_sheds_over_both_faces_until_it_reads_a_free_one() {
    let _room = Room::shared().await;
    let busy = Arc::new(AtomicBool::new(false));
    let cpu = Switched {
        busy: Arc::clone(&busy),
        counted: CpuTime {
            id: 0,
            busy: 0,
            idle: 0,
        },
    };
    let seams = Seams {
        cpu: Box::new(cpu),
        ..Seams::system()
    };
    let node = Node::start(
        inside::configuration(&[
            ("server.limits.cpu_threshold", "0.9"),
            ("server.limits.cpu_window", "1s"),
            ("cluster.bootstrap_wait", "100ms"),
        ]),
        seams,
    )
    .await
    .expect("the node starts");
    let at = node.addresses();
    until("it is ready", PATIENCE, async || {
        match http::get(at.http, "/readyz").await?.status {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
    let client = Client::connect(&at.grpc.to_string(), ClientOptions::default()).await;
    let client = client.expect("a connection");
    let mut calm = Tally::default();
    for _ in 0..20 {
        calm.ask(&client).await.expect("it is served");
    }
    assert_eq!((calm.ok, calm.shed), ([20, 20], [0, 0]));

    busy.store(true, Ordering::Relaxed);
    let mut tally = Tally::default();
    tally.until_shed(&client).await;
    assert_eq!(tally.first_shed, Some(1), "writes are shed before reads");
    until("HTTP is shed too", PATIENCE, async || {
        shed_over_http(at.http).await
    })
    .await;
    for path in ["/health", "/readyz", "/metrics"] {
        let answer = http::get(at.http, path).await.expect("an answer");
        assert_eq!(answer.status, 200, "{path}");
    }

    busy.store(false, Ordering::Relaxed);
    let begun = Instant::now();
    until("nothing is shed", PATIENCE, async || {
        match pressure(at.http).await? {
            0.0 => Ok(()),
            pressure => Err(pressure.to_string()),
        }
    })
    .await;
    assert!(begun.elapsed() < RELEASED_WITHIN, "{:?}", begun.elapsed());
    let mut served = Tally::default();
    for _ in 0..20 {
        served.ask(&client).await.expect("it is served");
    }
    assert_eq!((served.ok, served.shed), ([20, 20], [0, 0]));
    assert_eq!(node.drain().await, Drained::Clean);
}

async fn shed_over_http(address: std::net::SocketAddr) -> Result<(), String> {
    let answer = http::request(address, "PUT", "/v1/keys/key", &[], b"value").await?;
    match (answer.status, answer.header("retry-after")) {
        (429, Some(_)) => Ok(()),
        other => Err(format!("{other:?}: {}", answer.text())),
    }
}

async fn pressure(address: std::net::SocketAddr) -> Result<f64, String> {
    let answer = http::get(address, "/metrics?format=json").await?.json();
    answer["shardcache_cpu_shed_pressure_ratio"][0]["value"]
        .as_f64()
        .ok_or_else(|| "no pressure".to_owned())
}

/// Threads that use up the CPUs.
struct Hog {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Hog {
    fn start() -> Self {
        let cpus = std::thread::available_parallelism().expect("the number of CPUs");
        let stop = Arc::new(AtomicBool::new(false));
        let spin = || {
            let stop = Arc::clone(&stop);
            let end = Instant::now() + 2 * PATIENCE;
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) && Instant::now() < end {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..cpus.get()).map(|_| spin()).collect();
        Self { stop, threads }
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has stopped, too.
            drop(thread.join());
        }
    }
}

/// The machine as it is without what this test does to it: others may use it.
enum Machine {
    Free,
    /// It is used up by others, for as long as was waited.
    InUse,
}

/// Waits until no node sheds. A machine that stays in use excuses them; one that has been free for long enough does not.
async fn released(cluster: &Cluster) -> Machine {
    let end = Instant::now() + PATIENCE;
    let (mut busy_at, mut before) = (Instant::now(), busy_and_idle());
    loop {
        let mut highest: f64 = 0.0;
        for node in cluster.nodes() {
            let pressure = pressure(node.addresses().http).await;
            highest = highest.max(pressure.expect("the node tells its pressure"));
        }
        if highest == 0.0 {
            return Machine::Free;
        }
        let now = busy_and_idle();
        let (busy, idle) = (now.0 - before.0, now.1 - before.1);
        before = now;
        // With some distance from the threshold, where the pressure falls slowly.
        if busy as f64 > (THRESHOLD - 0.4) * (busy + idle) as f64 {
            busy_at = Instant::now();
        }
        let free_for = busy_at.elapsed();
        assert!(free_for < RELEASED_WITHIN, "{highest} after {free_for:?}");
        if Instant::now() > end {
            return Machine::InUse;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// The time of all CPUs.
fn busy_and_idle() -> (u64, u64) {
    let counters = SystemCpu::new().read().expect("this machine can be read");
    let cpus = counters.cpus.iter();
    cpus.fold((0, 0), |(busy, idle), cpu| {
        (busy + cpu.busy, idle + cpu.idle)
    })
}

#[tokio::test]
async fn a_hog_makes_a_node_shed_and_nobody_takes_it_for_dead() {
    let options = Options::default()
        .setting("server.limits.cpu_threshold", THRESHOLD)
        .setting("server.limits.cpu_window", "1s");
    let cluster = Cluster::start(3, options, Room::alone().await).await;
    let client = cluster.client(0).await;
    let machine = released(&cluster).await;
    let calm = cluster[0].shed("cpu").await;

    let lookout = Lookout::start(&cluster);
    let begun = Instant::now();
    let hog = Hog::start();
    let mut tally = Tally::default();
    tally.until_shed(&client).await;
    let engaged = begun.elapsed();
    if matches!(machine, Machine::Free) {
        assert_eq!(tally.first_shed, Some(1), "writes are shed before reads");
    }
    let counted = cluster[0].shed("cpu").await - calm;
    assert!(counted >= u64::from(tally.shed[0] + tally.shed[1]));
    let looks = lookout.finish().await;
    drop(hog);

    let begun = Instant::now();
    let after = match released(&cluster).await {
        Machine::Free => {
            tally.ask(&client).await.expect("it is served");
            format!("nothing is shed {:.1?} after its end", begun.elapsed())
        }
        Machine::InUse => "others use the machine up, so that the end was not seen".to_owned(),
    };
    println!(
        "CPU hog: reads and writes are shed after {engaged:.1?}: {tally:?}; members looked at {looks} times; {after}"
    );
}
