//! The HTTP port.

use serde_json::Value;
use shard_cache_client::{CallOptions, Ttl};

use crate::harness::{Cluster, Launch, Options, PATIENCE, Room, http, until};

#[tokio::test]
async fn keys_answer_with_the_status_of_what_happened() {
    let cluster = Cluster::start(2, Options::default(), Room::shared().await).await;
    let at = cluster[0].addresses().http;
    let large = vec![1; 1024 * 1024 + 1];
    let key = |query: &str| format!("/v1/keys/k{query}");
    let cases: Vec<(&str, String, &[u8], u16)> = vec![
        ("GET", key(""), b"", 404),
        ("DELETE", key(""), b"", 204),
        ("PUT", key("?ttl=60s&consistency=all"), b"v", 204),
        ("GET", key("?consistency=one"), b"", 200),
        ("GET", key("?consistency=ALL"), b"", 200),
        ("GET", key("?consistency=most"), b"", 400),
        ("PUT", key("?ttl=-1"), b"v", 400),
        ("GET", key("?ttl=60s"), b"", 400),
        ("GET", key("?tll=60s"), b"", 400),
        ("PUT", "/v1/keys/".to_owned(), b"v", 400),
        ("PUT", format!("/v1/keys/{}", "k".repeat(1025)), b"v", 400),
        ("GET", "/v1/keys/%ff".to_owned(), b"", 400),
        ("PUT", key(""), &large, 413),
        ("POST", key(""), b"v", 405),
        ("GET", "/v1/keyz/k".to_owned(), b"", 404),
        ("DELETE", key(""), b"", 204),
        ("GET", key(""), b"", 404),
    ];
    for (method, path, body, status) in cases {
        let answer = http::request(at, method, &path, &[], body)
            .await
            .expect("an answer");
        assert_eq!(
            answer.status,
            status,
            "{method} {path:.60}: {}",
            answer.text()
        );
        if status >= 400 {
            let message = answer.json()["error"]["message"].as_str().map(str::len);
            assert!(
                message.is_some_and(|length| length > 0),
                "{method} {path:.60}"
            );
        }
    }
}

#[tokio::test]
async fn the_body_comes_back_in_its_form_and_headers_tell_the_rest() {
    let cluster = Cluster::start(2, Options::default(), Room::shared().await).await;
    let (first, second) = (cluster[0].addresses().http, cluster[1].addresses().http);
    let text = [("content-type", "text/plain")];
    let put = http::request(
        first,
        "PUT",
        "/v1/keys/a/b?ttl=1m",
        &text,
        "grüße".as_bytes(),
    )
    .await;
    let put = put.expect("an answer");
    assert_eq!(put.status, 204);
    assert_eq!(put.header("x-shardcache-stored"), Some("2"));
    let read = http::get(second, "/v1/keys/a%2Fb")
        .await
        .expect("an answer");
    assert_eq!(read.text(), "grüße");
    assert_eq!(
        read.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(read.header("x-shardcache-degraded"), Some("false"));
    assert_eq!(
        read.header("x-shardcache-version"),
        put.header("x-shardcache-version")
    );
    let put = http::request(first, "PUT", "/v1/keys/bytes", &[], &[0, 255, 10]).await;
    assert_eq!(put.expect("an answer").status, 204);
    let read = http::get(second, "/v1/keys/bytes")
        .await
        .expect("an answer");
    assert_eq!(read.body, [0, 255, 10]);
    assert_eq!(
        read.header("content-type"),
        Some("application/octet-stream")
    );
}

#[tokio::test]
async fn a_node_that_waits_for_others_is_alive_but_neither_started_nor_ready() {
    let room = Room::shared().await;
    let first = Launch::new("n1", 2).start().await;
    for (path, status) in [
        ("/health", 200),
        ("/livez", 200),
        ("/startupz", 503),
        ("/readyz", 503),
    ] {
        assert_eq!(
            first.http(path).await.expect("an answer").status,
            status,
            "{path}"
        );
    }
    assert_eq!(
        first.health().await.expect("an answer")["status"],
        "joining"
    );
    let refused = first.http("/v1/keys/k").await.expect("an answer");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["error"]["reason"], "joining");
    let second = Launch::new("n2", 2)
        .seed(first.addresses().peer)
        .start()
        .await;
    let cluster = Cluster::of(vec![first, second], room);
    cluster.wait_until_ready().await;
    for node in cluster.nodes() {
        for path in ["/health", "/livez", "/startupz", "/readyz"] {
            assert_eq!(
                node.http(path).await.expect("an answer").status,
                200,
                "{path}"
            );
        }
        let health = node.health().await.expect("an answer");
        assert_eq!(health["node"], node.name());
        assert_eq!(health["members_known"], 2);
        assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    }
}

