//! Drawing a token by weights, defined so that a GPU comes to the same token for the same random number.
//!
//! What decides is exact: logits are ordered by value, of equals the smaller id first; a token's weight is
//! `exp((logit − greatest) / temperature)`, each operation rounded in f32, as a multiple of 2^−38; weights are added as whole
//! numbers, whose sums have no order. Tokens that are left lie side by side in the order of their ids, each as long as its
//! weight, and the random number points at one. `inference/cuda/kernels/README.md` says the same of the device.

use std::{cell::RefCell, cmp::Reverse};

use super::SamplingParams;
use crate::math::exp;

/// Weights are multiples of one part in so many.
const UNIT: f32 = (1u64 << 38) as f32;
/// Random bits of a draw.
pub(super) const UNIFORM_BITS: u32 = 53;
/// Weights that are made at a time.
const PART: usize = 1024;

thread_local! {
    /// Room for what a draw looks at more than once. As long as the vocabulary, so it is kept.
    static ROOM: RefCell<Room> = const { RefCell::new(Room { sums: Vec::new(), tokens: Vec::new() }) };
}

struct Room {
    sums: Vec<u64>,
    tokens: Vec<Weighed>,
}

/// A token that may be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Weighed {
    place: u64,
    weight: u64,
}

impl Weighed {
    fn token(&self) -> u32 {
        !(self.place as u32)
    }
}

/// Greater for a token that comes before: by logit, of equals by the smaller id.
fn place(token: u32, logit: f32) -> u64 {
    // Nothing with a sign is nothing.
    let bits = (logit + 0.0).to_bits();
    let ordered = match bits >> 31 {
        0 => bits | 1 << 31,
        _ => !bits,
    };
    u64::from(ordered) << 32 | u64::from(!token)
}

/// The logit of a place.
fn logit_of(place: u64) -> f32 {
    let ordered = (place >> 32) as u32;
    f32::from_bits(match ordered >> 31 {
        1 => ordered & !(1 << 31),
        _ => !ordered,
    })
}

/// How weights are made of a row's logits.
#[derive(Debug, Clone, Copy)]
struct Weights {
    greatest: f32,
    temperature: f32,
    min_p: f32,
}

impl Weights {
    /// 0 for what is less likely than `min_p` of the likeliest.
    #[inline(always)]
    fn of(&self, logit: f32) -> u64 {
        self.whole(self.share(logit))
    }

    #[inline(always)]
    fn share(&self, logit: f32) -> f32 {
        exp(false, (logit - self.greatest) / self.temperature)
    }

    #[inline(always)]
    fn whole(&self, share: f32) -> u64 {
        if share < self.min_p {
            0
        } else {
            // Through i64, which has an instruction; a share is at most 1.
            ((share * UNIT) as i64).cast_unsigned()
        }
    }

    /// The weights of some logits.
    fn of_part(&self, logits: &[f32], weights: &mut [u64; PART]) {
        let mut shares = [0f32; PART];
        for (share, &logit) in shares.iter_mut().zip(logits) {
            *share = self.share(logit);
        }
        for (weight, &share) in weights.iter_mut().zip(&shares[..logits.len()]) {
            *weight = self.whole(share);
        }
    }
}

/// The token that `uniform`, of 53 random bits, points at; `likeliest` has the greatest of `logits`.
pub(super) fn draw(logits: &[f32], likeliest: u32, params: &SamplingParams, uniform: u64) -> u32 {
    let weights = Weights {
        greatest: logits[likeliest as usize],
        temperature: params.temperature,
        min_p: params.min_p,
    };
    ROOM.with_borrow_mut(|Room { sums, tokens }| {
        let k = params.top_k as usize;
        if k > 0 && k < logits.len() {
            take_top_k(logits, k, weights, tokens);
        } else {
            sums_of_parts(logits, weights, sums);
            if params.top_p >= 1.0 {
                return token_of_row(logits, weights, sums, uniform);
            }
            take_likely(logits, weights, (sums, params.top_p), tokens);
        }
        if params.top_p < 1.0 {
            let total = match k > 0 && k < logits.len() {
                true => total(tokens),
                false => sums.iter().sum(),
            };
            keep_top_p(tokens, goal(total, params.top_p));
        }
        token_of_list(tokens, uniform)
    })
}

