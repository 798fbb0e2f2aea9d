//! A run: all keys are written if that was asked for, then requests are made, first without being counted, then counted.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::{
    future::join,
    stream::{FuturesUnordered, StreamExt as _},
};
use serde_json::{Value, json};
use shard_cache_client::{Consistency, Ttl};
use tokio::{sync::Notify, time::sleep_until};

use crate::{
    client, cpu,
    error::{BenchError, PlanError},
    http2::Http2,
    lane::{Lane, Shared},
    others::{Etcd, Memcached, Redis},
    pace::Schedule,
    plan::{self, Distribution, Generator, Pace, Plan, System},
    recorder::Recorder,
    report::{Moment, Report},
    service::Cache,
    wire::{self, Session},
    workload::Workload,
};

/// Most moments that are kept; after that only the totals grow.
const MOMENTS_MAX: usize = 100_000;
/// What is waited beyond the deadline of the last request.
const GRACE: Duration = Duration::from_millis(200);
/// Most requests outstanding on each connection while keys are loaded.
const LOAD_OUTSTANDING_MAX: usize = 32;
/// Share of keys that may fail to load.
const LOAD_FAILED_MAX: f64 = 0.01;

/// How far a run is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Progress<'a> {
    /// All keys are being written.
    Loading {
        /// How many.
        keys: u64,
    },
    /// They are.
    Loaded {
        /// How many were acknowledged.
        keys: u64,
        /// How long it took, in seconds.
        seconds: f64,
    },
    /// Requests are made, and not counted yet.
    WarmingUp,
    /// An interval has passed.
    Moment(&'a Moment),
}

/// An endpoint, resolved.
#[derive(Clone, Debug)]
struct Target {
    endpoint: String,
    authority: String,
    addresses: Vec<SocketAddr>,
}

/// Carries out a plan on the current-thread runtime it is called on. `observer` is told how far it is; whenever `stop`
/// returns the run ends early: the first time it waits for what is outstanding, the second time it does not.
///
/// # Errors
/// See [`BenchError`]. Requests that fail are no errors: the report counts them.
pub async fn run(
    plan: &Plan,
    observer: &mut dyn FnMut(Progress<'_>),
    stop: impl AsyncFn(),
) -> Result<Report, BenchError> {
    plan.check()?;
    let targets = reach(plan).await?;
    let mut unloaded = 0;
    if plan.load {
        unloaded = load(plan, &targets, observer, &stop).await?;
    }
    let mut report = measure(plan, &targets, observer, &stop).await?;
    if unloaded > 0 {
        report
            .notes
            .insert("a key was not surely loaded".to_owned(), unloaded);
    }
    Ok(report)
}

/// Resolves all endpoints and makes sure that one can be connected to.
async fn reach(plan: &Plan) -> Result<Vec<Target>, BenchError> {
    let mut targets = Vec::with_capacity(plan.endpoints.len());
    let mut causes = Vec::new();
    let mut reached = false;
    for endpoint in &plan.endpoints {
        let authority = plan::authority(endpoint)?;
        let addresses = plan::resolve(&authority).map_err(|error| PlanError::Endpoint {
            endpoint: endpoint.clone(),
            message: error.to_string(),
        })?;
        match wire::connect(&addresses).await {
            Ok(_stream) => reached = true,
            Err(error) => causes.push(format!("{endpoint}: {error}")),
        }
        targets.push(Target {
            endpoint: endpoint.clone(),
            authority,
            addresses,
        });
    }
    if reached {
        Ok(targets)
    } else {
        Err(BenchError::Unreachable {
            endpoints: plan.endpoints.join(", "),
            message: causes.join("; "),
        })
    }
}

type LaneFuture = Pin<Box<dyn Future<Output = io::Result<()>>>>;
type Lanes = FuturesUnordered<LaneFuture>;

/// The lanes of a run, each with its connection.
fn lanes(
    plan: &Plan,
    targets: &[Target],
    shared: &Rc<Shared>,
    lane_of: impl Fn(usize) -> Lane,
) -> Lanes {
    let lanes = Lanes::new();
    for number in 0..plan.connections {
        let target = targets[number % targets.len()].clone();
        let (shared, lane) = (Rc::clone(shared), lane_of(number));
        let (timeout, of) = (plan.timeout, plan.clone());
        lanes.push(match (plan.system, plan.generator) {
            (System::ShardCache, Generator::Client) => {
                Box::pin(client::drive(shared, lane, of, target.endpoint))
            }
            (System::ShardCache, Generator::Wire) => wire(shared, lane, target, move |authority| {
                Http2::new(Cache::new(&of), authority, timeout)
            }),
            (System::Etcd, _) => wire(shared, lane, target, move |authority| {
                Http2::new(Etcd::new(&of), authority, timeout)
            }),
            (System::Redis { replicas }, _) => {
                wire(shared, lane, target, move |_| Redis::new(&of, replicas))
            }
            (System::Memcached, _) => wire(shared, lane, target, move |_| Memcached::new(&of)),
        });
    }
    lanes
}

/// A lane of the cheap generator.
fn wire<S: Session + 'static>(
    shared: Rc<Shared>,
    lane: Lane,
    target: Target,
    session: impl Fn(&str) -> S + 'static,
) -> LaneFuture {
    Box::pin(async move {
        let session = || session(&target.authority);
        wire::drive(shared, lane, target.addresses, session).await
    })
}

