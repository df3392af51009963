//! The engine: one thread that owns scheduler, KV blocks and model, and repeats one step:
//! schedule → batch → forward → sample → apply → finish.
//!
//! Read in this order: `step.rs` (the loop), `scheduler.rs` (who is in a step), `sequence.rs` (what a
//! branch is), `kv/pool.rs` (where its KV lives, and when it is shared). It knows no HTTP, no JSON, no tokenizer, no candle.

mod choose;
pub mod clock;
mod handle;
mod isolation;
mod kv;
mod outcome;
mod prompt_logprobs;
mod request;
mod scheduler;
mod sequence;
mod step;

use std::{
    io,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

pub use self::{
    clock::{Clock, MonotonicClock},
    handle::{Canceller, EngineHandle, EventStream, SubmitError},
    isolation::BARREN_STEPS_MAX,
    request::{
        ConstraintFactory, Event, Finished, GenerateRequest, StopCause, StopCheck, StopMatch,
    },
};
pub use crate::model::runner::{Batch, Pooled, Runner, RunnerError, RunnerType};
use crate::{model::runner::BLOCK_TOKENS, stats::Metrics};

/// Limits of the engine, checked by [`start`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Sequences in one step.
    pub max_num_seqs: usize,
    /// Tokens in one step.
    pub max_num_batched_tokens: usize,
    /// Sequences that wait for their first step.
    pub max_queued_requests: usize,
    /// Tokens of one sequence.
    pub max_model_len: usize,
    /// Blocks of the KV cache.
    pub kv_blocks: usize,
    /// Keep the blocks of finished sequences, for those that begin alike.
    pub prefix_caching: bool,
    /// Tokens with which the model ends an answer.
    pub eos_token_ids: Vec<u32>,
    /// What the runner is for.
    pub runner_type: RunnerType,
}

/// Limits that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not every running sequence could have its token in a step.
    #[error(
        "--max-num-batched-tokens ({tokens}) must be at least --max-num-seqs ({seqs}): raise the \
         one or lower the other"
    )]
    BudgetBelowSequences {
        /// Tokens of a step.
        tokens: usize,
        /// Sequences of a step.
        seqs: usize,
    },
    /// A prompt that must go through the model at once would never have its step.
    #[error(
        "--max-num-batched-tokens ({tokens}) must be at least --max-model-len ({max_model_len}): this \
         model takes a prompt in one step"
    )]
    BudgetBelowPrompt {
        /// Tokens of a step.
        tokens: usize,
        /// Tokens of a sequence.
        max_model_len: usize,
    },
    /// One sequence could outgrow the whole cache.
    #[error(
        "a sequence of {max_model_len} tokens does not fit the KV cache of {kv_tokens} tokens: \
         set --max-model-len to at most {kv_tokens}, or give the cache more memory"
    )]
    ContextBeyondCache {
        /// Tokens of a sequence.
        max_model_len: usize,
        /// Tokens of the cache.
        kv_tokens: usize,
    },
}

impl EngineConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let (tokens, seqs) = (self.max_num_batched_tokens, self.max_num_seqs);
        if tokens < seqs {
            return Err(ConfigError::BudgetBelowSequences { tokens, seqs });
        }
        let max_model_len = self.max_model_len;
        let whole = RunnerType::Pooling {
            whole_prompts: true,
        };
        if self.runner_type == whole && tokens < max_model_len {
            return Err(ConfigError::BudgetBelowPrompt {
                tokens,
                max_model_len,
            });
        }
        let kv_tokens = self.kv_blocks * BLOCK_TOKENS;
        if self.max_model_len > kv_tokens {
            return Err(ConfigError::ContextBeyondCache {
                max_model_len,
                kv_tokens,
            });
        }
        Ok(())
    }
}

/// Starts the engine's thread. Without a clock no time is read and no record is built.
///
/// # Errors
/// A [`ConfigError`] as [`io::ErrorKind::InvalidInput`], or the system's error if it has no thread.
pub fn start(
    runner: Box<dyn Runner>,
    config: EngineConfig,
    clock: Option<Arc<dyn Clock>>,
    metrics: Arc<Metrics>,
) -> io::Result<(EngineHandle, JoinHandle<()>)> {
    config
        .check()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let (sender, receiver) = mpsc::channel();
    let queue_limit = config.max_queued_requests;
    let engine = step::Engine::new(runner, config, clock.clone(), metrics);
    let handle = EngineHandle {
        commands: sender,
        shared: Arc::clone(&engine.shared),
        clock,
        queue_limit,
    };
    let thread = thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || engine.run(&receiver))?;
    Ok((handle, thread))
}

#[cfg(test)]
mod churn_tests;
#[cfg(test)]
mod isolation_tests;
#[cfg(test)]
mod kv_tests;
#[cfg(test)]
mod pooling_tests;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod scheduler_tests;
#[cfg(test)]
pub(crate) mod test_device;
#[cfg(test)]
mod test_random;
#[cfg(test)]
mod tests;
