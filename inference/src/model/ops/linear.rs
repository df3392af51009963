//! The linear layer: `y = x · Wᵀ + b`, accumulated in f32. `W` is `[N, K]`, as the files have it.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, WithDType};
use half::bf16;
use rayon::prelude::*;

use super::{
    Element, by_dtype, contiguous,
    simd::{Simd, multiply_add},
    stacked::{Part, StackedMatMul},
};

/// A linear layer, `[N, K]` and a bias `[N]`, however its weights are stored.
#[derive(Debug, Clone)]
pub(in crate::model) struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
}

#[derive(Debug, Clone)]
enum Weight {
    Dense(Tensor),
    /// Rows one below the other, some or all of them quantized.
    Stacked(Vec<Part>),
}

impl Linear {
    /// Of a dense weight `[N, K]`.
    pub(in crate::model) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        let weight = Weight::Dense(weight);
        Self { weight, bias }
    }

    /// Of parts that lie one below the other; each has the same `K`.
    pub(in crate::model) fn stacked(parts: Vec<Part>, bias: Option<Tensor>) -> Self {
        let weight = Weight::Stacked(parts);
        Self { weight, bias }
    }

    /// `[T, K]` → `[T, N]`, in the type of `x`.
    pub(in crate::model) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, false)
    }

    /// `[T, K]` → `[T, N]` in f32, whatever the type of `x`.
    pub(in crate::model) fn forward_wide(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, true)
    }

    fn apply(&self, x: &Tensor, wide: bool) -> Result<Tensor> {
        match (&self.weight, &self.bias) {
            (Weight::Dense(weight), None) => x.apply_op2_no_bwd(weight, &MatMul { wide }),
            (Weight::Dense(weight), Some(bias)) => {
                x.apply_op3_no_bwd(weight, bias, &MatMul { wide })
            }
            (Weight::Stacked(parts), bias) => {
                let bias = bias.as_ref();
                x.apply_op1_no_bwd(&StackedMatMul { parts, bias, wide })
            }
        }
    }
}

struct MatMul {
    /// The result stays in f32.
    wide: bool,
}

impl MatMul {
    fn run(
        &self,
        (x, x_layout): (&CpuStorage, &Layout),
        (w, w_layout): (&CpuStorage, &Layout),
        bias: Option<(&CpuStorage, &Layout)>,
    ) -> Result<(CpuStorage, Shape)> {
        let (t, k) = x_layout.shape().dims2()?;
        let (n, w_k) = w_layout.shape().dims2()?;
        if k != w_k {
            candle_core::bail!("linear: input has {k} columns, the weight {w_k}");
        }
        let columns = by_dtype!(
            x,
            "linear",
            products((x, x_layout), (w, w_layout), bias, (t, n, k))
        )?;
        let wide = self.wide || matches!(x, CpuStorage::F32(_));
        Ok((rounded(&columns, t, n, wide), Shape::from((t, n))))
    }
}

impl CustomOp2 for MatMul {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.run((x, x_layout), (w, w_layout), None)
    }
}

impl CustomOp3 for MatMul {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.run((x, x_layout), (w, w_layout), Some((bias, bias_layout)))
    }
}

/// Weight rows of one task.
pub(super) const ROWS: usize = 32;

/// The products `[N, T]`, weight row by weight row: each row is widened once and meets every token.
fn products<T: Element>(
    (x, x_layout): (&CpuStorage, &Layout),
    (w, w_layout): (&CpuStorage, &Layout),
    bias: Option<(&CpuStorage, &Layout)>,
    (t, n, k): (usize, usize, usize),
) -> Result<Vec<f32>> {
    let x = widened::<T>(x, x_layout)?;
    let w = contiguous::<T>(w, w_layout)?;
    let bias = bias
        .map(|(storage, layout)| widened::<T>(storage, layout))
        .transpose()?;
    let mut columns = vec![0f32; n * t];
    dense_products(&x, w, k, &mut columns);
    if let Some(bias) = bias {
        add_bias(&mut columns, &bias, t);
    }
    Ok(columns)
}

