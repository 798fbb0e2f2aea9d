//! `shard-cache healthcheck`: one HTTP request, for images without a shell or curl.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use clap::{Args, ValueEnum};

use super::{
    exit::{Exit, Failure},
    output,
};
use crate::{
    clock::{Clock as _, SystemClock},
    config::{self, Config, parse_duration},
};

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Ask a node how it is: exits with 0 when it answers 200, with 1 otherwise.
#[derive(Debug, Args)]
pub(super) struct HealthcheckArguments {
    /// HTTP address of the node; the one that the configuration in the environment gives when not given.
    #[arg(long, value_name = "HOST:PORT", env = "SHARD_CACHE_HTTP_ENDPOINT")]
    http: Option<String>,
    /// What to ask for.
    #[arg(long, value_enum, default_value_t, env = "SHARD_CACHE_HEALTHCHECK")]
    probe: Probe,
    /// Longest time to wait.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "2s",
        value_parser = parse_duration,
        env = "SHARD_CACHE_TIMEOUT"
    )]
    timeout: Duration,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Probe {
    /// Whether the process can answer.
    #[default]
    Health,
    /// Whether the process need not be restarted.
    Live,
    /// Whether it should get requests.
    Ready,
}

impl Probe {
    const fn path(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Live => "/livez",
            Self::Ready => "/readyz",
        }
    }
}

pub(super) fn run(arguments: &HealthcheckArguments) -> Result<Exit, Failure> {
    let (host, addresses) = match &arguments.http {
        Some(host) => {
            let host = host.trim_start_matches("http://").trim_end_matches('/');
            let resolved = host.to_socket_addrs().map_err(|error| {
                Failure::new(Exit::Usage, "INVALID_ENDPOINT", format!("{host}: {error}"))
            })?;
            (host.to_owned(), resolved.collect())
        }
        None => {
            let addresses = configured(&config::load_system(None, Vec::new())?.config)?;
            (addresses[0].to_string(), addresses)
        }
    };
    let mut failure = Failure::failed(format!("{host} has no address"));
    for address in addresses {
        match request(address, &host, arguments.probe.path(), arguments.timeout) {
            Ok((200, body)) => {
                output::write_line(&output::printable(body.trim()))?;
                return Ok(Exit::Ok);
            }
            Ok((status, body)) => {
                return Err(Failure::failed(format!(
                    "{host} answered {status}: {}",
                    body.trim()
                )));
            }
            Err(error) => failure = Failure::system(&host, &error),
        }
    }
    Err(failure)
}

/// Where a node with this configuration listens for HTTP, as seen from the same machine: at least one address, to be
/// tried in order.
fn configured(config: &Config) -> Result<Vec<SocketAddr>, Failure> {
    let port = config.server.http.port;
    if port == 0 {
        return Err(Failure::new(
            Exit::Usage,
            "INVALID_ENDPOINT",
            "server.http.port is 0, so the port is not known: name it by --http",
        ));
    }
    let ips: Vec<IpAddr> = match config.server.bind.first() {
        // All addresses include those of IPv4, and a container often has no IPv6 loopback.
        Some(IpAddr::V6(ip)) if ip.is_unspecified() => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        Some(ip) if !ip.is_unspecified() => vec![*ip],
        Some(_) | None => vec![Ipv4Addr::LOCALHOST.into()],
    };
    let at = |ip| SocketAddr::new(ip, port);
    Ok(ips.into_iter().map(at).collect())
}

fn request(
    address: SocketAddr,
    host: &str,
    path: &str,
    timeout: Duration,
) -> std::io::Result<(u16, String)> {
    let clock = SystemClock::new();
    let timeout = timeout.max(Duration::from_millis(1));
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_write_timeout(Some(timeout))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while answer.len() < ANSWER_BYTES_MAX {
        let left = timeout
            .checked_sub(clock.monotonic())
            .filter(|left| !left.is_zero());
        let Some(left) = left else {
            return Err(std::io::ErrorKind::TimedOut.into());
        };
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk)? {
            0 => break,
            count => answer.extend_from_slice(&chunk[..count]),
        }
    }
    parse(&answer).ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
}

/// Status and body of an HTTP answer.
fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let status = text
        .strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_read_from_an_answer() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(parse(answer), Some((503, "{}".to_owned())));
        assert_eq!(parse(b"SSH-2.0-x\r\n"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn a_node_bound_to_all_addresses_is_asked_over_loopback() {
        let mut config = Config::default();
        config.server.bind = vec!["::".parse().unwrap()];
        let loopback = ["127.0.0.1:8081", "[::1]:8081"].map(|address| address.parse().unwrap());
        assert_eq!(configured(&config).unwrap(), loopback);
        config.server.bind = vec!["10.0.0.5".parse().unwrap()];
        assert_eq!(
            configured(&config).unwrap(),
            ["10.0.0.5:8081".parse().unwrap()]
        );
        config.server.http.port = 0;
        assert_eq!(configured(&config).unwrap_err().exit, Exit::Usage);
    }
}
