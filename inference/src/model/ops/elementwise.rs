//! Operations element by element: the gate times the up projection, scaling, the residual sum, and
//! what is done to the logits.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, bail, cpu::erf::erf_f32,
};
use rayon::prelude::*;

use super::{Element, by_dtype, contiguous};
use crate::model::config::Activation;

/// `[T, 2F]`, gate beside up → `[T, F]`: `activation(gate) · up`, each rounded once.
pub(in crate::model) struct GatedMul(pub(in crate::model) Activation);

impl CustomOp1 for GatedMul {
    fn name(&self) -> &'static str {
        "gated_mul"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (t, width) = layout.shape().dims2()?;
        let storage = by_dtype!(x, "gated_mul", gated_mul(self.0, x, layout, width))?;
        Ok((storage, Shape::from((t, width / 2))))
    }
}

fn gated_mul<T: Element>(
    activation: Activation,
    x: &CpuStorage,
    layout: &Layout,
    width: usize,
) -> Result<CpuStorage> {
    let x = contiguous::<T>(x, layout)?;
    let function = function(activation);
    let mut out = Vec::with_capacity(x.len() / 2);
    for row in x.chunks(width) {
        let (gate, up) = row.split_at(width / 2);
        out.extend(gate.iter().zip(up).map(|(gate, up)| {
            let activated = T::round(function(gate.widen())).widen();
            T::round(activated * up.widen())
        }));
    }
    Ok(T::to_cpu_storage_owned(out))
}

/// `[.., D]` → the same shape: the function of every number, rounded once.
pub(in crate::model) struct Activate(pub(in crate::model) Activation);

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let storage = by_dtype!(x, "activate", activate(self.0, x, layout))?;
        Ok((storage, layout.shape().clone()))
    }
}

fn activate<T: Element>(
    activation: Activation,
    x: &CpuStorage,
    layout: &Layout,
) -> Result<CpuStorage> {
    let function = function(activation);
    let x = contiguous::<T>(x, layout)?;
    let activated = x
        .par_iter()
        .with_min_len(ACTIVATED_MIN)
        .map(|x| T::round(function(x.widen())));
    Ok(T::to_cpu_storage_owned(activated.collect()))
}

/// Numbers that are worth a task of their own.
const ACTIVATED_MIN: usize = 4096;

fn function(activation: Activation) -> fn(f32) -> f32 {
    match activation {
        Activation::Silu => silu,
        Activation::Gelu => gelu,
        Activation::GeluTanh => gelu_tanh,
        Activation::Relu => |x| x.max(0.0),
    }
}

/// Hendrycks & Gimpel 2016.
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf_f32(x * std::f32::consts::FRAC_1_SQRT_2))
}

fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

/// Hendrycks & Gimpel 2016, by tanh.
fn gelu_tanh(x: f32) -> f32 {
    const ROOT_2_OVER_PI: f32 = 0.797_884_6;
    0.5 * x * (1.0 + (ROOT_2_OVER_PI * (x + 0.044715 * x * x * x)).tanh())
}

/// `x · factor`, rounded once.
pub(in crate::model) struct Scale(pub(in crate::model) f32);

impl CustomOp1 for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let storage = by_dtype!(x, "scale", scale(self.0, x, layout))?;
        Ok((storage, layout.shape().clone()))
    }
}

fn scale<T: Element>(factor: f32, x: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
    let scaled = contiguous::<T>(x, layout)?
        .iter()
        .map(|x| T::round(x.widen() * factor));
    Ok(T::to_cpu_storage_owned(scaled.collect()))
}

/// The residual sum `x + y · scale`; product and sum are each rounded.
pub(in crate::model) struct AddScaled(pub(in crate::model) f32);

impl CustomOp2 for AddScaled {
    fn name(&self) -> &'static str {
        "add_scaled"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        if x_layout.shape() != y_layout.shape() {
            bail!("add_scaled takes two tensors of one shape");
        }
        let storage = by_dtype!(
            x,
            "add_scaled",
            add_scaled(self.0, (x, x_layout), (y, y_layout))
        )?;
        Ok((storage, x_layout.shape().clone()))
    }
}

fn add_scaled<T: Element>(
    factor: f32,
    (x, x_layout): (&CpuStorage, &Layout),
    (y, y_layout): (&CpuStorage, &Layout),
) -> Result<CpuStorage> {
    let (x, y) = (contiguous::<T>(x, x_layout)?, contiguous::<T>(y, y_layout)?);
    let sums = x.iter().zip(y).map(|(x, y)| {
        let scaled = T::round(y.widen() * factor).widen();
        T::round(x.widen() + scaled)
    });
    Ok(T::to_cpu_storage_owned(sums.collect()))
}

/// `cap · tanh(x / divisor / cap)`; without a cap `x / divisor`. In f32.
pub(in crate::model) struct LogitsScale {
    pub(in crate::model) divisor: f32,
    pub(in crate::model) softcap: Option<f32>,
}

impl LogitsScale {
    /// Whether it changes anything.
    pub(in crate::model) fn is_neutral(&self) -> bool {
        self.divisor == 1.0 && self.softcap.is_none()
    }
}

impl CustomOp1 for LogitsScale {
    fn name(&self) -> &'static str {
        "logits_scale"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous::<f32>(x, layout)?
            .iter()
            .map(|x| x / self.divisor);
        let scaled = match self.softcap {
            None => x.collect(),
            Some(cap) => x.map(|x| cap * (x / cap).tanh()).collect(),
        };
        Ok((CpuStorage::F32(scaled), layout.shape().clone()))
    }
}