async fn finish(mut lanes: Lanes) -> Result<(), BenchError> {
    while let Some(ended) = lanes.next().await {
        ended.map_err(|source| BenchError::System {
            doing: "cannot make requests",
            source,
        })?;
    }
    Ok(())
}

/// Writes all keys; says how many were not surely written.
async fn load(
    plan: &Plan,
    targets: &[Target],
    observer: &mut dyn FnMut(Progress<'_>),
    stop: &impl AsyncFn(),
) -> Result<u64, BenchError> {
    observer(Progress::Loading { keys: plan.keys });
    let start = Instant::now();
    let mut recorder = Recorder::new();
    recorder.count_from(start);
    let shared = Rc::new(Shared::new(plan, recorder));
    let lanes = lanes(plan, targets, &shared, |lane| {
        let outstanding = plan.outstanding_of(lane).min(LOAD_OUTSTANDING_MAX);
        let workload = Workload::load(plan, lane);
        Lane::new(plan, workload, Schedule::Closed, outstanding, start)
    });
    tokio::select! {
        biased;
        () = stop() => return Err(BenchError::Stopped { while_doing: "loading keys" }),
        ended = finish(lanes) => ended?,
    }
    let time = start.elapsed();
    let recorder = shared.recorder.borrow();
    let written = recorder.writes(time);
    let failed = plan.keys.saturating_sub(written.stored);
    if failed as f64 > plan.keys as f64 * LOAD_FAILED_MAX {
        let failures = recorder.failures();
        let most = failures.iter().max_by_key(|failures| failures.count);
        return Err(BenchError::Load {
            failed,
            keys: plan.keys,
            cause: most.map_or_else(String::new, |most| format!("{} {}", most.code, most.reason)),
        });
    }
    observer(Progress::Loaded {
        keys: written.stored,
        seconds: time.as_secs_f64(),
    });
    Ok(failed)
}

async fn measure(
    plan: &Plan,
    targets: &[Target],
    observer: &mut dyn FnMut(Progress<'_>),
    stop: &impl AsyncFn(),
) -> Result<Report, BenchError> {
    let addresses: Vec<SocketAddr> = targets
        .iter()
        .flat_map(|target| target.addresses.iter().copied())
        .collect();
    let servers = cpu::servers(&plan.pids, &addresses);
    let start = Instant::now();
    let from = start + plan.warm_up;
    let mut recorder = Recorder::new();
    recorder.count_from(from);
    let shared = Rc::new(Shared::new(plan, recorder));
    shared.end.set(Some(from + plan.duration));
    let lanes = lanes(plan, targets, &shared, |lane| {
        let workload = Workload::mix(plan, lane);
        let schedule = Schedule::new(plan, lane, start);
        Lane::new(plan, workload, schedule, plan.outstanding_of(lane), start)
    });
    let idle = Notify::new();
    let work = async {
        let ended = finish(lanes).await;
        idle.notify_one();
        ended
    };
    let watch = async {
        let mut watch = Watch {
            shared: &shared,
            from,
            interval: plan.interval,
            series: Vec::new(),
            interrupted: false,
        };
        let cpu = watch.until_the_end(&servers, observer, stop).await;
        watch.drain(plan.timeout, &idle, stop).await;
        (watch.series, watch.interrupted, cpu)
    };
    let (ended, (series, interrupted, (before, after))) = join(work, watch).await;
    ended?;
    let recorder = shared.recorder.borrow();
    let end = shared.end.get().unwrap_or(from);
    let time = end.saturating_duration_since(from);
    let all = recorder.all(time);
    Ok(Report {
        plan: document(plan),
        seconds: time.as_secs_f64(),
        interrupted,
        all,
        reads: recorder.reads(time),
        writes: recorder.writes(time),
        service: recorder.service(),
        lateness: recorder.lateness(),
        failures: recorder.failures(),
        notes: shared.notes(),
        cpu: cpu::used(&servers, &before, &after, all.ok + all.corrupt),
        series,
    })
}

/// Follows a measurement.
struct Watch<'a> {
    shared: &'a Shared,
    from: Instant,
    interval: Duration,
    series: Vec<Moment>,
    interrupted: bool,
}

impl Watch<'_> {
    /// Tells of each interval until the end of the measurement, and what the CPU did within it.
    async fn until_the_end(
        &mut self,
        servers: &[cpu::Server],
        observer: &mut dyn FnMut(Progress<'_>),
        stop: &impl AsyncFn(),
    ) -> (cpu::Snapshot, cpu::Snapshot) {
        if Instant::now() < self.from {
            observer(Progress::WarmingUp);
            self.wait(self.from, stop).await;
        }
        let before = cpu::snapshot(servers);
        let mut at = self.from;
        while let Some(end) = self.shared.end.get().filter(|end| at < *end) {
            let next = (at + self.interval).min(end);
            self.wait(next, stop).await;
            let next = self.shared.end.get().map_or(next, |end| next.min(end));
            if next > at {
                self.tell(at, next, observer);
            }
            at = next;
            if self.interrupted {
                break;
            }
        }
        (before, cpu::snapshot(servers))
    }

    /// Waits, or ends the measurement here and now.
    async fn wait(&mut self, until: Instant, stop: &impl AsyncFn()) {
        tokio::select! {
            biased;
            () = stop() => {
                self.interrupted = true;
                self.shared.end.set(Some(Instant::now()));
            }
            () = sleep_until(until.into()) => {}
        }
    }

    fn tell(&mut self, at: Instant, next: Instant, observer: &mut dyn FnMut(Progress<'_>)) {
        let mut recorder = self.shared.recorder.borrow_mut();
        let moment = recorder.moment(at - self.from, next - at);
        drop(recorder);
        observer(Progress::Moment(&moment));
        if self.series.len() < MOMENTS_MAX {
            self.series.push(moment);
        }
    }

    /// Waits until everything has ended, or nobody wants to wait any longer.
    async fn drain(&mut self, timeout: Duration, idle: &Notify, stop: &impl AsyncFn()) {
        let limit = Instant::now() + timeout + GRACE;
        tokio::select! {
            biased;
            () = idle.notified() => {}
            () = stop() => self.interrupted = true,
            () = sleep_until(limit.into()) => {}
        }
        self.shared.abandon.set(true);
    }
}

/// The plan as JSON.
fn document(plan: &Plan) -> Value {
    let (distribution, exponent) = match plan.distribution {
        Distribution::Uniform => ("uniform", None),
        Distribution::Zipf { exponent } => ("zipf", Some(exponent)),
    };
    json!({
        "endpoints": plan.endpoints,
        "generator": match plan.generator {
            Generator::Wire => "wire",
            Generator::Client => "client",
        },
        "mix": plan.mix.name(),
        "reads": plan.mix.reads(),
        "loop": match plan.pace {
            Pace::Closed => "closed",
            Pace::Open { .. } => "open",
        },
        "rate": match plan.pace {
            Pace::Closed => None,
            Pace::Open { rate } => Some(rate),
        },
        "connections": plan.connections,
        "outstanding_in_all": plan.outstanding_in_all(),
        "duration_seconds": plan.duration.as_secs_f64(),
        "warm_up_seconds": plan.warm_up.as_secs_f64(),
        "keys": plan.keys,
        "key_bytes": plan.key_bytes,
        "value_bytes": [plan.value_size.least, plan.value_size.most],
        "distribution": distribution,
        "zipf_exponent": exponent,
        "ttl_seconds": match plan.ttl {
            Ttl::Default => None,
            Ttl::Never => Some(0.0),
            Ttl::After(time) => Some(time.as_secs_f64()),
        },
        "consistency": match plan.consistency {
            Consistency::Default => "default",
            Consistency::One => "one",
            Consistency::Quorum => "quorum",
            Consistency::All => "all",
        },
        "timeout_seconds": plan.timeout.as_secs_f64(),
        "load": plan.load,
        "seed": plan.seed,
        "verify": plan.verify,
    })
}
