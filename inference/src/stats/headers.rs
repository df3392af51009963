//! The record as response headers: names in their order, and values as text.

use std::time::Duration;

use super::FinishedRequestStats;

/// The headers' names, in the order they are sent: vLLM's nine, then ours.
pub const HEADER_NAMES: [&str; 10] = [
    "x-vllm-total-time",
    "x-vllm-queue-time",
    "x-vllm-inference-time",
    "x-vllm-prefill-time",
    "x-vllm-decode-time",
    "x-vllm-prompt-tokens",
    "x-vllm-completion-tokens",
    "x-vllm-cached-tokens",
    "x-vllm-time-per-output-token",
    "x-candela-compute-time",
];

/// The values of [`HEADER_NAMES`]: times in milliseconds with two decimals, counts as integers.
pub fn header_values(stats: &FinishedRequestStats) -> [String; 10] {
    let ms = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
    let tokens = stats.tokens;
    [
        ms(stats.e2e_latency),
        ms(stats.queued_time),
        ms(stats.inference_time),
        ms(stats.prefill_time),
        ms(stats.decode_time),
        tokens.prompt.to_string(),
        tokens.completion.to_string(),
        tokens.cached.to_string(),
        format!("{:.2}", stats.mean_time_per_output_token * 1e3),
        ms(stats.compute_time),
    ]
}
