//! The loop around one [`Agent`]: commands in, deadlines kept, datagrams and views out.
//!
//! It asks for a socket and a clock through [`Datagrams`] and [`Time`] and needs no runtime of its own, so that the
//! production driver and the simulator run this very code. Datagrams go before timers, so that an acknowledgement that
//! waits in the socket is seen before its timer gives up on it; batches are bounded, so that a flood cannot starve the
//! timers.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use rand::{SeedableRng, rngs::SmallRng};
use tokio::sync::{mpsc, watch};

use crate::{
    agent::{Agent, AgentError, Input, InputError, Now, Parting},
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

/// The datagram socket of gossip.
pub trait Datagrams: Send + Sync + 'static {
    /// Sends a datagram, or drops it.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room for it at the moment.
    fn try_send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()>;

    /// Takes a datagram that has arrived: its length and where it came from.
    ///
    /// # Errors
    /// `WouldBlock` when none has arrived.
    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;

    /// Completes when a datagram may have arrived. Cancel-safe.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;
}

/// Time as the loop sees it.
pub trait Time: Clone + Send + Sync + 'static {
    /// Both clocks now. The monotonic one may start anywhere.
    fn now(&self) -> Now;

    /// Completes when the monotonic clock has reached `deadline`. Cancel-safe.
    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send;
}

/// What the loop is started with.
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
    /// How long `leave` goes on telling the others after we have left.
    pub leave_linger: Duration,
}

/// The loop, not yet running.
pub struct Pump<D, T> {
    agent: Agent,
    pub(crate) datagrams: D,
    time: T,
    pub(crate) counters: Arc<Counters>,
    commands: mpsc::Receiver<Command>,
    views: watch::Sender<Arc<View>>,
    rivals: watch::Sender<Option<SocketAddr>>,
    push_pulls: mpsc::Sender<SocketAddr>,
    seeds: Seeds<T>,
    /// Set while reading rests after an error.
    read_again: Option<Duration>,
    leave_linger: Duration,
    leaving: Option<Leaving>,
}

struct Leaving {
    /// The end of the linger time, once we have left.
    until: Option<Duration>,
    replies: Vec<Reply<Parting>>,
}

impl<D: Datagrams, T: Time> Pump<D, T> {
    /// A loop, what the node holds of it, and the receiver that names peers to exchange states with, by their peer
    /// addresses; targets that nobody takes are dropped.
    ///
    /// # Errors
    /// If the agent refuses the setup.
    pub fn new(
        mut setup: Setup,
        local_addr: SocketAddr,
        datagrams: D,
        time: T,
        resolver: Arc<dyn Resolver>,
    ) -> Result<(Self, Handle, mpsc::Receiver<SocketAddr>), AgentError> {
        if setup.identity.addr.port() == 0 {
            setup.identity.addr.set_port(local_addr.port());
        }
        let (commands, command_receiver) = mpsc::channel(COMMANDS_MAX);
        let (push_pulls, push_pull_receiver) = mpsc::channel(PUSH_PULL_TARGETS_MAX);
        let seed_interval = setup.config.seed_interval;
        let agent = Agent::new(
            setup.config,
            setup.identity,
            setup.record,
            SmallRng::seed_from_u64(setup.rng_seed),
            time.now(),
        )?;
        let counters = Arc::clone(agent.counters());
        let (view_sender, views) = watch::channel(Arc::clone(agent.current_view()));
        let (rival_sender, rivals) = watch::channel(None);
        let handle = Handle {
            commands,
            views,
            rivals,
            counters: Arc::clone(&counters),
            local_addr,
            thread: Arc::new(Mutex::new(None)),
        };
        let seeds = Seeds::new(setup.seeds, resolver, time.clone(), seed_interval);
        let pump = Self {
            agent,
            datagrams,
            time,
            counters,
            commands: command_receiver,
            views: view_sender,
            rivals: rival_sender,
            push_pulls,
            seeds,
            read_again: None,
            leave_linger: setup.leave_linger,
            leaving: None,
        };
        Ok((pump, handle, push_pull_receiver))
    }

