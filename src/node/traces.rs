//! Traces of this node, from its configuration: a tracer and, where an endpoint is set, the exporter behind it. Without
//! one there is neither a thread nor a span.

use std::{collections::BTreeMap, sync::Arc};

use rand::Rng as _;

use crate::{
    clock::{Clock, Entropy},
    config::{Config, TracesConfig, TracesSampler},
    telemetry::{
        Metrics,
        traces::{Exporter, ExporterSettings, KeyValue, Sampler, SpanQueue, Tracer},
    },
};

const SERVICE_NAME: &str = "shard-cache";

/// The tracer of a node and what empties it.
pub(super) struct Traces {
    pub(super) tracer: Tracer,
    exporter: Option<Exporter>,
}

impl Traces {
    /// Starts the exporter if traces are wanted. A node whose exporter cannot start runs without traces.
    pub(super) fn start(
        config: &Config,
        name: &str,
        entropy: Entropy,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Self {
        let traces = &config.telemetry.traces;
        let sampler = sampler(traces);
        let (Some(endpoint), true) = (&traces.endpoint, traces.enabled && !sampler.is_off()) else {
            return Self::off();
        };
        let queue = Arc::new(SpanQueue::new(
            traces.queue_spans_max,
            traces.batch_spans_max,
            metrics.otel_spans_dropped.clone(),
        ));
        let settings = ExporterSettings {
            endpoint: endpoint.clone(),
            flush_interval: traces.flush_interval,
            export_timeout: traces.export_timeout,
            resource: resource(config, name),
        };
        match Exporter::start(settings, Arc::clone(&queue), Arc::clone(clock)) {
            Ok(exporter) => {
                let seed = entropy.stream("trace ids").next_u64();
                Self {
                    tracer: Tracer::new(sampler, seed, Arc::clone(clock), queue),
                    exporter: Some(exporter),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "there will be no traces");
                Self::off()
            }
        }
    }

    const fn off() -> Self {
        Self {
            tracer: Tracer::off(),
            exporter: None,
        }
    }

    /// Exports what is left, for a bounded time.
    pub(super) async fn stop(self, clock: &dyn Clock) {
        if let Some(exporter) = self.exporter {
            exporter.stop(clock).await;
        }
    }
}

fn sampler(traces: &TracesConfig) -> Sampler {
    let ratio = Sampler::ratio(traces.ratio);
    match traces.sampler {
        TracesSampler::AlwaysOn => Sampler::ratio(1.0),
        TracesSampler::AlwaysOff => Sampler::ratio(0.0),
        TracesSampler::TraceIdRatio => ratio,
        TracesSampler::ParentBasedAlwaysOn => Sampler::ratio(1.0).heeding_parent(),
        TracesSampler::ParentBasedAlwaysOff => Sampler::ratio(0.0).heeding_parent(),
        TracesSampler::ParentBasedTraceIdRatio => ratio.heeding_parent(),
    }
}

/// What is said of every span. The configured attributes win over ours, the configured service name over all.
fn resource(config: &Config, name: &str) -> Vec<KeyValue> {
    let traces = &config.telemetry.traces;
    let mut attributes = BTreeMap::from([
        ("service.name", SERVICE_NAME.to_owned()),
        ("service.instance.id", name.to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("shard_cache.cluster.id", config.cluster.id.clone()),
    ]);
    if !config.node.zone.is_empty() {
        attributes.insert("node.zone", config.node.zone.clone());
    }
    let given = traces.attributes().collect::<Vec<_>>();
    for (key, value) in &given {
        attributes.insert(key, value.clone());
    }
    if let Some(service) = &traces.service_name {
        attributes.insert("service.name", service.clone());
    }
    attributes
        .into_iter()
        .map(|(key, value)| KeyValue::new(key.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(attributes: &[KeyValue], key: &str) -> Option<String> {
        let found = attributes.iter().find(|one| one.key.as_str() == key);
        found.map(|one| one.value.to_string())
    }

    #[test]
    fn the_configured_service_name_wins_over_attributes_and_those_over_ours() {
        let mut config = Config::default();
        let service = |config: &Config| text_of(&resource(config, "n1"), "service.name");
        assert_eq!(service(&config).as_deref(), Some("shard-cache"));
        config.telemetry.traces.resource_attributes = vec!["service.name=a%20b".to_owned()];
        assert_eq!(service(&config).as_deref(), Some("a b"));
        config.telemetry.traces.service_name = Some("mine".to_owned());
        assert_eq!(service(&config).as_deref(), Some("mine"));
        let attributes = resource(&config, "n1");
        assert_eq!(
            text_of(&attributes, "service.instance.id").as_deref(),
            Some("n1")
        );
        assert_eq!(text_of(&attributes, "node.zone"), None);
    }
}
