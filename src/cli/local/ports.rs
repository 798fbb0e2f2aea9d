//! The ports of a local cluster.

use std::{
    io,
    net::{Ipv4Addr, TcpListener, UdpSocket},
};

use serde::{Deserialize, Serialize};

use crate::cli::exit::Failure;

/// Attempts to find one number that is free for both TCP and UDP.
const PORT_ATTEMPTS_MAX: usize = 64;

/// The ports of one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Ports {
    pub(super) grpc: u16,
    pub(super) http: u16,
    pub(super) gossip: u16,
}

/// gRPC and HTTP in pairs from `base`, gossip counted up from `gossip_base`.
pub(super) fn counted(nodes: usize, base: u16, gossip_base: u16) -> Result<Vec<Ports>, Failure> {
    let number = |base: u16, step: usize| {
        u16::try_from(usize::from(base) + step)
            .map_err(|_| Failure::failed(format!("port {base} + {step} is more than 65535")))
    };
    let ports: Result<Vec<_>, Failure> = (0..nodes)
        .map(|index| {
            Ok(Ports {
                grpc: number(base, 2 * index)?,
                http: number(base, 2 * index + 1)?,
                gossip: number(gossip_base, index)?,
            })
        })
        .collect();
    let ports = ports?;
    let mut all: Vec<_> = ports
        .iter()
        .flat_map(|p| [p.grpc, p.http, p.gossip])
        .collect();
    all.sort_unstable();
    all.dedup();
    if all.len() < 3 * nodes {
        return Err(Failure::failed(
            "the ports of the nodes overlap: choose other base ports",
        ));
    }
    Ok(ports)
}

/// Fails with the first port that is taken.
pub(super) fn check_free(ports: &[Ports]) -> Result<(), Failure> {
    for ports in ports {
        for (flag, port) in [
            ("grpc", ports.grpc),
            ("http", ports.http),
            ("gossip", ports.gossip),
        ] {
            bind_tcp(port)
                .and_then(|_| if flag == "gossip" { bind_udp(port).map(drop) } else { Ok(()) })
                .map_err(|error| {
                    Failure::system(&format!("port {port} ({flag})"), &error).with_hint(
                        "is another cluster running? other ports: --base-port, --gossip-base-port or --ports auto",
                    )
                })?;
        }
    }
    Ok(())
}

/// Ports that are free now. All are held until all are chosen, so that they differ.
pub(super) fn free(nodes: usize) -> Result<Vec<Ports>, Failure> {
    let mut held = Vec::new();
    let mut take = || -> io::Result<u16> {
        for _attempt in 0..PORT_ATTEMPTS_MAX {
            let tcp = bind_tcp(0)?;
            let port = tcp.local_addr()?.port();
            if let Ok(udp) = bind_udp(port) {
                held.push((tcp, udp));
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    };
    (0..nodes)
        .map(|_| {
            Ok(Ports {
                grpc: take()?,
                http: take()?,
                gossip: take()?,
            })
        })
        .collect::<io::Result<_>>()
        .map_err(|error| Failure::system("no free port", &error))
}

fn bind_tcp(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

fn bind_udp(port: u16) -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_nodes_get_the_documented_ports() {
        let ports = counted(3, 8080, 7946).unwrap();
        let numbers: Vec<_> = ports.iter().map(|p| (p.grpc, p.http, p.gossip)).collect();
        assert_eq!(
            numbers,
            [(8080, 8081, 7946), (8082, 8083, 7947), (8084, 8085, 7948)]
        );
    }

    #[test]
    fn ports_that_overlap_or_run_out_are_refused() {
        assert!(counted(3, 8080, 8082).is_err());
        assert!(counted(2, 65532, 7946).is_ok());
        assert!(counted(2, 65533, 7946).is_err());
    }

    #[test]
    fn free_ports_differ_and_can_be_bound() {
        let ports = free(3).unwrap();
        let mut all: Vec<_> = ports
            .iter()
            .flat_map(|p| [p.grpc, p.http, p.gossip])
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 9);
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let taken = bind_tcp(0).unwrap();
        let grpc = taken.local_addr().unwrap().port();
        let error = check_free(&[Ports {
            grpc,
            http: 0,
            gossip: 0,
        }])
        .unwrap_err();
        assert!(
            error.message.contains(&grpc.to_string()),
            "{}",
            error.message
        );
    }
}
