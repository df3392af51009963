//! Matrices in blocks, in the order that the device's kernels read them in (`cuda/kernels/arguments.cuh`).

use std::sync::Arc;

use candela_cuda::{
    arguments::{Blocks, Pointer},
    cudarc::driver::CudaStream,
};
use half::f16;
use rayon::prelude::*;

use super::{
    error::GpuError,
    memory::{ALIGNMENT, Memory},
};
use crate::model::ops::{BlockMatrix, BlockType};

/// Bytes that are ordered at a time.
const ORDERED: usize = 16 << 20;
/// Weights of the larger blocks, of a lane's part of them, and of the lanes' parts side by side.
const BLOCK: usize = 256;
const PART: usize = 8;
const PARTS_SIDE: usize = 64;
/// Bytes of the scales and minima of a block of `q4_k`.
const Q4K_HEADER: usize = 16;

/// How matrices `[rows, columns]` in blocks lie: the blocks, then their scales where those have a plane of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) kind: BlockType,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Layout {
    fn blocks(&self) -> usize {
        self.columns / self.kind.block_len()
    }

    /// Bytes of a row's scales.
    fn row_scales(&self) -> usize {
        match self.kind {
            BlockType::Q4K => 0,
            _ => self.blocks() * size_of::<f16>(),
        }
    }

    /// Bytes of a row without those.
    fn row_quants(&self) -> usize {
        self.blocks() * self.kind.block_bytes() - self.row_scales()
    }

    fn scales_at(&self) -> usize {
        (self.rows * self.row_quants()).next_multiple_of(ALIGNMENT)
    }

    fn bytes(&self) -> usize {
        self.scales_at() + self.rows * self.row_scales()
    }
}

/// Matrices in blocks on the device, one below the other.
#[derive(Debug, Clone)]
pub(super) struct InBlocks {
    memory: Arc<Memory>,
    pub(super) layout: Layout,
}

impl InBlocks {
    /// Room for them.
    pub(super) fn new(
        stream: &Arc<CudaStream>,
        layout: Layout,
        what: &str,
    ) -> Result<Self, GpuError> {
        Ok(Self {
            memory: Arc::new(Memory::new(stream, layout.bytes(), what)?),
            layout,
        })
    }

    /// Copies a matrix to the rows from `first` on.
    pub(super) fn fill(&self, first: usize, matrix: &BlockMatrix) -> Result<(), GpuError> {
        let layout = &self.layout;
        let (row_quants, row_scales) = (layout.row_quants(), layout.row_scales());
        let some = (ORDERED / row_quants.max(1)).max(1);
        let (mut quants, mut scales) = (Vec::new(), Vec::new());
        for from in (0..matrix.rows()).step_by(some) {
            let rows = some.min(matrix.rows() - from);
            quants.resize(rows * row_quants, 0);
            scales.resize(rows * row_scales, 0);
            let mut places: Vec<(&mut [u8], &mut [u8])> = quants
                .chunks_mut(row_quants.max(1))
                .map(|quants| (quants, Default::default()))
                .collect();
            for ((_, place), scales) in places.iter_mut().zip(scales.chunks_mut(row_scales.max(1)))
            {
                *place = scales;
            }
            places
                .into_par_iter()
                .enumerate()
                .for_each(|(row, (quants, scales))| {
                    let mut blocks = vec![0; row_quants + row_scales];
                    matrix.ggml_row(from + row, &mut blocks);
                    order(layout.kind, &blocks, quants, scales);
                });
            self.memory.fill((first + from) * row_quants, &quants)?;
            let at = layout.scales_at() + (first + from) * row_scales;
            self.memory.fill(at, &scales)?;
        }
        Ok(())
    }

    /// The rows from `first` on.
    pub(super) fn rows_from(&self, first: usize) -> Blocks {
        let layout = &self.layout;
        let (base, at) = (self.memory.address, |bytes: usize| bytes as Pointer);
        Blocks {
            quants: base + at(first * layout.row_quants()),
            scales: match layout.row_scales() {
                0 => 0,
                scales => base + at(layout.scales_at() + first * scales),
            },
        }
    }
}

