//! What is accepted comes back exactly, at another node; what is not is refused with the limit and the size.

use shard_cache_client::{CallOptions, Client, ClientError, Ttl, Value};
use shard_cache_proto::cache::{SetRequest, cache_service_client::CacheServiceClient};
use tonic::Code;

use crate::harness::{Cluster, Options, Room, http};

const KEY_BYTES_MAX: usize = 1024;
const VALUE_BYTES_MAX: usize = 1024 * 1024;

#[tokio::test]
async fn what_is_within_the_limits_comes_back_exactly() {
    let cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    let clients = cluster.clients().await;
    let large: Vec<u8> = (0..VALUE_BYTES_MAX).map(|at| (at % 251) as u8).collect();
    let every_byte: Vec<u8> = (0..=255).collect();
    let legal: Vec<(String, Value)> = vec![
        ("large bytes".to_owned(), Value::from(large)),
        (
            "large text".to_owned(),
            Value::from("é".repeat(VALUE_BYTES_MAX / 2)),
        ),
        ("k".repeat(KEY_BYTES_MAX), Value::from("long key")),
        (
            "é".repeat(KEY_BYTES_MAX / 2),
            Value::from("long key of wide characters"),
        ),
        (
            "nul \0 and ansi \u{1b}[31m".to_owned(),
            Value::from("\0\u{1b}[2J\r\n\u{7f}"),
        ),
        ("every byte".to_owned(), Value::from(every_byte)),
        (
            "../etc?a=b&c#d %2f".to_owned(),
            Value::from("a key that is no path"),
        ),
        ("empty text".to_owned(), Value::from("")),
        ("empty bytes".to_owned(), Value::from(Vec::new())),
        // Bytes that are text stay bytes.
        ("bytes".to_owned(), Value::from(b"text".to_vec())),
        ("text".to_owned(), Value::from("text")),
    ];
    for (number, (key, value)) in legal.iter().enumerate() {
        let writer = &clients[number % 3];
        let set = writer
            .set(key, value.clone(), Ttl::Default, &CallOptions::default())
            .await;
        set.unwrap_or_else(|error| panic!("{key:.30?}: {error}"));
        for reader in &clients {
            let read = reader
                .get(key, &CallOptions::default())
                .await
                .expect("an answer");
            let found = read.hit.map(|hit| hit.value);
            assert!(
                found.as_ref() == Some(value),
                "{key:.30?} at {}",
                reader.endpoint()
            );
        }
        // The same key by its URL.
        let path = format!("/v1/keys/{}", http::encoded(key));
        let read = cluster[number % 3].http(&path).await.expect("an answer");
        assert_eq!(read.status, 200, "{key:.30?}");
        assert!(read.body == value.as_bytes(), "{key:.30?} by its URL");
        let kind = read
            .header("content-type")
            .expect("a type")
            .starts_with("text/plain");
        assert_eq!(kind, matches!(value, Value::Text(_)), "{key:.30?}");
    }
}

#[tokio::test]
async fn what_is_beyond_the_limits_is_refused_with_limit_and_size() {
    let cluster = Cluster::start(2, Options::default(), Room::shared().await).await;
    let client = cluster.client(1).await;
    let long_key = "k".repeat(KEY_BYTES_MAX + 1);
    let large = Value::from(vec![1; VALUE_BYTES_MAX + 1]);
    let refusals = [
        (
            refusal_of_set(&client, "k", large).await,
            ["1048577", "1048576"],
        ),
        (
            refusal_of_set(&client, &long_key, Value::from("v")).await,
            ["1025", "1024"],
        ),
        (
            refusal_of_set(&client, "", Value::from("v")).await,
            ["empty", "1024"],
        ),
        (
            refusal(client.get(&long_key, &CallOptions::default()).await),
            ["1025", "1024"],
        ),
        (
            refusal(client.get("", &CallOptions::default()).await),
            ["empty", "1024"],
        ),
        (
            refusal(client.delete("", &CallOptions::default()).await),
            ["empty", "1024"],
        ),
    ];
    for (message, words) in refusals {
        assert!(
            words.iter().all(|word| message.contains(word)),
            "{words:?}: {message}"
        );
    }
    // Nothing of it was stored.
    let read = client
        .get("k", &CallOptions::default())
        .await
        .expect("an answer");
    assert_eq!(read.hit, None);
}

#[tokio::test]
async fn a_set_without_a_payload_or_with_an_unknown_level_is_refused() {
    let cluster = Cluster::start(1, Options::default(), Room::shared().await).await;
    let endpoint = format!("http://{}", cluster[0].addresses().grpc);
    let mut service = CacheServiceClient::connect(endpoint)
        .await
        .expect("a connection");
    let empty = SetRequest {
        key: "k".to_owned(),
        ..SetRequest::default()
    };
    let refused = service.set(empty.clone()).await.expect_err("no payload");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("payload"), "{refused}");
    let data = Some(shard_cache_proto::cache::set_request::Data::Value(
        "v".to_owned(),
    ));
    let refused = service
        .set(SetRequest {
            data,
            consistency: 9,
            ..empty
        })
        .await;
    let refused = refused.expect_err("an unknown level");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains('9'), "{refused}");
}

async fn refusal_of_set(client: &Client, key: &str, value: Value) -> String {
    refusal(
        client
            .set(key, value, Ttl::Default, &CallOptions::default())
            .await,
    )
}

fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    match result {
        Err(ClientError::Rejected {
            code: Code::InvalidArgument,
            message,
        }) => message,
        other => panic!("not refused as an invalid argument: {other:?}"),
    }
}
