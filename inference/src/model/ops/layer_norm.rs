//! Layer norm over the last dimension, with a bias.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};

use super::{
    Element, by_dtype, contiguous,
    elementwise::by_rows,
    kernels::{
        math::across,
        simd::{Simd, multiply_add, vectorized},
    },
};

/// `(x − mean(x)) / sqrt(var(x) + eps) · w + b` (Ba, Kiros & Hinton 2016), `w` and `b` `[D]`; rounded once.
#[derive(Debug, Clone)]
pub(in crate::model) struct LayerNorm {
    weight: Arc<Vec<f32>>,
    bias: Arc<Vec<f32>>,
    eps: f32,
}

impl LayerNorm {
    pub(in crate::model) fn new(weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Self> {
        let numbers = |tensor: &Tensor| tensor.to_dtype(DType::F32)?.to_vec1().map(Arc::new);
        Ok(Self {
            weight: numbers(weight)?,
            bias: numbers(bias)?,
            eps,
        })
    }

    /// `[.., D]` → the same shape.
    pub(in crate::model) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.apply_op1_no_bwd(self)
    }
}

impl CustomOp1 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = layout.dims().last().copied().unwrap_or(0);
        if width != self.weight.len() || width != self.bias.len() {
            let (weight, bias) = (self.weight.len(), self.bias.len());
            bail!("layer_norm: rows of {width}, a weight of {weight}, a bias of {bias}");
        }
        let storage = by_dtype!(x, "layer_norm", layer_norm(self, x, layout))?;
        Ok((storage, layout.shape().clone()))
    }
}

fn layer_norm<T: Element>(op: &LayerNorm, x: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
    let x = contiguous::<T>(x, layout)?;
    let (width, simd) = (op.weight.len(), Simd::detect());
    let out = by_rows(x.len() / width.max(1), width, |row, out: &mut [T]| {
        let row = &x[row * width..][..width];
        norm(simd, row, (&op.weight, &op.bias), op.eps, out);
    });
    Ok(T::to_cpu_storage_owned(out))
}

vectorized! {
    fn norm<T: Element>(fused; x: &[T], weight_and_bias: (&[f32], &[f32]), eps: f32, out: &mut [T]) {
        let (weight, bias) = weight_and_bias;
        let width = weight.len() as f32;
        let mean = sum(x, |x, sum| sum + x) / width;
        let squares = sum(x, |x, sum| multiply_add(fused, x - mean, x - mean, sum));
        let scale = 1.0 / (squares / width + eps).sqrt();
        for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
            *out = T::round((x.widen() - mean) * scale * weight + bias);
        }
    }
}

/// The sum of a function of the numbers: in 16 lanes, then across them.
#[inline(always)]
fn sum<T: Element>(x: &[T], add: impl Fn(f32, f32) -> f32) -> f32 {
    const LANES: usize = 16;
    let (wide, rest) = x.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for numbers in wide {
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum = add(number.widen(), *sum);
        }
    }
    let sums = across(sums, |a, b| a + b);
    rest.iter().fold(sums, |sum, x| add(x.widen(), sum))
}
