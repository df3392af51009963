//! Matrices in the block formats of GGML (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>):
//! rows of 32 or 256 weights that share their scales. Products quantize the activations likewise and
//! sum in integers within a block, as llama.cpp does; the dot products are candle's, which picks
//! AVX2 at run time, but for `q8_0`, which is packed for kernels of our own.
//!
//! # Guarantee
//! Each product is one dot product of a weight row and a token, in a fixed order: the tokens beside
//! it make no difference.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, OnceLock},
};

use candle_core::{
    Result, bail,
    quantized::{
        GgmlDType,
        k_quants::{
            BlockQ4_0, BlockQ4K, BlockQ5K, BlockQ6K, BlockQ8_0, BlockQ8K, GgmlType, QK_K, QK8_0,
        },
    },
};
use rayon::prelude::*;

use super::{
    kernels::q8::{Instructions, TILE, multiply},
    linear::ROWS,
    packed_q8::{PackedQ8, QuantizedRows},
};

/// The block formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum BlockType {
    Q4_0,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

impl BlockType {
    /// What a GPU computes with; the others are made numbers of when they are loaded there.
    pub(in crate::model) const ON_GPU: [Self; 3] = [Self::Q8_0, Self::Q4K, Self::Q6K];

    fn ggml(self) -> GgmlDType {
        match self {
            Self::Q4_0 => GgmlDType::Q4_0,
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q4K => GgmlDType::Q4K,
            Self::Q5K => GgmlDType::Q5K,
            Self::Q6K => GgmlDType::Q6K,
        }
    }

    /// Weights of a block; rows are whole blocks.
    pub(in crate::model) fn block_len(self) -> usize {
        self.ggml().block_size()
    }

    /// Bytes of a block.
    pub(in crate::model) fn block_bytes(self) -> usize {
        self.ggml().type_size()
    }
}

impl fmt::Display for BlockType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Q4_0 => "q4_0",
            Self::Q8_0 => "q8_0",
            Self::Q4K => "q4_k",
            Self::Q5K => "q5_k",
            Self::Q6K => "q6_k",
        })
    }
}

#[derive(Debug)]
enum Blocks {
    Q4_0(Vec<BlockQ4_0>),
    Q8_0(Arc<PackedQ8>),
    Q4K(Vec<BlockQ4K>),
    Q5K(Vec<BlockQ5K>),
    Q6K(Vec<BlockQ6K>),
}

/// A matrix `[rows, columns]` in blocks, row by row.
#[derive(Debug)]
pub(in crate::model) struct BlockMatrix {
    blocks: Blocks,
    rows: usize,
    columns: usize,
}

impl BlockMatrix {
    /// Copies the blocks of a file, row `order(i)` of which becomes row `i`.
    pub(in crate::model) fn from_bytes(
        kind: BlockType,
        bytes: &[u8],
        (rows, columns): (usize, usize),
        order: impl Fn(usize) -> usize + Sync,
    ) -> Result<Self> {
        let row_bytes = columns / kind.block_len() * kind.block_bytes();
        if !columns.is_multiple_of(kind.block_len()) || bytes.len() != rows * row_bytes {
            bail!(
                "{} bytes are no {rows} rows of {columns} weights in {kind:?}",
                bytes.len()
            );
        }
        let ordered = (0..rows).map(|row| &bytes[order(row) * row_bytes..][..row_bytes]);
        let blocks = match kind {
            BlockType::Q4_0 => Blocks::Q4_0(copied(ordered)),
            BlockType::Q8_0 => {
                let packed = PackedQ8::from_ggml(bytes, (rows, columns), &order)?;
                Blocks::Q8_0(Arc::new(packed))
            }
            BlockType::Q4K => Blocks::Q4K(copied(ordered)),
            BlockType::Q5K => Blocks::Q5K(copied(ordered)),
            BlockType::Q6K => Blocks::Q6K(copied(ordered)),
        };
        Ok(Self {
            blocks,
            rows,
            columns,
        })
    }