/// Where a random number points at in a length.
fn pointed_at(uniform: u64, total: u64) -> u64 {
    ((u128::from(uniform) * u128::from(total)) >> UNIFORM_BITS) as u64
}

/// What the likeliest tokens are to add up to.
fn goal(total: u64, top_p: f32) -> u64 {
    ((f64::from(top_p) * total as f64) as u64).max(1)
}

fn total(tokens: &[Weighed]) -> u64 {
    tokens.iter().map(|token| token.weight).sum()
}

fn sums_of_parts(logits: &[f32], weights: Weights, sums: &mut Vec<u64>) {
    let mut part_weights = [0; PART];
    sums.clear();
    sums.extend(logits.chunks(PART).map(|part| {
        weights.of_part(part, &mut part_weights);
        part_weights[..part.len()].iter().sum::<u64>()
    }));
}

/// Of the whole row, whose parts add up to `sums`.
fn token_of_row(logits: &[f32], weights: Weights, sums: &[u64], uniform: u64) -> u32 {
    let mut left = pointed_at(uniform, sums.iter().sum());
    let parts = logits.chunks(PART).zip((0u32..).step_by(PART));
    for ((part, first), &sum) in parts.zip(sums) {
        if left >= sum {
            left -= sum;
            continue;
        }
        for (&logit, token) in part.iter().zip(first..) {
            let weight = weights.of(logit);
            if left < weight {
                return token;
            }
            left -= weight;
        }
    }
    unreachable!("the likeliest token's weight is not 0, and the number is below the sum")
}

/// Of `tokens`, whose order is lost.
fn token_of_list(tokens: &mut [Weighed], uniform: u64) -> u32 {
    tokens.sort_unstable_by_key(Weighed::token);
    let mut left = pointed_at(uniform, total(tokens));
    for token in &*tokens {
        if left < token.weight {
            return token.token();
        }
        left -= token.weight;
    }
    unreachable!("the likeliest token's weight is not 0, and the number is below the sum")
}

/// Fills `tokens` with the `k` likeliest.
fn take_top_k(logits: &[f32], k: usize, weights: Weights, tokens: &mut Vec<Weighed>) {
    tokens.clear();
    tokens.extend(logits.iter().zip(0..).map(|(&logit, token)| Weighed {
        place: place(token, logit),
        weight: 0,
    }));
    tokens.select_nth_unstable_by(k - 1, |a, b| b.place.cmp(&a.place));
    tokens.truncate(k);
    for token in tokens {
        token.weight = weights.of(logit_of(token.place));
    }
}

/// Fills `tokens` with those that top-p may keep: sorting a whole vocabulary takes longest. What is this unlikely is never kept,
/// since all of it together is less than what is left out. The order of weights is that of logits.
fn take_likely(
    logits: &[f32],
    weights: Weights,
    (sums, top_p): (&[u64], f32),
    tokens: &mut Vec<Weighed>,
) {
    let total = sums.iter().sum::<u64>();
    let unlikely = total.saturating_sub(goal(total, top_p)) / (2 * logits.len() as u64);
    let least = unlikely.max(1);
    let mut part_weights = [0; PART];
    tokens.clear();
    let parts = logits.chunks(PART).zip((0u32..).step_by(PART));
    for ((part, first), _) in parts.zip(sums).filter(|(_, sum)| **sum >= least) {
        weights.of_part(part, &mut part_weights);
        let weighed = part.iter().zip(first..).zip(&part_weights);
        let likely = weighed.filter(|&(_, &weight)| weight >= least);
        tokens.extend(likely.map(|((&logit, token), &weight)| Weighed {
            place: place(token, logit),
            weight,
        }));
    }
}

