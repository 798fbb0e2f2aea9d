//! The datagram seam of membership.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    sync::Arc,
    task::Poll,
};

use bytes::Bytes;
use shard_cache_membership::pump::Datagrams;

use super::{HostId, Shared, State, World, events::Event};

/// The gossip socket of a host.
pub struct SimSocket {
    shared: Arc<Shared>,
    host: HostId,
}

impl World {
    /// The gossip socket of a host, for its present life.
    #[must_use]
    pub fn socket(&self, host: HostId) -> SimSocket {
        SimSocket {
            shared: Arc::clone(&self.shared),
            host,
        }
    }
}

impl Datagrams for SimSocket {
    fn try_send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let now = self.shared.now();
        let mut state = self.shared.state();
        let State {
            events,
            hosts,
            network,
            rng,
            ..
        } = &mut *state;
        let from = hosts[usize::from(self.host.0)].address;
        let Some(place) = hosts.iter().position(|host| host.address == to) else {
            // Sent to nobody, as a network does.
            return Ok(());
        };
        let to = HostId(u16::try_from(place).unwrap_or(u16::MAX));
        let copies = network.path(self.host, to).datagram(rng);
        if copies.iter().any(Option::is_some) {
            let bytes = Bytes::copy_from_slice(bytes);
            for passing in copies.into_iter().flatten() {
                let bytes = bytes.clone();
                events.push(now + passing, Event::Datagram { to, from, bytes });
            }
        }
        Ok(())
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let mut state = self.shared.state();
        let taken = state.host_mut(self.host).datagrams.pop_front();
        let (from, bytes) = taken.ok_or(io::ErrorKind::WouldBlock)?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        Ok((length, from))
    }

    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send {
        poll_fn(|context| {
            let mut state = self.shared.state();
            let host = state.host_mut(self.host);
            if host.datagrams.is_empty() {
                host.datagram_reader = Some(context.waker().clone());
                Poll::Pending
            } else {
                Poll::Ready(Ok(()))
            }
        })
    }
}

impl Shared {
    pub(crate) fn datagram_arrives(&self, to: HostId, from: SocketAddr, bytes: Bytes) {
        let reader = self.state().host_mut(to).take_datagram(from, bytes);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}
