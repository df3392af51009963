//! From the wire to a checked request. Every 4xx about a request's content is decided here, before
//! anything is allocated in its name; messages name the field and say what to change.
//!
//! It knows the wire types, the sampling parameters and the prompt's types; never the server.

mod chat;
mod completion;
mod defaults;
mod embedding;
mod error;
pub mod limits;
mod logits;
mod logprobs;
mod messages;
mod options;
mod other_fields;
mod parse;
mod responses;
mod structured;
mod tokenize;
mod tools;
mod unsupported;

pub use chat::{CheckedChat, check_chat, check_conversation};
pub use completion::{CheckedCompletion, PromptInput, check_completion};
pub use defaults::{DefaultsError, SamplingDefaults};
pub use embedding::{
    CheckedEmbedding, EmbeddingForm, check_embedding, empty_input, input_too_long,
};
pub use error::{RequestError, RequestErrorKind};
pub use logprobs::LogprobsOptions;
pub use options::{AnswerLength, CheckedOptions, Reporting, Streaming, prompt_too_long};
pub use other_fields::{FieldRoute, OTHER_FIELDS, OtherField, Treatment};
pub use responses::{
    CheckedResponses, RESPONSES_SHARED_FIELDS, ResponsesEcho, check_responses, response_not_found,
    responses_terms,
};
pub use structured::{AskedGrammar, grammar_error};
pub use tokenize::{CheckedTokenize, TokenizeInput, check_detokenize, check_tokenize};
pub use tools::{Function, ToolChoice, ToolUse};

/// What is known of the model when a request is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFacts {
    /// The names it is served under; the first one is used for requests that name none.
    pub served_names: Vec<String>,
    /// Tokens of one sequence, prompt and answer together.
    pub max_model_len: usize,
    /// Token ids are below it.
    pub vocab_size: usize,
    /// Sequences that may wait; a request with more could never be taken.
    pub max_queued_sequences: usize,
    /// What requests that do not say get.
    pub defaults: SamplingDefaults,
    /// The embeddings that it makes; `None`: it generates.
    pub embeddings: Option<EmbeddingFacts>,
}

/// What is known of a model's embeddings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddingFacts {
    /// Numbers of a vector.
    pub dimensions: usize,
    /// A vector is made one long unless a request asks otherwise.
    pub normalize: bool,
    /// Texts are written in small letters first.
    pub lowercase: bool,
    /// A vector may be cut to these lengths; to any, where there are none. `None`: it may not.
    pub matryoshka: Option<Vec<usize>>,
}

#[cfg(test)]
mod tests;
