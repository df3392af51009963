//! The sampler against plain arithmetic.

use proptest::prelude::*;

use super::*;

fn params(temperature: f32, top_k: u32, top_p: f32) -> SamplingParams {
    SamplingParams {
        temperature,
        top_k,
        top_p,
        ..SamplingParams::greedy(8)
    }
}

/// The next token of one row.
fn sample(
    sampler: &mut Sampler,
    logits: &[f32],
    params: &SamplingParams,
    banned: &[u32],
    past: Past<'_>,
) -> Result<u32, SampleError> {
    let drawn = sampler
        .draw(params, None, banned, past)
        .of(&mut logits.to_vec());
    sampler.take();
    drawn.map(|chosen| chosen.token)
}

/// How often each of the tokens is drawn, in 20 000 draws.
fn frequencies(logits: &[f32], params: &SamplingParams) -> Vec<f64> {
    let mut sampler = Sampler::new(7, 0);
    let mut counts = vec![0.0; logits.len()];
    for _ in 0..20_000 {
        let token = sample(&mut sampler, logits, params, &[], Past::default()).unwrap();
        counts[token as usize] += 1.0 / 20_000.0;
    }
    counts
}

fn assert_close(seen: &[f64], expected: &[f64]) {
    for (seen, expected) in seen.iter().zip(expected) {
        assert!((seen - expected).abs() < 0.015, "{seen} is not {expected}");
    }
}

/// One logit after the other.
fn plain_argmax(logits: &[f32]) -> Result<u32, SampleError> {
    let mut best = (f32::NEG_INFINITY, None);
    for (&logit, token) in logits.iter().zip(0u32..) {
        if logit.is_nan() {
            return Err(SampleError::NotANumber);
        }
        if logit > best.0 {
            best = (logit, Some(token));
        }
    }
    let found = best.1.filter(|_| best.0.is_finite());
    found.ok_or(SampleError::NotANumber)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_greatest_logit_is_found_in_rows_of_any_length(
        mut row in prop_oneof![
            prop::collection::vec(-3i8..3, 0..40),
            prop::collection::vec(any::<i8>(), 0..3 * ARGMAX_PART),
        ].prop_map(|row| row.into_iter().map(f32::from).collect::<Vec<_>>()),
        odd in prop::option::of((
            any::<prop::sample::Index>(),
            prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0]),
        )),
    ) {
        if let Some((place, number)) = odd.filter(|_| !row.is_empty()) {
            let place = place.index(row.len());
            row[place] = number;
        }
        prop_assert_eq!(argmax(&row), plain_argmax(&row));
    }
}

#[test]
fn greedy_takes_the_first_of_the_greatest() {
    let mut sampler = Sampler::new(0, 0);
    let row = [0.5, 2.0, -1.0, 2.0];
    let greedy = params(0.0, 0, 1.0);
    let mut take = |banned: &[u32]| sample(&mut sampler, &row, &greedy, banned, Past::default());
    assert_eq!(take(&[]), Ok(1));
    assert_eq!(take(&[1]), Ok(3));
    assert_eq!(take(&[]), Ok(1));
}

#[test]
fn temperature_is_the_softmax_of_scaled_logits() {
    let logits = [1.0f32, 2.0, 3.0];
    let weights: Vec<f64> = logits.iter().map(|&l| f64::from(l / 2.0).exp()).collect();
    let total: f64 = weights.iter().sum();
    let expected: Vec<f64> = weights.iter().map(|w| w / total).collect();
    assert_close(&frequencies(&logits, &params(2.0, 0, 1.0)), &expected);
}

#[test]
fn top_k_and_top_p_leave_the_rest_out() {
    let logits = [0.0, 0.0f32, 2f32.ln(), 4f32.ln()]; // 1/8 1/8 2/8 4/8
    let third = 1.0 / 3.0;
    assert_close(
        &frequencies(&logits, &params(1.0, 2, 1.0)),
        &[0.0, 0.0, third, 2.0 * third],
    );
    assert_close(
        &frequencies(&logits, &params(1.0, 0, 0.7)),
        &[0.0, 0.0, third, 2.0 * third],
    );
    assert_close(
        &frequencies(&logits, &params(1.0, 0, 0.4)),
        &[0.0, 0.0, 0.0, 1.0],
    );
    // top-p counts what top-k left: 2/3 of it is the last token alone.
    assert_close(
        &frequencies(&logits, &params(1.0, 2, 0.66)),
        &[0.0, 0.0, 0.0, 1.0],
    );
}

