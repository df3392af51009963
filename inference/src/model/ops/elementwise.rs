//! Operations element by element: the gate times the up projection, scaling, the residual sum, and
//! what is done to the logits.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, bail, cpu::erf::erf_f32,
};

use super::{
    Element, by_dtype, contiguous,
    kernels::{
        Disjoint,
        math::{exp, tanh},
        simd::{Simd, map_lanes, vectorized, zip_lanes},
        tile::TILE,
    },
    team::team,
};
use crate::model::config::Activation;

/// Numbers that are worth a task of their own.
const TASK_NUMBERS: usize = 4 * 1024;

/// Makes `[rows, width]`, some rows at a time, on all threads where they are many. `make(row, out)` fills one row.
pub(super) fn by_rows<T: Element + Send>(
    rows: usize,
    width: usize,
    make: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    let mut out = vec![T::round(0.0); rows * width];
    let per_task = (TASK_NUMBERS / width.max(1)).max(1);
    let parts = Disjoint::new(&mut out);
    team().run(rows.div_ceil(per_task), |task| {
        for row in task * per_task..rows.min((task + 1) * per_task) {
            #[expect(unsafe_code, reason = "each task has rows of its own")]
            // SAFETY: no two tasks have the same row.
            make(row, unsafe { parts.part(row * width..(row + 1) * width) });
        }
    });
    out
}

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

fn gated_mul<T: Element + Send + Sync>(
    activation: Activation,
    x: &CpuStorage,
    layout: &Layout,
    width: usize,
) -> Result<CpuStorage> {
    let x = contiguous::<T>(x, layout)?;
    let simd = Simd::detect();
    let out = by_rows(x.len() / width.max(1), width / 2, |row, out: &mut [T]| {
        let (gate, up) = x[row * width..][..width].split_at(width / 2);
        activated(simd, activation, (gate, up), out);
    });
    Ok(T::to_cpu_storage_owned(out))
}

vectorized! {
    /// `out = activation(gate) · up`; gate, up, activation and product are each rounded to the type of `out`.
    pub(super) fn activated<I: Element, O: Element>(
        fused; activation: Activation, parts: (&[I], &[I]), out: &mut [O],
    ) {
        gated(fused, activation, parts, out);
    }
}

vectorized! {
    /// The same of tiles that take turns: a tile of gates, one of ups. Of the last pair as many count as `out` has room for.
    pub(super) fn activated_tiles<O: Element>(
        fused; activation: Activation, tiles: &[f32], out: &mut [O],
    ) {
        let (pairs, _) = tiles.as_chunks::<{ 2 * TILE }>();
        for (pair, out) in pairs.iter().zip(out.chunks_mut(TILE)) {
            gated(fused, activation, pair.split_at(TILE), out);
        }
    }
}

#[inline(always)]
fn gated<I: Element, O: Element>(
    fused: bool,
    activation: Activation,
    parts: (&[I], &[I]),
    out: &mut [O],
) {
    #[inline(always)]
    fn each<I: Element, O: Element>(
        parts: (&[I], &[I]),
        out: &mut [O],
        function: impl Fn(f32) -> f32,
    ) {
        let round = |value: f32| O::round(value).widen();
        zip_lanes(parts, out, |gate, up| {
            let activated = round(function(round(gate.widen())));
            O::round(activated * round(up.widen()))
        });
    }
    match activation {
        Activation::Silu => each(parts, out, |x| silu(fused, x)),
        Activation::Gelu => each(parts, out, gelu),
        Activation::GeluTanh => each(parts, out, |x| gelu_tanh(fused, x)),
        Activation::Relu => each(parts, out, |x| x.max(0.0)),
    }
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

fn activate<T: Element + Send + Sync>(
    activation: Activation,
    x: &CpuStorage,
    layout: &Layout,
) -> Result<CpuStorage> {
    let x = contiguous::<T>(x, layout)?;
    let simd = Simd::detect();
    let width = layout.dims().last().copied().unwrap_or(1).max(1);
    let out = by_rows(x.len() / width, width, |row, out: &mut [T]| {
        activated_alone(simd, activation, &x[row * width..][..width], out);
    });
    Ok(T::to_cpu_storage_owned(out))
}

vectorized! {
    fn activated_alone<T: Element>(fused; activation: Activation, x: &[T], out: &mut [T]) {
        #[inline(always)]
        fn each<T: Element>(x: &[T], out: &mut [T], function: impl Fn(f32) -> f32) {
            map_lanes(x, out, |x| T::round(function(x.widen())));
        }
        match activation {
            Activation::Silu => each(x, out, |x| silu(fused, x)),
            Activation::Gelu => each(x, out, gelu),
            Activation::GeluTanh => each(x, out, |x| gelu_tanh(fused, x)),
            Activation::Relu => each(x, out, |x| x.max(0.0)),
        }
    }
}

/// Hendrycks & Gimpel 2016.
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf_f32(x * std::f32::consts::FRAC_1_SQRT_2))
}

#[inline(always)]
fn silu(fused: bool, x: f32) -> f32 {
    x / (1.0 + exp(fused, -x))
}

/// Hendrycks & Gimpel 2016, by tanh.
#[inline(always)]
fn gelu_tanh(fused: bool, x: f32) -> f32 {
    const ROOT_2_OVER_PI: f32 = 0.797_884_6;
    0.5 * x * (1.0 + tanh(fused, ROOT_2_OVER_PI * (x + 0.044715 * x * x * x)))
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

fn add_scaled<T: Element + Send + Sync>(
    factor: f32,
    (x, x_layout): (&CpuStorage, &Layout),
    (y, y_layout): (&CpuStorage, &Layout),
) -> Result<CpuStorage> {
    let (x, y) = (contiguous::<T>(x, x_layout)?, contiguous::<T>(y, y_layout)?);
    let simd = Simd::detect();
    let width = x_layout.dims().last().copied().unwrap_or(1).max(1);
    let out = by_rows(x.len() / width, width, |row, out: &mut [T]| {
        let row = row * width..(row + 1) * width;
        sums(simd, &x[row.clone()], &y[row], factor, out);
    });
    Ok(T::to_cpu_storage_owned(out))
}

vectorized! {
    fn sums<T: Element>(fused; x: &[T], y: &[T], factor: f32, out: &mut [T]) {
        let _ = fused;
        for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
            let scaled = T::round(y.widen() * factor).widen();
            *out = T::round(x.widen() + scaled);
        }
    }
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
