//! Explained requests: what they tell of an owner that was killed or stands still before anybody knows it, and that the
//! times they tell are those that the caller measures.

use std::time::{Duration, Instant};

use shard_cache_client::{
    CallOptions, Client, ClientError, Consistency, Explain, Explained, OwnerAnswer, ReplicaRequest,
    Ttl, Value,
};

use crate::{
    cli::run,
    harness::{Cluster, Options, PATIENCE, Room, until},
};

const KEY: &str = "explained";
const DEADLINE: Duration = Duration::from_secs(2);
/// What the stages, and the caller's own measurement, may differ by.
const SHARE_MAX: f64 = 0.05;

/// The answer and its explanation.
fn told<T>(explained: Explained<T>) -> (T, Explain) {
    let answer = explained.outcome.expect("an answer");
    (answer, explained.explain.expect("it was asked for"))
}

async fn set(client: &Client, options: &CallOptions) -> Explain {
    let value = Value::from("v");
    let set = client.set_explained(KEY, value, Ttl::Default, options);
    let (written, explain) = told(set.await);
    assert!(written.stored >= 2);
    check(&explain);
    explain
}

async fn get(client: &Client) -> Explain {
    let begun = Instant::now();
    let options = CallOptions::default();
    let get = client.get_explained(KEY, &options);
    let (read, explain) = told(get.await);
    let measured = begun.elapsed();
    assert_eq!(read.hit.map(|hit| hit.value), Some(Value::from("v")));
    assert!(u128::from(explain.total_micros) <= measured.as_micros());
    check(&explain);
    explain
}

/// What every explanation has: three owners in falling score, requests to some of them, and stages that add up.
fn check(explain: &Explain) {
    assert_eq!(explain.coordinator, "n1");
    assert!(explain.needed == 2 && explain.number > 0, "{explain:?}");
    assert!(explain.root != 0 && explain.configuration != 0 && explain.ring_hash.len() == 16);
    assert_eq!(explain.owners.len(), 3, "{explain:?}");
    let scores: Vec<u64> = explain.owners.iter().map(|owner| owner.score).collect();
    assert!(scores.is_sorted_by(|a, b| a > b), "{explain:?}");
    assert!(explain.requests.len() >= 2, "{explain:?}");
    for request in &explain.requests {
        assert_eq!(request.local, request.node == "n1");
        assert!(request.sent_micros <= explain.total_micros, "{explain:?}");
        if let Some(answered) = request.answered_micros {
            assert!((request.sent_micros..=explain.total_micros).contains(&answered));
        }
        if request.answer == "ok" {
            assert!(
                request.version.is_some() && request.full == Some(true),
                "{explain:?}"
            );
        }
    }
    let names: Vec<&str> = explain
        .stages
        .iter()
        .map(|stage| stage.name.as_str())
        .collect();
    assert_eq!(names[..3], ["admission", "plan", "quorum"], "{explain:?}");
    assert_eq!(names.last(), Some(&"answer"));
    let sum: u64 = explain.stages.iter().map(|stage| stage.micros).sum();
    assert_is_near(sum, explain.total_micros);
}

fn assert_is_near(micros: u64, expected: u64) {
    let off = micros.abs_diff(expected) as f64;
    assert!(
        off <= expected as f64 * SHARE_MAX,
        "{micros} us, not {expected} us"
    );
}

fn owner<'a>(explain: &'a Explain, node: &str) -> &'a OwnerAnswer {
    let mut owners = explain.owners.iter();
    owners.find(|owner| owner.node == node).expect("an owner")
}

fn request<'a>(explain: &'a Explain, node: &str) -> Option<&'a ReplicaRequest> {
    let mut requests = explain.requests.iter();
    requests.find(|request| request.node == node)
}

/// The other node that n1 asks first, and the one that it does not ask.
async fn preferred(client: &Client) -> (String, String) {
    let explain = get(client).await;
    let peers = explain.requests.iter().filter(|request| !request.local);
    let asked = peers.map(|request| request.node.clone()).next();
    let asked = asked.expect("a quorum is more than one");
    let other = if asked == "n2" { "n3" } else { "n2" };
    (asked, other.to_owned())
}

