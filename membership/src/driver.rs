//! The production driver: one UDP socket, one thread and one loop around one [`Agent`].
//!
//! A seam file: it reads the system's clocks and uses tokio's timers. Its own thread and
//! current-thread runtime keep membership alive while the rest of the node is overloaded. Datagrams
//! go before timers, so that an acknowledgement that waits in the socket is seen before its timer
//! gives up on it; batches are bounded, so that a flood cannot starve the timers.
#![allow(
    clippy::disallowed_methods,
    reason = "this is the seam to clocks and timers"
)]

use std::{
    io,
    net::{SocketAddr, UdpSocket as StdUdpSocket},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rand::{SeedableRng, rngs::SmallRng};
use tokio::{
    net::UdpSocket,
    runtime::{Builder, Runtime},
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
};

use crate::{
    agent::{Agent, AgentError, Input, InputError, Now},
    config::AgentConfig,
    counters::Counters,
    envelope::DATAGRAM_BYTES_MAX,
    handle::{Command, Handle, Reply},
    identity::NodeIdentity,
    push_pull::PUSH_PULL_TARGETS_MAX,
    record::NodeRecord,
    resolver::Resolver,
    seeds::SEEDS_MAX,
    view::View,
};

/// Commands that may wait.
const COMMANDS_MAX: usize = 64;
/// Datagrams taken from the socket before timers get their turn.
const BATCH_DATAGRAMS_MAX: usize = 64;
/// How long one seed name may take to resolve.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);
/// After a socket error reading rests so long, so that a persistent error does not spin.
const READ_REST: Duration = Duration::from_millis(100);
/// Longest sleep of the loop.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// A bound gossip socket, not yet driven.
#[derive(Debug)]
pub struct Driver {
    socket: StdUdpSocket,
    local_addr: SocketAddr,
}

/// What a driver is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Timing and bounds.
    pub config: AgentConfig,
    /// Who we are. A port of 0 in its address stands for the socket's port.
    pub identity: NodeIdentity,
    /// What we say of ourselves.
    pub record: NodeRecord,
    /// `host:port` of each seed; at most [`SEEDS_MAX`], further ones are ignored.
    pub seeds: Vec<String>,
    /// Seed of the agent's random choices; from the operating system's entropy in production.
    pub rng_seed: u64,
    /// How long `leave` keeps answering after it was called.
    pub leave_linger: Duration,
}

/// Default of [`Setup::leave_linger`].
pub const LEAVE_LINGER: Duration = Duration::from_secs(2);

/// Why a driver did not start.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The gossip socket could not be bound.
    #[error("cannot bind gossip to {addr}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The socket, runtime or thread could not be set up.
    #[error("cannot start the membership thread")]
    Start {
        /// What the system says.
        #[from]
        source: io::Error,
    },
    /// The agent refuses its configuration, identity or record.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

impl Driver {
    /// Binds the gossip socket; port 0 lets the system choose.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn bind(addr: SocketAddr) -> Result<Self, DriverError> {
        let socket =
            StdUdpSocket::bind(addr).map_err(|source| DriverError::Bind { addr, source })?;
        Self::from_socket(socket)
    }

    /// Takes a socket that the caller has bound.
    ///
    /// # Errors
    /// If the socket has no address or cannot be made non-blocking.
    pub fn from_socket(socket: StdUdpSocket) -> Result<Self, DriverError> {
        socket.set_nonblocking(true)?;
        let local_addr = socket.local_addr()?;
        Ok(Self { socket, local_addr })
    }

    /// The address that the socket is bound to.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Starts the thread. The receiver names peers to exchange states with, by their peer
    /// addresses; targets that nobody takes are dropped.
    ///
    /// # Errors
    /// If the agent refuses the setup, or the system refuses a thread.
    pub fn start(
        self,
        mut setup: Setup,
        resolver: Arc<dyn Resolver>,
    ) -> Result<(Handle, mpsc::Receiver<SocketAddr>), DriverError> {
        if setup.identity.addr.port() == 0 {
            setup.identity.addr.set_port(self.local_addr.port());
        }
        let local_addr = self.local_addr;
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let (commands, command_receiver) = mpsc::channel(COMMANDS_MAX);
        let (push_pulls, push_pull_receiver) = mpsc::channel(PUSH_PULL_TARGETS_MAX);
        let clock = Clock {
            start: Instant::now(),
        };
        let agent = Agent::new(
            setup.config.clone(),
            setup.identity,
            setup.record,
            SmallRng::seed_from_u64(setup.rng_seed),
            clock.now(),
        )?;
        let counters = Arc::clone(agent.counters());
        let (view_sender, views) = watch::channel(Arc::clone(agent.current_view()));
        let socket = {
            let _context = runtime.enter();
            UdpSocket::from_std(self.socket)?
        };
        let pump = Pump {
            agent,
            socket,
            clock,
            counters: Arc::clone(&counters),
            commands: command_receiver,
            views: view_sender,
            push_pulls,
            seeds: Seeds::new(setup.seeds, resolver, setup.config.seed_interval),
            read_again: None,
            leave_linger: setup.leave_linger,
            leaving: None,
        };
        let thread = std::thread::Builder::new()
            .name("membership".to_owned())
            .spawn(move || drive(runtime, pump))?;
        let thread = Arc::new(Mutex::new(Some(thread)));
        Ok((
            Handle {
                commands,
                views,
                counters,
                local_addr,
                thread,
            },
            push_pull_receiver,
        ))
    }
}

