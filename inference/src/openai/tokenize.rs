//! vLLM's `POST /tokenize` and `POST /detokenize`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A text or a chat to be turned into tokens. A chat's other fields are those of
/// [`super::ChatRequest`], in the same object.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
pub struct TokenizeRequest {
    /// Name of the model.
    pub model: Option<String>,
    /// A text.
    pub prompt: Option<String>,
    /// Or a chat.
    pub messages: Option<Value>,
    /// Begin with the model's own special tokens; the default for a text.
    pub add_special_tokens: Option<bool>,
    /// Report the tokens as the vocabulary writes them, too.
    pub return_token_strs: Option<bool>,
    /// Refused beside `messages`.
    pub chat_template: Option<Value>,
}

/// The tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TokenizeResponse {
    /// How many.
    pub count: usize,
    /// Tokens of one sequence.
    pub max_model_len: usize,
    /// Their ids.
    pub tokens: Vec<u32>,
    /// As the vocabulary writes them, if asked for.
    pub token_strs: Option<Vec<String>>,
}

/// Tokens to be turned into text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct DetokenizeRequest {
    /// Name of the model.
    pub model: Option<String>,
    /// Their ids.
    pub tokens: Vec<i64>,
}

/// The text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DetokenizeResponse {
    /// With special tokens as they are written.
    pub prompt: String,
}
