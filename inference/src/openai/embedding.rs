//! `POST /v1/embeddings`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Prompt;

/// A request for vectors: OpenAI's fields, then vLLM's.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
pub struct EmbeddingRequest {
    /// Name of the model.
    pub model: Option<String>,
    /// Required. What to make vectors of.
    pub input: Option<Prompt>,
    /// `float` or `base64`.
    pub encoding_format: Option<String>,
    /// Numbers of a vector.
    pub dimensions: Option<i64>,
    /// Who asks, for the usage log.
    pub user: Option<String>,

    /// Begin and end texts with the model's own special tokens; the default.
    pub add_special_tokens: Option<bool>,
    /// Cut inputs to so many tokens; -1 cuts them to what the model takes.
    pub truncate_prompt_tokens: Option<i64>,
    /// `left` or `right`: where they are cut.
    pub truncation_side: Option<String>,
    /// Make vectors one long, or not.
    pub use_activation: Option<bool>,
    /// Refused: now `use_activation`.
    pub normalize: Option<Value>,
    /// Requests share the KV cache with those of the same salt only.
    pub cache_salt: Option<String>,
    /// Refused: send `input`.
    pub messages: Option<Value>,
    /// Refused unless `do_not_pad`.
    pub padding: Option<String>,
    /// Refused unless `float32`.
    pub embed_dtype: Option<String>,
    /// Refused unless `native` or `little`.
    pub endianness: Option<String>,
    /// Refused unless 0.
    pub priority: Option<i64>,
}

/// The vectors.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct EmbeddingResponse {
    /// `embd-…`.
    pub id: String,
    /// `list`.
    pub object: &'static str,
    /// Unix seconds.
    pub created: u64,
    /// The name that was asked for.
    pub model: String,
    /// One per input, in their order.
    pub data: Vec<EmbeddingObject>,
    /// Tokens in.
    pub usage: EmbeddingUsage,
}

/// One vector.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct EmbeddingObject {
    /// Which of the inputs.
    pub index: usize,
    /// `embedding`.
    pub object: &'static str,
    /// The vector.
    pub embedding: EmbeddingVector,
}

/// A vector in one of its encodings.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum EmbeddingVector {
    /// Numbers.
    Float(Vec<f32>),
    /// Numbers of 32 bits, little endian, in base64.
    Base64(String),
}

/// Tokens of a request that has nothing but inputs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EmbeddingUsage {
    /// Tokens of all inputs.
    pub prompt_tokens: usize,
    /// The same.
    pub total_tokens: usize,
}
