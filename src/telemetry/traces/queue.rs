//! Ended spans that wait for the exporter. Full means that a span is dropped and counted; nobody ever waits.

use opentelemetry_sdk::trace::SpanData;
use prometheus_client::metrics::counter::Counter;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Ended spans that wait.
#[derive(Debug)]
pub struct SpanQueue {
    spans: Mutex<Vec<SpanData>>,
    spans_max: usize,
    batch_spans_max: usize,
    /// A batch is full.
    full_batch: Notify,
    dropped: Counter,
}

impl SpanQueue {
    /// Keeps up to `spans_max` spans, and wakes the exporter when `batch_spans_max` are there. What finds no room is
    /// counted in `dropped`.
    #[must_use]
    pub fn new(spans_max: usize, batch_spans_max: usize, dropped: Counter) -> Self {
        Self {
            spans: Mutex::new(Vec::new()),
            spans_max,
            batch_spans_max,
            full_batch: Notify::new(),
            dropped,
        }
    }

    pub(super) fn push(&self, span: SpanData) {
        let mut spans = self.lock();
        if spans.len() >= self.spans_max {
            drop(spans);
            self.dropped.inc();
            return;
        }
        spans.push(span);
        let is_full_batch = spans.len() == self.batch_spans_max;
        drop(spans);
        if is_full_batch {
            self.full_batch.notify_one();
        }
    }

    /// The oldest spans, at most a batch of them.
    pub(crate) fn take_batch(&self) -> Vec<SpanData> {
        let mut spans = self.lock();
        let count = spans.len().min(self.batch_spans_max);
        spans.drain(..count).collect()
    }

    /// Completes when a batch is full. Cancel-safe.
    pub(super) async fn full_batch(&self) {
        self.full_batch.notified().await;
    }

    /// Counts spans that were taken and could not be exported.
    pub(super) fn lost(&self, count: usize) {
        self.dropped.inc_by(count as u64);
    }

    /// Counts what still waits as dropped: nobody will export it.
    pub(super) fn abandon(&self) {
        let abandoned = std::mem::take(&mut *self.lock());
        self.lost(abandoned.len());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SpanData>> {
        // A list of spans is whole whatever its last user was doing.
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
