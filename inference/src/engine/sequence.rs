//! A sequence: one branch of a request on its way through the engine.

use std::{sync::Arc, time::Duration};

use super::{
    handle::Listener,
    isolation::guarded,
    kv::BlockTable,
    prompt_logprobs::PromptScores,
    request::{Event, Finished, GenerateRequest, StopCause, StopCheck},
};
use crate::{
    finish_reason::FinishReason,
    sampling::{Chosen, Sampler, SamplingParams, TokenConstraint},
    stats::{FinishedRequestStats, RequestTimeline, Timestamp, TokenCounts, Work},
};

/// Tokens of an answer that have their room before it begins; if it has more, the list grows.
const ANSWER_TOKENS_RESERVED: usize = 256;

/// What the branches of a request share.
pub(super) struct Request {
    pub(super) id: Arc<str>,
    pub(super) prompt: Arc<[u32]>,
    pub(super) params: SamplingParams,
    /// Tokens that end an answer: the model's own, unless ignored, and the request's.
    pub(super) stop_tokens: Vec<u32>,
    pub(super) listener: Listener,
}

/// One branch: its tokens, its blocks, and what it has cost so far.
pub(super) struct Sequence {
    pub(super) request: Arc<Request>,
    pub(super) branch: usize,
    /// Prompt and answer so far.
    pub(super) tokens: Vec<u32>,
    /// How many of `tokens` have their keys and values in the cache.
    pub(super) computed: usize,
    /// Blocks that hold them.
    pub(super) table: BlockTable,
    /// Prompt tokens that were in the prefix cache when it was first scheduled.
    pub(super) cached_tokens: usize,
    /// Tokens it puts through the current step; 0 when it is not part of it.
    pub(super) scheduled: usize,
    pub(super) sampler: Sampler,
    /// Of the first branch of a request that asked, until they are told.
    pub(super) prompt_scores: Option<PromptScores>,
    pub(super) stop: Option<Box<dyn StopCheck>>,
    pub(super) constraint: Option<Box<dyn TokenConstraint>>,
    pub(super) timeline: Option<RequestTimeline>,
    pub(super) compute_time: Duration,
    pub(super) preemptions: u32,
    /// It was part of a batch before; false while it counts as waiting for its first step.
    pub(super) started: bool,
    /// Something of its own failed: it ends with the step, or before its first.
    pub(super) failed: bool,
    /// Why it cannot go on, found while its step runs.
    pub(super) end: Option<End>,
}

/// The branches of `request`, each drawing from `seed`.
pub(super) fn branches(
    request: GenerateRequest,
    listener: Listener,
    eos_token_ids: &[u32],
    seed: u64,
    queued: Option<Timestamp>,
) -> Vec<Sequence> {
    let GenerateRequest {
        id,
        prompt,
        params,
        branches,
        cache_salt,
        stop,
        constraint,
        arrival,
    } = request;
    let mut stop_tokens = params.stop_token_ids.clone();
    if !params.ignore_eos {
        stop_tokens.extend_from_slice(eos_token_ids);
    }
    let shared = Arc::new(Request {
        id,
        prompt,
        params,
        stop_tokens,
        listener,
    });
    // What a request brings along is made here; if that panics, its branches end before their first step.
    let id = Arc::clone(&shared.id);
    let make_stop = || stop.as_ref().map(|make| make());
    let make_constraint = || constraint.as_ref().map(|make| make());
    let answer = shared.params.max_tokens.min(ANSWER_TOKENS_RESERVED);
    let new = |branch| {
        let mut tokens = Vec::with_capacity(shared.prompt.len() + answer);
        tokens.extend_from_slice(&shared.prompt);
        let made = guarded(&id, "beginning", || (make_stop(), make_constraint()));
        let failed = made.is_err();
        let (stop, constraint) = made.unwrap_or_default();
        Sequence {
            request: Arc::clone(&shared),
            branch,
            tokens,
            computed: 0,
            table: BlockTable::new(cache_salt.clone()),
            cached_tokens: 0,
            scheduled: 0,
            sampler: Sampler::new(seed, branch),
            prompt_scores: shared
                .params
                .prompt_logprobs
                .filter(|_| branch == 0)
                .map(PromptScores::new),
            stop,
            constraint,
            timeline: queued.map(|queued| RequestTimeline::new(arrival.unwrap_or(queued), queued)),
            compute_time: Duration::ZERO,
            preemptions: 0,
            started: false,
            failed,
            end: None,
        }
    };
    (0..branches.get()).map(new).collect()
}

