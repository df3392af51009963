//! The sampler against plain arithmetic.

use super::*;

fn params(temperature: f32, top_k: u32, top_p: f32) -> SamplingParams {
    SamplingParams {
        temperature,
        top_k,
        top_p,
        ..SamplingParams::greedy(8)
    }
}

/// How often each of the tokens is drawn, in 20 000 draws.
fn frequencies(logits: &[f32], params: &SamplingParams) -> Vec<f64> {
    let mut sampler = Sampler::new(7, 0);
    let mut counts = vec![0.0; logits.len()];
    for _ in 0..20_000 {
        let token = sampler.sample(&mut logits.to_vec(), params, &[]).unwrap();
        counts[token as usize] += 1.0 / 20_000.0;
    }
    counts
}

fn assert_close(seen: &[f64], expected: &[f64]) {
    for (seen, expected) in seen.iter().zip(expected) {
        assert!((seen - expected).abs() < 0.015, "{seen} is not {expected}");
    }
}

#[test]
fn greedy_takes_the_first_of_the_greatest() {
    let mut sampler = Sampler::new(0, 0);
    let mut row = [0.5, 2.0, -1.0, 2.0];
    assert_eq!(sampler.sample(&mut row, &params(0.0, 0, 1.0), &[]), Ok(1));
    assert_eq!(sampler.sample(&mut row, &params(0.0, 0, 1.0), &[1]), Ok(3));
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
                sampler
                    .sample(&mut [0.0; 64], &params(1.0, 0, 1.0), &[])
                    .unwrap()
            })
            .collect()
    };
    assert_eq!(draw(3, 0), draw(3, 0));
    assert_ne!(draw(3, 0), draw(3, 1));
    assert_eq!(draw(3, 1), draw(4, 0));
}

#[test]
fn rows_that_are_not_numbers_are_refused() {
    for bad in [
        [f32::NAN, 1.0],
        [f32::NEG_INFINITY; 2],
        [f32::INFINITY, 0.0],
    ] {
        for temperature in [0.0, 1.0] {
            let result =
                Sampler::new(0, 0).sample(&mut bad.clone(), &params(temperature, 0, 1.0), &[]);
            assert_eq!(result, Err(SampleError::NotANumber), "{bad:?}");
        }
    }
}
