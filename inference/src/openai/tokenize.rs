//! vLLM's `POST /tokenize` and `POST /detokenize`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A text or a chat to be turned into tokens. Those fields of a chat that decide its prompt are those of
/// [`super::ChatRequest`]; a text is not changed by them, but they must be what they are in a chat.
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
    /// Of a chat: what the model may call.
    pub tools: Option<Vec<Value>>,
    /// Of a chat: whether it calls one, and which.
    pub tool_choice: Option<Value>,
    /// Of a chat: end the prompt where the assistant begins; the default.
    pub add_generation_prompt: Option<bool>,
    /// Of a chat: go on with the last message.
    pub continue_final_message: Option<bool>,
    /// Of a chat: how long to think, for templates that read it.
    pub reasoning_effort: Option<String>,
    /// Of a chat: texts to answer from, for templates that read them.
    pub documents: Option<Vec<Value>>,
    /// Of a chat: more variables for the template.
    pub chat_template_kwargs: Option<Map<String, Value>>,
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