impl Sequence {
    /// Tokens generated so far.
    pub(super) fn generated(&self) -> usize {
        self.tokens.len() - self.request.prompt.len()
    }

    /// Tokens that are still to go through the model before the next can be sampled.
    pub(super) fn remaining(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// The current step computes the last of its tokens.
    pub(super) fn samples(&self) -> bool {
        self.scheduled > 0 && self.scheduled == self.remaining()
    }

    /// The current step gives it a token: not one that only computes its prompt, for its scores or its vector.
    pub(super) fn gets_token(&self) -> bool {
        self.samples() && self.request.params.max_tokens > 0
    }

    /// Nobody listens any more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.request.listener.is_gone()
    }

    /// Takes the next token, and says whether it is the last, and why.
    pub(super) fn push(
        &mut self,
        token: u32,
        max_model_len: usize,
    ) -> Option<(FinishReason, Option<StopCause>)> {
        self.tokens.push(token);
        let params = &self.request.params;
        let matched = self.stop.as_mut().and_then(|stop| stop.push(token));
        if self.generated() >= params.min_tokens {
            if self.request.stop_tokens.contains(&token) {
                let own = params.stop_token_ids.contains(&token);
                return Some((FinishReason::Stop, own.then_some(StopCause::Token(token))));
            }
            if let Some(matched) = matched {
                return Some((FinishReason::Stop, Some(StopCause::Text(matched))));
            }
        }
        let full = self.generated() >= params.max_tokens || self.tokens.len() >= max_model_len;
        full.then_some((FinishReason::Length, None))
    }

    /// How it ended: the one place where a record is built.
    pub(super) fn finish(&self, end: End, finished: Option<Timestamp>) -> Box<Finished> {
        let End {
            reason,
            stop,
            error,
            embedding,
        } = end;
        let prompt = self.request.prompt.len();
        let tokens = TokenCounts {
            prompt,
            completion: self.generated(),
            cached: self.cached_tokens,
        };
        let stats = self.timeline.zip(finished).map(|(timeline, finished)| {
            let (preemptions, compute_time) = (self.preemptions, self.compute_time);
            let work = Work {
                reason,
                tokens,
                preemptions,
                compute_time,
            };
            FinishedRequestStats::new(timeline, finished, work)
        });
        Box::new(Finished {
            reason,
            stop,
            error,
            embedding,
            tokens,
            stats,
        })
    }

    /// An event for whoever listens.
    pub(super) fn event(&self, chosen: Option<Chosen>, finished: Option<Box<Finished>>) -> Event {
        let (token, logprobs) = match chosen {
            Some(Chosen { token, logprobs }) => (Some(token), logprobs),
            None => (None, None),
        };
        Event {
            branch: self.branch,
            token,
            logprobs,
            prompt_logprobs: None,
            cached_tokens: self.cached_tokens,
            finished,
        }
    }
}

/// Why a sequence ends.
pub(super) struct End {
    pub(super) reason: FinishReason,
    pub(super) stop: Option<StopCause>,
    pub(super) error: Option<String>,
    /// What a model that pools made of the prompt.
    pub(super) embedding: Option<Arc<[f32]>>,
}

impl End {
    pub(super) fn abort() -> Self {
        Self {
            reason: FinishReason::Abort,
            stop: None,
            error: None,
            embedding: None,
        }
    }

    pub(super) fn of(reason: FinishReason, stop: Option<StopCause>) -> Self {
        Self {
            reason,
            stop,
            ..Self::abort()
        }
    }

    pub(super) fn length() -> Self {
        Self::of(FinishReason::Length, None)
    }

    /// What restricts the answer allows nothing more.
    pub(super) fn stop() -> Self {
        Self::of(FinishReason::Stop, None)
    }

    /// The prompt's vector is there, and with it the end.
    pub(super) fn pooled(vector: Arc<[f32]>) -> Self {
        Self {
            embedding: Some(vector),
            ..Self::stop()
        }
    }

    pub(super) fn error(message: impl Into<String>) -> Self {
        Self {
            reason: FinishReason::Error,
            stop: None,
            error: Some(message.into()),
            embedding: None,
        }
    }
}
