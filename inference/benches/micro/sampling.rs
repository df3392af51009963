//! The sampler: a row of logits to a token, greedy and by chance, for vocabularies of 32 and 152 thousand tokens. Its roofline
//! reads the row once.

use candela_engine::sampling::{Past, Sampler, SamplingParams};
use criterion::{BenchmarkId, Criterion};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::roofline::{self, Work};

const VOCABULARIES: [usize; 2] = [32_000, 151_936];
/// Rows take turns, so that they come from where a model's last layer leaves them and not from the nearest cache.
const ROWS: usize = 32;

pub(crate) fn sampler(criterion: &mut Criterion) {
    let greedy = SamplingParams::greedy(1);
    let chance = |top_k, top_p| SamplingParams {
        temperature: 0.7,
        top_k,
        top_p,
        ..SamplingParams::greedy(1)
    };
    let penalized = SamplingParams {
        frequency_penalty: 0.5,
        ..SamplingParams::greedy(1)
    };
    let mut group = criterion.benchmark_group("sampler");
    for vocab in VOCABULARIES {
        let mut rows: Vec<Vec<f32>> = (0..ROWS).map(|seed| row(seed, vocab)).collect();
        for (name, params) in [
            ("greedy", &greedy),
            ("greedy, frequency penalty", &penalized),
            ("top-k 40", &chance(40, 1.0)),
            ("top-p 0.9", &chance(0, 0.9)),
            ("top-k 40, top-p 0.9", &chance(40, 0.9)),
        ] {
            let mut sampler = Sampler::new(7, 0);
            let mut turn = 0;
            let work = Work::moving(1, vocab * size_of::<f32>());
            let id = BenchmarkId::new(name, vocab);
            roofline::bench_repeated(&mut group, id, work, || {
                turn = (turn + 1) % ROWS;
                let past = Past {
                    prompt: &[],
                    answer: &[],
                };
                let draw = sampler.draw(params, None, &[], past);
                let chosen = draw.of(&mut rows[turn]);
                sampler.take();
                chosen.expect("every logit is a number").token
            });
        }
    }
    group.finish();
}

/// Logits as a model's are: most of them far below a few.
fn row(seed: usize, vocab: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed as u64);
    let twelve = |random: &mut ChaCha8Rng| (0..12).map(|_| random.random::<f32>()).sum::<f32>();
    (0..vocab)
        .map(|_| 3.0 * (twelve(&mut random) - 6.0))
        .collect()
}
