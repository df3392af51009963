//! The sampler: one row of logits in, one token out.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Past, SamplingParams, penalties::History};

/// Logits among which the greatest is looked for at a time.
const ARGMAX_PART: usize = 1024;
/// Those that are compared side by side.
const ARGMAX_LANES: usize = 16;

/// Logits of the rows that a step asked for, `[rows, vocab]`, row-major.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Logits {
    /// The numbers.
    pub data: Vec<f32>,
    /// Tokens of the vocabulary.
    pub vocab: usize,
}

/// A row that no token can be drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// A logit was NaN, or all were minus infinity.
    #[error("the model produced logits that are not numbers")]
    NotANumber,
}

/// Draws the tokens of one branch. Its state is its own, so that a seed reproduces the branch
/// whatever else is in the batch, and whether or not it was preempted.
#[derive(Debug)]
pub struct Sampler {
    rng: ChaCha8Rng,
    candidates: Vec<(f32, u32)>,
    history: History,
}

impl Sampler {
    /// A sampler of branch `branch` under `seed`.
    pub fn new(seed: u64, branch: usize) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(branch as u64));
        Self {
            rng,
            candidates: Vec::new(),
            history: History::default(),
        }
    }

    /// The token after `past`. Tokens in `banned` get no probability; `logits` is left changed.
    ///
    /// In vLLM's order: bans, `logit_bias`, penalties, and then, unless greedy, temperature, `min_p`,
    /// `top_k`, `top_p`. What a request does not ask for costs nothing.
    ///
    /// # Errors
    /// [`SampleError`] when no token can be drawn.
    pub fn sample(
        &mut self,
        logits: &mut [f32],
        params: &SamplingParams,
        banned: &[u32],
        past: Past<'_>,
    ) -> Result<u32, SampleError> {
        for &token in banned {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        for &(token, bias) in &params.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        if params.has_penalties() {
            self.history.penalize(logits, params, past);
        }
        if params.temperature == 0.0 {
            return argmax(logits);
        }
        self.take_candidates(logits, params)?;
        keep_top_p(&mut self.candidates, params.top_p);
        Ok(self.draw())
    }

    /// Fills `candidates` with (weight, token): of those that min-p leaves the top-k, the likeliest with
    /// weight 1. Neither depends on the other, so the cheaper comes first.
    fn take_candidates(
        &mut self,
        logits: &[f32],
        params: &SamplingParams,
    ) -> Result<(), SampleError> {
        let likeliest = logits[argmax(logits)? as usize];
        let candidates = &mut self.candidates;
        candidates.clear();
        candidates.extend(logits.iter().copied().zip(0..));
        let k = params.top_k as usize;
        if k > 0 && k < candidates.len() {
            candidates.select_nth_unstable_by(k - 1, by_weight);
            candidates.truncate(k);
        }
        for (weight, _) in candidates.iter_mut() {
            *weight = ((*weight - likeliest) / params.temperature).exp();
        }
        if params.min_p > 0.0 {
            candidates.retain(|&(weight, _)| weight >= params.min_p);
        }
        Ok(())
    }

    fn draw(&mut self) -> u32 {
        let total: f64 = self.candidates.iter().map(|c| f64::from(c.0)).sum();
        let mut left = unit_interval(&mut self.rng) * total;
        for &(weight, token) in &self.candidates {
            left -= f64::from(weight);
            if left < 0.0 {
                return token;
            }
        }
        // Rounding can leave a remainder: the likeliest token takes it.
        let likeliest = self.candidates.iter().min_by(|a, b| by_weight(a, b));
        likeliest
            .expect("the likeliest token is always a candidate")
            .1
    }
}

/// A number in [0, 1) of 53 random bits.
fn unit_interval(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Likelier first; of equals the smaller id, so that the order is total and the same everywhere.
fn by_weight(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// The first of the greatest logits. A part at a time, so that only the part that has it is searched for it.
fn argmax(logits: &[f32]) -> Result<u32, SampleError> {
    let (mut best, mut first) = (f32::NEG_INFINITY, 0);
    for (part, begin) in logits.chunks(ARGMAX_PART).zip((0..).step_by(ARGMAX_PART)) {
        let greatest = greatest(part).ok_or(SampleError::NotANumber)?;
        if greatest > best {
            (best, first) = (greatest, begin);
        }
    }
    let place = logits[first..].iter().position(|&logit| logit == best);
    match place {
        Some(place) if best.is_finite() => Ok((first + place) as u32),
        _ => Err(SampleError::NotANumber),
    }
}

/// The greatest of some logits; `None` if one is NaN. In lanes, without branches, which is what compilers turn into
/// vector instructions.
fn greatest(logits: &[f32]) -> Option<f32> {
    let mut greatest = [f32::NEG_INFINITY; ARGMAX_LANES];
    let mut nans = [0u32; ARGMAX_LANES];
    let (whole, rest) = logits.as_chunks::<ARGMAX_LANES>();
    let mut take = |lane: usize, logit: f32| {
        greatest[lane] = if logit > greatest[lane] {
            logit
        } else {
            greatest[lane]
        };
        nans[lane] |= u32::from(logit.is_nan());
    };
    for lanes in whole {
        for (lane, &logit) in lanes.iter().enumerate() {
            take(lane, logit);
        }
    }
    for (lane, &logit) in rest.iter().enumerate() {
        take(lane, logit);
    }
    let greatest = greatest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    nans.iter().all(|&nan| nan == 0).then_some(greatest)
}

/// Keeps the likeliest candidates until their weights reach `top_p` of the whole; at least one.
fn keep_top_p(candidates: &mut Vec<(f32, u32)>, top_p: f32) {
    if top_p >= 1.0 {
        return;
    }
    let total: f64 = candidates.iter().map(|c| f64::from(c.0)).sum();
    let (mut sum, bound) = (0.0, f64::from(top_p) * total);
    // Sorting a whole vocabulary takes longest. What is this unlikely is never kept: all of it together
    // is at most half of what is left out.
    let unlikely = (total - bound) / (2.0 * candidates.len() as f64);
    candidates.retain(|candidate| f64::from(candidate.0) >= unlikely);
    candidates.sort_unstable_by(by_weight);
    let reached = candidates.iter().position(|candidate| {
        sum += f64::from(candidate.0);
        sum >= bound
    });
    candidates.truncate(reached.map_or(candidates.len(), |last| last + 1));
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
