//! That a node is to leave, told to whoever runs it, and how far it is, told to whoever asks.

use std::sync::Arc;

use shard_cache_proto::cluster::DrainProgress;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The wish that a node leaves, and how far it is. Clones are equal.
#[derive(Clone)]
pub(super) struct Departure {
    wanted: CancellationToken,
    progress: Arc<watch::Sender<DrainProgress>>,
}

impl Departure {
    /// Not wanted yet.
    pub(super) fn new() -> Self {
        let (progress, _nobody_yet) = watch::channel(DrainProgress::default());
        Self {
            wanted: CancellationToken::new(),
            progress: Arc::new(progress),
        }
    }

    /// Has the node leave, and returns how far it is from now on.
    pub(super) fn want(&self) -> watch::Receiver<DrainProgress> {
        self.wanted.cancel();
        self.progress.subscribe()
    }

    /// Waits until somebody wants it. Cancel-safe.
    pub(super) async fn wanted(&self) {
        self.wanted.cancelled().await;
    }

    /// Tells how far it is.
    pub(super) fn tell(&self, progress: DrainProgress) {
        self.progress.send_if_modified(|told| {
            let is_news = *told != progress;
            *told = progress;
            is_news
        });
    }

    /// Waits until nobody listens any more: all have heard that it is over. Cancel-safe.
    pub(super) async fn heard(&self) {
        self.progress.closed().await;
    }
}
