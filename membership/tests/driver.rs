//! The production driver over loopback: real sockets, threads and clocks. Every wait is for a
//! condition, with a deadline.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(
    clippy::disallowed_methods,
    reason = "deadlines of tests against real time"
)]

mod network;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use network::{identity, record};
use shard_cache_membership::{
    agent::Parting,
    config::{AgentConfig, Profile},
    driver::{Driver, DriverError, Setup},
    handle::{CommandError, Handle},
    identity::{BootId, NodeId},
    record::{ATTACHMENT_BYTES_MAX, Phase},
    resolver::{Resolution, Resolver, SystemResolver},
    view::{Liveness, View},
};
use tokio::sync::mpsc;

const DEADLINE: Duration = Duration::from_secs(20);
const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

struct Node {
    handle: Handle,
    push_pulls: mpsc::Receiver<SocketAddr>,
}

fn setup(name: &str, boot: u64, seeds: Vec<String>) -> Setup {
    Setup {
        config: AgentConfig::of_profile(Profile::Local, "driver-test"),
        identity: identity(LOOPBACK, name, boot, wall_millis()),
        record: record(name),
        seeds,
        rng_seed: boot,
        leave_linger: Duration::from_millis(300),
    }
}

fn wall_millis() -> u64 {
    let wall = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::try_from(wall.as_millis()).unwrap()
}

fn start(name: &str, boot: u64, seeds: Vec<String>, resolver: Arc<dyn Resolver>) -> Node {
    let driver = Driver::bind(LOOPBACK).unwrap();
    let (handle, push_pulls) = driver.start(setup(name, boot, seeds), resolver).unwrap();
    Node { handle, push_pulls }
}

async fn until(handle: &Handle, condition: impl Fn(&View) -> bool) {
    let mut views = handle.view();
    let wait = views.wait_for(|view| condition(view));
    tokio::time::timeout(DEADLINE, wait)
        .await
        .expect("in time")
        .expect("still running");
}

fn sees(count: usize) -> impl Fn(&View) -> bool {
    move |view| {
        view.present()
            .filter(|member| member.record.is_some())
            .count()
            == count
    }
}

#[tokio::test]
async fn three_nodes_find_each_other_and_see_one_leave() {
    let a = start("a", 1, Vec::new(), Arc::new(SystemResolver));
    let seed = a.handle.local_addr().to_string();
    let b = start("b", 2, vec![seed.clone()], Arc::new(SystemResolver));
    let c = start("c", 3, vec![seed], Arc::new(SystemResolver));
    for node in [&a, &b, &c] {
        until(&node.handle, sees(3)).await;
    }
    let Node {
        handle,
        push_pulls: mut targets,
    } = c;
    let exchanges = async {
        while targets.recv().await.is_some() {
            for peer in [&a.handle, &b.handle] {
                let ours = handle.export_state().await.unwrap();
                peer.merge_state(ours).await.unwrap();
                let theirs = peer.export_state().await.unwrap();
                handle.merge_state(theirs).await.unwrap();
            }
        }
    };
    let parting = tokio::select! {
        parting = handle.leave(DEADLINE) => parting,
        () = exchanges => unreachable!("the thread still runs"),
    };
    assert_eq!(parting, Ok(Parting::Heard));
    let gone = NodeId::of_name("c");
    for node in [&a, &b] {
        until(&node.handle, |view| {
            view.member(gone).is_some_and(|member| {
                let phase = member.record.as_ref().map(|record| record.phase);
                member.liveness == Liveness::Down && phase == Some(Phase::Leaving)
            })
        })
        .await;
    }
    let counters = a.handle.counters();
    assert!(counters.datagrams_received > 0 && counters.datagrams_sent > 0);
    assert_eq!((counters.send_errors, counters.internal_errors), (0, 0));
    for handle in [a.handle, b.handle, handle] {
        handle.shutdown().await;
    }
}

