//! As much of HTTP/1.1 as a look at a node needs: one request per connection, the answer with a length.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long a node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

/// `GET` of a path; an error is one of the connection, never a status.
///
/// # Errors
/// The node cannot be reached, or does not answer in time.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<Answer, String> {
    match timeout(TIMEOUT, exchange(address, path)).await {
        Ok(answer) => answer.map_err(|error| format!("{address}{path}: {error}")),
        Err(_) => Err(format!("{address}{path}: no answer within {TIMEOUT:?}")),
    }
}

async fn exchange(address: SocketAddr, path: &str) -> Result<Answer, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut connection = TcpStream::connect(address).await.map_err(text)?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    connection
        .write_all(request.as_bytes())
        .await
        .map_err(text)?;
    let mut bytes = Vec::new();
    let mut limited = connection.take(ANSWER_BYTES_MAX);
    limited.read_to_end(&mut bytes).await.map_err(text)?;
    parse(&bytes).ok_or_else(|| "no HTTP".to_owned())
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer {
        status,
        body: bytes[end + 4..].to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = parse(b"HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\n{}").unwrap();
        assert_eq!((answer.status, &*answer.body), (503, &b"{}"[..]));
        assert!(parse(b"HTTP/1.1 200 OK\r\n").is_none());
    }
}
