//! Products of rows with matrices, whatever those are held in: number by number by cuBLASLt; in blocks by a kernel that reads the blocks, or
//! for many rows by cuBLASLt with some of the matrix at a time as numbers.
//!
//! # Guarantee
//! Which way it goes depends on the number of rows alone. By the kernel a row has the same result among however many others.

use std::sync::Arc;

use candela_cuda::{
    Gpu, Kernel,
    arguments::{Dequantize, Gather, Pointer, QuantizedMatmul},
    cudarc::driver::CudaStream,
};
use candle_core::DType;

use super::{
    blocks::InBlocks,
    error::GpuError,
    kernels::{Kernels, Source, launch},
    memory::Memory,
    products::{Product, Products},
    weights::{Held, Matrix, Part},
};
use crate::model::ops::BlockType;

/// Most rows that meet blocks by the kernel. It reads the blocks once for eight rows; numbers are written and read besides, at two bytes and
/// more, which takes as long from about sixteen rows on.
const KERNEL_ROWS_MAX: usize = 16;
/// Rows and outputs of a block of the kernel.
const KERNEL_ROWS: usize = 8;
const KERNEL_OUTPUTS: usize = 8;
/// Threads of a block of all kernels here.
const THREADS: u32 = 128;

/// Most and least bytes of numbers that are made of blocks at a time, and their share of all. More would be fewer products of cuBLASLt, fewer
/// than these are slower than their number accounts for; what is read soon after it was written is partly in the cache still.
const SCRATCH_MAX: usize = 64 << 20;
const SCRATCH_MIN: usize = 256 << 10;
const SCRATCH_SHARE: usize = 32;
/// Of which outputs of a piece are a multiple, so that its products are aligned.
const PIECE_STEP: usize = 64;

/// Rows of a step that meet a matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    /// `[count, inputs]`
    pub(super) x: Pointer,
    /// `[count, outputs]`
    pub(super) out: Pointer,
    pub(super) count: usize,
    /// `out` is in f32, whatever `x` is.
    pub(super) wide: bool,
}

/// All that products need.
pub(super) struct Multiply {
    products: Products,
    /// `None`: no matrix is in blocks.
    blocks: Option<BlockKernels>,
    dtype: DType,
}

struct BlockKernels {
    stream: Arc<CudaStream>,
    kinds: Vec<(BlockType, OfKind)>,
    /// Numbers of a part of a matrix.
    scratch: Memory,
    scratch_bytes: usize,
}

struct OfKind {
    matmul: Kernel<QuantizedMatmul>,
    matmul_wide: Kernel<QuantizedMatmul>,
    dequantize: Kernel<Dequantize>,
    gather: Kernel<Dequantize>,
}

/// Bytes of the scratch for so many numbers in blocks.
pub(super) fn scratch_bytes(in_blocks: usize, dtype: DType) -> usize {
    let bytes = in_blocks * dtype.size_in_bytes();
    (bytes / SCRATCH_SHARE)
        .clamp(SCRATCH_MIN, SCRATCH_MAX)
        .min(bytes)
}

impl Multiply {
    /// For a model with so many numbers `in_blocks`.
    pub(super) fn new(gpu: &Gpu, dtype: DType, in_blocks: usize) -> Result<Self, GpuError> {
        let blocks = (in_blocks > 0).then(|| BlockKernels::new(gpu, dtype, in_blocks));
        Ok(Self {
            products: Products::new(&gpu.stream(), dtype)?,
            blocks: blocks.transpose()?,
            dtype,
        })
    }

    /// Begins a product.
    pub(super) fn begin(&mut self, matrix: &Matrix, rows: Rows) -> Result<(), GpuError> {
        let number = self.dtype.size_in_bytes();
        let out_number = if rows.wide { size_of::<f32>() } else { number };
        let mut first = 0;
        for part in &matrix.parts {
            let product = Product {
                x: rows.x,
                weight: 0,
                bias: match matrix.bias() {
                    0 => 0,
                    bias => bias + (first * number) as Pointer,
                },
                out: rows.out + (first * out_number) as Pointer,
                rows: rows.count,
                inputs: matrix.inputs,
                outputs: part.outputs,
                out_stride: matrix.outputs,
                wide: rows.wide,
            };
            self.part(part, product)?;
            first += part.outputs;
        }
        Ok(())
    }

    fn part(&mut self, part: &Part, product: Product) -> Result<(), GpuError> {
        match &part.held {
            Held::Numbers(memory) => self.products.begin(&Product {
                weight: memory.address,
                ..product
            }),
            Held::Blocks(blocks) if product.rows <= KERNEL_ROWS_MAX => {
                self.kernels().matmul(blocks, &product)
            }
            Held::Blocks(blocks) => self.in_pieces(blocks, &product),
        }
    }

    /// Some outputs at a time, whose weights are made numbers.
    fn in_pieces(&mut self, blocks: &InBlocks, product: &Product) -> Result<(), GpuError> {
        let number = self.dtype.size_in_bytes();
        let out_number = if product.wide {
            size_of::<f32>()
        } else {
            number
        };
        let kernels = self.kernels();
        let (scratch, room) = (kernels.scratch.address, kernels.scratch_bytes);
        let most = room / (product.inputs * number).max(1);
        let piece = piece(product.outputs, most);
        for first in (0..product.outputs).step_by(piece.max(1)) {
            let outputs = piece.min(product.outputs - first);
            self.kernels().dequantize(blocks, first, outputs)?;
            self.products.begin(&Product {
                weight: scratch,
                bias: match product.bias {
                    0 => 0,
                    bias => bias + (first * number) as Pointer,
                },
                out: product.out + (first * out_number) as Pointer,
                outputs,
                ..*product
            })?;
        }
        Ok(())
    }