#[tokio::test]
async fn records_and_boot_ids_change_while_running() {
    let a = start("a", 1, Vec::new(), Arc::new(SystemResolver));
    let b = start(
        "b",
        2,
        vec![a.handle.local_addr().to_string()],
        Arc::new(SystemResolver),
    );
    until(&a.handle, sees(2)).await;
    b.handle
        .update_record(Phase::Joining, vec![9])
        .await
        .unwrap();
    let node_id = NodeId::of_name("b");
    until(&a.handle, |view| {
        let record = view
            .member(node_id)
            .and_then(|member| member.record.as_ref());
        record.is_some_and(|record| record.phase == Phase::Joining && record.attachment == [9])
    })
    .await;
    b.handle.change_boot(BootId(77)).await.unwrap();
    until(&a.handle, |view| {
        view.member(node_id)
            .is_some_and(|it| it.boot_id == BootId(77) && it.record.is_some())
    })
    .await;
    let too_large = vec![0; ATTACHMENT_BYTES_MAX + 1];
    let refused = b.handle.update_record(Phase::Active, too_large).await;
    assert!(matches!(refused, Err(CommandError::Refused(_))));
    a.handle.shutdown().await;
    b.handle.shutdown().await;
}

#[tokio::test]
async fn a_push_pull_alone_introduces_nodes() {
    let mut a = start(
        "a",
        1,
        vec!["127.0.0.1:9".to_owned()],
        Arc::new(SystemResolver),
    );
    let b = start("b", 2, Vec::new(), Arc::new(SystemResolver));
    let target = tokio::time::timeout(DEADLINE, a.push_pulls.recv())
        .await
        .unwrap();
    assert_eq!(
        target,
        Some("127.0.0.1:9".parse().unwrap()),
        "every seed is asked at join"
    );
    let state = b.handle.export_state().await.unwrap();
    a.handle.merge_state(state).await.unwrap();
    until(&a.handle, sees(2)).await;
    until(&b.handle, sees(2)).await;
    let refused = a.handle.merge_state(vec![1, 2, 3]).await;
    assert!(matches!(refused, Err(CommandError::Refused(_))));
    a.handle.shutdown().await;
    b.handle.shutdown().await;
}

/// Fails at first, as a name does whose container has not started.
struct LateName {
    asked: AtomicUsize,
    addr: SocketAddr,
}

impl Resolver for LateName {
    fn resolve<'a>(&'a self, _name: &'a str) -> Resolution<'a> {
        let asked = self.asked.fetch_add(1, Relaxed);
        Box::pin(async move {
            if asked < 3 {
                Err(io::ErrorKind::NotFound.into())
            } else {
                Ok(vec![self.addr])
            }
        })
    }
}

#[tokio::test]
async fn a_seed_name_that_resolves_only_later_is_found() {
    let a = start("a", 1, Vec::new(), Arc::new(SystemResolver));
    let late = Arc::new(LateName {
        asked: AtomicUsize::new(0),
        addr: a.handle.local_addr(),
    });
    let b = start("b", 2, vec!["seed.example:7946".to_owned()], late);
    until(&b.handle, sees(2)).await;
    assert_eq!(b.handle.counters().resolve_errors, 3);
    a.handle.shutdown().await;
    b.handle.shutdown().await;
}

#[tokio::test]
async fn after_a_shutdown_commands_say_so() {
    let a = start("a", 1, Vec::new(), Arc::new(SystemResolver));
    let clone = a.handle.clone();
    a.handle.shutdown().await;
    clone.shutdown().await;
    assert_eq!(clone.export_state().await, Err(CommandError::Stopped));
}

#[test]
fn impossible_setups_are_refused_before_a_thread_starts() {
    let taken = Driver::bind(LOOPBACK).unwrap();
    assert!(matches!(
        Driver::bind(taken.local_addr()),
        Err(DriverError::Bind { .. })
    ));
    let mut setup = setup("a", 1, Vec::new());
    setup.config.cluster_id.clear();
    let refused = taken.start(setup, Arc::new(SystemResolver));
    assert!(matches!(refused, Err(DriverError::Agent(_))));
}
