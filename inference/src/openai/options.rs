//! Request fields that chat and text completions share.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{GuidedDecoding, ResponseFormat, StructuredOutputs};

/// How to sample, when to stop and what to report: OpenAI's fields, then vLLM's. Fields that are not
/// honoured yet are kept as they came, so that `request` can refuse them unless they are neutral.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
pub struct GenerationOptions {
    /// Name of the model.
    pub model: Option<String>,
    /// 0 is greedy.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// How many answers.
    pub n: Option<i64>,
    /// One stop string or several.
    pub stop: Option<StopStrings>,
    /// Most tokens to generate; 0 only for `/v1/completions` with `echo`.
    pub max_tokens: Option<i64>,
    /// Reproduces the sampling.
    pub seed: Option<i128>,
    /// Answer as server-sent events.
    pub stream: Option<bool>,
    /// What a stream reports.
    pub stream_options: Option<StreamOptions>,
    /// Who asks, for the usage log.
    pub user: Option<String>,
    /// Lowers the logits of tokens that the answer has.
    pub presence_penalty: Option<f64>,
    /// The same, once for each time that the answer has them.
    pub frequency_penalty: Option<f64>,
    /// Added to logits, by token id.
    pub logit_bias: Option<Map<String, Value>>,
    /// What the answer must follow.
    pub response_format: Option<ResponseFormat>,

    /// Keep the likeliest tokens; 0 and -1 keep all.
    pub top_k: Option<i64>,
    /// Keep tokens at least so likely as this share of the likeliest.
    pub min_p: Option<f64>,
    /// Lowers the logits of tokens that prompt or answer have.
    pub repetition_penalty: Option<f64>,
    /// Tokens that end the answer.
    pub stop_token_ids: Option<Vec<i64>>,
    /// Keep the stop string in the answer.
    pub include_stop_str_in_output: Option<bool>,
    /// Go on after the end-of-sequence token.
    pub ignore_eos: Option<bool>,
    /// No stop before so many tokens.
    pub min_tokens: Option<i64>,
    /// Leave special tokens out of the text; the default.
    pub skip_special_tokens: Option<bool>,
    /// What the answer must follow, in vLLM's forms.
    pub structured_outputs: Option<StructuredOutputs>,
    /// Its former fields. Refused.
    #[serde(flatten)]
    pub guided: GuidedDecoding,
    /// Report the log probability of each prompt token, and those of so many likeliest.
    pub prompt_logprobs: Option<i64>,
    /// Write the tokens of log probabilities as `token_id:…`.
    pub return_tokens_as_token_ids: Option<bool>,
    /// Report token ids.
    pub return_token_ids: Option<bool>,
    /// Refused unless 0.
    pub priority: Option<i64>,
    /// Requests share the KV cache with those of the same salt only.
    pub cache_salt: Option<String>,
    /// Report what the request cost.
    pub include_metrics: Option<bool>,
}

/// `stop`: a string or a list of strings.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub enum StopStrings {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl StopStrings {
    /// The strings as a list.
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(stop) => vec![stop],
            Self::Many(stops) => stops,
        }
    }
}

/// `stream_options`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct StreamOptions {
    /// One more chunk with the whole request's usage, before `[DONE]`.
    pub include_usage: Option<bool>,
    /// Usage so far on every chunk.
    pub continuous_usage_stats: Option<bool>,
}
