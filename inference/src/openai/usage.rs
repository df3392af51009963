//! `usage`: the tokens of a request.

use schemars::JsonSchema;
use serde::Serialize;

/// Tokens in and out. The prompt of a request with several answers counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Usage {
    /// Tokens of the prompts.
    pub prompt_tokens: usize,
    /// Their sum.
    pub total_tokens: usize,
    /// Tokens generated.
    pub completion_tokens: usize,
    /// Only with `--enable-prompt-tokens-details`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_details: Option<PromptTokensDetails>,
}

/// What is known about the prompt's tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PromptTokensDetails {
    /// Prompt tokens served from the prefix cache.
    pub cached_tokens: usize,
}
