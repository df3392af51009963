//! Products of 8-bit weights and 8-bit activations, both in blocks of 32 that share a scale (GGML's `q8_0`,
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>): `y = Σ over blocks of w · x · Σ wᵢ · xᵢ`, `w` and `x` the scales.
//! Weights are packed once, in tiles of 16 output rows; up to 16 tokens meet a tile at a time, so that it is read once for all
//! of them.
//!
//! # Guarantee
//! A block's sum is exact. Sums of blocks are rounded after each product and each addition, in the order of the blocks: on every
//! processor, and whatever tokens are in the batch, a token's results are the same bits.

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
mod weights;

pub(in crate::model::ops) use activations::{Block, Group, quantize_blocks};
pub(in crate::model::ops) use weights::{BLOCK_BYTES, Lines, Scales, Tile, TileMut};

pub(in crate::model::ops) use super::tile::TILE;

/// Numbers that share a scale.
pub(in crate::model::ops) const BLOCK: usize = 32;
/// Tokens that meet a tile at a time.
pub(in crate::model::ops) const GROUP: usize = 16;
/// Weights of an output row that an instruction multiplies and adds up.
const QUAD: usize = 4;
/// Quads of a block.
const QUADS: usize = BLOCK / QUAD;

/// The instructions that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model::ops) enum Instructions {
    /// AVX-512 with its dot products of bytes (VNNI).
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// AVX2, and half floats.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What every processor has.
    Portable,
}

impl Instructions {
    /// The best that the processor has.
    pub(in crate::model::ops) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni")
            {
                return Self::Avx512Vnni;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// All that this processor has, the best first: for tests.
    #[cfg(test)]
    pub(in crate::model::ops) fn available() -> Vec<Self> {
        let all = [
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2,
            Self::Portable,
        ];
        let best = Self::detect();
        all.into_iter().skip_while(|one| *one != best).collect()
    }
}

/// Multiplies `N` tiles with a group of tokens. `done` gets the products of each token, those of a tile beside those of the one
/// before.
pub(in crate::model::ops) fn multiply<const N: usize>(
    instructions: Instructions,
    tiles: [Tile<'_>; N],
    x: Group<'_>,
    mut done: impl FnMut(usize, &[[f32; TILE]; N]),
) {
    let mut products = [[[0f32; TILE]; N]; GROUP];
    let products = &mut products[..x.tokens.len()];
    for (at, tile) in tiles.into_iter().enumerate() {
        let places = products.iter_mut().map(|all| &mut all[at]);
        multiply_tile(instructions, tile, x.blocks, places);
    }
    x.tokens
        .zip(products)
        .for_each(|(token, products)| done(token, products));
}

/// One tile with a group of tokens, whose blocks lie beside each other: first of all the first, then of all the second. Each
/// token's products are stored in its place.
fn multiply_tile<'a>(
    instructions: Instructions,
    tile: Tile<'_>,
    x: &[Block],
    places: impl ExactSizeIterator<Item = &'a mut [f32; TILE]>,
) {
    match instructions {
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "the processor's features were detected")]
        // SAFETY: `detect` returns `Avx512Vnni` only on a processor that has avx512f, avx512bw and avx512vnni.
        Instructions::Avx512Vnni => unsafe { avx512::multiply(tile, x, places) },
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "the processor's features were detected")]
        // SAFETY: `detect` returns `Avx2` only on a processor that has avx2 and f16c.
        Instructions::Avx2 => unsafe { avx2::multiply(tile, x, places) },
        Instructions::Portable => portable::multiply(tile, x, places),
    }
}

#[cfg(test)]
mod tests;