#[tokio::test]
async fn an_owner_that_was_just_killed_is_told_with_its_failure_the_hint_and_the_next_choice() {
    let mut cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    let client = cluster[0].client_with(DEADLINE).await;
    let options = CallOptions::default();
    let well = set(&client, &options).await;
    assert_eq!(well.requests.len(), 3, "{well:?}");
    assert!(
        well.requests
            .iter()
            .all(|request| request.hint.is_empty() || request.answer == "pending")
    );
    let (dead, other) = preferred(&client).await;

    let index = if dead == "n2" { 1 } else { 2 };
    cluster[index].kill9();
    let read = get(&client).await;
    let written = set(&client, &options).await;

    // Nobody has declared it down: this is what the request itself met.
    for explain in [&read, &written] {
        assert_ne!(owner(explain, &dead).liveness, "down", "{explain:?}");
    }
    let failed = owner(&written, &dead);
    assert!(
        ["unreachable", "pending"].contains(&failed.answer.as_str()),
        "{written:?}"
    );
    let failed = request(&written, &dead).expect("all owners are asked to write");
    assert!(
        ["kept", "due"].contains(&failed.hint.as_str()),
        "{written:?}"
    );
    for node in ["n1", other.as_str()] {
        let stored = request(&written, node).expect("all owners are asked to write");
        assert_eq!(
            (stored.answer.as_str(), stored.hint.as_str()),
            ("ok", ""),
            "{written:?}"
        );
    }

    // The link may have broken before the read, which then asks the other one at once, or under it.
    let answered = request(&read, &other).expect("the next choice");
    assert_eq!(answered.answer, "ok", "{read:?}");
    let failed = owner(&read, &dead);
    let is_told = ["unreachable", "pending"].contains(&failed.answer.as_str());
    assert!(is_told, "{read:?}");
    if request(&read, &dead).is_some() {
        assert_ne!(answered.choice, "first", "{read:?}");
    } else {
        assert_eq!(failed.link, "down", "{read:?}");
    }

    // With the broken link known, the hint is kept before the answer goes out; people and programs see it.
    let at = cluster[0].addresses().grpc.to_string();
    let told = until("the hint is kept at once", PATIENCE, async || {
        let told = run(&[
            "set",
            KEY,
            "v",
            "--explain",
            "-o",
            "json",
            "--endpoint",
            &at,
        ])
        .await;
        assert_eq!(told.code, 0, "{told:?}");
        let requests = told.json()["explain"]["requests"].clone();
        let mut requests = requests.as_array().expect("a list").iter();
        let is_kept = requests.any(|request| {
            request["node"] == dead.as_str()
                && request["answer"] == "unreachable"
                && request["hint"] == "kept"
        });
        is_kept.then_some(()).ok_or_else(|| told.stdout.clone())
    });
    told.await;
    assert!(cluster[0].figure("shardcache_hints_pending", &[]).await > 0);
    let told = run(&["set", KEY, "v", "--explain", "--endpoint", &at]).await;
    for word in [
        "STAGE",
        "quorum",
        "total",
        "unreachable",
        "kept",
        dead.as_str(),
    ] {
        assert!(told.stdout.contains(word), "no {word}: {}", told.stdout);
    }
    let told = run(&["get", KEY, "--explain", "--endpoint", &at]).await;
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.stdout.starts_with("v\n"), "{}", told.stdout);
    for word in ["OWNER", "ASKED", "STAGE", "unreachable", dead.as_str()] {
        assert!(told.stdout.contains(word), "no {word}: {}", told.stdout);
    }
    println!("{}", told.stdout);
}

#[tokio::test]
async fn an_owner_that_stands_still_is_told_with_the_hedge_and_times_are_what_the_caller_measures()
{
    let options = Options::default().setting("client.hedging.ratio", 1);
    let cluster = Cluster::start(3, options, Room::alone().await).await;
    let client = cluster[0].client_with(DEADLINE).await;
    set(&client, &CallOptions::default()).await;
    let (frozen, other) = until("a read hedges", PATIENCE, async || {
        let (frozen, other) = preferred(&client).await;
        let index = if frozen == "n2" { 1 } else { 2 };
        cluster[index].freeze();
        let read = get(&client).await;
        let failed = owner(&read, &frozen).answer.as_str() == "pending";
        let next = request(&read, &other);
        if failed && next.is_some_and(|next| next.choice == "hedge" && next.answer == "ok") {
            return Ok((frozen, other));
        }
        // It had become the slower one between the two reads.
        cluster[index].thaw();
        Err(format!("{read:?}"))
    })
    .await;

    // A write to all owners that may make do with fewer waits for the one that stands still.
    let all = CallOptions {
        consistency: Consistency::All,
        degrade: true,
        ..CallOptions::default()
    };
    let begun = Instant::now();
    let write = client.set_explained(KEY, Value::from("w"), Ttl::Default, &all);
    let (written, explain) = told(write.await);
    let measured = begun.elapsed();
    assert!(written.degraded && measured >= DEADLINE / 2, "{measured:?}");
    assert_is_near(
        explain.total_micros,
        u64::try_from(measured.as_micros()).expect("short"),
    );
    let sum: u64 = explain.stages.iter().map(|stage| stage.micros).sum();
    assert_is_near(sum, explain.total_micros);
    let quorum = explain.stages.iter().find(|stage| stage.name == "quorum");
    assert_is_near(quorum.expect("a stage").micros, explain.total_micros);
    assert_eq!(explain.needed, 3);
    let silent = request(&explain, &frozen).expect("all owners are asked");
    // A link that is silent for about as long counts as broken.
    let is_told = ["pending", "unreachable"].contains(&silent.answer.as_str());
    assert!(is_told && silent.hint == "kept", "{explain:?}");
    assert_eq!(
        request(&explain, &other)
            .expect("all owners are asked")
            .answer,
        "ok"
    );
}

