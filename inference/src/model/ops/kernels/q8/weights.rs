//! Weights as the kernels read them: tiles of 16 output rows, of each the next four weights beside each other.

use half::f16;

use super::{
    BLOCK, Instructions, QUAD, QUADS, TILE,
    activations::{Block, quantize_blocks},
};

/// Bytes of a block as GGML writes it: the scale, then the weights.
pub(in crate::model::ops) const BLOCK_BYTES: usize = size_of::<f16>() + BLOCK;
/// What a weight of zero is stored as.
const ZERO: u8 = 128;

/// The next four weights + 128 of the rows of a tile: what one instruction takes.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(in crate::model::ops) struct Line(pub(super) [[u8; QUAD]; TILE]);

/// The scales of a block of each row of a tile.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(in crate::model::ops) struct Scales(pub(super) [f16; TILE]);

/// The lines of a block.
pub(in crate::model::ops) type Lines = [Line; QUADS];

/// The blocks of 16 output rows, from the first column to the last.
#[derive(Clone, Copy)]
pub(in crate::model::ops) struct Tile<'a> {
    pub(in crate::model::ops) lines: &'a [Lines],
    pub(in crate::model::ops) scales: &'a [Scales],
}

/// The same, while it is packed.
pub(in crate::model::ops) struct TileMut<'a> {
    pub(in crate::model::ops) lines: &'a mut [Lines],
    pub(in crate::model::ops) scales: &'a mut [Scales],
}

impl Tile<'_> {
    /// Writes the numbers of a row to `out`, which has room for all of them.
    pub(in crate::model::ops) fn row(&self, lane: usize, out: &mut [f32]) {
        for ((lines, scales), out) in self
            .lines
            .iter()
            .zip(self.scales)
            .zip(out.chunks_mut(BLOCK))
        {
            let scale = scales.0[lane].to_f32();
            for (line, out) in lines.iter().zip(out.chunks_mut(QUAD)) {
                for (weight, out) in line.0[lane].iter().zip(out) {
                    *out = (f32::from(*weight) - f32::from(ZERO)) * scale;
                }
            }
        }
    }
}

#[cfg(feature = "cuda")]
impl Tile<'_> {
    /// Writes the blocks of a row to `out` as GGML writes them; it has just room for them.
    pub(in crate::model::ops) fn ggml_row(&self, lane: usize, out: &mut [u8]) {
        let blocks = self.lines.iter().zip(self.scales);
        for ((lines, scales), out) in blocks.zip(out.as_chunks_mut::<BLOCK_BYTES>().0) {
            let (scale, weights) = out.split_at_mut(size_of::<f16>());
            scale.copy_from_slice(&scales.0[lane].to_le_bytes());
            for (line, out) in lines.iter().zip(weights.as_chunks_mut::<QUAD>().0) {
                *out = line.0[lane].map(|weight| weight ^ ZERO);
            }
        }
    }
}

impl TileMut<'_> {
    /// Sets all numbers to zero.
    pub(in crate::model::ops) fn clear(&mut self) {
        self.lines.fill([Line([[ZERO; QUAD]; TILE]); QUADS]);
        self.scales.fill(Scales([f16::ZERO; TILE]));
    }

    /// Sets a row to blocks as GGML writes them.
    pub(in crate::model::ops) fn set_ggml(&mut self, lane: usize, bytes: &[u8]) {
        for (index, bytes) in bytes.as_chunks::<BLOCK_BYTES>().0.iter().enumerate() {
            let (scale, weights) = bytes.split_at(size_of::<f16>());
            let scale = f16::from_le_bytes([scale[0], scale[1]]);
            self.set(lane, index, scale, weights.as_chunks().0);
        }
    }

    /// Quantizes a row. Its scales are rounded to half floats.
    pub(in crate::model::ops) fn set_numbers(
        &mut self,
        instructions: Instructions,
        lane: usize,
        numbers: &[f32],
    ) {
        let mut blocks = vec![Block::ZERO; numbers.len() / BLOCK];
        quantize_blocks(instructions, (numbers, numbers.len()), 0, &mut blocks);
        for (index, block) in blocks.into_iter().enumerate() {
            let weights = block.quads.map(|quad| quad.map(|weight| weight as u8));
            self.set(lane, index, f16::from_f32(block.scale), &weights);
        }
    }

    /// Sets a block of a row: the bits of its weights, in fours.
    fn set(&mut self, lane: usize, block: usize, scale: f16, weights: &[[u8; QUAD]]) {
        self.scales[block].0[lane] = scale;
        for (line, weights) in self.lines[block].iter_mut().zip(weights) {
            line.0[lane] = weights.map(|weight| weight ^ ZERO);
        }
    }
}
