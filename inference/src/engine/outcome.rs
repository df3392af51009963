//! What a step brought each sequence that was in it.

use std::{mem, sync::Arc};

use rayon::prelude::*;

use super::{
    choose::{rows_of, take_drawn, take_rows},
    isolation::{Output, failure, guarded},
    sequence::{End, Sequence},
};
use crate::{
    model::runner::Pooled,
    sampling::{Chosen, Drawn, Logits},
};

/// What a step brought a sequence.
pub(super) enum Outcome {
    /// More of its tokens are computed.
    Computed,
    /// Its prompt is computed and scored, and that is all it was to do.
    Scored,
    /// Its next token.
    Token(Chosen),
    /// Its prompt's vector.
    Pooled(Arc<[f32]>),
    /// It cannot go on.
    Ended(End),
}

/// Replaces `outcomes` by what `output` holds for the sequences of the step, so many, which have their rows in
/// it in their order. One that failed has none.
pub(super) fn take_outcomes<'a>(
    scheduled: impl Iterator<Item = &'a mut Sequence>,
    sequences: usize,
    output: &mut Output,
    outcomes: &mut Vec<Outcome>,
) {
    outcomes.clear();
    match output {
        Output::Logits(logits) if sequences == 1 => {
            let own = logits.data.as_mut_slice();
            outcomes
                .extend(scheduled.map(|sequence| Outcome::of_logits(sequence, own, logits.vocab)));
        }
        Output::Logits(logits) => choose_side_by_side(scheduled, sequences, logits, outcomes),
        Output::Drawn(drawn) => {
            let mut rest = drawn.drain(..);
            outcomes.extend(scheduled.map(|sequence| Outcome::of_drawn(sequence, &mut rest)));
        }
        Output::Pooled(pooled) => {
            let mut row = 0;
            let outcome = |sequence| Outcome::of_vector(sequence, pooled, &mut row);
            outcomes.extend(scheduled.map(outcome));
        }
    }
}

/// A sequence has all it needs for its choice, and a row is as long as the vocabulary.
fn choose_side_by_side<'a>(
    scheduled: impl Iterator<Item = &'a mut Sequence>,
    sequences: usize,
    logits: &mut Logits,
    outcomes: &mut Vec<Outcome>,
) {
    let vocab = logits.vocab;
    let mut rest = logits.data.as_mut_slice();
    let mut parts = Vec::with_capacity(sequences);
    parts.extend(scheduled.map(|sequence| {
        // Where the model made too few, the last do not find theirs, and fail.
        let own = (rows_of(sequence) * vocab).min(rest.len());
        let (own, others) = mem::take(&mut rest).split_at_mut(own);
        rest = others;
        (sequence, own)
    }));
    parts
        .into_par_iter()
        .map(|(sequence, own)| Outcome::of_logits(sequence, own, vocab))
        .collect_into_vec(outcomes);
}

impl Outcome {
    fn of_logits(sequence: &mut Sequence, logits: &mut [f32], vocab: usize) -> Self {
        Self::of(sequence, |sequence| {
            let chosen = take_rows(sequence, logits, vocab)?;
            Ok(Self::of_chosen(sequence, chosen))
        })
    }

    /// Takes the sequence's own off `rest`.
    fn of_drawn(sequence: &mut Sequence, rest: &mut dyn Iterator<Item = Drawn>) -> Self {
        let mut own = rest.take(rows_of(sequence));
        let outcome = Self::of(sequence, |sequence| {
            let chosen = take_drawn(sequence, &mut own)?;
            Ok(Self::of_chosen(sequence, chosen))
        });
        // What it did not look at is not the next one's.
        own.for_each(drop);
        outcome
    }

    fn of_chosen(sequence: &Sequence, chosen: Option<Chosen>) -> Self {
        match chosen {
            Some(chosen) => Self::Token(chosen),
            None if sequence.samples() => Self::Scored,
            None => Self::Computed,
        }
    }

    /// Moves `row` behind the sequence's.
    fn of_vector(sequence: &mut Sequence, pooled: &Pooled, row: &mut usize) -> Self {
        Self::of(sequence, |sequence| {
            if !sequence.samples() {
                return Ok(Self::Computed);
            }
            *row += 1;
            let vector = pooled.row(*row - 1);
            if vector.iter().all(|number| number.is_finite()) {
                return Ok(Self::Pooled(Arc::from(vector)));
            }
            let message = "the model's vector has something in it that is no number";
            Err(End::error(message))
        })
    }

    fn of(sequence: &mut Sequence, take: impl FnOnce(&mut Sequence) -> Result<Self, End>) -> Self {
        if sequence.failed {
            return Self::Ended(failure());
        }
        let id = Arc::clone(&sequence.request.id);
        let made = guarded(&id, "choosing a token", || take(sequence));
        made.flatten().unwrap_or_else(Self::Ended)
    }

    /// What was computed for it is not to be used.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self, Self::Ended(end) if end.error.is_some())
    }
}