    /// Runs until it is told to end, or until nobody can tell it any more.
    pub async fn run(mut self) {
        self.input(Input::Seeds(self.seeds.addresses()));
        loop {
            self.flush();
            let wake = self.next_deadline();
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    None | Some(Command::Shutdown) => return,
                    Some(command) => self.obey(command),
                },
                ready = self.datagrams.readable(), if self.read_again.is_none() => match ready {
                    Ok(()) => self.receive(),
                    Err(_) => self.rest(),
                },
                resolved = self.seeds.resolved() => self.take_addresses(resolved),
                () = self.time.sleep_until(wake) => {}
            }
            self.advance();
        }
    }

    fn next_deadline(&self) -> Duration {
        let leaving = self.leaving.as_ref().and_then(|leaving| leaving.until);
        let deadlines = [
            self.agent.next_deadline(),
            self.seeds.due(),
            self.read_again,
            leaving,
        ];
        let idle = self.now() + IDLE_MAX;
        deadlines
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(idle)
            .min(idle)
    }

    fn now(&self) -> Duration {
        self.time.now().monotonic
    }

    fn input(&mut self, input: Input<'_>) {
        if let Err(error) = self.agent.handle(self.time.now(), input) {
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
            Command::Leave { within, reply } => self.leave(within, reply),
            Command::Shutdown => {}
        }
    }

    fn try_input(&mut self, input: Input<'_>) -> Result<(), InputError> {
        self.agent.handle(self.time.now(), input)
    }

    fn leave(&mut self, within: Duration, reply: Reply<Parting>) {
        self.input(Input::Leave { within });
        let leaving = self.leaving.get_or_insert_with(|| Leaving {
            until: None,
            replies: Vec::new(),
        });
        leaving.replies.retain(|waiting| !waiting.is_closed());
        leaving.replies.push(reply);
    }

    fn receive(&mut self) {
        // One byte more than is allowed tells an oversize datagram from a full one.
        let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
        for _ in 0..BATCH_DATAGRAMS_MAX {
            match self.datagrams.try_receive(&mut buffer) {
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
        self.read_again = Some(self.now() + READ_REST);
    }

    fn take_addresses(&mut self, resolved: Resolved) {
        if self.seeds.take(resolved, &self.counters) {
            self.input(Input::Seeds(self.seeds.addresses()));
        }
    }

    /// Whatever time has brought.
    fn advance(&mut self) {
        let now = self.now();
        if self
            .agent
            .next_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.input(Input::Time);
        }
        self.read_again = self.read_again.filter(|again| *again > now);
        self.seeds.start_round(now);
        self.tell_leavers(now);
    }

    /// Tells whoever asked us to leave how we did, when the linger time is over.
    fn tell_leavers(&mut self, now: Duration) {
        let Some(parting) = self.agent.parting() else {
            return;
        };
        let linger_end = now + self.leave_linger;
        let is_over = |leaving: &mut Leaving| *leaving.until.get_or_insert(linger_end) <= now;
        if let Some(leaving) = self.leaving.take_if(is_over) {
            for reply in leaving.replies {
                // The caller may have stopped waiting.
                let _ = reply.send(parting);
            }
        }
    }

    /// Hands on what the agent wants to have done.
    fn flush(&mut self) {
        while let Some(datagram) = self.agent.next_datagram() {
            match self.datagrams.try_send(&datagram.bytes, datagram.to) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.counters.sends_dropped.add(1);
                }
                Err(_) => self.counters.send_errors.add(1),
            }
        }
        if let Some(view) = self.agent.view() {
            self.views.send_replace(view);
        }
        if let Some(address) = self.agent.rival_due() {
            self.rivals.send_replace(Some(address));
        }
        while let Some(target) = self.agent.push_pull_due() {
            if self.push_pulls.try_send(target).is_err() {
                self.counters.push_pulls_dropped.add(1);
            }
        }
    }
}

/// Seed names and what they resolved to last.
struct Seeds<T> {
    entries: Vec<SeedEntry>,
    resolver: Arc<dyn Resolver>,
    time: T,
    interval: Duration,
    next_round: Duration,
    /// Names under way, at most one for each entry.
    pending: Vec<Resolving>,
}

type Resolving = Pin<Box<dyn Future<Output = Resolved> + Send>>;

struct SeedEntry {
    /// Absent for a literal address, which needs no resolving.
    name: Option<Arc<str>>,
    addresses: Vec<SocketAddr>,
}

/// The index of a seed and its addresses, if it resolved.
type Resolved = (usize, Option<Vec<SocketAddr>>);

impl<T: Time> Seeds<T> {
    fn new(names: Vec<String>, resolver: Arc<dyn Resolver>, time: T, interval: Duration) -> Self {
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
            time,
            interval,
            next_round: Duration::ZERO,
            pending: Vec::new(),
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
                let resolver = Arc::clone(&self.resolver);
                let resolving = resolve(index, name, resolver, self.time.clone());
                self.pending.push(Box::pin(resolving));
            }
        }
    }

    /// The next name that has been resolved, or was given up; pending while none is under way. Cancel-safe.
    async fn resolved(&mut self) -> Resolved {
        poll_fn(|context| self.poll_resolved(context)).await
    }

    fn poll_resolved(&mut self, context: &mut Context<'_>) -> Poll<Resolved> {
        for at in 0..self.pending.len() {
            if let Poll::Ready(resolved) = self.pending[at].as_mut().poll(context) {
                drop(self.pending.swap_remove(at));
                return Poll::Ready(resolved);
            }
        }
        Poll::Pending
    }

    /// Whether the addresses changed. A name that fails keeps its last ones.
    fn take(&mut self, resolved: Resolved, counters: &Counters) -> bool {
        let (index, Some(addresses)) = resolved else {
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

async fn resolve(
    index: usize,
    name: Arc<str>,
    resolver: Arc<dyn Resolver>,
    time: impl Time,
) -> Resolved {
    let give_up = time.now().monotonic + RESOLVE_TIMEOUT;
    let addresses = tokio::select! {
        biased;
        addresses = resolver.resolve(&name) => addresses.ok(),
        () = time.sleep_until(give_up) => None,
    };
    let sorted = addresses.map(|mut addresses| {
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    });
    (index, sorted)
}
