//! Profiles of a running node, as `go tool pprof` fetches them.

use std::{io::Read as _, time::Duration};

use flate2::read::GzDecoder;
use pprof::protos::{Message as _, Profile};

use crate::harness::{
    Launch, Room,
    load::{Load, LoadOptions},
    node::NodeProcess,
};

/// The profile at a path, and the names of all functions in it.
async fn profile(node: &NodeProcess, path: &str) -> (Profile, Vec<String>) {
    let answer = node.http(path).await.expect("an answer");
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    let mut bytes = Vec::new();
    GzDecoder::new(answer.body.as_slice())
        .read_to_end(&mut bytes)
        .expect("a profile is gzipped");
    let profile = Profile::parse_from_bytes(&bytes).expect("a profile has the form of one");
    let name = |place: i64| {
        let place = usize::try_from(place).expect("a place in the table");
        profile.string_table[place].clone()
    };
    let names = profile.function.iter().map(|function| name(function.name));
    let names = names.collect();
    (profile, names)
}

fn unit(profile: &Profile) -> &str {
    let place = profile.sample_type[0].unit;
    &profile.string_table[usize::try_from(place).expect("a place in the table")]
}

#[tokio::test]
async fn cpu_heap_and_tasks_are_profiled_with_names() {
    let _room = Room::shared().await;
    let node = Launch::new("n1", 1).start().await;
    let client = node.client().await;
    let options = LoadOptions {
        writers: 4,
        pause: Duration::from_millis(1),
    };
    let load = Load::start(&[client], options);
    load.wait_for(10).await;

    let (cpu, names) = profile(&node, "/debug/pprof/profile?seconds=1").await;
    assert!(!cpu.sample.is_empty(), "there is load");
    assert!(
        names.iter().any(|name| name.contains("shard_cache")),
        "{names:?}"
    );

    let (heap, names) = profile(&node, "/debug/pprof/heap").await;
    assert_eq!(unit(&heap), "bytes");
    let held: i64 = heap.sample.iter().map(|sample| sample.value[0]).sum();
    assert!(held > 0, "{names:?}");
    assert!(
        heap.drop_frames > 0,
        "the allocator itself is not of interest"
    );

    let (tasks, names) = profile(&node, "/debug/pprof/goroutine").await;
    assert_eq!(unit(&tasks), "count");
    for name in ["client connection", "client port", "hint delivery"] {
        assert!(names.iter().any(|found| found == name), "{names:?}");
    }
    drop(load);

    let short = node.http("/debug/pprof/goroutine?debug=1").await;
    let short = short.expect("an answer").text();
    assert!(short.contains(" client port: oldest "), "{short}");
    let long = node.http("/debug/pprof/goroutine?debug=2").await;
    assert!(long.expect("an answer").text().contains(" [waiting]: "));
    let index = node.http("/debug/pprof/").await.expect("an answer");
    assert!(index.text().contains("heap"));
}

#[tokio::test]
async fn one_profile_is_taken_at_a_time_and_its_length_is_bounded() {
    let _room = Room::shared().await;
    let node = Launch::new("n1", 1).start().await;
    for seconds in ["0", "61", "-1", "x"] {
        let path = format!("/debug/pprof/profile?seconds={seconds}");
        let refused = node.http(&path).await.expect("an answer");
        let message = refused.json()["error"]["message"].to_string();
        assert_eq!(refused.status, 400, "{message}");
        assert!(
            message.contains(seconds) && message.contains("60"),
            "{message}"
        );
    }
    let (first, second) = tokio::join!(
        node.http("/debug/pprof/profile?seconds=2"),
        node.http("/debug/pprof/profile?seconds=2"),
    );
    let mut statuses = [first, second].map(|answer| answer.expect("an answer").status);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 429]);
    let again = node.http("/debug/pprof/goroutine").await;
    assert_eq!(again.expect("an answer").status, 200);
}

#[tokio::test]
async fn profiles_can_be_off() {
    let _room = Room::shared().await;
    let node = Launch::new("n1", 1)
        .setting("debug.pprof", "off")
        .start()
        .await;
    let refused = node.http("/debug/pprof/heap").await.expect("an answer");
    assert_eq!(refused.status, 404);
    assert!(refused.text().contains("debug.pprof"), "{}", refused.text());
}
