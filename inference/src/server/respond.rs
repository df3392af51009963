//! Answers that are not streamed, and the gates of what is reported with an answer.

use axum::response::{IntoResponse, Response};
use candela_flags::{EngineFlags, PerRequestMetrics};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::Value;

use super::{
    error::ApiError,
    format::{Answer, Format},
    generation::Generation,
};
use crate::{
    request::CheckedOptions,
    stats::{FinishedRequestStats, HEADER_NAMES, RequestMetrics, header_values},
};

/// What may be reported with an answer: both the server's flags and the request decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gates {
    /// The stats headers.
    pub(super) headers: bool,
    /// The body's `metrics`.
    pub(super) metrics: bool,
}

impl Gates {
    pub(super) fn new(flags: &EngineFlags, options: &CheckedOptions) -> Self {
        Self {
            headers: flags.enable_request_stats_headers,
            metrics: match flags.enable_per_request_metrics {
                None => false,
                Some(PerRequestMetrics::OnRequest) => options.reporting.metrics,
                Some(PerRequestMetrics::Always) => true,
            },
        }
    }
}

/// Waits for all answers and sends them as one.
///
/// # Errors
/// The engine's failure; what else ran for the request is cancelled with it.
pub(super) async fn whole(
    format: &Format,
    mut generation: Generation,
    gates: Gates,
) -> Result<Response, ApiError> {
    let mut answers = vec![Answer::default(); generation.prompts().len() * generation.answers()];
    while let Some(piece) = generation.next().await {
        let piece = piece?;
        let answer = &mut answers[piece.index];
        answer.message.push(piece.delta);
        answer.tokens.extend(piece.token);
        answer.logprobs.push(piece.logprobs);
        answer.finish_reason = piece.finish_reason.unwrap_or(answer.finish_reason);
    }
    let record = generation.record();
    let metrics = record.as_ref().filter(|_| gates.metrics).map(body_metrics);
    let body = format.whole(&generation, answers, metrics);
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(record) = record.filter(|_| gates.headers) {
        report(&record, response.headers_mut());
    }
    Ok(response)
}

/// The record as `metrics` of a body.
pub(super) fn body_metrics(record: &FinishedRequestStats) -> Value {
    serde_json::to_value(RequestMetrics::new(record)).unwrap_or_default()
}

/// Adds the ten stats headers.
pub(super) fn report(record: &FinishedRequestStats, headers: &mut HeaderMap) {
    for (name, value) in HEADER_NAMES.into_iter().zip(header_values(record)) {
        let value = HeaderValue::from_str(&value).expect("numbers are valid header values");
        headers.insert(HeaderName::from_static(name), value);
    }
}
