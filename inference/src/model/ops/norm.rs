//! RMS norm over the last dimension.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{
    Element, by_dtype, contiguous,
    elementwise::by_rows,
    kernels::{
        math::across,
        simd::{Simd, multiply_add, vectorized},
    },
};
use crate::model::config::NormConfig;

/// `x / sqrt(mean(x²) + eps) · w` (Zhang & Sennrich 2019), `w` `[D]`.
#[derive(Debug, Clone)]
pub(in crate::model) struct RmsNorm {
    /// With the unit offset added, where the family has one.
    weight: Arc<Vec<f32>>,
    eps: f32,
    /// The product is rounded once; else the normed value is rounded before it meets the weight.
    weight_in_f32: bool,
}

impl RmsNorm {
    pub(in crate::model) fn new(weight: &Tensor, config: NormConfig) -> Result<Self> {
        let NormConfig {
            eps,
            unit_offset,
            weight_in_f32,
        } = config;
        let mut weight: Vec<f32> = weight.to_dtype(candle_core::DType::F32)?.to_vec1()?;
        if unit_offset {
            weight.iter_mut().for_each(|w| *w += 1.0);
        }
        let weight = Arc::new(weight);
        Ok(Self {
            weight,
            eps,
            weight_in_f32,
        })
    }

    /// `[.., D]` → the same shape.
    pub(in crate::model) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.apply_op1_no_bwd(self)
    }

    /// One row, `[D]` → `[D]`.
    pub(super) fn row<T: Element>(&self, simd: Simd, x: &[T], out: &mut [T]) {
        norm(simd, x, &self.weight, self.eps, self.weight_in_f32, out);
    }
}

impl CustomOp1 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = layout.dims().last().copied().unwrap_or(0);
        if width != self.weight.len() {
            bail!(
                "rms_norm: rows of {width}, a weight of {}",
                self.weight.len()
            );
        }
        let storage = by_dtype!(x, "rms_norm", rms_norm(self, x, layout))?;
        Ok((storage, layout.shape().clone()))
    }
}

fn rms_norm<T: Element + Send + Sync>(
    op: &RmsNorm,
    x: &CpuStorage,
    layout: &Layout,
) -> Result<CpuStorage> {
    let x = contiguous::<T>(x, layout)?;
    let (width, simd) = (op.weight.len(), Simd::detect());
    let out = by_rows(x.len() / width.max(1), width, |row, out: &mut [T]| {
        op.row(simd, &x[row * width..][..width], out);
    });
    Ok(T::to_cpu_storage_owned(out))
}

vectorized! {
    fn norm<T: Element>(
        fused; x: &[T], w: &[f32], eps: f32, weight_in_f32: bool, out: &mut [T],
    ) {
        let scale = 1.0 / (squares(fused, x) / w.len() as f32 + eps).sqrt();
        let places = out.iter_mut().zip(x).zip(w);
        if weight_in_f32 {
            places.for_each(|((out, x), w)| *out = T::round(x.widen() * scale * w));
        } else {
            for ((out, x), w) in places {
                *out = T::round(T::round(x.widen() * scale).widen() * w);
            }
        }
    }
}

/// The sum of squares: in 16 lanes, then across them.
#[inline(always)]
fn squares<T: Element>(fused: bool, x: &[T]) -> f32 {
    const LANES: usize = 16;
    let (wide, rest) = x.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for numbers in wide {
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum = multiply_add(fused, number.widen(), number.widen(), *sum);
        }
    }
    let rest: f32 = rest.iter().map(|x| x.widen() * x.widen()).sum();
    across(sums, |a, b| a + b) + rest
}
