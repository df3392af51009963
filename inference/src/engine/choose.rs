//! A branch's next token: what may not come is banned, what is left is sampled.

use super::sequence::{End, Sequence};
use crate::sampling::TokenLogprobs;

/// A chosen token, and how likely it was if the request asked.
pub(super) struct Chosen {
    pub(super) token: u32,
    pub(super) logprobs: Option<Box<TokenLogprobs>>,
}

/// Chooses the next token of `sequence` by its row of `logits`, which is left changed.
///
/// # Errors
/// Why the sequence cannot go on.
pub(super) fn choose(sequence: &mut Sequence, logits: &mut [f32]) -> Result<Chosen, End> {
    let request = &sequence.request;
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(request = &*request.id, %error, "a request failed");
        End::error(error.to_string())
    };
    let early = sequence.tokens.len() - request.prompt.len() < request.params.min_tokens;
    if let Some(constraint) = &mut sequence.constraint {
        constraint.mask(logits).map_err(|error| failed(&error))?;
        // An answer that can only end does, also where its end tokens are banned, ignored, or none.
        let possible = |&token: &u32| logits[token as usize] > f32::NEG_INFINITY;
        if constraint.is_complete() && (early || !request.stop_tokens.iter().any(possible)) {
            return Err(End::stop());
        }
    }
    let banned = if early {
        request.stop_tokens.as_slice()
    } else {
        &[]
    };
    let token = sequence
        .sampler
        .sample(logits, &request.params, banned)
        .map_err(|error| match &sequence.constraint {
            Some(_) if logits.iter().all(|&logit| logit == f32::NEG_INFINITY) => {
                failed(&"every token that the grammar allows here is banned by min_tokens")
            }
            _ => failed(&error),
        })?;
    if let Some(constraint) = &mut sequence.constraint {
        constraint.accept(token).map_err(|error| failed(&error))?;
    }
    Ok(Chosen {
        token,
        logprobs: None,
    })
}
