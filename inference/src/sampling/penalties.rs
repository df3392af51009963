//! Presence, frequency and repetition penalties: what a branch has already changes what comes next.
//!
//! Presence and frequency as OpenAI's API defines them, over the answer; repetition as in the CTRL paper
//! (Keskar et al., 2019, section 4.1), over prompt and answer, as vLLM and `transformers` apply it.

use std::collections::HashMap;

use super::SamplingParams;

/// The tokens that a branch has. Both only grow.
#[derive(Debug, Clone, Copy, Default)]
pub struct Past<'a> {
    /// Those it was given.
    pub prompt: &'a [u32],
    /// Those it generated.
    pub answer: &'a [u32],
}

/// How often each token was seen. It counts only what is new since it last looked, so a step costs as
/// much as there are distinct tokens, not as many as there are tokens.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Each token that was seen, and how often the answer has it: 0 for those of the prompt alone.
    counts: Vec<(u32, u32)>,
    /// Where in `counts` a token is.
    places: HashMap<u32, usize>,
    /// Tokens of the prompt and the answer that are counted.
    prompt: usize,
    answer: usize,
}

impl History {
    /// Applies the penalties of `params` to the logits of the tokens of `past`. Logits that are not finite
    /// (banned tokens) stay as they are, and finite ones stay finite.
    pub(super) fn penalize(&mut self, logits: &mut [f32], params: &SamplingParams, past: Past<'_>) {
        self.count(params, past);
        let repetition = params.repetition_penalty;
        for &(token, count) in &self.counts {
            let Some(logit) = logits.get_mut(token as usize).filter(|l| l.is_finite()) else {
                continue;
            };
            let mut penalized = match *logit {
                positive if positive > 0.0 => positive / repetition,
                negative => negative * repetition,
            };
            if count > 0 {
                penalized -= params.frequency_penalty * count as f32;
                penalized -= params.presence_penalty;
            }
            *logit = penalized.clamp(f32::MIN, f32::MAX);
        }
    }

    fn count(&mut self, params: &SamplingParams, past: Past<'_>) {
        if params.repetition_penalty != 1.0 {
            for &token in &past.prompt[self.prompt..] {
                self.place(token);
            }
            self.prompt = past.prompt.len();
        }
        for &token in &past.answer[self.answer..] {
            let place = self.place(token);
            self.counts[place].1 += 1;
        }
        self.answer = past.answer.len();
    }

    fn place(&mut self, token: u32) -> usize {
        let counts = &mut self.counts;
        *self.places.entry(token).or_insert_with(|| {
            counts.push((token, 0));
            counts.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The formulas, token by token over the whole vocabulary.
    fn plain(logits: &[f32], params: &SamplingParams, past: Past<'_>) -> Vec<f32> {
        let occurrences = |tokens: &[u32], token| tokens.iter().filter(|&&t| t == token).count();
        let penalized = |(token, &logit): (usize, &f32)| {
            let count = occurrences(past.answer, token as u32);
            let mut logit = logit;
            if count + occurrences(past.prompt, token as u32) > 0 {
                if logit > 0.0 {
                    logit /= params.repetition_penalty;
                } else {
                    logit *= params.repetition_penalty;
                }
            }
            logit -= params.frequency_penalty * count as f32;
            if count > 0 {
                logit -= params.presence_penalty;
            }
            logit
        };
        logits.iter().enumerate().map(penalized).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_growing_history_gives_what_the_formulas_give(
            (vocab, prompt, answer) in (1u32..40).prop_flat_map(|vocab| (
                Just(vocab),
                prop::collection::vec(0..vocab, 1..20),
                prop::collection::vec(0..vocab, 0..20),
            )),
            presence in -2f32..2.0,
            frequency in -2f32..2.0,
            repetition in prop_oneof![Just(1.0), 0.01f32..3.0],
            seed in any::<u32>(),
        ) {
            let params = SamplingParams {
                presence_penalty: presence,
                frequency_penalty: frequency,
                repetition_penalty: repetition,
                ..SamplingParams::greedy(1)
            };
            let mut history = History::default();
            for generated in 0..=answer.len() {
                let past = Past { prompt: &prompt, answer: &answer[..generated] };
                let logit = |token: u32| {
                    let mixed = (seed ^ token).wrapping_mul(0x9e37_79b9) >> 8;
                    mixed as f32 / f32::from(u16::MAX) - 128.0
                };
                let row: Vec<f32> = (0..vocab).map(logit).collect();
                let mut seen = row.clone();
                history.penalize(&mut seen, &params, past);
                prop_assert_eq!(seen, plain(&row, &params, past));
            }
        }
    }

    #[test]
    fn banned_tokens_stay_banned_and_finite_logits_finite() {
        let params = SamplingParams {
            repetition_penalty: f32::MIN_POSITIVE,
            frequency_penalty: 2.0,
            ..SamplingParams::greedy(1)
        };
        let mut row = [f32::NEG_INFINITY, f32::MAX, 0.0, f32::MIN];
        let past = Past {
            prompt: &[0, 1, 2, 3],
            answer: &[],
        };
        History::default().penalize(&mut row, &params, past);
        assert_eq!(row[0], f32::NEG_INFINITY);
        assert!(row[1..].iter().all(|logit| logit.is_finite()), "{row:?}");
    }
}
