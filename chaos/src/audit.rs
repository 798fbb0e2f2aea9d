//! Reads every key back at every node, when all faults are over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    history::{Action, Outcome},
    session::Session,
};

/// Readers beside each other: few enough that nodes which share a small machine need not shed them.
const READERS: usize = 12;
/// Attempts at a read that is not answered. A miss is an answer.
const ATTEMPTS_MAX: u32 = 20;
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Reads all of it, or as much as there is time for until it is cancelled. `done` counts keys.
pub(crate) async fn read_back(
    session: &Session,
    keys: Vec<String>,
    done: &Arc<AtomicUsize>,
    cancelled: &CancellationToken,
) {
    let keys: Arc<[String]> = keys.into();
    let next = Arc::new(AtomicUsize::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let (session, keys, next) = (session.clone(), Arc::clone(&keys), Arc::clone(&next));
        let (done, cancelled) = (Arc::clone(done), cancelled.clone());
        readers.spawn(async move {
            while !cancelled.is_cancelled()
                && let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed))
            {
                for node in session.places() {
                    read(&session, node, key).await;
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while readers.join_next().await.is_some() {}
}

async fn read(session: &Session, node: usize, key: &str) {
    for attempt in 1..=ATTEMPTS_MAX {
        let action = Action::Get { found: None };
        if session.attempt(node, key, action, attempt).await.0 == Outcome::Ok {
            return;
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// Deletes all keys, by any node, outside of the history: nothing is read any more. Returns how many are gone for sure.
pub(crate) async fn remove(
    session: &Session,
    keys: Vec<String>,
    cancelled: &CancellationToken,
) -> usize {
    let keys: Arc<[String]> = keys.into();
    let (next, removed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut workers = JoinSet::new();
    for _ in 0..READERS {
        let (session, keys, next) = (session.clone(), Arc::clone(&keys), Arc::clone(&next));
        let (removed, cancelled) = (Arc::clone(&removed), cancelled.clone());
        workers.spawn(async move {
            while !cancelled.is_cancelled()
                && let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed))
            {
                removed.fetch_add(usize::from(session.delete(key).await), Ordering::Relaxed);
            }
        });
    }
    while workers.join_next().await.is_some() {}
    removed.load(Ordering::Relaxed)
}
