//! The products with `vpdpbusd`: 64 products of bytes, added up in fours.

use std::{arch::x86_64::*, ptr::from_ref};

use super::{
    BLOCK, GROUP, QUAD, QUADS, TILE,
    activations::{Block, MAGNITUDE, scale_of},
    weights::{Line, Scales, Tile},
};

/// Blocks by which weights are fetched ahead.
const AHEAD: usize = 16;
/// Tokens whose sums are in progress at a time: an instruction's result is there after four others.
const CHAINS: usize = 4;

/// As [`portable::multiply`](super::portable::multiply).
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn multiply<'a>(
    tile: Tile<'_>,
    x: &[Block],
    places: impl ExactSizeIterator<Item = &'a mut [f32; TILE]>,
) {
    macro_rules! of {
        ($($tokens:literal)*) => {
            match places.len() {
                $($tokens => store(sums::<$tokens>(tile, x), places),)*
                _ => unreachable!("a group has 1 to {GROUP} tokens"),
            }
        };
    }
    of!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn sums<const M: usize>(tile: Tile<'_>, x: &[Block]) -> [__m512; M] {
    let mut sums = [_mm512_setzero_ps(); M];
    let x = x.as_chunks::<M>().0;
    for ((lines, scales), x) in tile.lines.iter().zip(tile.scales).zip(x) {
        fetch_ahead(lines, scales);
        let scales = widened(scales);
        let mut w = [_mm512_setzero_si512(); QUADS];
        for (w, line) in w.iter_mut().zip(lines) {
            *w = loaded(line);
        }
        let mut token = 0;
        while token < M {
            let chains = CHAINS.min(M - token);
            let mut dots = [_mm512_setzero_si512(); CHAINS];
            for chain in 0..chains {
                dots[chain] = _mm512_set1_epi32(x[token + chain].correction);
            }
            for (quad, w) in w.iter().enumerate() {
                for chain in 0..chains {
                    let x = i32::from_ne_bytes(x[token + chain].quads[quad].map(|x| x as u8));
                    dots[chain] = _mm512_dpbusd_epi32(dots[chain], *w, _mm512_set1_epi32(x));
                }
            }
            for chain in 0..chains {
                let scale = _mm512_mul_ps(scales, _mm512_set1_ps(x[token + chain].scale));
                let product = _mm512_mul_ps(_mm512_cvtepi32_ps(dots[chain]), scale);
                sums[token + chain] = _mm512_add_ps(sums[token + chain], product);
            }
            token += CHAINS;
        }
    }
    sums
}

/// As [`activations::quantize`](super::activations::quantize).
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
pub(super) fn quantize(numbers: &[f32; BLOCK]) -> Block {
    #[expect(unsafe_code, reason = "vectors are loaded through a pointer")]
    // SAFETY: the block has 32 floats; the loads need no alignment.
    let halves = unsafe {
        let at = numbers.as_ptr();
        [_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(BLOCK / 2))]
    };
    let mask = _mm512_set1_epi32(MAGNITUDE as i32);
    let magnitudes = halves.map(|half| _mm512_and_si512(_mm512_castps_si512(half), mask));
    let greatest = _mm512_reduce_max_epu32(_mm512_max_epu32(magnitudes[0], magnitudes[1]));
    let (scale, inverse) = scale_of(f32::from_bits(greatest));
    let inverse = _mm512_set1_ps(inverse);
    let integers = halves.map(|half| {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        _mm512_cvt_roundps_epi32::<NEAREST>(_mm512_mul_ps(half, inverse))
    });
    let sum = _mm512_reduce_add_epi32(_mm512_add_epi32(integers[0], integers[1]));
    let mut quads = [[0; QUAD]; QUADS];
    let (left, right) = quads.split_at_mut(QUADS / 2);
    for (quads, integers) in [left, right].into_iter().zip(integers) {
        let place = quads.as_flattened_mut().as_mut_ptr();
        #[expect(unsafe_code, reason = "a vector is stored through a pointer")]
        // SAFETY: half of the quads are 16 bytes; the store needs no alignment.
        unsafe {
            _mm_storeu_si128(place.cast(), _mm512_cvtepi32_epi8(integers))
        }
    }
    Block {
        quads,
        scale,
        // Where a number is none, so is its integer, and the sum may wrap.
        correction: sum.wrapping_mul(-128),
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store<'a>(
    sums: impl IntoIterator<Item = __m512>,
    places: impl Iterator<Item = &'a mut [f32; TILE]>,
) {
    for (place, sums) in places.zip(sums) {
        #[expect(unsafe_code, reason = "a vector is stored through a pointer")]
        // SAFETY: a place is 16 floats; the store needs no alignment.
        unsafe {
            _mm512_storeu_ps(place.as_mut_ptr(), sums)
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn loaded(line: &Line) -> __m512i {
    #[expect(unsafe_code, reason = "a vector is loaded through a pointer")]
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe {
        _mm512_load_si512(from_ref(line).cast())
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn widened(scales: &Scales) -> __m512 {
    #[expect(unsafe_code, reason = "a vector is loaded through a pointer")]
    // SAFETY: the scales are 32 bytes, aligned to 32.
    let halves = unsafe { _mm256_load_si256(from_ref(scales).cast()) };
    _mm512_cvtph_ps(halves)
}

/// Asks for weights and scales that come soon, to the second cache: so far ahead that the first would lose them again. A stream ends at each page's end for the processor's own prefetcher.
#[target_feature(enable = "avx512f")]
#[inline]
fn fetch_ahead(lines: &[Line; QUADS], scales: &Scales) {
    for line in lines {
        _mm_prefetch::<_MM_HINT_T1>(from_ref(line).wrapping_add(AHEAD * QUADS).cast());
    }
    _mm_prefetch::<_MM_HINT_T1>(from_ref(scales).wrapping_add(AHEAD).cast());
}