#[tokio::test]
async fn a_miss_is_told_with_its_cause_at_every_owner_that_answered() {
    let cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    let client = cluster[0].client_with(DEADLINE).await;
    let all = CallOptions {
        consistency: Consistency::All,
        ..CallOptions::default()
    };
    let causes = async || {
        let get = client.get_explained(KEY, &all);
        let (read, explain) = told(get.await);
        assert!(read.hit.is_none());
        let requests = explain.requests.into_iter();
        let read = requests.filter(|request| request.purpose == "read");
        let causes: Vec<_> = read.map(|request| (request.answer, request.miss)).collect();
        causes
    };
    let of = |cause: &str| vec![("miss".to_owned(), cause.to_owned()); 3];
    assert_eq!(causes().await, of("not_seen"));
    let short = Ttl::After(Duration::from_millis(1));
    let set = client.set(KEY, Value::from("v"), short, &all).await;
    let written = set.expect("stored");
    until("it expires", PATIENCE, async || {
        let read = client.get(KEY, &all).await.expect("all answer");
        assert_eq!(read.version, Some(written.version));
        read.hit
            .is_none()
            .then_some(())
            .ok_or("still there".to_owned())
    })
    .await;
    assert_eq!(causes().await, of("expired"));
    let (deleted, explain) = told(client.delete_explained(KEY, &all).await);
    assert!(!deleted.found && explain.requests.len() == 3);
    assert_eq!(causes().await, of("deleted"));
}

#[tokio::test]
async fn a_request_that_fails_is_explained_too() {
    let mut cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    let client = cluster[0].client_with(Duration::from_secs(1)).await;
    let options = CallOptions::default();
    set(&client, &options).await;

    // Sent, and never answered by enough.
    cluster[1].freeze();
    cluster[2].freeze();
    // The node answers a little before the caller's deadline, which a busy machine may miss.
    let explain = until(
        "the node answers before the deadline",
        PATIENCE,
        async || {
            let failed = client.set_explained(KEY, Value::from("w"), Ttl::Default, &options);
            let Explained { outcome, explain } = failed.await;
            let is_late = matches!(outcome, Err(ClientError::DeadlineExceeded { .. }));
            assert!(is_late, "{outcome:?}");
            explain.ok_or(format!("{outcome:?}"))
        },
    )
    .await;
    check(&explain);
    for node in ["n2", "n3"] {
        let silent = request(&explain, node).expect("all owners are asked");
        assert_ne!(silent.answer, "ok", "{explain:?}");
    }
    cluster[1].thaw();
    cluster[2].thaw();

    // Not sent at all.
    cluster[1].kill9();
    cluster[2].kill9();
    let at = cluster[0].addresses().grpc.to_string();
    until("the links are known to be down", PATIENCE, async || {
        let refused = run(&["get", KEY, "--explain", "-o", "json", "--endpoint", &at]).await;
        let is_refused = refused.code == 5 && refused.stderr.contains("no_quorum");
        is_refused.then_some(()).ok_or(format!("{refused:?}"))?;
        let owners = refused.json()["explain"]["owners"].clone();
        let owners = owners.as_array().expect("a list").iter();
        let away =
            owners.filter(|owner| owner["answer"] == "unreachable" && owner["link"] == "down");
        assert_eq!(away.count(), 2, "{refused:?}");
        Ok(())
    })
    .await;
}
