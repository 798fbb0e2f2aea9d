//! Explanations: whom a request asked, what came of it, and that the stages make up the whole.

use super::*;
use crate::coordinator::explanation::{Choice, Explanation, Hint, Purpose, ReplicaRequest, Stage};

fn explanation<T>(
    answered: Result<T, impl std::fmt::Debug>,
    of: fn(T) -> Option<Box<Explanation>>,
) -> Explanation {
    *of(answered.expect("answered")).expect("asked for")
}

async fn explained_set(world: &World) -> Explanation {
    explanation(world.set("one").await, |written| written.explain)
}

async fn explained_get(world: &World) -> Explanation {
    explanation(world.get().await, |read| read.explain)
}

fn to(explanation: &Explanation, node: usize) -> Vec<&ReplicaRequest> {
    let requests = explanation.requests.iter();
    requests
        .filter(|request| request.node_id == NODES[node])
        .collect()
}

/// Stages that were entered, and that they add up.
fn stages(world: &World, explanation: &Explanation) -> Vec<Stage> {
    let (stages, total) = explanation.micros(world.clock.monotonic());
    assert_eq!(stages.iter().map(|(_, taken)| taken).sum::<u64>(), total);
    stages.into_iter().map(|(stage, _)| stage).collect()
}

#[tokio::test]
async fn a_write_tells_of_every_owner_and_of_the_hint_for_the_one_that_is_away() {
    let world = World::new();
    world.let_be(2, Behaviour::Unreachable);
    let explanation = explained_set(&world).await;
    assert_eq!(
        stages(&world, &explanation),
        [Stage::Admission, Stage::Plan, Stage::Quorum, Stage::Answer]
    );
    assert_eq!((explanation.needed, explanation.attempts), (2, 1));
    assert_eq!(explanation.owners.len(), 3);
    let scores: Vec<u64> = explanation.owners.iter().map(|owner| owner.score).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    assert_eq!(explanation.requests.len(), 3);
    for request in &explanation.requests {
        assert_eq!((request.purpose, request.attempt), (Purpose::Write, 1));
        assert!(
            request
                .answered
                .is_some_and(|answered| answered >= request.sent)
        );
        let is_away = request.node_id == NODES[2];
        let (answer, hint) = if is_away {
            (OwnerAnswer::Unreachable, Hint::Kept)
        } else {
            (OwnerAnswer::Ok, Hint::None)
        };
        assert_eq!((request.reply.answer, request.hint), (answer, hint));
        assert_eq!(request.reply.version.is_some(), !is_away);
        assert_eq!(request.is_local, request.node_id == NODES[0]);
    }
    assert_eq!(world.hints.targets(), [NODES[2]], "it is kept indeed");
    let away = explanation
        .owners
        .iter()
        .find(|owner| owner.reach == Some(Reach::Down));
    let away = away.expect("its link is down");
    assert_eq!(
        (away.answer, away.is_full),
        (OwnerAnswer::Unreachable, None)
    );
}

#[tokio::test]
async fn a_hint_for_an_owner_that_keeps_silent_is_due_and_none_is_kept_yet() {
    let world = World::new();
    world.let_be(1, Behaviour::Silent);
    let explanation = explained_set(&world).await;
    let silent = to(&explanation, 1)[0];
    assert_eq!(
        (silent.reply.answer, silent.hint, silent.answered),
        (OwnerAnswer::Pending, Hint::Due, None)
    );
    assert_eq!(world.owed(), 0);
}

#[tokio::test]
async fn a_write_that_is_stamped_anew_tells_of_both_attempts() {
    let world = World::new();
    let ahead = record(&world.clock, 300, "ahead");
    world.put(1, ahead.clone());
    world.put(2, ahead.clone());
    let explanation = explained_set(&world).await;
    assert_eq!((explanation.attempts, explanation.restamps), (2, 1));
    let answers: Vec<_> = to(&explanation, 1)
        .iter()
        .map(|request| (request.attempt, request.reply.answer, request.hint))
        .collect();
    assert_eq!(
        answers,
        [
            (1, OwnerAnswer::Newer, Hint::None),
            (2, OwnerAnswer::Ok, Hint::None)
        ]
    );
    assert_eq!(to(&explanation, 1)[0].reply.version, Some(ahead.version));
    stages(&world, &explanation);
}

