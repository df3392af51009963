//! Random cases for tests. A failure prints the seed of its case; with it in `CANDELA_TEST_SEED` that case
//! alone is run.

use std::hash::{BuildHasher, DefaultHasher, Hasher};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::model::runner::BLOCK_TOKENS;

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

/// Texts that begin alike, each of `blocks` blocks: what prompts and answers are made of. The same block
/// comes again after different ones.
pub(super) fn texts(random: &mut Random, blocks: usize) -> Vec<Vec<u32>> {
    let mut motif = || -> Vec<u32> { (0..BLOCK_TOKENS).map(|_| random.below(30) as u32).collect() };
    let motifs = [motif(), motif(), motif()];
    let mut texts: Vec<Vec<u32>> = Vec::new();
    for _ in 0..random.between(1, 4) {
        let kept = texts.last().map_or(0, |text| random.below(text.len()));
        let mut text: Vec<u32> = (0..blocks)
            .flat_map(|_| motifs[random.below(motifs.len())].clone())
            .collect();
        if let Some(last) = texts.last() {
            text[..kept].copy_from_slice(&last[..kept]);
        }
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
