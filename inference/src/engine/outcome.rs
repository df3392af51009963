//! What a step brought each sequence that was in it.

use std::sync::Arc;

use super::{
    choose::{Chosen, take_rows},
    isolation::{Output, failure, guarded},
    sequence::{End, Sequence},
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

impl Outcome {
    /// What `output` holds for `sequence`, whose rows begin at `row`, which is moved behind them. A
    /// sequence that failed has none.
    pub(super) fn of(sequence: &mut Sequence, output: &mut Output, row: &mut usize) -> Self {
        if sequence.failed {
            return Self::Ended(failure());
        }
        let id = Arc::clone(&sequence.request.id);
        let made = guarded(&id, "choosing a token", || match output {
            Output::Logits(logits) => match take_rows(sequence, logits, row)? {
                Some(chosen) => Ok(Self::Token(chosen)),
                None if sequence.samples() => Ok(Self::Scored),
                None => Ok(Self::Computed),
            },
            Output::Pooled(_) if !sequence.samples() => Ok(Self::Computed),
            Output::Pooled(pooled) => {
                *row += 1;
                let vector = pooled.row(*row - 1);
                if vector.iter().all(|number| number.is_finite()) {
                    return Ok(Self::Pooled(Arc::from(vector)));
                }
                let message = "the model's vector has something in it that is no number";
                Err(End::error(message))
            }
        });
        made.flatten().unwrap_or_else(Self::Ended)
    }

    /// What was computed for it is not to be used.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self, Self::Ended(end) if end.error.is_some())
    }
}
