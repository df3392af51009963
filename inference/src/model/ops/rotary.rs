//! Rotary position embedding of queries and keys.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape};

use super::{Element, by_dtype, contiguous};

/// Rotates `[T, H, D]` by each token's position: dimension i with i + D/2 (the half-split form of
/// Llama and Qwen).
pub(in crate::model) struct Rotary<'a> {
    /// `[context, D]`: cosines, then sines.
    pub(in crate::model) table: Arc<Vec<f32>>,
    /// `[T]`
    pub(in crate::model) positions: &'a [u32],
}

impl CustomOp1 for Rotary<'_> {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let storage = by_dtype!(x, "rotary", rotate(self, x, layout))?;
        Ok((storage, layout.shape().clone()))
    }
}

/// Cosines, sines, products and sum are each rounded to the type of `x`, as `transformers` does.
fn rotate<T: Element>(op: &Rotary<'_>, x: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
    let (_, heads, dim) = layout.shape().dims3()?;
    let x = contiguous::<T>(x, layout)?;
    let round = |value: f32| T::round(value).widen();
    let mut out = vec![T::round(0.0); x.len()];
    let tokens = x.chunks(heads * dim).zip(out.chunks_mut(heads * dim));
    for ((x, out), &position) in tokens.zip(op.positions) {
        let row = &op.table[position as usize * dim..][..dim];
        for (x, out) in x.chunks(dim).zip(out.chunks_mut(dim)) {
            let half = dim / 2;
            for i in 0..half {
                let (cos, sin) = (round(row[i]), round(row[half + i]));
                let (a, b) = (x[i].widen(), x[half + i].widen());
                out[i] = T::round(round(a * cos) - round(b * sin));
                out[half + i] = T::round(round(b * cos) + round(a * sin));
            }
        }
    }
    Ok(T::to_cpu_storage_owned(out))
}