/// The products `[N, T]` of `x` `[T, K]` and `w` `[N, K]`.
pub(super) fn dense_products<T: Element>(x: &[f32], w: &[T], k: usize, columns: &mut [f32]) {
    let t = x.len() / k;
    let simd = Simd::detect();
    columns
        .par_chunks_mut(ROWS * t)
        .zip(w.par_chunks(ROWS * k))
        .for_each(|(columns, w)| {
            let mut wide = vec![0f32; k];
            for (column, w) in columns.chunks_mut(t).zip(w.chunks(k)) {
                wide.iter_mut()
                    .zip(w)
                    .for_each(|(wide, w)| *wide = w.widen());
                dots(simd, x, &wide, column);
            }
        });
}

/// Adds `bias[n]` to row `n` of `columns`, `[N, T]`.
pub(super) fn add_bias(columns: &mut [f32], bias: &[f32], t: usize) {
    for (column, bias) in columns.chunks_mut(t).zip(bias) {
        column.iter_mut().for_each(|value| *value += bias);
    }
}

/// The data of a contiguous tensor, in f32.
pub(super) fn widened<T: Element>(storage: &CpuStorage, layout: &Layout) -> Result<Vec<f32>> {
    let data = contiguous::<T>(storage, layout)?;
    Ok(data.iter().map(|value| value.widen()).collect())
}

/// `[N, T]` → `[T, N]`, as f32 where `wide`, else rounded to bf16.
pub(super) fn rounded(columns: &[f32], t: usize, n: usize, wide: bool) -> CpuStorage {
    if wide {
        f32::to_cpu_storage_owned(transposed(columns, t, n, |value| value))
    } else {
        bf16::to_cpu_storage_owned(transposed(columns, t, n, bf16::from_f32))
    }
}

/// `[N, T]` → `[T, N]`.
fn transposed<O>(columns: &[f32], t: usize, n: usize, round: impl Fn(f32) -> O) -> Vec<O> {
    let at = |index: usize| round(columns[(index % n) * t + index / n]);
    (0..t * n).map(at).collect()
}

/// `out[t] = x[t] · w` for every row of `x`, `[T, K]`, with the processor's instructions.
fn dots(simd: Simd, x: &[f32], w: &[f32], out: &mut [f32]) {
    match simd {
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "the processor's features were detected")]
        // SAFETY: `detect` returns `Avx512` only on a processor that has avx512f.
        Simd::Avx512 => unsafe { dots_avx512(x, w, out) },
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "the processor's features were detected")]
        // SAFETY: `detect` returns `Avx2` only on a processor that has avx2 and fma.
        Simd::Avx2 => unsafe { dots_avx2(x, w, out) },
        Simd::Portable => dots_in::<false>(x, w, out),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn dots_avx512(x: &[f32], w: &[f32], out: &mut [f32]) {
    dots_in::<true>(x, w, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn dots_avx2(x: &[f32], w: &[f32], out: &mut [f32]) {
    dots_in::<true>(x, w, out);
}

/// The loops, compiled for the features of the function they are inlined into.
#[inline(always)]
fn dots_in<const FUSED: bool>(x: &[f32], w: &[f32], out: &mut [f32]) {
    for (x, out) in x.chunks_exact(w.len()).zip(out) {
        *out = dot::<FUSED>(x, w);
    }
}

/// Sums in 64 lanes, then the lanes in order, so that the result is the same for every batch.
#[inline(always)]
fn dot<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 64;
    let (a_wide, a_rest) = a.as_chunks::<LANES>();
    let (b_wide, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for (a, b) in a_wide.iter().zip(b_wide) {
        for lane in 0..LANES {
            sums[lane] = multiply_add::<FUSED>(a[lane], b[lane], sums[lane]);
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[lane] = multiply_add::<FUSED>(*a, *b, sums[lane]);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}