#[test]
fn a_seed_reproduces_and_branches_differ() {
    let draw = |seed, branch| -> Vec<u32> {
        let mut sampler = Sampler::new(seed, branch);
        (0..16)
            .map(|_| {
                let params = params(1.0, 0, 1.0);
                sample(&mut sampler, &[0.0; 64], &params, &[], Past::default()).unwrap()
            })
            .collect()
    };
    assert_eq!(draw(3, 0), draw(3, 0));
    assert_ne!(draw(3, 0), draw(3, 1));
    assert_eq!(draw(3, 1), draw(4, 0));
}

#[test]
fn a_draw_is_the_same_until_its_token_is_taken() {
    let params = params(1.0, 0, 1.0);
    let mut sampler = Sampler::new(5, 0);
    let uniform = |sampler: &mut Sampler| sampler.draw(&params, None, &[], Past::default()).uniform;
    let first = uniform(&mut sampler);
    assert!(first < 1 << UNIFORM_BITS);
    assert_eq!(uniform(&mut sampler), first);
    sampler.take();
    assert_ne!(uniform(&mut sampler), first);
}

#[test]
fn only_allowed_tokens_come_and_what_is_reported_is_what_the_model_said() {
    let logits: Vec<f32> = (0..70).map(|token| token as f32).collect();
    let params = SamplingParams {
        logprobs: Some(2),
        ..params(0.0, 0, 1.0)
    };
    for (allowed, likeliest) in [
        (&[1 << 3 | 1, 1 << 9][..], 41),
        (&[1, u32::MAX, 1 << 2], 66),
        (&[4], 2),
    ] {
        let mut sampler = Sampler::new(5, 0);
        let draw = sampler.draw(&params, Some(allowed), &[], Past::default());
        let chosen = draw.of(&mut logits.clone()).unwrap();
        assert_eq!(chosen.token, likeliest);
        let logprobs = TokenLogprobs::of(&logits, likeliest, 2).unwrap();
        assert_eq!(chosen.logprobs, Some(Box::new(logprobs)));
    }
}

#[test]
fn rows_that_are_not_numbers_are_refused() {
    for bad in [
        [f32::NAN, 1.0],
        [f32::NEG_INFINITY; 2],
        [f32::INFINITY, 0.0],
    ] {
        for temperature in [0.0, 1.0] {
            let params = params(temperature, 0, 1.0);
            let result = sample(&mut Sampler::new(0, 0), &bad, &params, &[], Past::default());
            assert_eq!(result, Err(SampleError::NotANumber), "{bad:?}");
        }
    }
}

/// What makes a case of the whole pipeline: one row, and what a request can ask of it.
#[derive(Debug, Clone)]
struct Case {
    logits: Vec<f32>,
    params: SamplingParams,
    banned: Vec<u32>,
    prompt: Vec<u32>,
    answer: Vec<u32>,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    (2usize..14)
        .prop_flat_map(|vocab| {
            let tokens = move |most| prop::collection::vec(0..vocab as u32, 0..most);
            let sampling = (
                prop_oneof![Just(1f32), 0.3f32..3.0],
                0u32..6,
                prop_oneof![Just(1f32), 0.1f32..1.0],
                prop_oneof![Just(0f32), 0f32..0.5],
            );
            let penalties = (
                prop_oneof![Just(0f32), -2f32..2.0],
                prop_oneof![Just(0f32), -2f32..2.0],
                prop_oneof![Just(1f32), 0.5f32..2.0],
                prop::collection::vec((0..vocab as u32, -10f32..10.0), 0..3),
            );
            let row = prop::collection::vec(-4f32..4.0, vocab);
            (
                row,
                sampling,
                penalties,
                tokens(2),
                tokens(8),
                tokens(8),
                any::<u64>(),
            )
        })
        .prop_map(
            |(logits, sampling, penalties, banned, prompt, answer, seed)| {
                let (temperature, top_k, top_p, min_p) = sampling;
                let (presence_penalty, frequency_penalty, repetition_penalty, mut logit_bias) =
                    penalties;
                logit_bias.dedup_by_key(|&mut (token, _)| token);
                let params = SamplingParams {
                    temperature,
                    top_k,
                    top_p,
                    min_p,
                    presence_penalty,
                    frequency_penalty,
                    repetition_penalty,
                    logit_bias,
                    ..SamplingParams::greedy(8)
                };
                Case {
                    logits,
                    params,
                    banned,
                    prompt,
                    answer,
                    seed,
                }
            },
        )
}