#[tokio::test]
async fn a_read_tells_why_it_turned_to_another_owner() {
    let world = World::new();
    world.set("one").await.unwrap();
    let mut choices = Vec::new();
    for (behaviour, expected) in [
        (Behaviour::Breaks, Choice::Next),
        (Behaviour::Silent, Choice::Hedge),
    ] {
        // Only one of the two is asked at first.
        for node in [1, 2] {
            world.let_be(node, behaviour);
            let explanation = explained_get(&world).await;
            world.let_be(node, Behaviour::Answers);
            let Some(failed) = to(&explanation, node).first().copied() else {
                assert_eq!(explanation.requests.len(), 2);
                continue;
            };
            let later = to(&explanation, 3 - node)[0];
            assert_eq!(failed.choice, Choice::First);
            assert_eq!(
                (later.choice, later.reply.answer),
                (expected, OwnerAnswer::Ok)
            );
            assert!(later.sent >= failed.sent);
            choices.push(later.choice);
        }
    }
    assert_eq!(choices, [Choice::Next, Choice::Hedge]);
}

#[tokio::test]
async fn a_read_tells_what_it_wrote_back_and_how_long_that_took() {
    let world = World::new();
    world.set("old").await.unwrap();
    world.put(0, record(&world.clock, 100, "new"));
    let explanation = explained_get(&world).await;
    assert_eq!(
        stages(&world, &explanation),
        [
            Stage::Admission,
            Stage::Plan,
            Stage::Quorum,
            Stage::WriteBack,
            Stage::Answer
        ]
    );
    let written = explanation.requests.iter();
    let written = written.filter(|request| request.purpose == Purpose::WriteBack);
    assert_eq!(written.count(), 3);
}

#[tokio::test]
async fn a_miss_has_a_cause_at_every_owner_that_answered() {
    let world = World::new();
    let causes = |explanation: &Explanation| -> Vec<_> {
        let requests = explanation.requests.iter();
        let read = requests.filter(|request| request.purpose == Purpose::Read);
        read.map(|request| (request.reply.answer, request.reply.miss()))
            .collect()
    };
    let never = explained_get(&world).await;
    assert_eq!(causes(&never), [(OwnerAnswer::Miss, Some("not_seen")); 2]);
    world.set("one").await.unwrap();
    let request = KeyRequest {
        key: key(),
        terms: world.terms(100),
        trace: None,
    };
    world.run(world.coordinator.delete(request)).await.unwrap();
    let deleted = explained_get(&world).await;
    assert_eq!(causes(&deleted), [(OwnerAnswer::Miss, Some("deleted")); 2]);
    for node in 0..3 {
        let expired = Record {
            expires_at: Some(world.clock.wall_millis() + 300),
            ..record(&world.clock, 100, "short")
        };
        world.put(node, expired);
    }
    while matches!(world.held(0), Lookup::Hit(_)) {
        world.clock.sleep(Duration::from_millis(5)).await;
    }
    let expired = explained_get(&world).await;
    assert_eq!(causes(&expired), [(OwnerAnswer::Miss, Some("expired")); 2]);
}

#[tokio::test]
async fn a_request_that_fails_is_explained_as_far_as_it_got() {
    let world = World::new();
    let request = || KeyRequest {
        key: key(),
        terms: world.terms(50),
        trace: None,
    };
    world.let_be(1, Behaviour::Silent);
    world.let_be(2, Behaviour::Breaks);
    let failed = world.run(world.coordinator.get_explained(request())).await;
    let failed = failed.unwrap_err();
    assert!(matches!(failed.error, ReadError::DeadlineExceeded { .. }));
    let explanation = failed.explain.expect("it was asked for");
    assert_eq!(explanation.requests.len(), 3);
    let answers: Vec<_> = [0, 1, 2]
        .map(|node| to(&explanation, node)[0].reply.answer)
        .into();
    let expected = [
        OwnerAnswer::Miss,
        OwnerAnswer::Pending,
        OwnerAnswer::Unreachable,
    ];
    assert_eq!(answers, expected);
    stages(&world, &explanation);

    world.let_be(1, Behaviour::Unreachable);
    world.let_be(2, Behaviour::Unreachable);
    let refused = world
        .run(world.coordinator.delete_explained(request()))
        .await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused.error, WriteError::Unavailable(_)));
    let explanation = refused.explain.expect("it was asked for");
    assert!(explanation.requests.is_empty());
    let away = explanation.owners.iter();
    let away = away.filter(|owner| owner.answer == OwnerAnswer::Unreachable);
    assert_eq!(away.count(), 2);
}

#[tokio::test]
async fn nothing_is_noted_of_a_request_that_is_not_to_be_explained() {
    let world = World::new();
    let request = KeyRequest {
        key: key(),
        terms: Terms {
            detail: Detail::Answer,
            ..world.terms(100)
        },
        trace: None,
    };
    let read = world.run(world.coordinator.get(request)).await.unwrap();
    assert!(read.explain.is_none());
}
