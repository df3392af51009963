//! What a stream of `/v1/responses` is made of.

use schemars::JsonSchema;
use serde::Serialize;

use super::{super::ChatTokenLogprob, ContentItem, OutputItem, ResponseObject};

/// An event and its place in the stream.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct NumberedEvent {
    /// What happened.
    #[serde(flatten)]
    pub event: ResponseEvent,
    /// From 0, without a gap.
    pub sequence_number: u64,
}

/// What happened. Its `type` is the server-sent event's name too.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type")]
#[expect(
    missing_docs,
    reason = "members are named as in the objects that they refer to"
)]
pub enum ResponseEvent {
    /// The first event.
    #[serde(rename = "response.created")]
    Created { response: Box<ResponseObject> },
    /// The second event.
    #[serde(rename = "response.in_progress")]
    InProgress { response: Box<ResponseObject> },
    /// An item begins.
    #[serde(rename = "response.output_item.added")]
    OutputItemAdded {
        output_index: usize,
        item: OutputItem,
    },
    /// An item is over.
    #[serde(rename = "response.output_item.done")]
    OutputItemDone {
        output_index: usize,
        item: OutputItem,
    },
    /// A part of a message or of reasoning begins.
    #[serde(rename = "response.content_part.added")]
    ContentPartAdded {
        #[serde(flatten)]
        place: Place,
        part: ContentItem,
    },
    /// A part of a message or of reasoning is over.
    #[serde(rename = "response.content_part.done")]
    ContentPartDone {
        #[serde(flatten)]
        place: Place,
        part: ContentItem,
    },
    /// More text of a message.
    #[serde(rename = "response.output_text.delta")]
    OutputTextDelta {
        #[serde(flatten)]
        place: Place,
        delta: String,
        logprobs: Vec<ChatTokenLogprob>,
    },
    /// A message's whole text.
    #[serde(rename = "response.output_text.done")]
    OutputTextDone {
        #[serde(flatten)]
        place: Place,
        text: String,
        logprobs: Vec<ChatTokenLogprob>,
    },
    /// More of what the model thought.
    #[serde(rename = "response.reasoning_text.delta")]
    ReasoningTextDelta {
        #[serde(flatten)]
        place: Place,
        delta: String,
    },
    /// All that the model thought.
    #[serde(rename = "response.reasoning_text.done")]
    ReasoningTextDone {
        #[serde(flatten)]
        place: Place,
        text: String,
    },
    /// More of a call's arguments.
    #[serde(rename = "response.function_call_arguments.delta")]
    ArgumentsDelta {
        item_id: String,
        output_index: usize,
        delta: String,
    },
    /// A call's whole arguments.
    #[serde(rename = "response.function_call_arguments.done")]
    ArgumentsDone {
        item_id: String,
        output_index: usize,
        name: String,
        arguments: String,
    },
    /// The last event of an answer that came to its end.
    #[serde(rename = "response.completed")]
    Completed { response: Box<ResponseObject> },
    /// The last event of an answer that was cut off.
    #[serde(rename = "response.incomplete")]
    Incomplete { response: Box<ResponseObject> },
    /// The engine failed.
    #[serde(rename = "response.failed")]
    Failed { response: Box<ResponseObject> },
    /// The last event of a stream that failed.
    #[serde(rename = "error")]
    Error {
        code: Option<String>,
        message: String,
        param: Option<String>,
    },
}

/// Where in the output a part is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Place {
    /// The item.
    pub item_id: String,
    /// Which item of the output it is.
    pub output_index: usize,
    /// Which of the item's parts.
    pub content_index: usize,
}

impl ResponseEvent {
    /// The event's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "response.created",
            Self::InProgress { .. } => "response.in_progress",
            Self::OutputItemAdded { .. } => "response.output_item.added",
            Self::OutputItemDone { .. } => "response.output_item.done",
            Self::ContentPartAdded { .. } => "response.content_part.added",
            Self::ContentPartDone { .. } => "response.content_part.done",
            Self::OutputTextDelta { .. } => "response.output_text.delta",
            Self::OutputTextDone { .. } => "response.output_text.done",
            Self::ReasoningTextDelta { .. } => "response.reasoning_text.delta",
            Self::ReasoningTextDone { .. } => "response.reasoning_text.done",
            Self::ArgumentsDelta { .. } => "response.function_call_arguments.delta",
            Self::ArgumentsDone { .. } => "response.function_call_arguments.done",
            Self::Completed { .. } => "response.completed",
            Self::Incomplete { .. } => "response.incomplete",
            Self::Failed { .. } => "response.failed",
            Self::Error { .. } => "error",
        }
    }
}
