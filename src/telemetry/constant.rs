//! Constant values of one scrape, in the order in which they are given.

use std::fmt;

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::latencies::Latencies;

/// Registers the values of one scrape.
pub(super) struct Constants(pub(super) Registry);

impl Constants {
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.0.register(name, help, ConstGauge::new(value));
    }

    pub(super) fn float(&mut self, name: &str, help: &str, value: f64) {
        self.0.register(name, help, ConstGauge::new(value));
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.0.register(name, help, ConstCounter::new(value));
    }

    pub(super) fn seconds_counter(&mut self, name: &str, help: &str, value: f64) {
        self.0.register(name, help, ConstCounter::new(value));
    }

    pub(super) fn seconds_counters(&mut self, name: &str, help: &str, rows: Vec<(Labels, f64)>) {
        self.0
            .register(name, help, Rows::new(rows, ConstCounter::new));
    }

    pub(super) fn latencies(&mut self, name: &str, help: &str, rows: Vec<(Labels, Latencies)>) {
        self.0.register(name, help, Rows::new(rows, |it| it));
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, histogram: ConstHistogram) {
        self.0.register(name, help, histogram);
    }

    pub(super) fn gauges(&mut self, name: &str, help: &str, rows: Vec<(Labels, u64)>) {
        self.0
            .register(name, help, Rows::new(rows, ConstGauge::new));
    }

    pub(super) fn floats(&mut self, name: &str, help: &str, rows: Vec<(Labels, f64)>) {
        self.0
            .register(name, help, Rows::new(rows, ConstGauge::new));
    }

    pub(super) fn counters(&mut self, name: &str, help: &str, rows: Vec<(Labels, u64)>) {
        self.0
            .register(name, help, Rows::new(rows, ConstCounter::new));
    }
}

/// A histogram that was counted elsewhere.
#[derive(Debug)]
pub(super) struct ConstHistogram {
    /// Upper bounds of its buckets, and how many values are in each and not in a lower one; infinity comes last.
    pub(super) buckets: Vec<(f64, u64)>,
    /// All values together.
    pub(super) sum: f64,
}

impl EncodeMetric for ConstHistogram {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let count = self.buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum, count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// Names and values of the labels of one series.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A family: labels and value of each series.
#[derive(Debug)]
struct Rows<M>(Vec<(Labels, M)>);

impl<M> Rows<M> {
    fn new<V>(rows: Vec<(Labels, V)>, metric: impl Fn(V) -> M) -> Self {
        Self(
            rows.into_iter()
                .map(|(labels, value)| (labels, metric(value)))
                .collect(),
        )
    }
}

impl<M: EncodeMetric + TypedMetric> EncodeMetric for Rows<M> {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        for (labels, metric) in &self.0 {
            metric.encode(encoder.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}