    /// Quantizes a matrix `[rows, columns]`, asking for the numbers of some rows at a time, on any thread.
    pub(in crate::model) fn quantize(
        kind: BlockType,
        (rows, columns): (usize, usize),
        numbers: impl Fn(Range<usize>) -> Result<Vec<f32>> + Sync,
    ) -> Result<Self> {
        if !columns.is_multiple_of(kind.block_len()) {
            bail!("rows of {columns} weights are no whole blocks of {kind:?}");
        }
        let size = (rows, columns);
        let blocks = match kind {
            BlockType::Q4_0 => Blocks::Q4_0(quantized_in_parts(size, numbers)?),
            BlockType::Q8_0 => Blocks::Q8_0(Arc::new(PackedQ8::quantize(size, numbers)?)),
            BlockType::Q4K => Blocks::Q4K(quantized_in_parts(size, numbers)?),
            BlockType::Q5K => Blocks::Q5K(quantized_in_parts(size, numbers)?),
            BlockType::Q6K => Blocks::Q6K(quantized_in_parts(size, numbers)?),
        };
        Ok(Self {
            blocks,
            rows,
            columns,
        })
    }

    pub(in crate::model) fn rows(&self) -> usize {
        self.rows
    }

    pub(in crate::model) fn columns(&self) -> usize {
        self.columns
    }

    /// These rows as numbers, one after the other.
    pub(in crate::model) fn dequantized(
        &self,
        rows: impl ExactSizeIterator<Item = usize>,
    ) -> Result<Vec<f32>> {
        let mut out = vec![0f32; rows.len() * self.columns];
        for (row, out) in rows.zip(out.chunks_mut(self.columns.max(1))) {
            if row >= self.rows {
                bail!("row {row} of a matrix of {} rows", self.rows);
            }
            match &self.blocks {
                Blocks::Q4_0(blocks) => row_to_float(blocks, row, out),
                Blocks::Q8_0(packed) => packed.row(row, out),
                Blocks::Q4K(blocks) => row_to_float(blocks, row, out),
                Blocks::Q5K(blocks) => row_to_float(blocks, row, out),
                Blocks::Q6K(blocks) => row_to_float(blocks, row, out),
            }
        }
        Ok(out)
    }

    /// The matrix, where it is packed.
    pub(super) fn packed(&self) -> Option<&Arc<PackedQ8>> {
        match &self.blocks {
            Blocks::Q8_0(packed) => Some(packed),
            Blocks::Q4_0(_) | Blocks::Q4K(_) | Blocks::Q5K(_) | Blocks::Q6K(_) => None,
        }
    }

    /// The products `[rows, T]` with activations `[T, columns]`.
    pub(super) fn products(&self, x: &Activations<'_>, columns: &mut [f32]) {
        match &self.blocks {
            Blocks::Q4_0(blocks) => products(blocks, x.q8_0(), self.columns, columns),
            Blocks::Q8_0(packed) => packed_products(packed, x.packed(), columns),
            Blocks::Q4K(blocks) => products(blocks, x.q8k(), self.columns, columns),
            Blocks::Q5K(blocks) => products(blocks, x.q8k(), self.columns, columns),
            Blocks::Q6K(blocks) => products(blocks, x.q8k(), self.columns, columns),
        }
    }
}

/// Activations `[T, K]`, quantized when a weight first asks for it.
pub(super) struct Activations<'a> {
    wide: &'a [f32],
    columns: usize,
    q8_0: OnceLock<Vec<BlockQ8_0>>,
    q8k: OnceLock<Vec<BlockQ8K>>,
    packed: OnceLock<QuantizedRows>,
}

impl<'a> Activations<'a> {
    pub(super) fn new(wide: &'a [f32], columns: usize) -> Self {
        Self {
            wide,
            columns,
            q8_0: OnceLock::new(),
            q8k: OnceLock::new(),
            packed: OnceLock::new(),
        }
    }

    fn q8_0(&self) -> &[BlockQ8_0] {
        debug_assert!(self.columns.is_multiple_of(QK8_0));
        self.q8_0.get_or_init(|| quantized(self.wide, self.columns))
    }