/// Keeps the likeliest tokens until their weights reach `goal`.
fn keep_top_p(tokens: &mut Vec<Weighed>, goal: u64) {
    tokens.sort_unstable_by_key(|token| Reverse(token.place));
    let mut sum = 0;
    let reached = tokens.iter().position(|token| {
        sum += token.weight;
        sum >= goal
    });
    tokens.truncate(reached.map_or(tokens.len(), |last| last + 1));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By a full sort, token by token.
    fn plain(logits: &[f32], params: &SamplingParams, uniform: u64) -> u32 {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let logit = |token: u32| logits[token as usize];
        order.sort_by(|&a, &b| logit(b).partial_cmp(&logit(a)).unwrap().then(a.cmp(&b)));
        let greatest = logit(order[0]);
        if params.top_k > 0 {
            order.truncate(params.top_k as usize);
        }
        let weight = |token: u32| {
            let share = exp(false, (logit(token) - greatest) / params.temperature);
            match share < params.min_p {
                true => 0,
                false => (f64::from(share) * (1u64 << 38) as f64) as u64,
            }
        };
        if params.top_p < 1.0 {
            let all: u64 = order.iter().map(|&token| weight(token)).sum();
            let goal = ((f64::from(params.top_p) * all as f64) as u64).max(1);
            let (mut sum, mut kept) = (0, Vec::new());
            for token in order {
                if sum < goal {
                    kept.push(token);
                }
                sum += weight(token);
            }
            order = kept;
        }
        order.sort_unstable();
        let all: u64 = order.iter().map(|&token| weight(token)).sum();
        let mut left = ((u128::from(uniform) * u128::from(all)) >> 53) as u64;
        for token in order {
            if left < weight(token) {
                return token;
            }
            left -= weight(token);
        }
        unreachable!("something is drawn")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// Rows of one part and of several, flat and steep, with equals.
        #[test]
        fn a_token_is_drawn_as_by_sorting_everything(
            row in prop_oneof![
                prop::collection::vec(-30f32..30.0, 1..60),
                prop::collection::vec((-6i8..6).prop_map(f32::from), 1..60),
                prop::collection::vec(-4f32..4.0, 1..3 * PART),
                prop::collection::vec(prop_oneof![Just(-0.0f32), Just(0.0), Just(f32::NEG_INFINITY)], 1..40),
            ],
            temperature in prop_oneof![Just(1f32), 0.01f32..3.0, Just(100.0)],
            top_k in prop_oneof![Just(0u32), 1u32..70],
            top_p in prop_oneof![Just(1f32), 0.0001f32..1.0, Just(0.999_999_94)],
            min_p in prop_oneof![Just(0f32), 0f32..1.0, Just(1.0)],
            uniform in prop_oneof![0u64..1 << 53, Just(0), Just((1 << 53) - 1)],
        ) {
            let likeliest = (0..row.len()).rev().max_by(|&a, &b| row[a].partial_cmp(&row[b]).unwrap());
            let likeliest = likeliest.unwrap() as u32;
            prop_assume!(row[likeliest as usize].is_finite());
            let params = SamplingParams { temperature, top_k, top_p, min_p, ..SamplingParams::greedy(1) };
            prop_assert_eq!(draw(&row, likeliest, &params, uniform), plain(&row, &params, uniform));
        }

        #[test]
        fn a_place_is_a_logit_and_an_id(logit in -1e30f32..1e30, token in any::<u32>(), other in -1e30f32..1e30) {
            let at = place(token, logit);
            prop_assert_eq!(logit_of(at), logit);
            prop_assert_eq!(Weighed { place: at, weight: 0 }.token(), token);
            prop_assert_eq!(logit > other, at > place(token, other) );
        }
    }
}
