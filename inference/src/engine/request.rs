//! What goes into the engine and what comes out: requests, events, and the checks they carry.

use std::{num::NonZeroUsize, sync::Arc};

use crate::{
    finish_reason::FinishReason,
    sampling::{SamplingParams, TokenConstraint, TokenLogprobs},
    stats::{FinishedRequestStats, Timestamp, TokenCounts},
};

/// A checked request: its prompt is not empty, and prompt and `max_tokens` fit the context.
pub struct GenerateRequest {
    /// For logs.
    pub id: Arc<str>,
    /// Token ids, each below the vocabulary's size.
    pub prompt: Arc<[u32]>,
    /// How to sample and when to stop.
    pub params: SamplingParams,
    /// How many answers to generate.
    pub branches: NonZeroUsize,
    /// Who may share KV blocks with it: requests of the same salt, or all that have none.
    pub cache_salt: Option<Arc<str>>,
    /// Makes the check for stop strings of one branch; `None` without stop strings.
    pub stop: Option<Box<dyn Fn() -> Box<dyn StopCheck> + Send>>,
    /// Makes the restriction of one branch's tokens; `None` without any.
    pub constraint: Option<ConstraintFactory>,
    /// When the request was read ([`super::EngineHandle::now`]); `None` while stats are off.
    pub arrival: Option<Timestamp>,
}

impl GenerateRequest {
    /// A request for the vector of a prompt, for a model that pools: nothing is sampled.
    pub fn pooling(
        id: Arc<str>,
        prompt: Arc<[u32]>,
        cache_salt: Option<Arc<str>>,
        arrival: Option<Timestamp>,
    ) -> Self {
        Self {
            id,
            prompt,
            params: SamplingParams::greedy(0),
            branches: NonZeroUsize::MIN,
            cache_salt,
            stop: None,
            constraint: None,
            arrival,
        }
    }
}

/// Makes what restricts the tokens of one branch.
pub type ConstraintFactory = Box<dyn Fn() -> Box<dyn TokenConstraint> + Send>;

/// Looks for stop strings as tokens come. It runs on the engine's thread when a token is applied, so
/// that finish reason, counts and record are decided in the same step.
pub trait StopCheck: Send {
    /// Takes the branch's next token; a match ends the branch.
    fn push(&mut self, token: u32) -> Option<StopMatch>;
}

/// A stop string was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopMatch {
    /// Which of the request's stop strings.
    pub stop: Arc<str>,
    /// Bytes of the branch's text that belong to the answer.
    pub text_bytes: usize,
}

/// What ended a branch that finished with [`FinishReason::Stop`], the model's own end aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopCause {
    /// One of `stop_token_ids`.
    Token(u32),
    /// A stop string.
    Text(StopMatch),
}

/// Something happened to a branch: a token, its end, or both at once; or its prompt was scored.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Which of the request's answers, from 0.
    pub branch: usize,
    /// The branch's next token. The token that ended the branch is among them.
    pub token: Option<u32>,
    /// How likely that token was, if the request asked.
    pub logprobs: Option<Box<TokenLogprobs>>,
    /// How likely the prompt's tokens after the first were, if the request asked: once, before the first
    /// token of any branch.
    pub prompt_logprobs: Option<Arc<[TokenLogprobs]>>,
    /// Prompt tokens that the branch found in the prefix cache.
    pub cached_tokens: usize,
    /// The branch is done; nothing follows for it.
    pub finished: Option<Box<Finished>>,
}

/// How a branch ended, and what it cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// Why.
    pub reason: FinishReason,
    /// What stopped it, unless the model did.
    pub stop: Option<StopCause>,
    /// What went wrong, for [`FinishReason::Error`]; fit for a client.
    pub error: Option<String>,
    /// The prompt's vector, of a model that pools.
    pub embedding: Option<Arc<[f32]>>,
    /// Tokens in and out; the prompt's are the same in every branch.
    pub tokens: TokenCounts,
    /// The record; `None` while stats are off.
    pub stats: Option<FinishedRequestStats>,
}
