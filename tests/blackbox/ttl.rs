//! Values live as long as they were given.

use std::time::{Duration, Instant};

use shard_cache_client::{CallOptions, Client, Ttl, Value};
use shard_cache_proto::cache::{self, SetRequest, cache_service_client::CacheServiceClient};
use tonic::Code;

use crate::harness::{Cluster, Options, Room, http, until};

const LIFE: Duration = Duration::from_secs(2);
/// The promise: not served later than this after its expiry.
const GRACE: Duration = Duration::from_millis(500);
/// Reads at each node before the expiry and after the grace that the test insists on.
const READS_MIN: usize = 3;

#[tokio::test]
async fn a_value_is_served_until_it_expires_and_not_afterwards() {
    let cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    let clients = cluster.clients().await;
    let call = CallOptions::default();
    let begun = Instant::now();
    let set = clients[0]
        .set("mortal", Value::from("v"), Ttl::After(LIFE), &call)
        .await;
    set.expect("a whole cluster takes writes");
    let acked = Instant::now();
    // The coordinator fixed the expiry somewhere between these two.
    let (served_until, gone_from) = (begun + LIFE, acked + LIFE + GRACE);
    for client in &clients {
        let read = client.get("mortal", &call).await.expect("an answer");
        let left = read
            .hit
            .expect("it lives")
            .expires_in
            .expect("it has a life");
        assert!(left <= LIFE && left > LIFE / 4, "{left:?} left");
    }
    let watches = clients
        .iter()
        .map(|client| watch(client, served_until, gone_from));
    for (hits, misses) in futures_util::future::join_all(watches).await {
        assert!(
            hits >= READS_MIN && misses >= READS_MIN,
            "{hits} hits, {misses} misses"
        );
    }
    until(
        "it is removed from every store",
        Duration::from_secs(10),
        async || match cluster.sum(&[0, 1, 2], "shardcache_entries", &[]).await {
            0 => Ok(()),
            entries => Err(format!("{entries} entries")),
        },
    )
    .await;
    assert!(
        cluster
            .sum(&[0, 1, 2], "shardcache_expired_total", &[])
            .await
            >= 2
    );
}

/// Reads until after the grace. Returns the hits before the expiry and the misses after the grace.
async fn watch(client: &Client, served_until: Instant, gone_from: Instant) -> (usize, usize) {
    let (mut hits, mut misses) = (0, 0);
    while misses < READS_MIN {
        let begun = Instant::now();
        let read = client
            .get("mortal", &CallOptions::default())
            .await
            .expect("an answer");
        let is_hit = read.hit.is_some();
        if Instant::now() < served_until {
            assert!(is_hit, "a miss at {} before the expiry", client.endpoint());
            hits += 1;
        }
        if begun > gone_from {
            assert!(
                !is_hit,
                "served at {} after expiry and grace",
                client.endpoint()
            );
            misses += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (hits, misses)
}

#[tokio::test]
async fn a_missing_ttl_takes_the_default_and_an_explicit_zero_is_for_ever() {
    let options = Options::default().setting("server.cache.default_ttl", "90s");
    let cluster = Cluster::start(2, options, Room::shared().await).await;
    let clients = cluster.clients().await;
    let call = CallOptions::default();
    let hour = Duration::from_secs(3600);
    for (key, ttl) in [
        ("default", Ttl::Default),
        ("never", Ttl::Never),
        ("hour", Ttl::After(hour)),
    ] {
        clients[0]
            .set(key, Value::from("v"), ttl, &call)
            .await
            .expect("a write");
    }
    for client in &clients {
        let mut left = Vec::new();
        for key in ["default", "never", "hour"] {
            let read = client.get(key, &call).await.expect("an answer");
            left.push(read.hit.expect("a hit").expires_in);
        }
        let second = Duration::from_secs(1);
        assert!(
            left[0].is_some_and(|left| left <= 90 * second && left > 60 * second),
            "{left:?}"
        );
        assert_eq!(left[1], None);
        assert!(
            left[2].is_some_and(|left| left <= hour && left > hour - 30 * second),
            "{left:?}"
        );
    }
    let http = cluster[1].addresses().http;
    for (query, shown) in [("?ttl=60s", Some("60")), ("?ttl=0", None), ("", Some("90"))] {
        let put = http::request(http, "PUT", &format!("/v1/keys/h{query}"), &[], b"v").await;
        assert_eq!(put.expect("an answer").status, 204);
        let read = cluster[0].http("/v1/keys/h").await.expect("an answer");
        let left = read.header("x-shardcache-ttl-seconds");
        let whole = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
        match (whole(left), whole(shown)) {
            (Some(left), Some(shown)) => assert!((shown - 10..=shown).contains(&left), "{left}"),
            (left, shown) => assert_eq!(left, shown, "{query}"),
        }
    }
}

#[tokio::test]
async fn a_negative_or_endless_ttl_is_refused_by_name() {
    let cluster = Cluster::start(1, Options::default(), Room::shared().await).await;
    let endpoint = format!("http://{}", cluster[0].addresses().grpc);
    let mut service = CacheServiceClient::connect(endpoint)
        .await
        .expect("a connection");
    let years = 315_360_000;
    let set = |ttl| SetRequest {
        key: "k".to_owned(),
        data: Some(cache::set_request::Data::Value("v".to_owned())),
        ttl: Some(ttl),
        ..SetRequest::default()
    };
    for (ttl, words) in [
        (
            cache::Ttl {
                seconds: -1,
                nanos: 0,
            },
            ["negative", "-1"],
        ),
        (
            cache::Ttl {
                seconds: 0,
                nanos: -1,
            },
            ["negative", "-1"],
        ),
        (
            cache::Ttl {
                seconds: years + 1,
                nanos: 0,
            },
            ["315360001", "315360000"],
        ),
        (
            cache::Ttl {
                seconds: years,
                nanos: 1,
            },
            ["315360000", "10 years"],
        ),
        (
            cache::Ttl {
                seconds: i64::MAX,
                nanos: 0,
            },
            ["9223372036854775807", "10 years"],
        ),
        (
            cache::Ttl {
                seconds: 1,
                nanos: 1_000_000_000,
            },
            ["1000000000", "999999999"],
        ),
    ] {
        let refused = service.set(set(ttl)).await.expect_err("an illegal ttl");
        assert_eq!(refused.code(), Code::InvalidArgument, "{ttl:?}: {refused}");
        let message = refused.message();
        assert!(
            words.iter().all(|word| message.contains(word)),
            "{ttl:?}: {message}"
        );
    }
    service
        .set(set(cache::Ttl {
            seconds: years,
            nanos: 0,
        }))
        .await
        .expect("ten years are legal");
    let http = cluster[0].addresses().http;
    for ttl in ["-1", "11years", "soon"] {
        let put = http::request(http, "PUT", &format!("/v1/keys/k?ttl={ttl}"), &[], b"v").await;
        assert_eq!(put.expect("an answer").status, 400, "{ttl}");
    }
}
