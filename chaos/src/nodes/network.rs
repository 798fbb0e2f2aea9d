//! Where nodes listen.
//!
//! On loopback, every node has an address of its own within 127.0.0.0/8: connections to others begin at 127.0.0.1, so
//! that none of them takes a port of a node that is down. In namespaces, every node has a network namespace with one
//! cable to a bridge, which is in a namespace, too; this process has a cable to it. Everything that is made is called
//! `sc<process id>`. Nodes are cut off by dropping what comes from certain others, with the addresses of clients still
//! getting through.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

/// Attempts to find a port that is free for both UDP and TCP.
const PORT_ATTEMPTS_MAX: u32 = 32;
/// A node that is alone in its namespace has the ports that it has by default.
const PORTS: [u16; 3] = [8080, 8081, 7946];
/// The table of rules in a node's namespace.
const TABLE: &str = "inet shardcache_chaos";
/// Last byte of this process's address on the bridge.
const OWN_HOST: u8 = 254;

/// Where a node listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// Clients' gRPC.
    pub(crate) grpc: SocketAddr,
    /// HTTP.
    pub(crate) http: SocketAddr,
    /// Gossip and links of peers.
    pub(crate) peer: SocketAddr,
    /// The namespace that its process runs in; `None` for this process's own.
    pub(crate) namespace: Option<String>,
}

/// What the nodes are connected by.
#[derive(Debug)]
pub(crate) enum Network {
    /// The loopback interface.
    Loopback,
    /// Namespaces that can be cut off from each other.
    Namespaces(Namespaces),
}

impl Network {
    /// A place for the node with this number, from 0.
    ///
    /// # Errors
    /// No port is free.
    pub(crate) fn place(&self, node: usize) -> anyhow::Result<Place> {
        match self {
            Self::Loopback => loopback_place(node),
            Self::Namespaces(namespaces) => namespaces.place(node),
        }
    }

    /// Cuts sides off from each other, until [`Self::heal`].
    ///
    /// # Errors
    /// These nodes share a loopback interface, or the rules are not accepted.
    pub(crate) fn cut(&self, sides: &[Vec<usize>]) -> anyhow::Result<()> {
        match self {
            Self::Loopback => bail!("nodes on loopback cannot be cut off from each other"),
            Self::Namespaces(namespaces) => namespaces.cut(sides),
        }
    }

    /// Undoes the cut.
    ///
    /// # Errors
    /// The rules cannot be removed.
    pub(crate) fn heal(&self) -> anyhow::Result<()> {
        match self {
            Self::Loopback => Ok(()),
            Self::Namespaces(namespaces) => namespaces.heal(),
        }
    }

    /// Removes all that was made, once the nodes' processes are gone.
    pub(crate) fn remove(self) {
        match self {
            Self::Loopback => {}
            // By dropping it.
            Self::Namespaces(_) => {}
        }
    }
}

fn loopback_place(node: usize) -> anyhow::Result<Place> {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let host = u8::try_from(node + 2).context("too many nodes")?;
    // Not 127.0, so that nobody else's address is hit.
    let ip = IpAddr::V4(Ipv4Addr::new(127, (high & 0x7f) + 1, low, host));
    let tcp = || TcpListener::bind((ip, 0)).context("no TCP port is free");
    let (grpc, http) = (tcp()?, tcp()?);
    for _ in 0..PORT_ATTEMPTS_MAX {
        let peer = tcp()?.local_addr()?;
        if UdpSocket::bind(peer).is_ok() {
            return Ok(Place {
                grpc: grpc.local_addr()?,
                http: http.local_addr()?,
                peer,
                namespace: None,
            });
        }
    }
    bail!("no port is free for both UDP and TCP")
}

/// Namespaces on one bridge. Dropping them removes them.
#[derive(Debug)]
pub(crate) struct Namespaces {
    prefix: String,
    nodes: usize,
}

