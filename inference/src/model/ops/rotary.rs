//! Rotary position embedding of queries and keys.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape};

use super::{Element, by_dtype, contiguous};

/// Turns the first `dim` dimensions of `[T, H, D]` by each token's position: dimension i with
/// i + dim/2 (the half-split form that Hugging Face's files are saved for). The others stay.
pub(in crate::model) struct Rotary<'a> {
    /// `[context, dim]`: cosines, then sines.
    pub(in crate::model) table: Arc<Vec<f32>>,
    /// Dimensions that turn.
    pub(in crate::model) dim: usize,
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
    let (_, heads, head_dim) = layout.shape().dims3()?;
    let round = |value: f32| T::round(value).widen();
    let half = op.dim / 2;
    let mut out = contiguous::<T>(x, layout)?.to_vec();
    let tokens = out.chunks_mut(heads * head_dim);
    for (token, &position) in tokens.zip(op.positions) {
        let row = &op.table[position as usize * op.dim..][..op.dim];
        for head in token.chunks_mut(head_dim) {
            for i in 0..half {
                let (cos, sin) = (round(row[i]), round(row[half + i]));
                let (a, b) = (head[i].widen(), head[half + i].widen());
                head[i] = T::round(round(a * cos) - round(b * sin));
                head[half + i] = T::round(round(b * cos) + round(a * sin));
            }
        }
    }
    Ok(T::to_cpu_storage_owned(out))
}