#[tokio::test]
async fn metrics_are_prometheus_text_and_json_and_count() {
    let cluster = Cluster::start(2, Options::default(), Room::shared().await).await;
    let node = &cluster[0];
    let gets = [("api", "http"), ("op", "get"), ("code", "OK")];
    let before = node.figure("shardcache_requests_total", &gets).await;
    for _ in 0..3 {
        assert_eq!(
            node.http("/v1/keys/absent")
                .await
                .expect("an answer")
                .status,
            404
        );
    }
    until("the requests are counted", PATIENCE, async || {
        match node.metric("shardcache_requests_total", &gets).await? - before {
            3 => Ok(()),
            counted => Err(format!("{counted} are")),
        }
    })
    .await;
    let text = node.http("/metrics").await.expect("an answer");
    assert!(
        text.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain"))
    );
    let samples = check_text(&text.text());
    for name in [
        "shardcache_request_duration_seconds_bucket",
        "shardcache_entries",
        "shardcache_members",
        "shardcache_hints_pending",
        "shardcache_evictions_total",
        "shardcache_gossip_rejected_total",
        "process_resident_memory_bytes",
    ] {
        assert!(samples.iter().any(|sample| sample == name), "no {name}");
    }
    for asked in [
        node.http("/metrics?format=json").await,
        accept(node.addresses().http).await,
    ] {
        let json = asked.expect("an answer").json();
        let Value::Object(metrics) = &json else {
            panic!("no object: {json}")
        };
        assert!(metrics.values().all(Value::is_array));
        let alive = &json["shardcache_members"][0];
        assert_eq!(
            (&alive["labels"]["state"], &alive["value"]),
            (&"alive".into(), &2.into())
        );
    }
}

#[tokio::test]
async fn the_bytes_of_clients_are_counted_by_api() {
    const BYTES: u64 = 5000;
    let cluster = Cluster::start(2, Options::default(), Room::shared().await).await;
    let node = &cluster[0];
    let counted = async |api| {
        let labels = [("api", api)];
        let received = node.figure("shardcache_request_bytes_total", &labels).await;
        let sent = node
            .figure("shardcache_response_bytes_total", &labels)
            .await;
        (received, sent)
    };
    let value = "v".repeat(BYTES as usize);
    let target = "/v1/keys/key";
    let stored = http::request(node.addresses().http, "PUT", target, &[], value.as_bytes());
    assert_eq!(stored.await.expect("an answer").status, 204);
    node.http(target).await.expect("an answer");
    assert_eq!(counted("http").await, (BYTES, BYTES));

    // Keys and the rest of the messages come on top.
    let rest = 1..200;
    let (client, options) = (cluster.client(0).await, CallOptions::default());
    let (received, sent) = counted("grpc").await;
    let value = shard_cache_client::Value::from(value.as_str());
    let written = client.set("key", value, Ttl::Default, &options).await;
    written.expect("it is stored");
    client.get("key", &options).await.expect("it is read");
    let (received_once, sent_once) = counted("grpc").await;
    assert!(rest.contains(&(received_once - received - BYTES)));
    assert!(rest.contains(&(sent_once - sent - BYTES)));
    // Batches are answered in another way.
    let read = client.get_many(&["key", "absent"], &options).await;
    read.expect("they are read");
    let (received_twice, sent_twice) = counted("grpc").await;
    assert!(rest.contains(&(received_twice - received_once)));
    assert!(rest.contains(&(sent_twice - sent_once - BYTES)));
}

async fn accept(at: std::net::SocketAddr) -> Result<http::Answer, String> {
    http::request(
        at,
        "GET",
        "/metrics",
        &[("accept", "application/json")],
        b"",
    )
    .await
}

/// Checks each line of a classic exposition; returns the names of the samples.
fn check_text(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            assert!(
                comment.starts_with("HELP ") || comment.starts_with("TYPE "),
                "{line}"
            );
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = series.split('{').next().unwrap_or_default();
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        assert!(!name.is_empty() && name.bytes().all(is_legal), "{line}");
        assert_eq!(series.contains('{'), series.ends_with('}'), "{line}");
        names.push(name.to_owned());
    }
    names
}
