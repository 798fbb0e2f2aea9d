//! Sends ended spans to a collector, as OTLP over gRPC, on a thread and a small runtime of its own: a collector that is
//! slow, hangs or is gone takes nothing from requests, and a node that runs on a single thread does not block itself.
//!
//! Fails soft: spans of a failed export are counted and forgotten; one warning tells of it, and of a lasting failure once
//! a minute.

use std::{sync::Arc, thread, time::Duration};

use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkError,
    trace::{SpanData, SpanExporter as _},
};
use thiserror::Error;
use tokio::{runtime, sync::oneshot};
use tokio_util::sync::CancellationToken;

use super::{KeyValue, queue::SpanQueue};
use crate::clock::{Clock, Monotonic};

/// How long a leaving node tries to export what is left.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two warnings of the same lasting failure.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Where spans go, and how fast.
#[derive(Clone, Debug)]
pub struct ExporterSettings {
    /// The collector, as an http URL.
    pub endpoint: String,
    /// The longest that a span waits before it is sent.
    pub flush_interval: Duration,
    /// How long one export may take.
    pub export_timeout: Duration,
    /// What every span of this node has in common.
    pub resource: Vec<KeyValue>,
}

/// Why there is no exporter. The node runs without one.
#[derive(Debug, Error)]
pub enum ExporterError {
    /// The operating system gave no thread or no runtime.
    #[error("no thread for the exporter: {0}")]
    Thread(#[from] std::io::Error),
    /// The settings, or those that the OTLP library reads from the environment, make no exporter.
    #[error("no exporter can be made: {0}")]
    Settings(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// The exporter's thread. Dropping it stops the thread without waiting for it.
#[derive(Debug)]
pub struct Exporter {
    stop: CancellationToken,
    ended: Option<oneshot::Receiver<()>>,
}

impl Exporter {
    /// Starts the thread that empties `queue`.
    ///
    /// # Errors
    /// [`ExporterError`].
    pub fn start(
        settings: ExporterSettings,
        queue: Arc<SpanQueue>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ExporterError> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let exporter = {
            // The channel wants to know its runtime when it is made.
            let _entered = runtime.enter();
            build(&settings)?
        };
        let stop = CancellationToken::new();
        let (end, ended) = oneshot::channel();
        let work = Work {
            exporter,
            queue,
            clock,
            settings,
            stop: stop.clone(),
            failing: None,
        };
        thread::Builder::new()
            .name("span exporter".to_owned())
            .spawn(move || {
                runtime.block_on(work.run());
                // Nobody listens when the node did not wait.
                let _unheard = end.send(());
            })?;
        Ok(Self {
            stop,
            ended: Some(ended),
        })
    }

    /// Exports what is left, for a bounded time.
    pub async fn stop(mut self, clock: &dyn Clock) {
        self.stop.cancel();
        let Some(ended) = self.ended.take() else {
            return;
        };
        tokio::select! {
            biased;
            _ended = ended => {}
            () = clock.sleep(FLUSH_TIMEOUT) => tracing::warn!("the last spans were not exported in time"),
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn build(settings: &ExporterSettings) -> Result<SpanExporter, ExporterError> {
    let mut exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(settings.endpoint.clone())
        .with_timeout(settings.export_timeout)
        // A batch that is kept for another try takes the room of the spans of that time: they are dropped and counted.
        .with_retry_policy(RetryPolicy::disabled())
        .build()?;
    let resource = Resource::builder_empty().with_attributes(settings.resource.clone());
    exporter.set_resource(&resource.build());
    Ok(exporter)
}

struct Work {
    exporter: SpanExporter,
    queue: Arc<SpanQueue>,
    clock: Arc<dyn Clock>,
    settings: ExporterSettings,
    stop: CancellationToken,
    /// While exports fail: since the last warning, when it was and how many spans were lost.
    failing: Option<(Monotonic, usize)>,
}

impl Work {
    async fn run(mut self) {
        while !self.stop.is_cancelled() {
            let stop = self.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = self.queue.full_batch() => {}
                () = self.clock.sleep(self.settings.flush_interval) => {}
            }
            self.empty().await;
        }
        // What came while the last batch was on its way.
        self.empty().await;
        self.queue.abandon();
    }

    /// Exports until nothing is left or an export fails.
    async fn empty(&mut self) {
        loop {
            let batch = self.queue.take_batch();
            let count = batch.len();
            if count == 0 {
                return;
            }
            match self.export(batch).await {
                Ok(()) => self.note_success(),
                Err(reason) => {
                    self.queue.lost(count);
                    self.note_failure(count, &reason);
                    return;
                }
            }
        }
    }

    async fn export(&self, batch: Vec<SpanData>) -> Result<(), String> {
        // The library's own limit does not cover connecting.
        let limit = if self.stop.is_cancelled() {
            self.settings.export_timeout.min(FLUSH_TIMEOUT)
        } else {
            self.settings.export_timeout
        };
        tokio::select! {
            biased;
            exported = self.exporter.export(batch) => exported.map_err(|error| match error {
                OTelSdkError::Timeout(after) => format!("no answer within {after:?}"),
                other => other.to_string(),
            }),
            () = self.clock.sleep(limit) => Err(format!("no answer within {limit:?}")),
        }
    }

    fn note_failure(&mut self, lost: usize, reason: &str) {
        let now = self.clock.monotonic();
        let (last, before) = self.failing.unwrap_or((Monotonic::ZERO, 0));
        let lost = before + lost;
        let is_due = self.failing.is_none() || now.saturating_sub(last) >= WARNING_INTERVAL;
        if is_due {
            let endpoint = &self.settings.endpoint;
            tracing::warn!(%endpoint, reason, lost, "spans could not be exported and were dropped");
        }
        self.failing = Some(if is_due { (now, 0) } else { (last, lost) });
    }

    fn note_success(&mut self) {
        if self.failing.take().is_some() {
            tracing::info!("spans are exported again");
        }
    }
}
