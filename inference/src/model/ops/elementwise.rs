//! Operations within a row: RMS norm, and SiLU of the gate times the up projection.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape};

use super::{Element, by_dtype, contiguous};

/// `x / sqrt(mean(x²) + eps) · w` over the last dimension (Zhang & Sennrich 2019). The normed value is
/// rounded to the type of `x` before it meets the weight, as `transformers` does.
pub(in crate::model) struct RmsNorm {
    pub(in crate::model) eps: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let storage = by_dtype!(
            x,
            "rms_norm",
            rms_norm((x, x_layout), (w, w_layout), self.eps)
        )?;
        Ok((storage, x_layout.shape().clone()))
    }
}

fn rms_norm<T: Element>(
    (x, x_layout): (&CpuStorage, &Layout),
    (w, w_layout): (&CpuStorage, &Layout),
    eps: f32,
) -> Result<CpuStorage> {
    let x = contiguous::<T>(x, x_layout)?;
    let w = contiguous::<T>(w, w_layout)?;
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks(w.len()) {
        let squares: f32 = row.iter().map(|v| v.widen() * v.widen()).sum();
        let scale = 1.0 / (squares / w.len() as f32 + eps).sqrt();
        out.extend(row.iter().zip(w).map(|(x, w)| {
            let normed = T::round(x.widen() * scale).widen();
            T::round(normed * w.widen())
        }));
    }
    Ok(T::to_cpu_storage_owned(out))
}

/// `[T, 2F]`, gate beside up → `[T, F]`: `silu(gate) · up`, each rounded once.
pub(in crate::model) struct SiluMul;

impl CustomOp1 for SiluMul {
    fn name(&self) -> &'static str {
        "silu_mul"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (t, width) = layout.shape().dims2()?;
        let storage = by_dtype!(x, "silu_mul", silu_mul(x, layout, width))?;
        Ok((storage, Shape::from((t, width / 2))))
    }
}

fn silu_mul<T: Element>(x: &CpuStorage, layout: &Layout, width: usize) -> Result<CpuStorage> {
    let x = contiguous::<T>(x, layout)?;
    let mut out = Vec::with_capacity(x.len() / 2);
    for row in x.chunks(width) {
        let (gate, up) = row.split_at(width / 2);
        out.extend(gate.iter().zip(up).map(|(gate, up)| {
            let gate = gate.widen();
            let silu = T::round(gate / (1.0 + (-gate).exp())).widen();
            T::round(silu * up.widen())
        }));
    }
    Ok(T::to_cpu_storage_owned(out))
}
