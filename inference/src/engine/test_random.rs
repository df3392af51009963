//! Random cases for tests. A failure prints the seed of its case; with it in `CANDELA_TEST_SEED` that case
//! alone is run.

use std::hash::{BuildHasher, DefaultHasher, Hasher};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

pub(super) struct Random {
    rng: ChaCha8Rng,
    seed: u64,
}

impl Random {
    fn new(seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { rng, seed }
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.rng.next_u64() % bound as u64) as usize
    }

    /// A number of `low..=high`.
    pub(super) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("CANDELA_TEST_SEED={} replays this case", self.seed);
        }
    }
}

/// Checks random cases, or the one whose seed is given.
pub(super) fn check_cases(cases: u64, check: impl Fn(&mut Random) + Sync) {
    if let Ok(seed) = std::env::var("CANDELA_TEST_SEED") {
        return check(&mut Random::new(seed.parse().expect("a seed is a number")));
    }
    let first: u64 = rand::random();
    let seeds = (0..cases).into_par_iter().map(|i| first.wrapping_add(i));
    seeds.for_each(|seed| check(&mut Random::new(seed)));
}

/// Texts that begin alike, at most `len` tokens long: what prompts and answers are made of.
pub(super) fn texts(random: &mut Random, len: usize) -> Vec<Vec<u32>> {
    let first: Vec<u32> = (0..len).map(|_| random.below(30) as u32).collect();
    let mut texts = vec![first];
    for _ in 0..random.below(3) {
        let kept = random.below(len);
        let mut text = texts[random.below(texts.len())].clone();
        text[kept..]
            .iter_mut()
            .for_each(|token| *token = random.below(30) as u32);
        texts.push(text);
    }
    texts
}

/// Hashes of so few bits that most of them collide.
#[derive(Default)]
pub(super) struct Colliding;

pub(super) struct FewBits(DefaultHasher);

impl BuildHasher for Colliding {
    type Hasher = FewBits;

    fn build_hasher(&self) -> FewBits {
        FewBits(DefaultHasher::new())
    }
}

impl Hasher for FewBits {
    fn finish(&self) -> u64 {
        self.0.finish() % 3
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }
}
