//! Log probabilities of a prompt's tokens: whose logits a step computes for them, and what was found.
//!
//! The logits after every prompt token but the last say how likely the token after it was. They are as
//! wide as the vocabulary, so a step computes few of them ([`PROMPT_LOGITS_ROWS_MAX`]), and a prompt that
//! is scored goes through the model in chunks no longer than that.

use std::ops::Range;

use super::{request::Event, sequence::Sequence};
pub(super) use crate::model::runner::PROMPT_LOGITS_ROWS_MAX;
use crate::{
    model::runner::BLOCK_TOKENS,
    sampling::{Drawn, SampleError, TokenLogprobs},
};

/// What was found of a prompt so far. It outlives a preemption: what is found is not computed again.
#[derive(Debug)]
pub(super) struct PromptScores {
    pub(super) top: usize,
    /// Of the prompt's tokens from the second on.
    found: Vec<TokenLogprobs>,
}

impl PromptScores {
    pub(super) fn new(top: usize) -> Self {
        let found = Vec::new();
        Self { top, found }
    }
}

impl Sequence {
    /// Positions whose logits are wanted for the prompt's own tokens when the next `tokens` go through the
    /// model.
    fn scored_positions(&self, tokens: usize) -> Range<usize> {
        let Some(scores) = &self.prompt_scores else {
            return 0..0;
        };
        let from = self.computed.max(scores.found.len());
        let to = (self.computed + tokens).min(self.request.prompt.len() - 1);
        from..to.max(from)
    }

    /// Those of the current step.
    pub(super) fn scored_now(&self) -> Range<usize> {
        self.scored_positions(self.scheduled)
    }

    /// As many of the next `tokens` as need at most `rows` logits for the prompt's own tokens. Returns how
    /// many rows they need as well.
    pub(super) fn within_rows(&self, tokens: usize, rows: usize) -> (usize, usize) {
        let scored = self.scored_positions(tokens);
        if scored.len() <= rows {
            return (tokens, scored.len());
        }
        (scored.start + rows - self.computed, rows)
    }

    /// Full blocks at the beginning that need not be computed for their logits.
    pub(super) fn skippable_blocks(&self) -> usize {
        let tokens = self.prompt_scores.as_ref().map(|scores| scores.found.len());
        tokens.map_or(usize::MAX, |tokens| tokens / BLOCK_TOKENS)
    }

    /// Scores the prompt's tokens of the step by their `rows` of logits.
    ///
    /// # Errors
    /// [`SampleError`] when one of the rows has no softmax.
    pub(super) fn score_prompt(&mut self, rows: &[f32]) -> Result<(), SampleError> {
        let scored = self.scored_now();
        let Some(scores) = &mut self.prompt_scores else {
            return Ok(());
        };
        let next = &self.tokens[scored.start + 1..scored.end + 1];
        scores
            .found
            .extend(TokenLogprobs::of_rows(rows, next, scores.top)?);
        Ok(())
    }

    /// Takes what a device made of the same rows.
    ///
    /// # Errors
    /// [`SampleError`] when one of them has no softmax.
    pub(super) fn take_scores(
        &mut self,
        mut drawn: impl Iterator<Item = Drawn>,
    ) -> Result<(), SampleError> {
        let Some(scores) = &mut self.prompt_scores else {
            return Ok(());
        };
        drawn.try_for_each(|drawn| {
            scores.found.extend(drawn?.logprobs.map(|found| *found));
            Ok(())
        })
    }

    /// The log probabilities of the whole prompt, once, for whoever listens.
    pub(super) fn prompt_event(&mut self) -> Option<Event> {
        let all = self.request.prompt.len() - 1;
        let scores = self
            .prompt_scores
            .take_if(|scores| scores.found.len() == all)?;
        Some(Event {
            prompt_logprobs: Some(scores.found.into()),
            ..self.event(None, None)
        })
    }
}
