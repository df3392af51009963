//! RMS norm over the last dimension.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{Element, by_dtype, contiguous};
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

fn rms_norm<T: Element>(op: &RmsNorm, x: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
    let (x, w) = (contiguous::<T>(x, layout)?, op.weight.as_slice());
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks(w.len()) {
        let squares: f32 = row.iter().map(|v| v.widen() * v.widen()).sum();
        let scale = 1.0 / (squares / w.len() as f32 + op.eps).sqrt();
        let products = row.iter().zip(w);
        if op.weight_in_f32 {
            out.extend(products.map(|(x, w)| T::round(x.widen() * scale * w)));
        } else {
            out.extend(products.map(|(x, w)| T::round(T::round(x.widen() * scale).widen() * w)));
        }
    }
    Ok(T::to_cpu_storage_owned(out))
}
