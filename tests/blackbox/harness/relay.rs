//! A forwarder of UDP and TCP in front of a node, which can be cut as a cable is: nothing comes through, and nobody is
//! told. What was under way on a connection comes through when the cut is over, as after retransmission.

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::watch,
    task::JoinSet,
};

use super::{Cluster, Launch, Room};

/// Datagrams that a relay remembers.
const PASSED_MAX: usize = 64;

/// The datagrams that passed last.
type Passed = Arc<Mutex<VecDeque<Vec<u8>>>>;

/// Attempts to find a port number that is free for both UDP and TCP.
const PORT_ATTEMPTS_MAX: u32 = 32;

/// The cable of several relays.
pub(crate) struct Cable {
    is_cut: watch::Sender<bool>,
}

impl Cable {
    pub(crate) fn new() -> Self {
        Self {
            is_cut: watch::Sender::new(false),
        }
    }

    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub(crate) fn heal(&self) {
        self.is_cut.send_replace(false);
    }
}

/// One address that stands for a node.
pub(crate) struct Relay {
    address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    passed: Passed,
    // Dropping it ends the forwarding.
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Takes a free port. Nothing is forwarded until the target is known.
    pub(crate) async fn start(cable: &Cable) -> Self {
        let (udp, tcp) = bind().await;
        let address = udp.local_addr().expect("a bound socket has an address");
        let target = watch::Sender::new(None);
        let mut tasks = JoinSet::new();
        let (is_cut, known) = (cable.is_cut.subscribe(), target.subscribe());
        let passed = Passed::default();
        let remembered = Arc::clone(&passed);
        tasks.spawn(forward_datagrams(
            udp,
            known.clone(),
            is_cut.clone(),
            remembered,
        ));
        tasks.spawn(forward_connections(tcp, known, is_cut));
        Self {
            address,
            target,
            passed,
            _tasks: tasks,
        }
    }

    /// The address that stands for the node.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The datagrams to the node that passed last.
    pub(crate) fn passed(&self) -> Vec<Vec<u8>> {
        let passed = self.passed.lock().expect("no holder panics");
        passed.iter().cloned().collect()
    }

    /// Where the node is.
    pub(crate) fn forward_to(&self, node: SocketAddr) {
        self.target.send_replace(Some(node));
    }
}

/// Nodes `n1` and `n2`, each reached by the other through its relay only; they agree.
pub(crate) async fn relayed_pair(
    room: Room,
    cable: &Cable,
    settings: &[(&str, &str)],
) -> (Cluster, [Relay; 2]) {
    let relays = [Relay::start(cable).await, Relay::start(cable).await];
    let mut nodes = Vec::with_capacity(relays.len());
    for (relay, name) in relays.iter().zip(["n1", "n2"]) {
        let mut launch = Launch::new(name, 2)
            .argument(format!("--advertise={}", relay.address()))
            .seed(relays[0].address());
        for (path, value) in settings {
            launch = launch.setting(path, value);
        }
        let node = launch.start().await;
        relay.forward_to(node.addresses().peer);
        nodes.push(node);
    }
    let cluster = Cluster::of(nodes, room);
    cluster.wait_until_ready().await;
    (cluster, relays)
}

async fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..PORT_ATTEMPTS_MAX {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a UDP port is free");
        let address = udp.local_addr().expect("a bound socket has an address");
        if let Ok(tcp) = TcpListener::bind(address).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

async fn forward_datagrams(
    socket: UdpSocket,
    target: watch::Receiver<Option<SocketAddr>>,
    is_cut: watch::Receiver<bool>,
    remembered: Passed,
) {
    let mut datagram = vec![0; 65_536];
    loop {
        // An error is that of an earlier datagram whose receiver was gone.
        let Ok((length, _)) = socket.recv_from(&mut datagram).await else {
            continue;
        };
        let target = *target.borrow();
        let passes = !*is_cut.borrow();
        if let (Some(target), true) = (target, passes) {
            remember(&remembered, &datagram[..length]);
            // Datagrams may be lost.
            drop(socket.send_to(&datagram[..length], target).await);
        }
    }
}

fn remember(passed: &Passed, datagram: &[u8]) {
    let mut passed = passed.lock().expect("no holder panics");
    if passed.len() == PASSED_MAX {
        passed.pop_front();
    }
    passed.push_back(datagram.to_vec());
}

async fn forward_connections(
    listener: TcpListener,
    target: watch::Receiver<Option<SocketAddr>>,
    is_cut: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => {
                if let Ok((near, _)) = accepted {
                    connections.spawn(forward_connection(near, target.clone(), is_cut.clone()));
                }
            }
            // A connection that broke is that of its ends.
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn forward_connection(
    near: TcpStream,
    mut target: watch::Receiver<Option<SocketAddr>>,
    mut is_cut: watch::Receiver<bool>,
) {
    if is_cut.wait_for(|is_cut| !is_cut).await.is_err() {
        return;
    }
    let Ok(Some(target)) = target.wait_for(Option::is_some).await.map(|target| *target) else {
        return;
    };
    let Ok(far) = TcpStream::connect(target).await else {
        return;
    };
    drop((near.set_nodelay(true), far.set_nodelay(true)));
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let there = pump(near_read, far_write, is_cut.clone());
    let back = pump(far_read, near_write, is_cut);
    // Each direction ends for itself, as the ends of a connection do.
    drop(tokio::join!(there, back));
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut is_cut: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await;
        if is_cut.wait_for(|is_cut| !is_cut).await.is_err() {
            return Ok(());
        }
        match read {
            Ok(length) if length > 0 => to.write_all(&bytes[..length]).await?,
            // The end of one side, or its break, is the end for the other.
            Ok(_) | Err(_) => return to.shutdown().await,
        }
    }
}