/// Orders a row's blocks, which GGML wrote, for the device.
fn order(kind: BlockType, blocks: &[u8], quants: &mut [u8], scales: &mut [u8]) {
    let (bytes, len) = (kind.block_bytes(), quants.len());
    let places = quants.chunks_mut(len / (blocks.len() / bytes).max(1));
    match kind {
        BlockType::Q8_0 => {
            let scales = scales.chunks_mut(size_of::<f16>());
            for ((block, quants), scale) in blocks.chunks(bytes).zip(places).zip(scales) {
                let (from, weights) = block.split_at(size_of::<f16>());
                scale.copy_from_slice(from);
                quants.copy_from_slice(weights);
            }
        }
        BlockType::Q6K => {
            let scales = scales.chunks_mut(size_of::<f16>());
            for ((block, quants), scale) in blocks.chunks(bytes).zip(places).zip(scales) {
                scale.copy_from_slice(&block[bytes - size_of::<f16>()..]);
                order_q6k(block, quants);
            }
        }
        BlockType::Q4K => {
            for (block, quants) in blocks.chunks(bytes).zip(places) {
                let (header, lower) = quants.split_at_mut(Q4K_HEADER);
                header.copy_from_slice(&block[..Q4K_HEADER]);
                let weights = &block[Q4K_HEADER..];
                put_lower(lower, |at| {
                    let (pair, in_pair) = (at / PARTS_SIDE, at % PARTS_SIDE);
                    let byte = weights[pair * 32 + in_pair % 32];
                    if in_pair < 32 { byte & 15 } else { byte >> 4 }
                });
            }
        }
        BlockType::Q4_0 | BlockType::Q5K => unreachable!("a GPU holds no {kind}"),
    }
}

/// Lower four bits of all weights, upper two, scales; the scale of the scales is elsewhere.
fn order_q6k(block: &[u8], to: &mut [u8]) {
    let (low, rest) = block.split_at(BLOCK / 2);
    let (high, rest) = rest.split_at(BLOCK / 4);
    let (lower, to) = to.split_at_mut(BLOCK / 2);
    let (upper, scales) = to.split_at_mut(BLOCK / 4);
    scales.copy_from_slice(&rest[..BLOCK / 16]);
    // Halves of 128 weights: a byte has the lower bits of weights 64 apart, or the upper bits of four, each 32 from the next.
    put_lower(lower, |at| {
        let (half, in_half) = (at / 128, at % 128);
        low[half * 64 + in_half % 64] >> (in_half / 64 * 4) & 15
    });
    let upper_of = |at: usize| {
        let (half, in_half) = (at / 128, at % 128);
        high[half * 32 + in_half % 32] >> (in_half / 32 * 2) & 3
    };
    for (byte, to) in upper.iter_mut().enumerate() {
        let (lane, word, place) = (byte / 8, byte / 4 % 2, byte % 4);
        let weight =
            |part: usize, i: usize| upper_of((2 * word + part) * PARTS_SIDE + lane * PART + i);
        *to = weight(0, place)
            | weight(0, place + 4) << 2
            | weight(1, place) << 4
            | weight(1, place + 4) << 6;
    }
}

/// Of each lane its four parts of eight weights: those four places apart in one byte.
fn put_lower(to: &mut [u8], weight: impl Fn(usize) -> u8) {
    for (byte, to) in to.iter_mut().enumerate() {
        let (lane, part, place) = (byte / 16, byte / 4 % 4, byte % 4);
        let at = part * PARTS_SIDE + lane * PART + place;
        *to = weight(at) | weight(at + 4) << 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_lie_behind_the_blocks_where_they_have_a_plane() {
        let layout = |kind| Layout {
            kind,
            rows: 3,
            columns: 512,
        };
        let sizes = BlockType::ON_GPU.map(|kind| {
            let layout = layout(kind);
            (layout.row_quants(), layout.scales_at(), layout.bytes())
        });
        assert_eq!(
            sizes,
            [
                (512, 1536, 1536 + 3 * 32),
                (288, 1024, 1024),
                (416, 1280, 1280 + 3 * 4)
            ]
        );
    }

    #[test]
    fn every_bit_of_a_block_is_somewhere() {
        for kind in BlockType::ON_GPU {
            let layout = Layout {
                kind,
                rows: 1,
                columns: 256,
            };
            let mut seen = vec![0u32; 8 * kind.block_bytes() * 256 / kind.block_len()];
            for bit in 0..seen.len() {
                let mut block = vec![0u8; seen.len() / 8];
                block[bit / 8] = 1 << (bit % 8);
                let (mut quants, mut scales) =
                    (vec![0; layout.row_quants()], vec![0; layout.row_scales()]);
                order(kind, &block, &mut quants, &mut scales);
                let ordered = [quants, scales].concat();
                let ones = (0..8 * ordered.len()).filter(|at| ordered[at / 8] >> (at % 8) & 1 == 1);
                ones.for_each(|at| seen[at] += 1);
            }
            assert!(seen.iter().all(|&times| times == 1), "{kind}");
        }
    }
}
