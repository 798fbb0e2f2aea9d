//! As much of HTTP/1.1 as the tests need: one request per connection.

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const TIMEOUT: Duration = Duration::from_secs(5);

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON: {error}: {}", self.text()))
    }
}

/// `GET` of a path.
pub(crate) async fn get(address: SocketAddr, target: &str) -> Result<Answer, String> {
    request(address, "GET", target, &[], b"").await
}

/// One request; an error is one of the connection, never a status.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, String> {
    let exchange = exchange(address, method, target, headers, body);
    match timeout(TIMEOUT, exchange).await {
        Ok(answer) => answer.map_err(|error| format!("{method} {target} at {address}: {error}")),
        Err(_) => Err(format!(
            "{method} {target} at {address}: no answer within {TIMEOUT:?}"
        )),
    }
}

/// A key as it stands in a URL.
pub(crate) fn encoded(key: &str) -> String {
    key.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02x}").expect("writing to a String does not fail");
        }
        encoded
    })
}

async fn exchange(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, String> {
    let mut connection = TcpStream::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    let mut head = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("writing to a String does not fail");
    }
    head.push_str("\r\n");
    let mut request = head.into_bytes();
    request.extend_from_slice(body);
    // A server that refuses a large body may answer and close before it has read all of it.
    let sent = connection.write_all(&request).await;
    let mut bytes = Vec::new();
    let received = connection.read_to_end(&mut bytes).await;
    parse(&bytes).ok_or_else(|| format!("no answer: sent {sent:?}, received {received:?}"))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..head_end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    assert!(
        !headers.contains_key("transfer-encoding"),
        "answers in chunks are not understood"
    );
    let body = bytes[head_end + 4..].to_vec();
    if let Some(length) = headers.get("content-length") {
        assert_eq!(
            length.parse().ok(),
            Some(body.len()),
            "a body was cut short"
        );
    }
    Some(Answer {
        status,
        headers,
        body,
    })
}
