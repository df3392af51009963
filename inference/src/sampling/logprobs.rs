//! How likely the chosen token was, and which were likelier.

use rayon::prelude::*;

use super::SampleError;
use crate::math::exp;

/// Most of the likeliest tokens that are told of a position.
pub const TOP_LOGPROBS_MAX: usize = 20;

/// Log probabilities at one position of an answer or a prompt, from the model's own logits, before
/// temperature, penalties and masks.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// The token at this position.
    pub token: u32,
    /// Its natural log probability; minus infinity where the model rules it out.
    pub logprob: f32,
    /// 1 for the likeliest token of the vocabulary. Of equals each has the rank of the last.
    pub rank: usize,
    /// The likeliest tokens, the likeliest first.
    pub top: Vec<(u32, f32)>,
}

impl TokenLogprobs {
    /// Of `token`, and of the `top` likeliest tokens, by the log-softmax of a row of logits.
    ///
    /// # Errors
    /// [`SampleError`] when the row has no softmax.
    pub fn of(logits: &[f32], token: u32, top: usize) -> Result<Self, SampleError> {
        let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if !greatest.is_finite() || logits.iter().any(|logit| logit.is_nan()) {
            return Err(SampleError::NotANumber);
        }
        let total: f64 = logits
            .iter()
            .map(|&logit| f64::from(exp(false, logit - greatest)))
            .sum();
        let log_total = total.ln();
        let logprob = |logit: f32| (f64::from(logit) - f64::from(greatest) - log_total) as f32;
        let chosen = logits[token as usize];
        Ok(Self {
            token,
            logprob: logprob(chosen),
            rank: logits.iter().filter(|&&logit| logit >= chosen).count(),
            top: greatest_of(logits, top)
                .into_iter()
                .map(|(token, logit)| (token, logprob(logit)))
                .collect(),
        })
    }

    /// Of each of `tokens` by its row of `logits`, `[tokens, vocab]`.
    ///
    /// # Errors
    /// [`SampleError`] when a row has no softmax.
    pub fn of_rows(logits: &[f32], tokens: &[u32], top: usize) -> Result<Vec<Self>, SampleError> {
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let rows = logits.par_chunks_exact(logits.len() / tokens.len());
        let scored = rows
            .zip(tokens)
            .map(|(row, &token)| Self::of(row, token, top));
        scored.collect()
    }
}

/// The `count` greatest logits, the greatest first; of equals the smaller id first.
fn greatest_of(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut found: Vec<(u32, f32)> = Vec::with_capacity(count.min(logits.len()) + 1);
    if count == 0 {
        return found;
    }
    for (&logit, token) in logits.iter().zip(0u32..) {
        if found.len() == count && found.last().is_some_and(|&(_, least)| logit <= least) {
            continue;
        }
        let place = found.partition_point(|&(_, greater)| greater >= logit);
        found.insert(place, (token, logit));
        found.truncate(count);
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Against f64 and a full sort.
        #[test]
        fn log_probabilities_are_the_log_softmax(
            logits in prop::collection::vec(
                prop_oneof![-30f32..30.0, Just(1.5), Just(f32::NEG_INFINITY)], 1..60),
            chosen in any::<prop::sample::Index>(),
            top in 0usize..70,
        ) {
            prop_assume!(logits.iter().any(|logit| logit.is_finite()));
            let token = chosen.index(logits.len());
            let seen = TokenLogprobs::of(&logits, token as u32, top).unwrap();
            let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
            let expected = |token: usize| (f64::from(logits[token]).exp() / total).ln();
            let close = |seen: f32, expected: f64| {
                f64::from(seen) == expected || (f64::from(seen) - expected).abs() < 1e-5
            };
            prop_assert!(close(seen.logprob, expected(token)));
            let mut order: Vec<usize> = (0..logits.len()).collect();
            order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
            order.truncate(top);
            let ids: Vec<usize> = seen.top.iter().map(|&(token, _)| token as usize).collect();
            prop_assert_eq!(ids, order);
            for &(token, logprob) in &seen.top {
                prop_assert!(close(logprob, expected(token as usize)));
            }
            let above = logits.iter().filter(|&&logit| logit > logits[token]).count();
            let equal = logits.iter().filter(|&&logit| logit == logits[token]).count();
            prop_assert_eq!(seen.rank, above + equal);
        }

        #[test]
        fn rows_are_scored_one_by_one(rows in 0usize..9, vocab in 1usize..9, top in 0usize..3) {
            let logit = |at: usize| ((at * 7919) % 13) as f32;
            let logits: Vec<f32> = (0..rows * vocab).map(logit).collect();
            let tokens: Vec<u32> = (0..rows).map(|row| (row % vocab) as u32).collect();
            let scored = TokenLogprobs::of_rows(&logits, &tokens, top).unwrap();
            let alone: Vec<TokenLogprobs> = tokens
                .iter()
                .enumerate()
                .map(|(row, &t)| TokenLogprobs::of(&logits[row * vocab..][..vocab], t, top).unwrap())
                .collect();
            prop_assert_eq!(scored, alone);
        }
    }

    #[test]
    fn rows_that_are_not_numbers_are_refused() {
        for bad in [
            [f32::NAN, 1.0],
            [1.0, f32::INFINITY],
            [f32::NEG_INFINITY; 2],
        ] {
            let result = TokenLogprobs::of(&bad, 0, 1);
            assert_eq!(result, Err(SampleError::NotANumber), "{bad:?}");
        }
    }
}
