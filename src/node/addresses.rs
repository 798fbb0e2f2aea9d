//! Where a node listens and where it tells others to go.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use rustix::io::Errno;
use thiserror::Error;
use tokio::net::{TcpListener, lookup_host};

use crate::config::{Advertise, Config};

/// Attempts to find one free number for both gossip (UDP) and peer links (TCP).
const PORT_ATTEMPTS_MAX: u32 = 32;

/// The addresses that a node is bound to; with port 0 configured, the ports that the system chose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// Client gRPC.
    pub grpc: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
    /// Peer links over TCP and gossip over UDP.
    pub peer: SocketAddr,
}

/// The sockets of a node, bound and not yet served.
pub(super) struct Sockets {
    pub(super) listeners: Listeners,
    pub(super) gossip: UdpSocket,
    pub(super) addresses: Addresses,
}

/// The TCP sockets.
pub(super) struct Listeners {
    /// One for each bind address, all on one port.
    pub(super) grpc: Vec<TcpListener>,
    /// One for each bind address, all on one port.
    pub(super) http: Vec<TcpListener>,
    pub(super) peer: TcpListener,
}

/// Why a node cannot listen, or does not know where to send others. Nothing was started.
#[derive(Debug, Error)]
pub enum AddressError {
    /// A port is taken or forbidden.
    #[error("cannot listen on {address} for {face}: {source}")]
    Bind {
        /// What the port is for.
        face: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// No port number was free for both UDP and TCP.
    #[error("no port of {address} is free for both UDP and TCP after {PORT_ATTEMPTS_MAX} attempts")]
    NoCommonPort {
        /// The address.
        address: IpAddr,
    },
    /// The advertised name does not resolve.
    #[error("server.advertise {advertise:?} does not resolve: {reason}")]
    Advertise {
        /// As configured.
        advertise: String,
        /// What the resolver says.
        reason: String,
    },
    /// Bound to all addresses, and none of them leads anywhere.
    #[error("bound to all addresses and none is routed: set server.advertise")]
    NoRoute,
}

impl Sockets {
    /// Binds every port of the configuration. Gossip and peer links use the first bind address.
    pub(super) async fn bind(config: &Config) -> Result<Self, AddressError> {
        let server = &config.server;
        let ips = present(&server.bind, has_ipv6());
        let grpc = bind_all("gRPC", &ips, server.grpc.port).await?;
        let http = bind_all("HTTP", &ips, server.http.port).await?;
        let first = ips
            .first()
            .copied()
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let (gossip, peer) = bind_pair(first, server.gossip.port).await?;
        let addresses = Addresses {
            grpc: local_address("gRPC", &grpc)?,
            http: local_address("HTTP", &http)?,
            peer: local_address("peer links", std::slice::from_ref(&peer))?,
        };
        Ok(Self {
            listeners: Listeners { grpc, http, peer },
            gossip,
            addresses,
        })
    }
}

/// Where other nodes and clients are told to go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advertised {
    /// Gossip and peer links.
    pub peer: SocketAddr,
    /// Host of the client ports, as a client can write it.
    pub host: String,
}

impl Advertised {
    /// The configured address, or the bound one, or the one that packets leave from when bound to all.
    pub(super) async fn of(config: &Config, addresses: Addresses) -> Result<Self, AddressError> {
        if let Some(advertise) = &config.server.advertise {
            let port = advertise.port.unwrap_or(addresses.peer.port());
            let peer = resolve(advertise, port).await?;
            return Ok(Self {
                peer,
                host: host_shown(&advertise.host),
            });
        }
        let ip = if addresses.peer.ip().is_unspecified() {
            routed_ip().ok_or(AddressError::NoRoute)?
        } else {
            addresses.peer.ip()
        };
        let peer = SocketAddr::new(ip, addresses.peer.port());
        Ok(Self {
            peer,
            host: host_shown(&ip.to_string()),
        })
    }
}

impl Advertised {
    /// Whether peers that connect to the address surely arrive at the node with these ports: it is an address of this
    /// machine, and the port is the one that the node is bound to. Behind a translation of addresses nobody can tell.
    pub(super) fn is_bound(&self, addresses: Addresses) -> bool {
        let is_local = || UdpSocket::bind((self.peer.ip(), 0)).is_ok();
        self.peer.port() == addresses.peer.port() && is_local()
    }
}

fn host_shown(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

async fn resolve(advertise: &Advertise, port: u16) -> Result<SocketAddr, AddressError> {
    let refused = |reason: String| AddressError::Advertise {
        advertise: advertise.to_string(),
        reason,
    };
    let mut found = lookup_host((advertise.host.as_str(), port))
        .await
        .map_err(|error| refused(error.to_string()))?;
    found.next().ok_or_else(|| refused("no address".to_owned()))
}

/// Whether the system knows IPv6 at all; some kernels are started without it.
fn has_ipv6() -> bool {
    let unknown = |error: io::Error| Errno::from_io_error(&error) == Some(Errno::AFNOSUPPORT);
    !UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_err_and(unknown)
}

/// `::` is all addresses: those of IPv4 where there are no others.
fn present(ips: &[IpAddr], has_ipv6: bool) -> Vec<IpAddr> {
    let all_of_ipv4 = |ip: &IpAddr| match ip {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) if !has_ipv6 => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => *ip,
    };
    ips.iter().map(all_of_ipv4).collect()
}

/// The address that packets to other machines leave from. Connecting a UDP socket sends nothing; the target is from the
/// documentation range (RFC 5737).
fn routed_ip() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

async fn bind_all(
    face: &'static str,
    ips: &[IpAddr],
    port: u16,
) -> Result<Vec<TcpListener>, AddressError> {
    let mut listeners: Vec<TcpListener> = Vec::with_capacity(ips.len());
    for ip in ips {
        // With port 0 the first address chooses and the others follow.
        let port = match listeners.first().and_then(|first| first.local_addr().ok()) {
            Some(chosen) => chosen.port(),
            None => port,
        };
        let address = SocketAddr::new(*ip, port);
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| AddressError::Bind {
                face,
                address,
                source,
            })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Binds one port number for UDP and TCP.
async fn bind_pair(ip: IpAddr, port: u16) -> Result<(UdpSocket, TcpListener), AddressError> {
    for _attempt in 0..PORT_ATTEMPTS_MAX {
        let address = SocketAddr::new(ip, port);
        let bound = |source| AddressError::Bind {
            face: "gossip",
            address,
            source,
        };
        let gossip = UdpSocket::bind(address).map_err(bound)?;
        let address = gossip.local_addr().map_err(bound)?;
        match TcpListener::bind(address).await {
            Ok(peer) => return Ok((gossip, peer)),
            // The number that UDP chose is taken for TCP: let it choose another.
            Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => {
                return Err(AddressError::Bind {
                    face: "peer links",
                    address,
                    source,
                });
            }
        }
    }
    Err(AddressError::NoCommonPort { address: ip })
}

fn local_address(
    face: &'static str,
    listeners: &[TcpListener],
) -> Result<SocketAddr, AddressError> {
    let unbound = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    let local = listeners.first().map(TcpListener::local_addr);
    local
        .unwrap_or_else(|| Err(io::Error::from(io::ErrorKind::NotConnected)))
        .map_err(|source| AddressError::Bind {
            face,
            address: unbound,
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_those_of_ipv4_where_there_is_no_ipv6() {
        let ips = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let configured = ips(&["::", "::1", "10.0.0.1"]);
        assert_eq!(present(&configured, true), configured);
        let without = ips(&["0.0.0.0", "::1", "10.0.0.1"]);
        assert_eq!(present(&configured, false), without);
    }
}
