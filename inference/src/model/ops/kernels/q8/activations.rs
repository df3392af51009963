//! Rows of numbers, rounded to 8 bits in blocks: activations before they meet the weights, and weights when they are quantized.

use std::ops::Range;

use super::{BLOCK, Instructions, QUAD, QUADS};
use crate::model::ops::Element;

/// 32 numbers in 8 bits.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(in crate::model::ops) struct Block {
    /// In ±127.
    pub(super) quads: [[i8; QUAD]; QUADS],
    /// What each of them is multiplied with.
    pub(super) scale: f32,
    /// −128 · Σ of them: what products with weights + 128 are too large by.
    pub(super) correction: i32,
}

impl Block {
    pub(in crate::model::ops) const ZERO: Self = Self {
        quads: [[0; QUAD]; QUADS],
        scale: 0.0,
        correction: 0,
    };
}

/// Up to [`GROUP`] tokens, whose blocks lie beside each other: first of all the first, then of all the second.
#[derive(Debug, Clone)]
pub(in crate::model::ops) struct Group<'a> {
    /// Their numbers in the batch.
    pub(in crate::model::ops) tokens: Range<usize>,
    /// `[K / 32][tokens]`
    pub(in crate::model::ops) blocks: &'a [Block],
}

/// Quantizes some blocks of a group: `numbers` are the group's `[tokens, K]`, `first` is the first block, and `blocks` is where
/// they go, for all tokens.
pub(in crate::model::ops) fn quantize_blocks<T: Element>(
    instructions: Instructions,
    (numbers, columns): (&[T], usize),
    first: usize,
    blocks: &mut [Block],
) {
    match instructions {
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "the processor's features were detected")]
        // SAFETY: `detect` returns `Avx512Vnni` only on a processor that has these features.
        Instructions::Avx512Vnni => unsafe { blocks_avx512((numbers, columns), first, blocks) },
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "the processor's features were detected")]
        // SAFETY: `detect` returns `Avx2` only on a processor that has it.
        Instructions::Avx2 => unsafe { blocks_avx2((numbers, columns), first, blocks) },
        Instructions::Portable => blocks_in((numbers, columns), first, blocks, quantize),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn blocks_avx512<T: Element>(x: (&[T], usize), first: usize, blocks: &mut [Block]) {
    blocks_in(x, first, blocks, |numbers| super::avx512::quantize(numbers));
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn blocks_avx2<T: Element>(x: (&[T], usize), first: usize, blocks: &mut [Block]) {
    blocks_in(x, first, blocks, quantize);
}

/// Compiled for the features of the function it is inlined into.
#[inline(always)]
fn blocks_in<T: Element>(
    (numbers, columns): (&[T], usize),
    first: usize,
    blocks: &mut [Block],
    quantize: impl Fn(&[f32; BLOCK]) -> Block,
) {
    let tokens = numbers.len() / columns;
    if blocks.is_empty() {
        return;
    }
    for (token, numbers) in numbers.chunks_exact(columns).enumerate() {
        let places = blocks[token..].iter_mut().step_by(tokens);
        let chunks = numbers[first * BLOCK..].as_chunks::<BLOCK>().0;
        for (numbers, place) in chunks.iter().zip(places) {
            let mut wide = [0f32; BLOCK];
            wide.iter_mut()
                .zip(numbers)
                .for_each(|(wide, number)| *wide = number.widen());
            *place = quantize(&wide);
        }
    }
}

/// Below this the inverse of a scale is infinite: such numbers become zeros.
const LEAST: f32 = 128.0 * f32::MIN_POSITIVE;
/// A number in ±2²² added to this is rounded to the nearest integer, ties to even, which is then in its lowest bits.
const ROUNDER: f32 = 12_582_912.0;

/// The bits of a number that are not its sign. Those of infinity are above those of every number, and those of NaN above all.
pub(super) const MAGNITUDE: u32 = u32::MAX >> 1;

/// The scale of a block whose greatest magnitude this is, and its inverse: a 127th. Where a number is infinite or none, so is the
/// scale, and every product with it.
#[inline(always)]
pub(super) fn scale_of(greatest: f32) -> (f32, f32) {
    if greatest < LEAST {
        (0.0, 0.0)
    } else {
        (greatest / 127.0, 127.0 / greatest)
    }
}

#[inline(always)]
pub(super) fn quantize(numbers: &[f32; BLOCK]) -> Block {
    let mut greatest = 0;
    for number in numbers {
        greatest = greatest.max(number.to_bits() & MAGNITUDE);
    }
    let (scale, inverse) = scale_of(f32::from_bits(greatest));
    let mut quads = [[0; QUAD]; QUADS];
    let mut sum = 0;
    for (integer, number) in quads.as_flattened_mut().iter_mut().zip(numbers) {
        let bits = (number * inverse + ROUNDER).to_bits();
        *integer = bits.wrapping_sub(ROUNDER.to_bits()) as i8;
        sum += i32::from(*integer);
    }
    Block {
        quads,
        scale,
        correction: -128 * sum,
    }
}