    /// Rows of an embedding.
    pub(super) fn gather(
        &self,
        kernels: &Kernels,
        embedding: &Matrix,
        (ids, out, rows): (Pointer, Pointer, usize),
        scale: f32,
    ) -> Result<(), GpuError> {
        let [part] = embedding.parts.as_slice() else {
            unreachable!("an embedding is one matrix");
        };
        let (matrix_rows, width) = (part.outputs as u32, embedding.inputs as u32);
        match &part.held {
            Held::Numbers(memory) => kernels.gather(
                rows as u32,
                &Gather {
                    matrix: memory.address,
                    ids,
                    out,
                    matrix_rows,
                    width,
                    scale,
                },
            ),
            Held::Blocks(blocks) => {
                let own = self.kernels();
                let args = Dequantize {
                    matrix: blocks.rows_from(0),
                    ids,
                    out,
                    matrix_rows,
                    width,
                    scale,
                };
                let grid = (rows as u32, 1, 1);
                launch(&own.stream, &own.of(blocks).gather, grid, &args)
            }
        }
    }

    fn kernels(&self) -> &BlockKernels {
        let blocks = self.blocks.as_ref();
        blocks.expect("the model has blocks, whose kernels were loaded")
    }
}

impl BlockKernels {
    fn new(gpu: &Gpu, dtype: DType, in_blocks: usize) -> Result<Self, GpuError> {
        let (stream, source) = (gpu.stream(), Source::new(gpu, dtype));
        let of = |kind: BlockType| {
            let named = |what: &str| format!("{what}_{kind}");
            // In f32 the result is wide as it is.
            let wide = match dtype {
                DType::F32 => "quantized_matmul",
                _ => "quantized_matmul_wide",
            };
            let of_kind = OfKind {
                matmul: source.typed("quantized", &named("quantized_matmul"), THREADS, 0)?,
                matmul_wide: source.typed("quantized", &named(wide), THREADS, 0)?,
                dequantize: source.typed("quantized", &named("dequantize"), THREADS, 0)?,
                gather: source.typed("quantized", &named("quantized_gather"), THREADS, 0)?,
            };
            Ok((kind, of_kind))
        };
        let scratch_bytes = scratch_bytes(in_blocks, dtype);
        Ok(Self {
            kinds: BlockType::ON_GPU
                .into_iter()
                .map(of)
                .collect::<Result<_, GpuError>>()?,
            scratch: Memory::new(&stream, scratch_bytes, "weights as numbers")?,
            scratch_bytes,
            stream,
        })
    }

    fn of(&self, blocks: &InBlocks) -> &OfKind {
        let mut kinds = self.kinds.iter();
        let found = kinds.find(|(kind, _)| *kind == blocks.layout.kind);
        &found.expect("all kinds on a GPU have kernels").1
    }

    fn matmul(&self, blocks: &InBlocks, product: &Product) -> Result<(), GpuError> {
        let of_kind = self.of(blocks);
        let kernel = if product.wide {
            &of_kind.matmul_wide
        } else {
            &of_kind.matmul
        };
        let grid = (
            product.outputs.div_ceil(KERNEL_OUTPUTS) as u32,
            product.rows.div_ceil(KERNEL_ROWS) as u32,
            1,
        );
        let args = QuantizedMatmul {
            weight: blocks.rows_from(0),
            x: product.x,
            bias: product.bias,
            out: product.out,
            rows: product.rows as u32,
            inputs: product.inputs as u32,
            outputs: product.outputs as u32,
            out_stride: product.out_stride as u32,
        };
        launch(&self.stream, kernel, grid, &args)
    }

    /// Rows of a matrix to the scratch.
    fn dequantize(&self, blocks: &InBlocks, first: usize, rows: usize) -> Result<(), GpuError> {
        let args = Dequantize {
            matrix: blocks.rows_from(first),
            ids: 0,
            out: self.scratch.address,
            matrix_rows: rows as u32,
            width: blocks.layout.columns as u32,
            scale: 1.0,
        };
        let grid = (rows as u32, 1, 1);
        launch(&self.stream, &self.of(blocks).dequantize, grid, &args)
    }
}

/// Outputs of a piece, of which `most` have room: pieces are about as large as each other.
fn piece(outputs: usize, most: usize) -> usize {
    if outputs <= most {
        return outputs;
    }
    let count = outputs.div_ceil(most.max(1));
    let even = outputs.div_ceil(count).next_multiple_of(PIECE_STEP);
    even.min(most).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_even_and_within_the_scratch() {
        assert_eq!(piece(1000, 4096), 1000);
        assert_eq!(piece(5000, 4096), 2560);
        assert_eq!(piece(4097, 4096), 2112);
        assert_eq!(piece(100, 70), 64);
        assert_eq!(piece(100, 50), 50);
    }

    #[test]
    fn the_scratch_is_a_small_share_of_the_numbers_and_bounded() {
        let bytes = |count| scratch_bytes(count, DType::BF16);
        assert_eq!(bytes(1000), 2000);
        assert_eq!(bytes(1 << 20), SCRATCH_MIN);
        assert_eq!(bytes(1 << 28), 16 << 20);
        assert_eq!(bytes(1 << 33), SCRATCH_MAX);
    }
}
