//! A branch's next token: what may not come is banned, what is left is sampled.

use std::{cell::RefCell, fmt::Display};

use super::sequence::{End, Request, Sequence};
use crate::sampling::{Past, TokenLogprobs};

thread_local! {
    /// A row as the model made it. As long as the vocabulary, so it is kept.
    static RAW: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// A chosen token, and how likely it was if the request asked.
pub(super) struct Chosen {
    pub(super) token: u32,
    pub(super) logprobs: Option<Box<TokenLogprobs>>,
}

/// Rows of logits that a step computes for `sequence`.
pub(super) fn rows_of(sequence: &Sequence) -> usize {
    match sequence.failed {
        true => 0,
        false => sequence.scored_now().len() + usize::from(sequence.gets_token()),
    }
}

/// Takes what a step computed for `sequence`, `[rows_of, vocab]`: the log probabilities of its prompt, and
/// its next token if it gets one.
///
/// # Errors
/// Why the sequence cannot go on.
pub(super) fn take_rows(
    sequence: &mut Sequence,
    logits: &mut [f32],
    vocab: usize,
) -> Result<Option<Chosen>, End> {
    let (scored, own) = logits.split_at_mut(sequence.scored_now().len() * vocab);
    if let Err(error) = sequence.score_prompt(scored) {
        return Err(failure(&sequence.request, &error));
    }
    if !sequence.gets_token() {
        return Ok(None);
    }
    choose(sequence, &mut own[..vocab]).map(Some)
}

/// Chooses the next token of `sequence` by its row of `logits`, which is left changed.
///
/// # Errors
/// Why the sequence cannot go on.
fn choose(sequence: &mut Sequence, logits: &mut [f32]) -> Result<Chosen, End> {
    let request = &sequence.request;
    let failed = |error: &dyn Display| failure(request, error);
    // Masks and penalties change the row; what is reported is what the model said.
    if request.params.logprobs.is_some() {
        RAW.with_borrow_mut(|raw| logits.clone_into(raw));
    }
    let (prompt, answer) = sequence.tokens.split_at(request.prompt.len());
    let early = answer.len() < request.params.min_tokens;
    if let Some(constraint) = &mut sequence.constraint {
        constraint.mask(logits).map_err(|error| failed(&error))?;
        // An answer that can only end does, also where its end tokens are banned, ignored, or none.
        let possible = |&token: &u32| {
            let logit = logits.get(token as usize);
            logit.is_some_and(|&logit| logit > f32::NEG_INFINITY)
        };
        if constraint.is_complete() && (early || !request.stop_tokens.iter().any(possible)) {
            return Err(End::stop());
        }
    }
    // Where the grammar allows nothing else, it counts for more than min_tokens.
    let is_free = || sequence.constraint.is_none() || any_but(logits, &request.stop_tokens);
    let banned = match early && is_free() {
        true => request.stop_tokens.as_slice(),
        false => &[],
    };
    let token = sequence
        .sampler
        .sample(logits, &request.params, banned, Past { prompt, answer })
        .map_err(|error| match &sequence.constraint {
            Some(_) if logits.iter().all(|&logit| logit == f32::NEG_INFINITY) => {
                failed(&"every token that the grammar allows here is ruled out by the request")
            }
            _ => failed(&error),
        })?;
    if let Some(constraint) = &mut sequence.constraint {
        constraint.accept(token).map_err(|error| failed(&error))?;
    }
    let of_raw = |top| RAW.with_borrow(|raw| TokenLogprobs::of(raw, token, top).map(Box::new));
    let logprobs = request
        .params
        .logprobs
        .map(of_raw)
        .transpose()
        .map_err(|error| failed(&error))?;
    Ok(Chosen { token, logprobs })
}

/// Whether any other token than `tokens` may come.
fn any_but(logits: &[f32], tokens: &[u32]) -> bool {
    let may_come =
        |(&logit, token): (&f32, u32)| logit > f32::NEG_INFINITY && !tokens.contains(&token);
    logits.iter().zip(0..).any(may_come)
}

fn failure(request: &Request, error: &dyn Display) -> End {
    tracing::error!(request = &*request.id, %error, "a request failed");
    End::error(error.to_string())
}
