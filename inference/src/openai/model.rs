//! `GET /v1/models`.

use schemars::JsonSchema;
use serde::Serialize;

/// The models that are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ModelList {
    /// `list`.
    pub object: &'static str,
    /// One per served name.
    pub data: Vec<Model>,
}

/// A model by one of its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Model {
    /// The name that requests give.
    pub id: String,
    /// `model`.
    pub object: &'static str,
    /// Unix seconds at which it was ready.
    pub created: u64,
    /// `candela`.
    pub owned_by: &'static str,
    /// The model behind the name.
    pub root: String,
    /// Tokens of one sequence, prompt and answer together.
    pub max_model_len: usize,
}
