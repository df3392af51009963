//! A branch's next token: how it is drawn, and what is drawn of a row.

use std::fmt::Display;

use super::{
    isolation::guarded,
    sequence::{End, Request, Sequence},
};
use crate::sampling::{Chosen, Draw, Drawn, Past, RowTask, Sampler, TokenConstraint};

/// Rows of logits that a step computes for `sequence`.
pub(super) fn rows_of(sequence: &Sequence) -> usize {
    match sequence.failed {
        true => 0,
        false => sequence.scored_now().len() + usize::from(sequence.gets_token()),
    }
}

/// What a device is to do with the rows of `sequence`. Where that cannot be said, its end is kept in it.
pub(super) fn tasks(sequence: &mut Sequence) -> impl Iterator<Item = RowTask<'_>> {
    let scored = sequence.scored_now();
    let draws = sequence.gets_token();
    let top = sequence
        .prompt_scores
        .as_ref()
        .map_or(0, |scores| scores.top);
    let Sequence {
        request,
        tokens,
        sampler,
        constraint,
        end,
        ..
    } = sequence;
    let tokens = &*tokens;
    let known = tokens.get(scored.start + 1..scored.end + 1);
    let scores = known.into_iter().flatten();
    let scores = scores.map(move |&token| RowTask::Score { token, top });
    let drawn = (draws && end.is_none()).then(|| {
        let id = request.id.clone();
        let made = guarded(&id, "choosing a token", || {
            draw(request, tokens, sampler, constraint)
        });
        made.flatten().map_or_else(
            |error| {
                *end = Some(error);
                RowTask::Skip
            },
            RowTask::Draw,
        )
    });
    let skipped = (draws && drawn.is_none()).then_some(RowTask::Skip);
    scores.chain(drawn).chain(skipped)
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
    let Sequence {
        request,
        tokens,
        sampler,
        constraint,
        ..
    } = sequence;
    let drawn = draw(request, tokens, sampler, constraint)?.of(&mut own[..vocab]);
    accept(sequence, drawn).map(Some)
}

/// The same from what a device made of the rows.
///
/// # Errors
/// Why the sequence cannot go on.
pub(super) fn take_drawn(
    sequence: &mut Sequence,
    drawn: &mut dyn Iterator<Item = Drawn>,
) -> Result<Option<Chosen>, End> {
    let scored = sequence.scored_now().len();
    if let Err(error) = sequence.take_scores(drawn.take(scored)) {
        return Err(failure(&sequence.request, &error));
    }
    if let Some(end) = sequence.end.take() {
        return Err(end);
    }
    if !sequence.gets_token() {
        return Ok(None);
    }
    let own = drawn.next();
    let own = own.ok_or_else(|| failure(&sequence.request, &"the device drew too few tokens"))?;
    accept(sequence, own).map(Some)
}

/// How the next token is drawn.
///
/// # Errors
/// Why the sequence cannot go on.
fn draw<'a>(
    request: &'a Request,
    tokens: &[u32],
    sampler: &'a mut Sampler,
    constraint: &'a mut Option<Box<dyn TokenConstraint>>,
) -> Result<Draw<'a>, End> {
    let failed = |error: &dyn Display| failure(request, error);
    let (prompt, answer) = tokens.split_at(request.prompt.len());
    let early = answer.len() < request.params.min_tokens;
    let mut allowed = None;
    if let Some(constraint) = constraint {
        let words = constraint.allowed().map_err(|error| failed(&error))?;
        let may_end = request
            .stop_tokens
            .iter()
            .any(|&token| may_come(words, token));
        let nothing = words.iter().all(|&word| word == 0);
        // An answer that can only end does, also where its end tokens are banned, ignored, or none.
        if constraint.is_complete() && (early || !may_end) {
            return Err(End::stop());
        }
        if nothing {
            let message = "every token that the grammar allows here is ruled out by the request";
            return Err(failed(&message));
        }
        allowed = Some(constraint.allowed().map_err(|error| failed(&error))?);
    }
    // Where the grammar allows nothing else, it counts for more than min_tokens.
    let is_free = || allowed.is_none_or(|words| any_but(words, &request.stop_tokens));
    let banned = match early && is_free() {
        true => request.stop_tokens.as_slice(),
        false => &[],
    };
    Ok(sampler.draw(&request.params, allowed, banned, Past { prompt, answer }))
}

/// Goes on with the token that was drawn.
///
/// # Errors
/// Why the sequence cannot go on.
fn accept(sequence: &mut Sequence, drawn: Drawn) -> Result<Chosen, End> {
    let chosen = drawn.map_err(|error| failure(&sequence.request, &error))?;
    sequence.sampler.take();
    if let Some(constraint) = &mut sequence.constraint {
        let accepted = constraint.accept(chosen.token);
        accepted.map_err(|error| failure(&sequence.request, &error))?;
    }
    Ok(chosen)
}

fn may_come(allowed: &[u32], token: u32) -> bool {
    let word = allowed.get(token as usize / 32);
    word.is_some_and(|word| word >> (token % 32) & 1 == 1)
}

/// Whether any other token than `tokens` may come.
fn any_but(allowed: &[u32], tokens: &[u32]) -> bool {
    let others = |(&word, first): (&u32, usize)| {
        let own = tokens.iter().filter(|&&token| token as usize / 32 == first);
        word & !own.fold(0, |bits, token| bits | 1 << (token % 32)) != 0
    };
    allowed.iter().zip(0..).any(others)
}

fn failure(request: &Request, error: &dyn Display) -> End {
    tracing::error!(request = &*request.id, %error, "a request failed");
    End::error(error.to_string())
}
