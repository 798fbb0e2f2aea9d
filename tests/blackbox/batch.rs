//! Many keys in one call: order, outcomes of their own, bounds, and what it saves.

use std::time::Duration;

use shard_cache_client::{CallOptions, ClientError, Outcome, Ttl, Value};

use crate::harness::{Cluster, Options, Room};

const KEYS: usize = 500;

fn patient() -> CallOptions {
    CallOptions {
        timeout: Some(Duration::from_secs(10)),
        ..CallOptions::default()
    }
}

#[tokio::test]
async fn many_keys_are_written_read_and_deleted_in_one_call_each() {
    let cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    let clients = cluster.clients().await;
    let names: Vec<String> = (0..KEYS).map(|place| format!("key-{place}")).collect();
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    let value = |place: usize| Value::from(format!("value-{place}"));
    let ttl = |place: usize| match place % 2 {
        0 => Ttl::Never,
        _ => Ttl::After(Duration::from_secs(100)),
    };
    let values = (0..KEYS).map(|place| (names[place].clone(), value(place), ttl(place)));
    let mut values: Vec<_> = values.collect();
    // Of two values of one key the last one wins.
    values.push(("key-0".to_owned(), Value::from("last"), Ttl::Never));
    // One that is refused holds up nobody.
    values.insert(7, (String::new(), value(0), Ttl::Never));

    let batches = || cluster.sum(&[0, 1, 2], "shardcache_link_batches_total", &[]);
    let before = batches().await;
    let written = clients[0]
        .set_many(values, &patient())
        .await
        .expect("an answer");
    let batched = batches().await - before;

    assert_eq!(written.len(), KEYS + 2);
    for (place, one) in written.iter().enumerate() {
        match one {
            Err(ClientError::Rejected { message, .. }) if place == 7 => {
                assert!(message.contains("key is empty"), "{message}");
            }
            Ok(written) if place != 7 => assert!(written.stored >= 2),
            other => panic!("item {place}: {other:?}"),
        }
    }
    // One call for each would be at least a message to and from two owners.
    assert!(batched < KEYS as u64, "{batched} messages between nodes");

    let mut asked = keys.clone();
    asked.push("absent");
    let read = clients[1]
        .get_many(&asked, &patient())
        .await
        .expect("an answer");
    for (place, one) in read.into_iter().enumerate() {
        let hit = one.expect("a whole cluster answers").hit;
        let Some(hit) = hit else {
            assert_eq!(place, KEYS, "only the absent key is missed");
            continue;
        };
        let expected = if place == 0 {
            Value::from("last")
        } else {
            value(place)
        };
        assert_eq!(hit.value, expected);
        assert_eq!(hit.expires_in.is_some(), place % 2 == 1, "key {place}");
    }

    let deleted = clients[2]
        .delete_many(&asked, &patient())
        .await
        .expect("an answer");
    let found = deleted
        .into_iter()
        .map(|one| one.expect("a whole cluster deletes").found);
    assert_eq!(found.filter(|found| *found).count(), KEYS);
    let read = clients[0]
        .get_many(&keys, &patient())
        .await
        .expect("an answer");
    assert!(
        read.into_iter()
            .all(|one| one.expect("an answer").hit.is_none())
    );
}

#[tokio::test]
async fn a_batch_and_its_answer_are_bounded_and_what_does_not_fit_is_named() {
    let options = Options::default()
        .setting("server.limits.max_batch_items", 10)
        .setting("server.limits.max_batch_bytes", "64KiB");
    let cluster = Cluster::start(1, options, Room::shared().await).await;
    let client = cluster.client(0).await;
    let refused = |result: Result<Vec<_>, ClientError>| match result {
        Err(error @ ClientError::Rejected { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let none = refused(client.get_many(&[], &patient()).await);
    assert!(none.contains("0 items: 1 to 10"), "{none}");
    let many = refused(client.get_many(&["k"; 11], &patient()).await);
    assert!(many.contains("11 items: 1 to 10"), "{many}");
    let large = |name: &str| (name.to_owned(), Value::from("v".repeat(20_000)), Ttl::Never);
    let too_much = client
        .set_many(["a", "b", "c", "d"].map(large).into(), &patient())
        .await;
    match too_much {
        Err(error @ ClientError::Rejected { .. }) => {
            assert!(error.to_string().contains("at most 65536"), "{error}");
            assert_eq!(error.outcome(), Outcome::NotApplied);
        }
        other => panic!("{other:?}"),
    }
    for pair in [["a", "b"], ["c", "d"]] {
        let written = client.set_many(pair.map(large).into(), &patient()).await;
        assert!(written.expect("an answer").iter().all(Result::is_ok));
    }
    let read = client.get_many(&["a", "b", "c", "d"], &patient()).await;
    let read = read.expect("an answer");
    assert!(
        read[..3]
            .iter()
            .all(|one| one.as_ref().is_ok_and(|read| read.hit.is_some()))
    );
    let left = read[3]
        .as_ref()
        .expect_err("the answer is full")
        .to_string();
    assert!(left.contains("more than 65536 bytes"), "{left}");
}
