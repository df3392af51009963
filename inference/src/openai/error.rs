//! The error object, the body of every answer that is not a success.

use schemars::JsonSchema;
use serde::Serialize;

/// `{"error": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorObject,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ErrorObject {
    /// For the reader: which field, and what to change.
    pub message: String,
    /// For programs: the kind, as vLLM names it.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The field that is to blame.
    pub param: Option<String>,
    /// The HTTP status, as in vLLM.
    pub code: u16,
}
