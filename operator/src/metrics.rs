//! The operator's own metrics. Names begin with `candela_operator_`; no label has unbounded values.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

/// What the operator counts.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    reconcile_seconds: Histogram,
    writes: IntCounterVec,
    api_requests: IntCounterVec,
    leading: IntGauge,
}

/// How a reconcile ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Children and status are as the specification wants them.
    Done,
    /// The specification is not accepted.
    Refused,
    /// An API call failed; it will be tried again.
    Failed,
}

const RECONCILE_BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

impl Metrics {
    /// A registry of its own with every metric at zero.
    ///
    /// # Errors
    /// None in practice: names are valid and registered once.
    pub fn new() -> Result<Self, prometheus::Error> {
        let metrics = Self {
            registry: Registry::new(),
            reconciles: IntCounterVec::new(
                Opts::new(
                    "candela_operator_reconciles_total",
                    "Reconciles by how they ended",
                ),
                &["outcome"],
            )?,
            reconcile_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "candela_operator_reconcile_duration_seconds",
                    "Time of one reconcile",
                )
                .buckets(RECONCILE_BUCKETS.to_vec()),
            )?,
            writes: IntCounterVec::new(
                Opts::new("candela_operator_writes_total", "Writes to the API server"),
                &["kind", "verb"],
            )?,
            api_requests: IntCounterVec::new(
                Opts::new(
                    "candela_operator_api_requests_total",
                    "Requests to the API server by HTTP method; WATCH is one that stays open",
                ),
                &["method"],
            )?,
            leading: IntGauge::new(
                "candela_operator_leading",
                "1 while this replica holds the lease and reconciles",
            )?,
        };
        metrics
            .registry
            .register(Box::new(metrics.reconciles.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.reconcile_seconds.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.writes.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.api_requests.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.leading.clone()))?;
        for outcome in [Outcome::Done, Outcome::Refused, Outcome::Failed] {
            metrics
                .reconciles
                .with_label_values(&[outcome.label()])
                .reset();
        }
        Ok(metrics)
    }

    /// Counts one reconcile.
    pub fn reconciled(&self, outcome: Outcome, took: Duration) {
        self.reconciles.with_label_values(&[outcome.label()]).inc();
        self.reconcile_seconds.observe(took.as_secs_f64());
    }

    /// Counts one write.
    pub fn wrote(&self, kind: &str, verb: &str) {
        self.writes.with_label_values(&[kind, verb]).inc();
    }

    /// Counts one request to the API server.
    pub fn asked<B>(&self, request: &hyper::Request<B>) {
        let query = request.uri().query().unwrap_or_default();
        let method = match query.contains("watch=true") {
            true => "WATCH",
            false => request.method().as_str(),
        };
        self.api_requests.with_label_values(&[method]).inc();
    }

    /// Says whether this replica leads.
    pub fn set_leading(&self, leading: bool) {
        self.leading.set(i64::from(leading));
    }

    /// Everything in Prometheus' text format.
    ///
    /// # Errors
    /// None in practice: the metrics are consistent.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_present_from_the_start() {
        let text = Metrics::new().unwrap().render().unwrap();
        for outcome in ["done", "refused", "failed"] {
            let line = format!("candela_operator_reconciles_total{{outcome=\"{outcome}\"}} 0");
            assert!(text.contains(&line), "{text}");
        }
    }
}
