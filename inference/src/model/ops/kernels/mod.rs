//! The inner loops, on slices: products of packed tiles, element-wise functions. What needs `unsafe` for speed is in here, each
//! with a plain twin for every processor. No tensors, no threads.

mod disjoint;
pub(super) mod fetch;
pub(super) mod math;
pub(super) mod q8;
pub(super) mod simd;
pub(super) mod tile;
#[cfg(target_arch = "x86_64")]
mod tile_avx512;

pub(super) use disjoint::Disjoint;
