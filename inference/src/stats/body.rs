//! The record as the `metrics` object of a response body.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::FinishedRequestStats;

/// What a request cost, as unrounded JSON numbers. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RequestMetrics {
    /// first_token − scheduled (queue excluded); none without a token.
    pub time_to_first_token_ms: Option<f64>,
    /// scheduled − queued; none if never scheduled.
    pub queue_time_ms: Option<f64>,
    /// last_token − first_token; none without a token.
    pub generation_time_ms: Option<f64>,
    /// Mean time between tokens; none with one token or less.
    pub mean_itl_ms: Option<f64>,
    /// Tokens out over last_token − scheduled; none when that is zero.
    pub tokens_per_second: Option<f64>,
    /// The record's prefill time.
    pub prefill_time_ms: f64,
    /// The record's inference time.
    pub inference_time_ms: f64,
    /// The record's end-to-end latency.
    pub total_time_ms: f64,
    /// The record's compute time.
    pub compute_time_ms: f64,
    /// Prompt tokens served from the prefix cache.
    pub cached_tokens: usize,
}

impl RequestMetrics {
    /// The metrics of a finished request.
    pub fn new(stats: &FinishedRequestStats) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let has_token = stats.timeline.first_token.is_some();
        let inference = stats.inference_time.as_secs_f64();
        Self {
            time_to_first_token_ms: has_token.then(|| ms(stats.prefill_time)),
            queue_time_ms: stats.timeline.scheduled.map(|_| ms(stats.queued_time)),
            generation_time_ms: has_token.then(|| ms(stats.decode_time)),
            mean_itl_ms: (stats.mean_time_per_output_token > 0.0 || stats.tokens.completion > 1)
                .then_some(stats.mean_time_per_output_token * 1e3),
            tokens_per_second: (inference > 0.0)
                .then(|| stats.tokens.completion as f64 / inference),
            prefill_time_ms: ms(stats.prefill_time),
            inference_time_ms: ms(stats.inference_time),
            total_time_ms: ms(stats.e2e_latency),
            compute_time_ms: ms(stats.compute_time),
            cached_tokens: stats.tokens.cached,
        }
    }

    /// The object as a JSON map without the members that have no value, for streams.
    pub fn without_nulls(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(map)) => map
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .collect(),
            _ => serde_json::Map::new(),
        }
    }
}
