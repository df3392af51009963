//! From the wire to a checked request. Every 4xx about a request's content is decided here, before
//! anything is allocated in its name; messages name the field and say what to change.
//!
//! It knows the wire types, the sampling parameters and the prompt's types; never the server.

mod chat;
mod completion;
mod defaults;
mod error;
pub mod limits;
mod logits;
mod logprobs;
mod options;
mod parse;
mod unsupported;

pub use chat::{CheckedChat, check_chat};
pub use completion::{CheckedCompletion, PromptInput, check_completion};
pub use defaults::{DefaultsError, SamplingDefaults};
pub use error::{RequestError, RequestErrorKind};
pub use logprobs::LogprobsOptions;
pub use options::{AnswerLength, CheckedOptions, Reporting, Streaming, prompt_too_long};

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
}

#[cfg(test)]
mod tests;
