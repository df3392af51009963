//! Layer norm over the last dimension, with a bias.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};

use super::{Element, by_dtype, contiguous};

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
    let (w, b) = (op.weight.as_slice(), op.bias.as_slice());
    let width = w.len() as f32;
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks(w.len()) {
        let mean = row.iter().map(|v| v.widen()).sum::<f32>() / width;
        let squares: f32 = row.iter().map(|v| (v.widen() - mean).powi(2)).sum();
        let scale = 1.0 / (squares / width + op.eps).sqrt();
        let scaled = row.iter().zip(w).zip(b);
        out.extend(scaled.map(|((x, w), b)| T::round((x.widen() - mean) * scale * w + b)));
    }
    Ok(T::to_cpu_storage_owned(out))
}
