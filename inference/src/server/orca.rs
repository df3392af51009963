//! Load reports in the form that gateways read (ORCA): on the answer to a request that asks for them,
//! so that a gateway can balance without scraping.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::stats::EngineGauges;

const FORMAT: HeaderName = HeaderName::from_static("endpoint-load-metrics-format");
const METRICS: HeaderName = HeaderName::from_static("endpoint-load-metrics");

/// The forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrcaFormat {
    Text,
    Json,
}

impl OrcaFormat {
    /// The form that a request asks for; others are ignored, as in vLLM.
    pub(super) fn asked(headers: &HeaderMap) -> Option<Self> {
        let format = headers.get(FORMAT)?.as_bytes();
        if format.eq_ignore_ascii_case(b"text") {
            Some(Self::Text)
        } else {
            format.eq_ignore_ascii_case(b"json").then_some(Self::Json)
        }
    }

    /// Adds the report to an answer.
    pub(super) fn report(self, gauges: EngineGauges, headers: &mut HeaderMap) {
        let (usage, waiting) = (gauges.kv_cache_usage, gauges.waiting);
        let text = match self {
            Self::Text => format!(
                "TEXT named_metrics.kv_cache_usage_perc={usage}, \
                 named_metrics.num_requests_waiting={waiting}"
            ),
            Self::Json => format!(
                "JSON {{\"named_metrics\": {{\"kv_cache_usage_perc\": {usage}, \
                 \"num_requests_waiting\": {waiting}}}}}"
            ),
        };
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(METRICS, value);
        }
    }
}
