//! The products with AVX2. Its `vpmaddubsw` adds two products of bytes in 16 bits, which hold those of magnitudes up to 128 and
//! numbers in ±127; so the weights' signs go to the activations.

use std::{arch::x86_64::*, array::from_mut, array::from_ref};

use super::{
    GROUP, QUADS, TILE,
    activations::Block,
    weights::{Line, Scales, Tile},
};

/// Rows of half a tile: what a vector holds.
const HALF: usize = TILE / 2;
/// Tokens whose sums are in progress at a time.
const CHAINS: usize = 4;

/// As [`portable::multiply`](super::portable::multiply).
#[target_feature(enable = "avx2,f16c")]
pub(super) fn multiply<'a>(
    tile: Tile<'_>,
    x: &[Block],
    places: impl ExactSizeIterator<Item = &'a mut [f32; TILE]>,
) {
    let tokens = places.len();
    let mut sums = [[0f32; TILE]; GROUP];
    for ((lines, scales), x) in tile
        .lines
        .iter()
        .zip(tile.scales)
        .zip(x.chunks_exact(tokens))
    {
        let (fours, rest) = x.as_chunks::<CHAINS>();
        for half in 0..2 {
            let scales = widened(scales, half);
            for (x, sums) in fours.iter().zip(sums.chunks_exact_mut(CHAINS)) {
                add_block(lines, scales, x, sums, half);
            }
            for (x, sums) in rest.iter().zip(&mut sums[fours.len() * CHAINS..]) {
                add_block(lines, scales, from_ref(x), from_mut(sums), half);
            }
        }
    }
    places.zip(sums).for_each(|(place, sums)| *place = sums);
}

/// Adds the products of a block of half a tile with that of some tokens.
#[target_feature(enable = "avx2")]
#[inline]
fn add_block<const M: usize>(
    lines: &[Line; QUADS],
    scales: __m256,
    x: &[Block; M],
    sums: &mut [[f32; TILE]],
    half: usize,
) {
    let ones = _mm256_set1_epi16(1);
    let mut dots = [_mm256_setzero_si256(); M];
    for (quad, line) in lines.iter().enumerate() {
        let weights = loaded(line, half);
        let magnitudes = _mm256_abs_epi8(weights);
        for (dots, x) in dots.iter_mut().zip(x) {
            let x = i32::from_ne_bytes(x.quads[quad].map(|x| x as u8));
            let x = _mm256_sign_epi8(_mm256_set1_epi32(x), weights);
            let pairs = _mm256_maddubs_epi16(magnitudes, x);
            *dots = _mm256_add_epi32(*dots, _mm256_madd_epi16(pairs, ones));
        }
    }
    for ((dots, x), sums) in dots.into_iter().zip(x).zip(sums) {
        let scale = _mm256_mul_ps(scales, _mm256_set1_ps(x.scale));
        let product = _mm256_mul_ps(_mm256_cvtepi32_ps(dots), scale);
        let at = sums[half * HALF..][..HALF].as_mut_ptr();
        #[expect(
            unsafe_code,
            reason = "vectors are loaded and stored through a pointer"
        )]
        // SAFETY: the slice has eight floats; neither needs alignment.
        unsafe {
            _mm256_storeu_ps(at, _mm256_add_ps(_mm256_loadu_ps(at), product));
        }
    }
}

/// Weights, without the 128.
#[target_feature(enable = "avx2")]
#[inline]
fn loaded(line: &Line, half: usize) -> __m256i {
    let weights = &line.0[half * HALF..][..HALF];
    #[expect(unsafe_code, reason = "a vector is loaded through a pointer")]
    // SAFETY: eight rows' four weights are 32 bytes; the load needs no alignment.
    let weights = unsafe { _mm256_loadu_si256(weights.as_ptr().cast()) };
    _mm256_xor_si256(weights, _mm256_set1_epi8(i8::MIN))
}

#[target_feature(enable = "avx2,f16c")]
#[inline]
fn widened(scales: &Scales, half: usize) -> __m256 {
    let scales = &scales.0[half * HALF..][..HALF];
    #[expect(unsafe_code, reason = "a vector is loaded through a pointer")]
    // SAFETY: eight half floats are 16 bytes; the load needs no alignment.
    let halves = unsafe { _mm_loadu_si128(scales.as_ptr().cast()) };
    _mm256_cvtph_ps(halves)
}
