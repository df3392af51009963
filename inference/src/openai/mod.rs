//! The wire: OpenAI's requests, responses and errors, with vLLM's extras, as serde types.
//!
//! Nothing here checks a value or knows what it is for; that is `request`. It imports nothing of ours.

mod chat;
mod completion;
mod embedding;
mod error;
mod logprobs;
mod model;
mod options;
pub mod responses;
mod structured;
mod tokenize;
mod usage;

pub use chat::{
    AssistantMessage, ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta,
    ChatMessage, ChatRequest, Content, ContentPart, FunctionCall, FunctionChunk, ToolCallChunk,
    ToolCallObject,
};
pub use completion::{Completion, CompletionChoice, CompletionRequest, Prompt};
pub use embedding::{
    EmbeddingObject, EmbeddingRequest, EmbeddingResponse, EmbeddingUsage, EmbeddingVector,
};
pub use error::{ErrorBody, ErrorObject};
pub use logprobs::{
    ChatLogprobs, ChatTokenLogprob, ChoiceLogprobs, CompletionLogprobs, PromptLogprobs,
    PromptTokenLogprobs, RankedLogprob, TokenLogprob, TopLogprobs,
};
pub use model::{Model, ModelList};
pub use options::{GenerationOptions, StopStrings, StreamOptions};
pub use structured::{
    GuidedDecoding, JsonSchemaFormat, ResponseFormat, StructuralTag, StructuredOutputs,
    TaggedStructure,
};
pub use tokenize::{DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse};
pub use usage::{PromptTokensDetails, Usage};

#[cfg(test)]
mod tests;