fn drive(runtime: Runtime, pump: Pump) {
    runtime.block_on(pump.run());
    // A name that the system still resolves must not hold up the shutdown.
    runtime.shutdown_background();
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    start: Instant,
}

impl Clock {
    fn now(self) -> Now {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall_millis = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Now {
            monotonic: self.start.elapsed(),
            wall_millis,
        }
    }

    fn at(self, monotonic: Duration) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.start + monotonic)
    }
}

/// The loop's state.
struct Pump {
    agent: Agent,
    socket: UdpSocket,
    clock: Clock,
    counters: Arc<Counters>,
    commands: mpsc::Receiver<Command>,
    views: watch::Sender<Arc<View>>,
    push_pulls: mpsc::Sender<SocketAddr>,
    seeds: Seeds,
    /// Set while reading rests after an error.
    read_again: Option<Duration>,
    leave_linger: Duration,
    leaving: Option<Leaving>,
}

struct Leaving {
    until: Duration,
    replies: Vec<Reply<()>>,
}

impl Pump {
    async fn run(mut self) {
        // tokio knows that a socket is writable only after it has polled it once; before, every
        // send would be refused.
        if self.socket.writable().await.is_err() {
            self.counters.send_errors.add(1);
        }
        self.input(Input::Seeds(self.seeds.addresses()));
        loop {
            self.flush();
            let wake = self.clock.at(self.next_deadline());
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    None | Some(Command::Shutdown) => return,
                    Some(command) => self.obey(command),
                },
                ready = self.socket.readable(), if self.read_again.is_none() => match ready {
                    Ok(()) => self.receive(),
                    Err(_) => self.rest(),
                },
                Some(done) = self.seeds.pending.join_next() => self.take_addresses(done),
                () = tokio::time::sleep_until(wake) => {}
            }
            self.advance();
        }
    }

    fn next_deadline(&self) -> Duration {
        let leaving = self.leaving.as_ref().map(|leaving| leaving.until);
        let deadlines = [
            self.agent.next_deadline(),
            self.seeds.due(),
            self.read_again,
            leaving,
        ];
        let idle = self.clock.start.elapsed() + IDLE_MAX;
        deadlines
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(idle)
            .min(idle)
    }

    fn input(&mut self, input: Input<'_>) {
        if let Err(error) = self.agent.handle(self.clock.now(), input) {
            tracing::debug!(%error, "input refused");
        }
    }

    fn obey(&mut self, command: Command) {
        // In each case a caller that no longer waits for its answer is fine.
        match command {
            Command::UpdateRecord {
                phase,
                attachment,
                reply,
            } => {
                let _ = reply.send(self.try_input(Input::UpdateRecord { phase, attachment }));
            }
            Command::MergeState { bytes, reply } => {
                let _ = reply.send(self.try_input(Input::MergeState(&bytes)));
            }
            Command::ChangeBoot { boot_id, reply } => {
                self.input(Input::ChangeBoot(boot_id));
                let _ = reply.send(());
            }
            Command::ExportState { reply } => {
                let _ = reply.send(self.agent.export_state());
            }
            Command::Leave { reply } => self.leave(reply),
            Command::Shutdown => {}
        }
    }

    fn try_input(&mut self, input: Input<'_>) -> Result<(), InputError> {
        self.agent.handle(self.clock.now(), input)
    }

    fn leave(&mut self, reply: Reply<()>) {
        self.input(Input::Leave);
        let until = self.clock.start.elapsed() + self.leave_linger;
        let leaving = self.leaving.get_or_insert_with(|| Leaving {
            until,
            replies: Vec::new(),
        });
        leaving.replies.retain(|waiting| !waiting.is_closed());
        leaving.replies.push(reply);
    }

    fn receive(&mut self) {
        // One byte more than is allowed tells an oversize datagram from a full one.
        let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
        for _ in 0..BATCH_DATAGRAMS_MAX {
            match self.socket.try_recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let payload = buffer.get(..length).unwrap_or_default();
                    self.input(Input::Datagram { from, payload });
                    self.flush();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.rest(),
            }
        }
    }

    fn rest(&mut self) {
        self.counters.receive_errors.add(1);
        self.read_again = Some(self.clock.start.elapsed() + READ_REST);
    }

    fn take_addresses(&mut self, done: Result<Resolved, JoinError>) {
        if self.seeds.take(done, &self.counters) {
            self.input(Input::Seeds(self.seeds.addresses()));
        }
    }

    /// Whatever time has brought.
    fn advance(&mut self) {
        let now = self.clock.start.elapsed();
        if self
            .agent
            .next_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.input(Input::Time);
        }
        self.read_again = self.read_again.filter(|again| *again > now);
        self.seeds.start_round(now);
        if self
            .leaving
            .as_ref()
            .is_some_and(|leaving| leaving.until <= now)
            && let Some(leaving) = self.leaving.take()
        {
            for reply in leaving.replies {
                // The caller may have stopped waiting.
                let _ = reply.send(());
            }
        }
    }

    /// Hands on what the agent wants to have done.
    fn flush(&mut self) {
        while let Some(datagram) = self.agent.next_datagram() {
            match self.socket.try_send_to(&datagram.bytes, datagram.to) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.counters.sends_dropped.add(1);
                }
                Err(_) => self.counters.send_errors.add(1),
            }
        }
        if let Some(view) = self.agent.view() {
            self.views.send_replace(view);
        }
        while let Some(target) = self.agent.push_pull_due() {
            if self.push_pulls.try_send(target).is_err() {
                self.counters.push_pulls_dropped.add(1);
            }
        }
    }
}