/// The probability of each token, step by step in f64; `None` where rounding decides who is in.
fn probabilities(case: &Case) -> Option<Vec<f64>> {
    let Case {
        params,
        prompt,
        answer,
        ..
    } = case;
    let mut logits: Vec<f64> = case.logits.iter().map(|&logit| f64::from(logit)).collect();
    case.banned
        .iter()
        .for_each(|&token| logits[token as usize] = f64::NEG_INFINITY);
    for &(token, bias) in &params.logit_bias {
        logits[token as usize] += f64::from(bias);
    }
    for (token, logit) in (0u32..).zip(&mut logits) {
        let count = answer.iter().filter(|&&t| t == token).count() as f64;
        if count > 0.0 || prompt.contains(&token) {
            let repetition = f64::from(params.repetition_penalty);
            *logit *= if *logit > 0.0 {
                1.0 / repetition
            } else {
                repetition
            };
        }
        *logit -= f64::from(params.frequency_penalty) * count;
        *logit -= f64::from(params.presence_penalty) * count.min(1.0);
    }
    let softmax = |logits: &[f64]| -> Vec<f64> {
        let weights: Vec<f64> = logits
            .iter()
            .map(|l| (l / f64::from(params.temperature)).exp())
            .collect();
        let total: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / total).collect()
    };
    let near = |a: f64, b: f64| (a - b).abs() < 1e-4;
    let whole = softmax(&logits);
    let bound = whole.iter().copied().fold(0.0, f64::max) * f64::from(params.min_p);
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| whole[b].total_cmp(&whole[a]));
    for (rank, &token) in order.iter().enumerate() {
        let doubtful_k = rank > 0 && near(whole[token], whole[order[rank - 1]]);
        if doubtful_k || params.min_p > 0.0 && near(whole[token], bound) {
            return None;
        }
        if whole[token] < bound || params.top_k > 0 && rank >= params.top_k as usize {
            logits[token] = f64::NEG_INFINITY;
        }
    }
    let left = softmax(&logits);
    let mut before = 0.0;
    for &token in order.iter().filter(|_| params.top_p < 1.0) {
        if near(before, f64::from(params.top_p)) {
            return None;
        }
        if before > f64::from(params.top_p) {
            logits[token] = f64::NEG_INFINITY;
        }
        before += left[token];
    }
    Some(softmax(&logits))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Half the sum of the differences is below what 4 000 draws of 14 tokens can be off by.
    #[test]
    fn everything_at_once_draws_with_the_probabilities_of_the_formulas(case in cases()) {
        prop_assume!(case.banned.len() < case.logits.len());
        let Some(expected) = probabilities(&case) else {
            return Ok(());
        };
        let past = Past { prompt: &case.prompt, answer: &case.answer };
        let mut sampler = Sampler::new(case.seed, 0);
        let mut seen = vec![0.0; expected.len()];
        for _ in 0..4_000 {
            let token = sample(&mut sampler, &case.logits, &case.params, &case.banned, past).unwrap();
            prop_assert!(expected[token as usize] > 0.0, "{} has no probability", token);
            seen[token as usize] += 1.0 / 4_000.0;
        }
        let apart: f64 = expected.iter().zip(&seen).map(|(a, b)| (a - b).abs()).sum();
        prop_assert!(apart / 2.0 < 0.07, "{:?} is not {:?}", seen, expected);
        let greedy = SamplingParams { temperature: 0.0, ..case.params.clone() };
        let token = sample(&mut sampler, &case.logits, &greedy, &case.banned, past).unwrap();
        let likeliest = expected.iter().copied().fold(0.0, f64::max);
        prop_assert!(expected[token as usize] > likeliest - 1e-3);
    }
}
