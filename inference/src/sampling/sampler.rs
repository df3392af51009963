//! The sampler: one row of logits in, one token out.

use std::cell::RefCell;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Edit, Past, SamplingParams, TokenLogprobs,
    edits::{self, Edits},
    weights::{self, UNIFORM_BITS},
};

/// Logits among which the greatest is looked for at a time.
const ARGMAX_PART: usize = 1024;
/// Those that are compared side by side.
const ARGMAX_LANES: usize = 16;

thread_local! {
    /// A row as the model made it. As long as the vocabulary, so it is kept.
    static RAW: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

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

/// What becomes of one row of logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RowTask<'a> {
    /// Nothing.
    Skip,
    /// How likely is a token that is known, and the `top` likeliest?
    Score {
        /// The token.
        token: u32,
        /// So many others.
        top: usize,
    },
    /// Its next token.
    Draw(Draw<'a>),
}

/// A token, and how likely it was if the request asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// The token.
    pub token: u32,
    /// By the row as the model made it.
    pub logprobs: Option<Box<TokenLogprobs>>,
}

/// What came of a task. Of a [`RowTask::Skip`] it says nothing.
pub type Drawn = Result<Chosen, SampleError>;

/// How a token is drawn from a row, all of it: whoever has the row needs nothing else.
///
/// In vLLM's order: the grammar, bans, `logit_bias`, penalties, and then, unless greedy, temperature, `min_p`, `top_k`, `top_p`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw<'a> {
    /// The request's.
    pub params: &'a SamplingParams,
    /// The tokens that may come, bit `token % 32` of word `token / 32`, none beyond its end; `None`: all.
    pub allowed: Option<&'a [u32]>,
    /// What is done to single logits, no token twice.
    pub edits: &'a [Edit],
    /// 53 random bits: the place in [0, 1) that the token is taken from. Not used where the temperature is 0.
    pub uniform: u64,
}

impl Draw<'_> {
    /// Draws. `logits` is left changed. What a request does not ask for costs nothing.
    ///
    /// # Errors
    /// [`SampleError`] when no token can be drawn, or the row has no softmax.
    pub fn of(&self, logits: &mut [f32]) -> Drawn {
        // Masks and penalties change the row; what is reported is what the model said.
        if self.params.logprobs.is_some() {
            RAW.with_borrow_mut(|raw| logits.clone_into(raw));
        }
        let token = self.token(logits)?;
        let of_raw = |top| RAW.with_borrow(|raw| TokenLogprobs::of(raw, token, top).map(Box::new));
        let logprobs = self.params.logprobs.map(of_raw).transpose()?;
        Ok(Chosen { token, logprobs })
    }

    fn token(&self, logits: &mut [f32]) -> Result<u32, SampleError> {
        if let Some(allowed) = self.allowed {
            mask(logits, allowed);
        }
        edits::apply(self.edits, logits, self.params);
        let likeliest = argmax(logits)?;
        if self.params.temperature == 0.0 {
            return Ok(likeliest);
        }
        Ok(weights::draw(logits, likeliest, self.params, self.uniform))
    }
}

/// Sets the logits of all tokens that are not `allowed` to minus infinity.
fn mask(logits: &mut [f32], allowed: &[u32]) {
    for (i, chunk) in logits.chunks_mut(32).enumerate() {
        match allowed.get(i).copied().unwrap_or(0) {
            0 => chunk.fill(f32::NEG_INFINITY),
            u32::MAX => {}
            word => {
                for (bit, logit) in chunk.iter_mut().enumerate() {
                    if word >> bit & 1 == 0 {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
}

/// Says how the tokens of one branch are drawn. Its state is its own, so that a seed reproduces the branch whatever else is in
/// the batch, and whether or not it was preempted.
#[derive(Debug)]
pub struct Sampler {
    rng: ChaCha8Rng,
    /// Of the token that is drawn now.
    uniform: Option<u64>,
    edits: Edits,
}

impl Sampler {
    /// A sampler of branch `branch` under `seed`.
    pub fn new(seed: u64, branch: usize) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed.wrapping_add(branch as u64)),
            uniform: None,
            edits: Edits::default(),
        }
    }

    /// How the token after `past` is drawn: again in the same way, until it is [taken](Self::take). Tokens in `banned` may not come.
    pub fn draw<'a>(
        &'a mut self,
        params: &'a SamplingParams,
        allowed: Option<&'a [u32]>,
        banned: &[u32],
        past: Past<'_>,
    ) -> Draw<'a> {
        let Self {
            rng,
            uniform,
            edits,
        } = self;
        let uniform = match params.temperature {
            0.0 => 0,
            _ => *uniform.get_or_insert_with(|| rng.next_u64() >> (64 - UNIFORM_BITS)),
        };
        Draw {
            params,
            allowed,
            edits: edits.update(params, banned, past),
            uniform,
        }
    }

    /// The token was drawn; another comes next.
    pub fn take(&mut self) {
        self.uniform = None;
    }
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

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