/// Seed names and what they resolved to last.
struct Seeds {
    entries: Vec<SeedEntry>,
    resolver: Arc<dyn Resolver>,
    interval: Duration,
    next_round: Duration,
    pending: JoinSet<Resolved>,
}

struct SeedEntry {
    /// Absent for a literal address, which needs no resolving.
    name: Option<Arc<str>>,
    addresses: Vec<SocketAddr>,
}

/// The index of a seed and its addresses, if it resolved.
type Resolved = (usize, Option<Vec<SocketAddr>>);

impl Seeds {
    fn new(names: Vec<String>, resolver: Arc<dyn Resolver>, interval: Duration) -> Self {
        let entry = |name: String| match name.parse() {
            Ok(addr) => SeedEntry {
                name: None,
                addresses: vec![addr],
            },
            Err(_) => SeedEntry {
                name: Some(Arc::from(name)),
                addresses: Vec::new(),
            },
        };
        let entries = names.into_iter().take(SEEDS_MAX).map(entry).collect();
        Self {
            entries,
            resolver,
            interval,
            next_round: Duration::ZERO,
            pending: JoinSet::new(),
        }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.entries
            .iter()
            .flat_map(|entry| entry.addresses.iter().copied())
            .collect()
    }

    /// When the next round is due: not before the last one has ended.
    fn due(&self) -> Option<Duration> {
        let has_names = self.entries.iter().any(|entry| entry.name.is_some());
        (has_names && self.pending.is_empty()).then_some(self.next_round)
    }

    fn start_round(&mut self, now: Duration) {
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        self.next_round = now + self.interval;
        for (index, entry) in self.entries.iter().enumerate() {
            if let Some(name) = entry.name.clone() {
                self.pending
                    .spawn(resolve(index, name, Arc::clone(&self.resolver)));
            }
        }
    }

    /// Whether the addresses changed. A name that fails keeps its last ones.
    fn take(&mut self, done: Result<Resolved, JoinError>, counters: &Counters) -> bool {
        let Ok((index, Some(addresses))) = done else {
            counters.resolve_errors.add(1);
            return false;
        };
        let Some(entry) = self.entries.get_mut(index) else {
            return false;
        };
        if addresses.is_empty() || entry.addresses == addresses {
            return false;
        }
        entry.addresses = addresses;
        true
    }
}

async fn resolve(index: usize, name: Arc<str>, resolver: Arc<dyn Resolver>) -> Resolved {
    let resolution = tokio::time::timeout(RESOLVE_TIMEOUT, resolver.resolve(&name)).await;
    let addresses = resolution.ok().and_then(Result::ok);
    let sorted = addresses.map(|mut addresses| {
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    });
    (index, sorted)
}