impl Namespaces {
    /// What is missing to make namespaces; `None` if nothing is.
    #[must_use]
    pub(crate) fn missing() -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("namespaces need root".to_owned());
        }
        for tool in ["ip", "nft"] {
            let mut version = Command::new(tool);
            let silent = version.arg("-V").stdout(Stdio::null());
            if silent.stderr(Stdio::null()).status().is_err() {
                return Some(format!("{tool} is not installed"));
            }
        }
        let probe = format!("sc{}-probe", std::process::id());
        if let Err(error) = run("ip", &["netns", "add", &probe]) {
            return Some(format!("no namespace can be made: {error:#}"));
        }
        let rules = format!("table {TABLE} {{\n}}\n");
        let accepted = nft(&probe, &rules);
        run("ip", &["netns", "del", &probe]).ok();
        let error = accepted.err()?;
        Some(format!("nft does not work in a namespace: {error:#}"))
    }

    /// Makes a bridge, and a namespace for each of so many nodes.
    ///
    /// # Errors
    /// A command failed; what was made before is removed.
    pub(crate) fn new(nodes: usize) -> anyhow::Result<Self> {
        let namespaces = Self {
            prefix: format!("sc{}", std::process::id()),
            nodes,
        };
        namespaces.make()?;
        Ok(namespaces)
    }

    fn make(&self) -> anyhow::Result<()> {
        let (hub, cable) = (self.hub(), &self.prefix);
        ip(&format!("netns add {hub}"))?;
        // In a namespace of its own the bridge knows no firewall rules.
        ip(&format!("-n {hub} link add bridge type bridge"))?;
        ip(&format!("-n {hub} link set bridge up"))?;
        ip(&format!(
            "link add {cable} type veth peer name own netns {hub}"
        ))?;
        ip(&format!("-n {hub} link set own master bridge up"))?;
        let own = self.address(OWN_HOST);
        ip(&format!("addr add {own}/24 dev {cable}"))?;
        ip(&format!("link set {cable} up"))?;
        for node in 0..self.nodes {
            let (namespace, address) = (self.namespace(node), self.node_address(node)?);
            ip(&format!("netns add {namespace}"))?;
            ip(&format!(
                "link add eth0 netns {namespace} type veth peer name n{node} netns {hub}"
            ))?;
            ip(&format!("-n {hub} link set n{node} master bridge up"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
            ip(&format!("-n {namespace} addr add {address}/24 dev eth0"))?;
            ip(&format!("-n {namespace} link set eth0 up"))?;
        }
        Ok(())
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.prefix)
    }

    fn namespace(&self, node: usize) -> String {
        format!("{}-n{}", self.prefix, node + 1)
    }

    /// Of the addresses that are reserved for measuring networks (RFC 2544).
    fn address(&self, host: u8) -> IpAddr {
        let [.., low] = std::process::id().to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(198, 18, low, host))
    }

    fn node_address(&self, node: usize) -> anyhow::Result<IpAddr> {
        let host = u8::try_from(node + 1).context("too many nodes")?;
        Ok(self.address(host))
    }

    fn place(&self, node: usize) -> anyhow::Result<Place> {
        let ip = self.node_address(node)?;
        let [grpc, http, peer] = PORTS.map(|port| SocketAddr::new(ip, port));
        Ok(Place {
            grpc,
            http,
            peer,
            namespace: Some(self.namespace(node)),
        })
    }

    fn cut(&self, sides: &[Vec<usize>]) -> anyhow::Result<()> {
        for (number, side) in sides.iter().enumerate() {
            let others = sides.iter().enumerate();
            let others = others.filter(|(other, _)| *other != number);
            let others: BTreeSet<usize> = others.flat_map(|(_, other)| other).copied().collect();
            for node in side {
                let rules = self.rules(&others)?;
                nft(&self.namespace(*node), &rules)?;
            }
        }
        Ok(())
    }

    /// What comes in from others is dropped: whoever sent it is told nothing.
    fn rules(&self, others: &BTreeSet<usize>) -> anyhow::Result<String> {
        let mut rules = format!(
            "table {TABLE} {{\nchain input {{\ntype filter hook input priority 0; policy accept;\n"
        );
        for other in others {
            let address = self.node_address(*other)?;
            writeln!(rules, "ip saddr {address} drop")?;
        }
        rules.push_str("}\n}\n");
        Ok(rules)
    }

    fn heal(&self) -> anyhow::Result<()> {
        // Declared first, so that there is one to delete where nothing was cut.
        let rules = format!("table {TABLE} {{\n}}\ndelete table {TABLE}\n");
        for node in 0..self.nodes {
            nft(&self.namespace(node), &rules)?;
        }
        Ok(())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // A cable goes with the namespace of either end, but not at once.
        run("ip", &["link", "del", &self.prefix]).ok();
        let names = (0..self.nodes).map(|node| self.namespace(node));
        for name in names.chain([self.hub()]) {
            run("ip", &["netns", "del", &name]).ok();
        }
    }
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    let arguments: Vec<&str> = arguments.split(' ').collect();
    run("ip", &arguments)
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    checked(program, arguments, &output)
}

fn nft(namespace: &str, rules: &str) -> anyhow::Result<()> {
    let arguments = ["netns", "exec", namespace, "nft", "-f", "-"];
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start ip")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(rules.as_bytes())
            .context("cannot talk to nft")?;
    }
    let output = child.wait_with_output().context("cannot wait for nft")?;
    checked("ip", &arguments, &output)
}

fn checked(program: &str, arguments: &[&str], output: &std::process::Output) -> anyhow::Result<()> {
    if !output.status.success() {
        let words = arguments.join(" ");
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {words}: {}", said.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_on_loopback_have_addresses_of_their_own_and_free_ports() {
        let places: Vec<Place> = (0..3).map(|node| loopback_place(node).unwrap()).collect();
        let ips: BTreeSet<IpAddr> = places.iter().map(|place| place.peer.ip()).collect();
        assert_eq!(ips.len(), 3);
        for place in &places {
            assert!(place.grpc.ip().is_loopback());
            assert_ne!(place.grpc.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
            assert_ne!(place.grpc.port(), place.http.port());
            TcpListener::bind(place.peer).unwrap();
        }
        Network::Loopback.cut(&[vec![0], vec![1]]).unwrap_err();
    }

    /// Needs root, `ip` and `nft`; elsewhere there is nothing to look at.
    #[test]
    fn namespaces_are_cut_healed_and_removed() {
        if let Some(missing) = Namespaces::missing() {
            eprintln!("not looked at: {missing}");
            return;
        }
        let listed = || {
            let output = Command::new("ip").args(["netns", "list"]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let network = Network::Namespaces(Namespaces::new(2).unwrap());
        let place = network.place(1).unwrap();
        let namespace = place.namespace.clone().unwrap();
        assert!(listed().contains(&namespace));
        let rules = || {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &namespace, "nft", "list", "ruleset"]);
            String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
        };
        network.cut(&[vec![0], vec![1]]).unwrap();
        let other = network.place(0).unwrap().peer.ip().to_string();
        assert!(rules().contains(&format!("ip saddr {other} drop")));
        network.heal().unwrap();
        assert_eq!(rules(), "");
        network.heal().unwrap();
        network.remove();
        assert!(!listed().contains(&namespace));
    }
}
