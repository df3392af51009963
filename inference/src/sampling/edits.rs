//! What a request does to single logits before a token is drawn: bans, biases, and penalties for what a branch has already.
//!
//! Presence and frequency penalties as OpenAI's API defines them, over the answer; repetition as in the CTRL paper
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

/// What is done to one token's logit, in the order of these fields.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Edit {
    /// The token.
    pub token: u32,
    /// It may not come.
    pub banned: bool,
    /// Added.
    pub bias: f32,
    /// Prompt or answer have it: penalties apply.
    pub seen: bool,
    /// How often the answer has it.
    pub count: u32,
}

impl Edit {
    /// The logit afterwards. One that is not finite (a banned token) is not penalized, and a finite one stays finite.
    fn of(&self, logit: f32, params: &SamplingParams) -> f32 {
        let allowed = if self.banned {
            f32::NEG_INFINITY
        } else {
            logit
        };
        let biased = allowed + self.bias;
        if !self.seen || !biased.is_finite() {
            return biased;
        }
        let mut penalized = if biased > 0.0 {
            biased / params.repetition_penalty
        } else {
            biased * params.repetition_penalty
        };
        if self.count > 0 {
            penalized -= params.frequency_penalty * self.count as f32;
            penalized -= params.presence_penalty;
        }
        penalized.clamp(f32::MIN, f32::MAX)
    }
}

/// Edits `logits`, each token once.
pub(super) fn apply(edits: &[Edit], logits: &mut [f32], params: &SamplingParams) {
    for edit in edits {
        if let Some(logit) = logits.get_mut(edit.token as usize) {
            *logit = edit.of(*logit, params);
        }
    }
}

/// A branch's edits. It counts only what is new since it last looked, so a step costs as much as there are distinct tokens,
/// not as many as there are tokens.
#[derive(Debug, Default)]
pub(super) struct Edits {
    list: Vec<Edit>,
    /// Where in `list` a token is.
    places: HashMap<u32, usize>,
    /// Tokens that are banned now.
    banned: Vec<u32>,
    /// The request's biases are in it.
    biased: bool,
    /// Tokens of the prompt and the answer that are counted.
    prompt: usize,
    answer: usize,
}

impl Edits {
    /// The edits before the token after `past`; no token is in it twice. `params` are always the same.
    pub(super) fn update(
        &mut self,
        params: &SamplingParams,
        banned: &[u32],
        past: Past<'_>,
    ) -> &[Edit] {
        if !std::mem::replace(&mut self.biased, true) {
            for &(token, bias) in &params.logit_bias {
                self.edit(token).bias += bias;
            }
        }
        if self.banned != banned {
            for token in std::mem::take(&mut self.banned) {
                self.edit(token).banned = false;
            }
            self.banned.extend_from_slice(banned);
            banned
                .iter()
                .for_each(|&token| self.edit(token).banned = true);
        }
        if params.has_penalties() {
            self.count(params, past);
        }
        &self.list
    }

    fn count(&mut self, params: &SamplingParams, past: Past<'_>) {
        if params.repetition_penalty != 1.0 {
            for &token in &past.prompt[self.prompt..] {
                self.edit(token).seen = true;
            }
            self.prompt = past.prompt.len();
        }
        for &token in &past.answer[self.answer..] {
            let edit = self.edit(token);
            edit.seen = true;
            edit.count += 1;
        }
        self.answer = past.answer.len();
    }

    fn edit(&mut self, token: u32) -> &mut Edit {
        let list = &mut self.list;
        let place = *self.places.entry(token).or_insert_with(|| {
            list.push(Edit {
                token,
                ..Edit::default()
            });
            list.len() - 1
        });
        &mut self.list[place]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The formulas, token by token over the whole vocabulary.
    fn plain(logits: &[f32], params: &SamplingParams, banned: &[u32], past: Past<'_>) -> Vec<f32> {
        let occurrences = |tokens: &[u32], token| tokens.iter().filter(|&&t| t == token).count();
        let edited = |(token, &logit): (usize, &f32)| {
            let token = token as u32;
            if banned.contains(&token) {
                return f32::NEG_INFINITY;
            }
            let biases = params.logit_bias.iter().filter(|bias| bias.0 == token);
            let mut logit = biases.fold(logit, |logit, bias| logit + bias.1);
            let count = occurrences(past.answer, token);
            if count + occurrences(past.prompt, token) > 0 {
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
        logits.iter().enumerate().map(edited).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_growing_history_gives_what_the_formulas_give(
            (vocab, prompt, answer, bans, bias) in (1u32..40).prop_flat_map(|vocab| (
                Just(vocab),
                prop::collection::vec(0..vocab, 1..20),
                prop::collection::vec(0..vocab, 0..20),
                prop::collection::vec(prop::collection::vec(0..vocab, 0..3), 1..4),
                prop::option::of((0..vocab, -3f32..3.0)),
            )),
            presence in prop_oneof![Just(0.0), -2f32..2.0],
            frequency in prop_oneof![Just(0.0), -2f32..2.0],
            repetition in prop_oneof![Just(1.0), 0.01f32..3.0],
            seed in any::<u32>(),
        ) {
            let params = SamplingParams {
                presence_penalty: presence,
                frequency_penalty: frequency,
                repetition_penalty: repetition,
                logit_bias: bias.into_iter().collect(),
                ..SamplingParams::greedy(1)
            };
            let mut edits = Edits::default();
            for generated in 0..=answer.len() {
                let past = Past { prompt: &prompt, answer: &answer[..generated] };
                let banned = &bans[generated % bans.len()];
                let logit = |token: u32| {
                    let mixed = (seed ^ token).wrapping_mul(0x9e37_79b9) >> 8;
                    mixed as f32 / f32::from(u16::MAX) - 128.0
                };
                let row: Vec<f32> = (0..vocab).map(logit).collect();
                let mut seen = row.clone();
                apply(edits.update(&params, banned, past), &mut seen, &params);
                prop_assert_eq!(seen, plain(&row, &params, banned, past));
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
        apply(
            Edits::default().update(&params, &[2], past),
            &mut row,
            &params,
        );
        assert_eq!(row[0], f32::NEG_INFINITY);
        assert_eq!(row[2], f32::NEG_INFINITY);
        assert!(row[1].is_finite() && row[3].is_finite(), "{row:?}");
    }

    #[test]
    fn a_token_beyond_the_vocabulary_changes_nothing() {
        let mut row = [1.0, 2.0];
        let params = SamplingParams {
            logit_bias: vec![(2, 5.0)],
            ..SamplingParams::greedy(1)
        };
        let edits = &mut Edits::default();
        let edits = edits.update(&params, &[7], Past::default());
        apply(edits, &mut row, &params);
        assert_eq!(row, [1.0, 2.0]);
    }
}
