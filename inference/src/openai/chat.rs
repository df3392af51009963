//! `POST /v1/chat/completions`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ChoiceLogprobs, PromptLogprobs, Usage};

/// The chat fields of a request; [`super::GenerationOptions`] holds the rest of the same object.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
pub struct ChatRequest {
    /// The conversation so far.
    pub messages: Vec<ChatMessage>,
    /// OpenAI's newer name of `max_tokens`.
    pub max_completion_tokens: Option<i64>,
    /// Report the log probability of each token.
    pub logprobs: Option<bool>,
    /// Report those of so many likeliest tokens beside it.
    pub top_logprobs: Option<i64>,
    /// What the model may call.
    pub tools: Option<Vec<Value>>,
    /// Whether it calls one, and which.
    pub tool_choice: Option<Value>,
    /// Several calls at once; the default.
    pub parallel_tool_calls: Option<bool>,
    /// vLLM: report what the model thought; the default.
    pub include_reasoning: Option<bool>,
    /// vLLM: end the prompt where the assistant begins; the default.
    pub add_generation_prompt: Option<bool>,
    /// vLLM: go on with the last message.
    pub continue_final_message: Option<bool>,
    /// vLLM: begin the rendered text with the model's begin-of-sequence token.
    pub add_special_tokens: Option<bool>,
    /// How long to think, for templates that read it.
    pub reasoning_effort: Option<String>,
    /// vLLM: texts to answer from, for templates that read them.
    pub documents: Option<Vec<Value>>,
    /// vLLM: more variables for the template.
    pub chat_template_kwargs: Option<Map<String, Value>>,
    /// vLLM: a template of the client's own. Refused.
    pub chat_template: Option<String>,
}

/// One message. Its other members (`name`, `tool_calls`, `tool_call_id`, `reasoning` or `reasoning_content`, …)
/// reach the template as they are.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
pub struct ChatMessage {
    /// Who speaks; a role that we do not know is the template's to judge.
    pub role: String,
    /// What is said.
    pub content: Option<Content>,
    /// The members beside role and content.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A message's content: text, or a list of parts of the type `text` or `refusal`; any other part (`image_url`,
/// `input_audio`, `file`) is a 400.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a string or a list of objects with a type"
)]
pub enum Content {
    /// Text.
    Text(String),
    /// Parts.
    Parts(Vec<ContentPart>),
}

/// A part of a message's content.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ContentPart {
    /// `text` is the kind that a language model reads.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text of a `text` part.
    pub text: Option<String>,
    /// The text of a `refusal` part.
    pub refusal: Option<String>,
}

/// An answer that is not streamed.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatCompletion {
    /// `chatcmpl-…`.
    pub id: String,
    /// `chat.completion`.
    pub object: &'static str,
    /// Unix seconds.
    pub created: u64,
    /// The name that was asked for.
    pub model: String,
    /// One per answer.
    pub choices: Vec<ChatChoice>,
    /// Tokens in and out.
    pub usage: Usage,
    /// Which build answered.
    pub system_fingerprint: &'static str,
    /// With `return_token_ids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// With `prompt_logprobs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_logprobs: Option<PromptLogprobs>,
    /// With both gates of the stats contract open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Value>,
}

/// One of the answers.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatChoice {
    /// Which of the answers.
    pub index: usize,
    /// What the model said.
    pub message: AssistantMessage,
    /// With `logprobs`.
    pub logprobs: Option<ChoiceLogprobs>,
    /// `stop`, `length` or `tool_calls`.
    pub finish_reason: &'static str,
    /// With `return_token_ids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// What the model said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AssistantMessage {
    /// `assistant`.
    pub role: &'static str,
    /// The text; null when there are only calls.
    pub content: Option<String>,
    /// Always null; OpenAI's schema requires the member.
    pub refusal: Option<String>,
    /// vLLM: what the model thought, with a reasoning parser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The tools it calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallObject>,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ToolCallObject {
    /// What the tool's answer refers to.
    pub id: String,
    /// `function`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What is called.
    pub function: FunctionCall,
}

/// What is called, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FunctionCall {
    /// The tool.
    pub name: String,
    /// JSON text.
    pub arguments: String,
}

/// One event of a streamed answer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatChunk {
    /// `chatcmpl-…`, the same in every chunk.
    pub id: String,
    /// `chat.completion.chunk`.
    pub object: &'static str,
    /// Unix seconds.
    pub created: u64,
    /// The name that was asked for.
    pub model: String,
    /// Which build answered.
    pub system_fingerprint: &'static str,
    /// One, or none in the usage chunk.
    pub choices: Vec<ChatChunkChoice>,
    /// Absent unless asked for; null in chunks other than the usage chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
    /// With `return_token_ids`, in the first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// With both gates of the stats contract open, in the last chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Value>,
}

/// What is new of one answer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatChunkChoice {
    /// Which of the answers.
    pub index: usize,
    /// What is new.
    pub delta: ChatDelta,
    /// With `logprobs`: of the tokens since the last chunk.
    pub logprobs: Option<ChoiceLogprobs>,
    /// Set in the answer's last chunk.
    pub finish_reason: Option<&'static str>,
    /// With `return_token_ids`: the tokens since the last chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// What is new of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ChatDelta {
    /// In the answer's first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// More text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// vLLM: more of what the model thought, with a reasoning parser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// New calls, and more of the last one's arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallChunk>,
}

/// What is new of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ToolCallChunk {
    /// Which of the answer's calls.
    pub index: usize,
    /// In the call's first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`, in the call's first chunk.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// What is called.
    pub function: FunctionChunk,
}

/// What is new of what is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FunctionChunk {
    /// In the call's first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// More JSON text.
    pub arguments: String,
}
