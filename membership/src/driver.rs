//! The production driver: one UDP socket and one thread around the loop of [`crate::pump`].
//!
//! A seam file: it reads the system's clocks and uses tokio's timers. Its own thread and
//! current-thread runtime keep membership alive while the rest of the node is overloaded.
#![allow(
    clippy::disallowed_methods,
    reason = "this is the seam to clocks and timers"
)]

use std::{
    io,
    net::{SocketAddr, UdpSocket as StdUdpSocket},
    sync::{Arc, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{
    net::UdpSocket,
    runtime::{Builder, Runtime},
    sync::mpsc,
};

pub use crate::pump::Setup;
use crate::{
    agent::{AgentError, Now},
    handle::Handle,
    pump::{Datagrams, Pump, Time},
    resolver::Resolver,
};

/// A bound gossip socket, not yet driven.
#[derive(Debug)]
pub struct Driver {
    socket: StdUdpSocket,
    local_addr: SocketAddr,
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
        setup: Setup,
        resolver: Arc<dyn Resolver>,
    ) -> Result<(Handle, mpsc::Receiver<SocketAddr>), DriverError> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let socket = {
            let _context = runtime.enter();
            UdpSocket::from_std(self.socket)?
        };
        let clock = MachineTime {
            start: Instant::now(),
        };
        let (pump, handle, targets) = Pump::new(setup, self.local_addr, socket, clock, resolver)?;
        let thread = std::thread::Builder::new()
            .name("membership".to_owned())
            .spawn(move || drive(runtime, pump))?;
        *handle.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok((handle, targets))
    }
}

fn drive(runtime: Runtime, pump: Pump<UdpSocket, MachineTime>) {
    runtime.block_on(async {
        // tokio knows that a socket is writable only after it has polled it once; before, every
        // send would be refused.
        if pump.datagrams.writable().await.is_err() {
            pump.counters.send_errors.add(1);
        }
        pump.run().await;
    });
    // A name that the system still resolves must not hold up the shutdown.
    runtime.shutdown_background();
}

impl Datagrams for UdpSocket {
    fn try_send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.try_send_to(bytes, to).map(|_length| ())
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.try_recv_from(buffer)
    }

    async fn readable(&self) -> io::Result<()> {
        Self::readable(self).await
    }
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
struct MachineTime {
    start: Instant,
}

impl Time for MachineTime {
    fn now(&self) -> Now {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall_millis = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Now {
            monotonic: self.start.elapsed(),
            wall_millis,
        }
    }

    async fn sleep_until(&self, deadline: Duration) {
        tokio::time::sleep_until(tokio::time::Instant::from_std(self.start + deadline)).await;
    }
}
