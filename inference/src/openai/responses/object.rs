//! The response: an object with what the model put out, and what it was asked.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{super::ChatTokenLogprob, ReasoningOptions, ResponsesTool, TextOptions};

/// An answer, complete or under way.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ResponseObject {
    /// `resp_…`.
    pub id: String,
    /// `response`.
    #[schemars(extend("enum" = ["response"]))]
    pub object: &'static str,
    /// Unix seconds.
    pub created_at: u64,
    /// How far it is.
    pub status: ResponseStatus,
    /// Unix seconds; null until it is completed.
    pub completed_at: Option<u64>,
    /// Why it failed.
    pub error: Option<ResponseError>,
    /// Why it is incomplete.
    pub incomplete_details: Option<IncompleteDetails>,
    /// The request's.
    pub instructions: Option<String>,
    /// The request's.
    pub max_output_tokens: Option<u64>,
    /// The request's.
    pub max_tool_calls: Option<i64>,
    /// The name that was asked for.
    pub model: String,
    /// What the model put out, in order.
    pub output: Vec<OutputItem>,
    /// The request's.
    pub parallel_tool_calls: bool,
    /// The request's.
    pub previous_response_id: Option<String>,
    /// The request's.
    pub reasoning: ReasoningOptions,
    /// Always `default`: there is one tier.
    #[schemars(extend("enum" = ["default"]))]
    pub service_tier: &'static str,
    /// What was sampled with.
    pub temperature: f64,
    /// The request's; plain text where it said nothing.
    pub text: TextOptions,
    /// The request's; `auto` where it said nothing.
    pub tool_choice: Value,
    /// The request's.
    pub tools: Vec<ResponsesTool>,
    /// The request's.
    pub top_logprobs: u64,
    /// What was sampled with.
    pub top_p: f64,
    /// Always `disabled`.
    #[schemars(extend("enum" = ["disabled"]))]
    pub truncation: &'static str,
    /// Tokens in and out; null while it is under way.
    pub usage: Option<ResponseUsage>,
    /// The request's.
    pub user: Option<String>,
    /// The request's.
    pub metadata: Map<String, Value>,
    /// Always false.
    pub background: bool,
    /// With both gates of the stats contract open, once it is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Value>,
}

/// How far a response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResponseStatus {
    /// Under way, in a stream.
    InProgress,
    /// The model came to its end.
    Completed,
    /// It was cut off.
    Incomplete,
    /// The engine failed, in a stream.
    Failed,
}

/// Why a response failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ResponseError {
    /// `server_error`.
    #[schemars(extend("enum" = ["server_error"]))]
    pub code: &'static str,
    /// For the reader.
    pub message: String,
}

/// Why a response is incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct IncompleteDetails {
    /// `max_output_tokens`: also when the context ended before.
    #[schemars(extend("enum" = ["max_output_tokens"]))]
    pub reason: &'static str,
}

/// One thing that the model put out.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputItem {
    /// Text for the user.
    Message {
        /// `msg_…`.
        id: String,
        /// How far it is.
        status: ItemStatus,
        /// `assistant`.
        #[schemars(extend("enum" = ["assistant"]))]
        role: &'static str,
        /// One part; none in the event that announces the item.
        content: Vec<ContentItem>,
    },
    /// A call of one of the request's functions.
    FunctionCall {
        /// `fc_…`.
        id: String,
        /// How far it is.
        status: ItemStatus,
        /// What the output of the function has to give.
        call_id: String,
        /// The function.
        name: String,
        /// The arguments as JSON text.
        arguments: String,
    },
    /// What the model thought.
    Reasoning {
        /// `rs_…`.
        id: String,
        /// Always empty.
        summary: Vec<Value>,
        /// One part; none in the event that announces the item.
        content: Vec<ContentItem>,
        /// How far it is.
        status: ItemStatus,
    },
}

/// How far an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    /// Under way.
    InProgress,
    /// Whole.
    Completed,
    /// Cut off.
    Incomplete,
}

/// A part of an item.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentItem {
    /// Of a message.
    OutputText(OutputText),
    /// Of reasoning.
    ReasoningText {
        /// The text.
        text: String,
    },
}

/// A message's text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct OutputText {
    /// The text.
    pub text: String,
    /// Always empty.
    pub annotations: Vec<Value>,
    /// With `include: ["message.output_text.logprobs"]`, else empty.
    pub logprobs: Vec<ChatTokenLogprob>,
}

/// Tokens in and out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ResponseUsage {
    /// Tokens of the prompt.
    pub input_tokens: usize,
    /// Of them.
    pub input_tokens_details: CachedTokens,
    /// Tokens generated.
    pub output_tokens: usize,
    /// Of them.
    pub output_tokens_details: ReasoningTokens,
    /// Their sum.
    pub total_tokens: usize,
}

/// Prompt tokens and the prefix cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CachedTokens {
    /// Served from it.
    pub cached_tokens: usize,
    /// Written to it on top of those, where it is on: what fills whole blocks.
    pub cache_write_tokens: usize,
}

/// Tokens that were not for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReasoningTokens {
    /// Tokens up to the end of the reasoning, if there was any.
    pub reasoning_tokens: usize,
}

/// The answer to `DELETE /v1/responses/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ResponseDeleted {
    /// The response's.
    pub id: String,
    /// `response`.
    #[schemars(extend("enum" = ["response"]))]
    pub object: &'static str,
    /// Always true.
    pub deleted: bool,
}
