//! `POST /v1/completions`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ChoiceLogprobs, PromptLogprobs, Usage};

/// The text completion fields of a request; [`super::GenerationOptions`] holds the rest of the same
/// object.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
pub struct CompletionRequest {
    /// What to go on from.
    pub prompt: Prompt,
    /// Refused unless equal to `n`.
    pub best_of: Option<i64>,
    /// Begin the answer with the prompt.
    pub echo: Option<bool>,
    /// Report the log probability of each token, and those of so many likeliest.
    pub logprobs: Option<i64>,
    /// Refused unless empty.
    pub suffix: Option<String>,
    /// vLLM: begin text prompts with the model's own special tokens; the default.
    pub add_special_tokens: Option<bool>,
}

/// `prompt` in its four shapes.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a string, a list of strings, a list of token ids, or a list of such lists"
)]
pub enum Prompt {
    /// One text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// One prompt's token ids.
    Ids(Vec<i64>),
    /// Several prompts' token ids.
    IdLists(Vec<Vec<i64>>),
}

/// An answer, whole or, in a stream, what is new of it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Completion {
    /// `cmpl-…`, the same in every chunk.
    pub id: String,
    /// `text_completion`.
    pub object: &'static str,
    /// Unix seconds.
    pub created: u64,
    /// The name that was asked for.
    pub model: String,
    /// One per prompt and answer, by prompt first; in a stream one, or none in the usage chunk.
    pub choices: Vec<CompletionChoice>,
    /// Tokens in and out. In a stream absent unless asked for, and null in chunks other than the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
    /// Which build answered.
    pub system_fingerprint: &'static str,
    /// With both gates of the stats contract open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Value>,
}

/// One of the answers.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CompletionChoice {
    /// Which of the answers.
    pub index: usize,
    /// The text, or what is new of it.
    pub text: String,
    /// With `logprobs`; in a stream of the tokens since the last chunk.
    pub logprobs: Option<ChoiceLogprobs>,
    /// `stop` or `length`; null in a stream before the last chunk.
    pub finish_reason: Option<&'static str>,
    /// With `prompt_logprobs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_logprobs: Option<PromptLogprobs>,
    /// With `return_token_ids`; in a stream in the first chunk of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// With `return_token_ids`; in a stream the tokens since the last chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}
