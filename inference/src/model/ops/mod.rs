//! The models' hot operations as candle custom ops. Each has a plain reference it is tested against.
//!
//! # Guarantee
//! Every operation treats the rows of its input (tokens) independently and in a fixed order of
//! arithmetic: a token's result does not depend on what else is in the batch.

mod attention;
mod blocks;
mod elementwise;
mod embedding;
mod experts;
mod heads;
mod kernels;
mod kv_cache;
mod layer_norm;
mod linear;
mod matrix;
mod memory;
mod norm;
mod packed;
mod packed_q8;
mod processors;
mod stacked;
mod team;

use candle_core::{CpuStorage, Layout, Result, WithDType, bail};
use half::bf16;

pub(super) use attention::PagedAttention;
pub(super) use blocks::{BlockMatrix, BlockType};
pub(super) use elementwise::{Activate, AddScaled, GatedMul, LogitsScale, Scale};
pub(super) use embedding::Embedding;
pub(super) use experts::{Expert, Experts};
pub(super) use heads::{Heads, HeadsNorm, KvWrite, Queries, Turn, kv_block_numbers};
pub(super) use kv_cache::KvCache;
pub(super) use layer_norm::LayerNorm;
pub(super) use linear::{GatedLinear, Linear};
pub(super) use matrix::Matrix;
pub(super) use norm::RmsNorm;
pub(super) use packed::{PACKING, Unpacked};
pub(super) use stacked::Part;
pub(super) use team::{set_threads, team};

/// A number that weights and activations are stored as; arithmetic is in f32.
pub(super) trait Element: WithDType {
    fn widen(self) -> f32;
    /// Rounds to nearest, ties to even.
    fn round(value: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn round(value: f32) -> Self {
        value
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    #[inline(always)]
    fn round(value: f32) -> Self {
        kernels::math::round_bf16(value)
    }
}

/// The data of a contiguous tensor.
fn contiguous<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<T>()?[from..to]),
        None => bail!("the operation takes contiguous tensors only"),
    }
}

/// Runs a generic function with the element type of a storage.
macro_rules! by_dtype {
    ($storage:expr, $op:literal, $run:ident ( $($arg:expr),* $(,)? )) => {
        match $storage {
            candle_core::CpuStorage::F32(_) => $run::<f32>($($arg),*),
            candle_core::CpuStorage::BF16(_) => $run::<half::bf16>($($arg),*),
            _ => candle_core::bail!(concat!($op, " takes f32 or bf16")),
        }
    };
}
use by_dtype;

#[cfg(test)]
mod tests;
