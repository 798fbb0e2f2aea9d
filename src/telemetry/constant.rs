//! Constant values of one scrape, in the order in which they are given.

use std::fmt;

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

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
