//! Three nodes in the process of a test, and a caller that costs little: it writes requests that were made before and reads
//! into a buffer of its own.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use prost::Message as _;
use shard_cache::{
    clock::{Clock as _, SystemClock},
    config::{self, Config, Sources},
    node::{Node, Seams},
};
use shard_cache_proto::cache::{GetRequest, SetRequest, set_request::Data};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Requests in one write, as a client with so many calls under way would make them.
pub(crate) const TOGETHER: usize = 16;
const VALUE_BYTES: usize = 100;
const KEYS: usize = 64;

/// The path and the message of a Set.
pub(crate) fn set(number: usize) -> (&'static str, Vec<u8>) {
    let request = SetRequest {
        key: key(number),
        data: Some(Data::ValueBytes(vec![7; VALUE_BYTES].into())),
        ..SetRequest::default()
    };
    ("/cache.CacheService/Set", request.encode_to_vec())
}

/// The path and the message of a Get.
pub(crate) fn get(number: usize) -> (&'static str, Vec<u8>) {
    let request = GetRequest {
        key: key(number),
        ..GetRequest::default()
    };
    ("/cache.CacheService/Get", request.encode_to_vec())
}

fn key(number: usize) -> String {
    format!("key-{:028}", number % KEYS)
}

/// Three nodes at rest, with further settings by the names of their variables.
pub(crate) async fn start(settings: &[(&str, &str)]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for _ in 0..3 {
        let seed = nodes
            .first()
            .map(|first| first.addresses().peer.to_string());
        let node = Node::start(configuration(seed, settings), Seams::system());
        nodes.push(node.await.expect("a node starts"));
    }
    let clock = SystemClock::new();
    // Slots that are not settled are asked about, which would be counted.
    let is_at_rest = |node: &Node| {
        let queries = node.queries();
        let is_settled = queries.report().slots_unsettled == 0;
        queries.health().is_ready() && is_settled && node.view().members.len() == 3
    };
    while !nodes.iter().all(is_at_rest) {
        assert!(clock.monotonic() < Duration::from_secs(60), "ready in time");
        clock.sleep(Duration::from_millis(20)).await;
    }
    nodes
}

fn configuration(seed: Option<String>, further: &[(&str, &str)]) -> Config {
    let settings = [
        ("SHARD_CACHE__SERVER__GRPC__PORT", Some("0".to_owned())),
        ("SHARD_CACHE__SERVER__HTTP__PORT", Some("0".to_owned())),
        ("SHARD_CACHE__SERVER__GOSSIP__PORT", Some("0".to_owned())),
        (
            "SHARD_CACHE__SERVER__CACHE__MAX_MEMORY",
            Some("64MiB".to_owned()),
        ),
        (
            "SHARD_CACHE__SERVER__LIMITS__CPU_THRESHOLD",
            Some("1".to_owned()),
        ),
        (
            "SHARD_CACHE__SERVER__LIMITS__REQUEST_TIMEOUT",
            Some("10s".to_owned()),
        ),
        ("SHARD_CACHE__CLUSTER__MIN_MEMBERS", Some("3".to_owned())),
        ("SHARD_CACHE__CLUSTER__SEEDS", seed),
    ];
    let given = settings
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let further = further
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let environment: BTreeMap<String, String> = given.chain(further).collect();
    let sources = Sources {
        environment,
        ..Sources::default()
    };
    config::load(sources)
        .expect("the configuration is legal")
        .config
}

/// HTTP/2 by hand, as far as calls need it.
pub(crate) struct Caller {
    connection: TcpStream,
    stream: u32,
    received: Vec<u8>,
    filled: usize,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const FRAME_HEADER_BYTES: usize = 9;

impl Caller {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut connection = TcpStream::connect(address).await.expect("the port is open");
        connection.set_nodelay(true).expect("it is TCP");
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        frame(&mut hello, (SETTINGS, 0), 0, &[]);
        // Nothing here is ever short of window.
        frame(
            &mut hello,
            (WINDOW_UPDATE, 0),
            0,
            &(1u32 << 30).to_be_bytes(),
        );
        connection.write_all(&hello).await.expect("it is open");
        Self {
            connection,
            stream: 1,
            received: vec![0; 256 * 1024],
            filled: 0,
        }
    }

    /// Calls for so many rounds, made before they are needed.
    pub(crate) fn prepare(
        &mut self,
        rounds: usize,
        request: impl Fn(usize) -> (&'static str, Vec<u8>),
    ) -> Vec<Vec<u8>> {
        let mut round = |number: usize| {
            let mut bytes = Vec::new();
            for each in 0..TOGETHER {
                let (path, message) = request(number * TOGETHER + each);
                call(&mut bytes, self.stream, path, &message);
                self.stream += 2;
            }
            bytes
        };
        (0..rounds).map(&mut round).collect()
    }

    /// Writes some calls and reads until each is answered, with a message.
    pub(crate) async fn carry_out(&mut self, calls: &[u8]) {
        self.connection.write_all(calls).await.expect("it is open");
        let (mut ended, mut messages) = (0, 0);
        while ended < TOGETHER {
            let free = &mut self.received[self.filled..];
            let read = self.connection.read(free).await.expect("it is open");
            assert!(read > 0, "the node closed the connection");
            self.filled += read;
            let mut at = 0;
            while let Some((kind, flags, length)) = header(&self.received[at..self.filled]) {
                at += FRAME_HEADER_BYTES + length;
                match kind {
                    DATA => messages += 1,
                    HEADERS if flags & END_STREAM > 0 => ended += 1,
                    SETTINGS if flags & ACK == 0 => {
                        let mut answer = Vec::new();
                        frame(&mut answer, (SETTINGS, ACK), 0, &[]);
                        self.connection
                            .write_all(&answer)
                            .await
                            .expect("it is open");
                    }
                    HEADERS | SETTINGS | PING | WINDOW_UPDATE => {}
                    other => unreachable!("frame of kind {other}"),
                }
            }
            self.received.copy_within(at..self.filled, 0);
            self.filled -= at;
        }
        assert_eq!(messages, TOGETHER, "every call has an answer");
    }
}

/// Kind, flags and length of a frame that is there as a whole.
fn header(bytes: &[u8]) -> Option<(u8, u8, usize)> {
    let &[a, b, c, kind, flags, ..] = bytes else {
        return None;
    };
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    (bytes.len() >= FRAME_HEADER_BYTES + length).then_some((kind, flags, length))
}

fn frame(bytes: &mut Vec<u8>, (kind, flags): (u8, u8), stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("it is short");
    bytes.extend_from_slice(&length.to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// One call: its headers, none of which is to be remembered, and its message.
fn call(bytes: &mut Vec<u8>, stream: u32, path: &str, message: &[u8]) {
    // POST and http, by their places in the static table of HPACK; then the names of path, authority and content type by
    // theirs, and one by itself.
    let mut headers = vec![0x83, 0x86];
    let mut named = |name: &[u8], value: &str| {
        headers.extend_from_slice(name);
        headers.push(u8::try_from(value.len()).expect("it is short"));
        headers.extend_from_slice(value.as_bytes());
    };
    named(&[0x04], path);
    named(&[0x01], "node");
    named(&[0x0f, 0x10], "application/grpc");
    named(b"\x00\x02te", "trailers");
    let mut data = vec![0];
    data.extend_from_slice(
        &u32::try_from(message.len())
            .expect("it is short")
            .to_be_bytes(),
    );
    data.extend_from_slice(message);
    frame(bytes, (HEADERS, END_HEADERS), stream, &headers);
    frame(bytes, (DATA, END_STREAM), stream, &data);
}
