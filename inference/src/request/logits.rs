//! What a request asks of the sampler beyond temperature, top-k and top-p, checked.

use serde_json::{Map, Value};

use super::{ModelFacts, RequestError, limits, options};
use crate::{openai::GenerationOptions, sampling::SamplingParams};

/// The checked values in parameters that are neutral otherwise.
///
/// # Errors
/// A 400 that names the field.
pub(super) fn shaping(
    options: &GenerationOptions,
    facts: &ModelFacts,
) -> Result<SamplingParams, RequestError> {
    let defaults = &facts.defaults;
    let min_p = options.min_p.unwrap_or(defaults.min_p);
    if !(0.0..=1.0).contains(&min_p) {
        let message = format!("min_p: must be from 0 to 1, not {min_p}");
        return Err(RequestError::invalid("min_p", message));
    }
    let repetition = options.repetition_penalty;
    let repetition = repetition.unwrap_or(defaults.repetition_penalty);
    if !is_repetition_penalty(repetition) {
        let max = limits::REPETITION_PENALTY_MAX;
        let message =
            format!("repetition_penalty: must be above 0 and at most {max}, not {repetition}");
        return Err(RequestError::invalid("repetition_penalty", message));
    }
    Ok(SamplingParams {
        min_p: min_p as f32,
        presence_penalty: penalty("presence_penalty", options.presence_penalty)?,
        frequency_penalty: penalty("frequency_penalty", options.frequency_penalty)?,
        // A double may be 0 as a float, by which nothing can be divided.
        repetition_penalty: (repetition as f32).max(f32::MIN_POSITIVE),
        logit_bias: logit_bias(options.logit_bias.as_ref(), facts.vocab_size)?,
        ..SamplingParams::greedy(0)
    })
}

/// Whether it is one, of a request or a file.
pub(super) fn is_repetition_penalty(value: f64) -> bool {
    value > 0.0 && value <= limits::REPETITION_PENALTY_MAX
}

fn penalty(field: &str, value: Option<f64>) -> Result<f32, RequestError> {
    let (value, max) = (value.unwrap_or(0.0), limits::PENALTY_MAX);
    if (-max..=max).contains(&value) {
        return Ok(value as f32);
    }
    let message = format!("{field}: must be from -{max} to {max}, not {value}");
    Err(RequestError::invalid(field, message))
}

fn logit_bias(
    bias: Option<&Map<String, Value>>,
    vocab_size: usize,
) -> Result<Vec<(u32, f32)>, RequestError> {
    let entries = bias.map_or(0, Map::len);
    let max = limits::LOGIT_BIAS_TOKENS_MAX;
    if entries > max {
        let message = format!("logit_bias: at most {max} tokens, not {entries}");
        return Err(RequestError::invalid("logit_bias", message));
    }
    let entries = bias.into_iter().flatten();
    entries
        .map(|(token, value)| bias_of(token, value, vocab_size))
        .collect()
}

fn bias_of(token: &str, value: &Value, vocab_size: usize) -> Result<(u32, f32), RequestError> {
    let refuse = |message: String| Err(RequestError::invalid("logit_bias", message));
    let shown: String = token.chars().take(limits::ECHOED_CHARS_MAX).collect();
    let Ok(id) = token.parse::<i64>() else {
        return refuse(format!(
            "logit_bias: the key `{shown}` is no token id; write token ids as strings: {{\"42\": 1}}"
        ));
    };
    let id = options::token_id(id, vocab_size, || "logit_bias".to_owned())?;
    let max = limits::LOGIT_BIAS_MAX;
    match value.as_f64() {
        Some(bias) if (-max..=max).contains(&bias) => Ok((id, bias as f32)),
        Some(bias) => refuse(format!(
            "logit_bias: that of token {id} must be from -{max} to {max}, not {bias}"
        )),
        None => refuse(format!("logit_bias: that of token {id} must be a number")),
    }
}