    fn packed(&self) -> &QuantizedRows {
        let instructions = Instructions::detect();
        let quantized = || QuantizedRows::new(instructions, self.wide, self.columns);
        self.packed.get_or_init(quantized)
    }

    fn q8k(&self) -> &[BlockQ8K] {
        debug_assert!(self.columns.is_multiple_of(QK_K));
        self.q8k.get_or_init(|| quantized(self.wide, self.columns))
    }
}

/// As [`products`].
fn packed_products(packed: &PackedQ8, x: &QuantizedRows, columns: &mut [f32]) {
    let (instructions, t) = (Instructions::detect(), x.rows());
    columns
        .par_chunks_mut((TILE * t).max(1))
        .enumerate()
        .for_each(|(tile, columns)| {
            for group in x.groups() {
                let tile = [packed.tile(tile)];
                multiply(instructions, tile, group, |token, [products]| {
                    for (column, product) in columns.chunks_mut(t).zip(products) {
                        column[token] = *product;
                    }
                });
            }
        });
}

/// Rows of weights in blocks; `columns` is a multiple of the block's length.
fn quantized<T: GgmlType>(weights: &[f32], columns: usize) -> Vec<T> {
    let mut blocks = vec![T::zeros(); weights.len() / T::BLCK_SIZE];
    blocks
        .par_chunks_mut((columns / T::BLCK_SIZE).max(1))
        .zip(weights.par_chunks(columns.max(1)))
        .for_each(|(blocks, weights)| T::from_float(weights, blocks));
    blocks
}

/// Rows that are quantized at a time.
const QUANTIZED_ROWS: usize = 1024;

fn quantized_in_parts<T: GgmlType>(
    (rows, columns): (usize, usize),
    numbers: impl Fn(Range<usize>) -> Result<Vec<f32>>,
) -> Result<Vec<T>> {
    let mut blocks = Vec::with_capacity(rows * (columns / T::BLCK_SIZE));
    for from in (0..rows).step_by(QUANTIZED_ROWS) {
        let part = numbers(from..rows.min(from + QUANTIZED_ROWS))?;
        blocks.extend(quantized::<T>(&part, columns));
    }
    Ok(blocks)
}

fn row_to_float<T: GgmlType>(blocks: &[T], row: usize, out: &mut [f32]) {
    let per_row = out.len() / T::BLCK_SIZE;
    T::to_float(&blocks[row * per_row..][..per_row], out);
}

/// Each weight row is read once and meets every token while it is in the cache.
fn products<T: GgmlType>(w: &[T], x: &[T::VecDotType], k: usize, columns: &mut [f32]) {
    let per_row = k / T::BLCK_SIZE;
    let t = x.len() / per_row;
    columns
        .par_chunks_mut(ROWS * t)
        .zip(w.par_chunks(ROWS * per_row))
        .for_each(|(columns, w)| {
            for (column, w) in columns.chunks_mut(t).zip(w.chunks(per_row)) {
                for (out, x) in column.iter_mut().zip(x.chunks(per_row)) {
                    *out = T::vec_dot(k, w, x);
                }
            }
        });
}

/// The rows' blocks, one after the other.
#[expect(
    unsafe_code,
    reason = "candle's blocks can be made from bytes in no other way"
)]
fn copied<'a, T: GgmlType>(rows: impl Iterator<Item = &'a [u8]>) -> Vec<T> {
    let mut blocks: Vec<T> = Vec::new();
    for row in rows {
        let count = row.len() / size_of::<T>();
        blocks.reserve(count);
        // SAFETY: `T` is one of the `repr(C)` blocks of integers and half floats above, for which
        // every pattern of bits is a value and which has no padding; `row` has `count` times its
        // bytes, the vector room for `count` more, and the two do not overlap.
        unsafe {
            let end = blocks.as_mut_ptr().add(blocks.len()).cast::<u8>();
            std::ptr::copy_nonoverlapping(row.as_ptr(), end, count * size_of::<T>());
            blocks.set_len(blocks.len() + count);
        }
    }
    blocks
}

#[cfg(feature = "cuda")]
#[path = "blocks_bytes.rs"]
mod bytes;
#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
