//! Addresses as people write them.

use tonic::transport::Endpoint;

use crate::error::ClientError;

/// Port of a node's client interface when none is given.
const DEFAULT_PORT: u16 = 8080;

const EXPECTED: &str = "expected host:port, such as localhost:8080 or [::1]:8080";

/// Parses `host`, `host:port`, `[v6]:port` or `http://host:port`.
pub(crate) fn parse(text: &str) -> Result<Endpoint, ClientError> {
    let invalid = |message: &str| ClientError::InvalidEndpoint {
        endpoint: text.to_owned(),
        message: message.to_owned(),
    };
    if text.starts_with("https://") {
        return Err(invalid("TLS is not supported: use http:// or host:port"));
    }
    let authority = text
        .strip_prefix("http://")
        .unwrap_or(text)
        .trim_end_matches('/');
    if authority.is_empty() || authority.contains(['/', '@', '?', '#']) {
        return Err(invalid(EXPECTED));
    }
    let uri = if authority.parse::<std::net::Ipv6Addr>().is_ok() {
        format!("http://[{authority}]:{DEFAULT_PORT}")
    } else {
        match port(authority) {
            None => format!("http://{authority}:{DEFAULT_PORT}"),
            Some(port) if port.parse::<u16>().is_ok_and(|port| port != 0) => {
                format!("http://{authority}")
            }
            Some(_) => return Err(invalid(EXPECTED)),
        }
    };
    Endpoint::from_shared(uri).map_err(|_| invalid(EXPECTED))
}

/// What stands behind the last colon, unless that colon belongs to an address in brackets.
fn port(authority: &str) -> Option<&str> {
    authority
        .rsplit_once(':')
        .map(|(_, port)| port)
        .filter(|port| !port.contains(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> String {
        parse(text).unwrap().uri().to_string()
    }

    #[test]
    fn every_way_of_writing_an_address_is_understood() {
        assert_eq!(uri("localhost:8080"), "http://localhost:8080/");
        assert_eq!(uri("http://127.0.0.1:9000"), "http://127.0.0.1:9000/");
        assert_eq!(uri("http://127.0.0.1:9000/"), "http://127.0.0.1:9000/");
        assert_eq!(uri("node1"), "http://node1:8080/");
        assert_eq!(uri("::1"), "http://[::1]:8080/");
        assert_eq!(uri("[::1]:9000"), "http://[::1]:9000/");
        assert_eq!(uri("[::1]"), "http://[::1]:8080/");
    }

    #[test]
    fn what_is_no_address_is_refused_and_named() {
        for text in [
            "",
            "http://",
            "https://node1:8080",
            "node1:port",
            "node1:0",
            "node1/path:1",
            "a b:1",
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                matches!(error, ClientError::InvalidEndpoint { .. }),
                "{text}: {error}"
            );
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
    }
}
