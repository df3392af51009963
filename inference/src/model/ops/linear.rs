//! The linear layer: `y = x · Wᵀ + b`, accumulated in f32, and what is done to its result while it is in the registers: the
//! residual sum, or the gate.

use std::{ops::Range, sync::Arc};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, WithDType, bail,
};
use half::bf16;

use super::{
    AddScaled, Element, GatedMul, contiguous,
    elementwise::activated_tiles,
    kernels::{
        Disjoint,
        fetch::read_soon,
        simd::{Simd, map_lanes, vectorized, zip_lanes},
        tile::TILE,
    },
    matrix::Matrix,
    packed_q8::{PackedQ8, Q8Rows},
    stacked::{Part, Rows, StackedMatMul},
};
use crate::model::config::Activation;

/// A linear layer, `[N, K]` and a bias `[N]`, however its weights are stored.
#[derive(Debug, Clone)]
pub(in crate::model) struct Linear(Weight);

#[derive(Debug, Clone)]
enum Weight {
    Packed(PackedLinear),
    /// Rows one below the other, some or all of them quantized.
    Stacked(Vec<Rows>, Option<Tensor>),
}

/// Packed rows, and as many numbers of a bias.
#[derive(Debug, Clone)]
pub(super) struct PackedLinear {
    packing: Packing,
    bias: Option<Arc<Vec<f32>>>,
}

/// What the rows of a layer are packed as.
#[derive(Debug, Clone)]
enum Packing {
    Dense(Matrix),
    /// 8 bits.
    Q8(Q8Rows),
}

/// Rows that activations of type `T` can be multiplied with.
pub(super) trait Multiply<T> {
    /// The products of `x`, `[T, K]`, with every row go to `sink`, some tiles at a time, from any thread, each once.
    fn products(&self, x: &[T], sink: &impl Sink);
}

/// What becomes of products.
pub(super) trait Sink: Sync {
    /// So many products of a row of `x`, the first of which is that with row `first`, come soon: what they meet may be fetched.
    fn expect(&self, row: usize, first: usize, count: usize);

    /// The products are here.
    fn take(&self, row: usize, first: usize, sums: &[f32]);
}

impl Linear {
    /// Of a weight `[N, K]` in f32 or bf16.
    pub(in crate::model) fn new(weight: &Tensor, bias: Option<Tensor>) -> Result<Self> {
        let matrix = Matrix::new(weight, false)?;
        Self::of_packed(matrix, bias)
    }

    /// Of a matrix that is packed already.
    pub(in crate::model) fn of_packed(matrix: Matrix, bias: Option<Tensor>) -> Result<Self> {
        let bias = bias.map(|bias| wide(&bias).map(Arc::new)).transpose()?;
        let packing = Packing::Dense(matrix);
        Ok(Self(Weight::Packed(PackedLinear { packing, bias })))
    }

    /// Of parts that lie one below the other; each has the same `K`.
    pub(in crate::model) fn stacked(parts: Vec<Part>, bias: Option<Tensor>) -> Result<Self> {
        if let Some(parts) = packed_q8(&parts) {
            let packing = Packing::Q8(Q8Rows::stacked(parts)?);
            let bias = bias.map(|bias| wide(&bias).map(Arc::new)).transpose()?;
            return Ok(Self(Weight::Packed(PackedLinear { packing, bias })));
        }
        let rows = parts.into_iter().map(Rows::new).collect::<Result<_>>()?;
        Ok(Self(Weight::Stacked(rows, bias)))
    }

    /// `[T, K]` → `[T, N]`, in the type of `x`.
    pub(in crate::model) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, false)
    }

    /// `[T, K]` → `[T, N]` in f32, whatever the type of `x`.
    pub(in crate::model) fn forward_wide(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, true)
    }

    /// `residual + (x · Wᵀ + b) · scale`, `[T, N]`; each step is rounded.
    pub(in crate::model) fn forward_onto(
        &self,
        x: &Tensor,
        residual: &Tensor,
        scale: f32,
    ) -> Result<Tensor> {
        match &self.0 {
            Weight::Packed(linear) => x.apply_op2_no_bwd(residual, &Onto { linear, scale }),
            Weight::Stacked(..) => residual.apply_op2_no_bwd(&self.forward(x)?, &AddScaled(scale)),
        }
    }

    fn apply(&self, x: &Tensor, wide: bool) -> Result<Tensor> {
        match &self.0 {
            Weight::Packed(linear) => x.apply_op1_no_bwd(&MatMul { linear, wide }),
            Weight::Stacked(parts, bias) => {
                let bias = bias.as_ref();
                x.apply_op1_no_bwd(&StackedMatMul { parts, bias, wide })
            }
        }
    }
}

/// Gate and up projection of an MLP: `activation(x · Gᵀ) · (x · Uᵀ)`.
#[derive(Debug, Clone)]
pub(in crate::model) struct GatedLinear(Gated);

#[derive(Debug, Clone)]
enum Gated {
    /// Tiles of gate and up take turns.
    Packed(PackedLinear),
    /// Gate above up.
    Apart(Linear),
}

impl GatedLinear {
    /// Of a gated matrix that is packed already, and a bias `[2 F]`.
    pub(in crate::model) fn of_packed(matrix: Matrix, bias: Option<Tensor>) -> Result<Self> {
        Self::packed(Packing::Dense(matrix), bias)
    }

    /// Of parts that lie one below the other, gate above up.
    pub(in crate::model) fn stacked(parts: Vec<Part>, bias: Option<Tensor>) -> Result<Self> {
        let packed = packed_q8(&parts).map(|parts| Q8Rows::gated(&parts));
        match packed.transpose()?.flatten() {
            Some(rows) => Self::packed(Packing::Q8(rows), bias),
            None => Linear::stacked(parts, bias).map(|linear| Self(Gated::Apart(linear))),
        }
    }

    fn packed(packing: Packing, bias: Option<Tensor>) -> Result<Self> {
        let bias = bias
            .map(|bias| Ok::<_, candle_core::Error>(Arc::new(interleaved(&wide(&bias)?))))
            .transpose()?;
        Ok(Self(Gated::Packed(PackedLinear { packing, bias })))
    }

    /// `[T, K]` → `[T, F]`; products, activation and their product are each rounded.
    pub(in crate::model) fn forward(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        match &self.0 {
            Gated::Packed(linear) => x.apply_op1_no_bwd(&GatedMatMul { linear, activation }),
            Gated::Apart(linear) => linear.forward(x)?.apply_op1_no_bwd(&GatedMul(activation)),
        }
    }
}

/// The matrices, if all are packed in 8 bits.
fn packed_q8(parts: &[Part]) -> Option<Vec<Arc<PackedQ8>>> {
    let packed = |part: &Part| match part {
        Part::Dense(_) => None,
        Part::Quantized(matrix) => matrix.packed().cloned(),
    };
    parts.iter().map(packed).collect()
}

/// Gate above up → in the order of a gated [`PackedMatrix`].
fn interleaved(bias: &[f32]) -> Vec<f32> {
    let (gate, up) = bias.split_at(bias.len() / 2);
    let tile = |part: &[f32]| {
        let mut tile = part.to_vec();
        tile.resize(TILE, 0.0);
        tile
    };
    let tiles = gate.chunks(TILE).zip(up.chunks(TILE));
    tiles
        .flat_map(|(gate, up)| [tile(gate), tile(up)].concat())
        .collect()
}

fn wide(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.to_dtype(DType::F32)?.to_vec1()
}

/// Runs a generic function with the matrix and the input, which have one type, unless the matrix takes any.
macro_rules! by_matrix {
    ($linear:expr, $x:expr, $layout:expr, |$matrix:ident, $input:ident| $run:expr) => {
        match (&$linear.packing, $x) {
            (Packing::Dense(Matrix::F32($matrix)), _) => {
                let ($matrix, $input) = (&**$matrix, contiguous::<f32>($x, $layout)?);
                $run
            }
            (Packing::Dense(Matrix::BF16($matrix)), _) => {
                let ($matrix, $input) = (&**$matrix, contiguous::<bf16>($x, $layout)?);
                $run
            }
            (Packing::Q8($matrix), CpuStorage::F32(_)) => {
                let $input = contiguous::<f32>($x, $layout)?;
                $run
            }
            (Packing::Q8($matrix), _) => {
                let $input = contiguous::<bf16>($x, $layout)?;
                $run
            }
        }
    };
}

impl PackedLinear {
    /// Of a weight `[N, K]`, without a bias.
    pub(super) fn new(weight: &Tensor) -> Result<Self> {
        Ok(Self {
            packing: Packing::Dense(Matrix::new(weight, false)?),
            bias: None,
        })
    }

    pub(super) fn rows(&self) -> usize {
        match &self.packing {
            Packing::Dense(matrix) => matrix.row_count(),
            Packing::Q8(rows) => rows.count(),
        }
    }

    fn columns(&self) -> usize {
        match &self.packing {
            Packing::Dense(matrix) => matrix.columns(),
            Packing::Q8(rows) => rows.columns(),
        }
    }

    /// `[T, K]` → `[T, N]` in f32.
    pub(super) fn wide(&self, x: &CpuStorage, layout: &Layout) -> Result<Vec<f32>> {
        self.rows_of_x(layout)?;
        Ok(by_matrix!(self, x, layout, |matrix, x| stored(
            self, matrix, x
        )))
    }

    /// The rows of an input `[T, K]` that has as many columns as the matrix.
    fn rows_of_x(&self, layout: &Layout) -> Result<usize> {
        let (t, k) = layout.shape().dims2()?;
        let columns = self.columns();
        if k != columns {
            bail!("linear: input has {k} columns, the weight {columns}");
        }
        Ok(t)
    }

    /// The bias of these columns, as many as there are.
    fn bias(&self, columns: Range<usize>) -> Option<&[f32]> {
        self.bias.as_ref().map(|bias| &bias[columns])
    }

    /// Runs the product, and `finish(row, columns, sums, out)` on every part of the result: `out` is the part of `row` that
    /// the columns are for, one number for every `1 / per` of them. `expect(row, columns)` comes some time before.
    fn run<T: Element, O: Copy + Default + Send>(
        &self,
        matrix: &impl Multiply<T>,
        x: &[T],
        (columns, per): (usize, usize),
        expect: impl Fn(usize, Range<usize>) + Sync,
        finish: impl Fn(usize, Range<usize>, &[f32], &mut [O]) + Sync,
    ) -> Vec<O> {
        let t = x.len() / self.columns().max(1);
        let width = columns / per;
        let mut out = vec![O::default(); t * width];
        let results = Results {
            out: Disjoint::new(&mut out),
            width,
            per,
            expect,
            finish,
        };
        matrix.products(x, &results);
        out
    }
}

/// Where the products of a layer go.
struct Results<'a, O, E, F> {
    out: Disjoint<'a, O>,
    /// Numbers of a row of `out`.
    width: usize,
    /// Products that make one of them.
    per: usize,
    expect: E,
    finish: F,
}

impl<O, E, F> Results<'_, O, E, F> {
    /// The columns of `out` that these products are for: what lies behind them is padding.
    fn places(&self, first: usize, count: usize) -> Range<usize> {
        let end = (first + count) / self.per;
        (first / self.per).min(self.width)..end.min(self.width)
    }
}

impl<O, E, F> Sink for Results<'_, O, E, F>
where
    O: Send,
    E: Fn(usize, Range<usize>) + Sync,
    F: Fn(usize, Range<usize>, &[f32], &mut [O]) + Sync,
{
    fn expect(&self, row: usize, first: usize, count: usize) {
        let places = self.places(first, count);
        let columns = first..first + self.per * places.len();
        (self.expect)(row, columns);
    }

    fn take(&self, row: usize, first: usize, sums: &[f32]) {
        let (places, before) = (self.places(first, sums.len()), row * self.width);
        let columns = first..first + self.per * places.len();
        #[expect(unsafe_code, reason = "the products are dealt out in parts, each once")]
        // SAFETY: no two calls have the same row and columns.
        let out = unsafe { self.out.part(before + places.start..before + places.end) };
        (self.finish)(row, columns, sums, out);
    }
}

struct MatMul<'a> {
    linear: &'a PackedLinear,
    /// The result stays in f32.
    wide: bool,
}

impl CustomOp1 for MatMul<'_> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (t, n) = (self.linear.rows_of_x(layout)?, self.linear.rows());
        let storage = by_matrix!(self.linear, x, layout, |matrix, x| if self.wide {
            f32::to_cpu_storage_owned(stored(self.linear, matrix, x))
        } else {
            same_type(self.linear, matrix, x)
        });
        Ok((storage, Shape::from((t, n))))
    }
}

fn same_type<T>(linear: &PackedLinear, matrix: &impl Multiply<T>, x: &[T]) -> CpuStorage
where
    T: Element + Default,
{
    let out: Vec<T> = stored(linear, matrix, x);
    T::to_cpu_storage_owned(out)
}

fn stored<T: Element, O: Element + Default>(
    linear: &PackedLinear,
    matrix: &impl Multiply<T>,
    x: &[T],
) -> Vec<O> {
    let simd = Simd::detect();
    linear.run(
        matrix,
        x,
        (linear.rows(), 1),
        |_, _| (),
        |_, columns, sums, out: &mut [O]| {
            store(simd, sums, linear.bias(columns), out);
        },
    )
}

vectorized! {
    /// `out = sums + bias`, rounded.
    fn store<O: Element>(fused; sums: &[f32], bias: Option<&[f32]>, out: &mut [O]) {
        let _ = fused;
        match bias {
            None => map_lanes(sums, out, |sum| O::round(*sum)),
            Some(bias) => zip_lanes((sums, bias), out, |sum, bias| O::round(sum + bias)),
        }
    }
}

/// A product that is added to a residual stream.
struct Onto<'a> {
    linear: &'a PackedLinear,
    scale: f32,
}

impl CustomOp2 for Onto<'_> {
    fn name(&self) -> &'static str {
        "linear_onto"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = Shape::from((self.linear.rows_of_x(layout)?, self.linear.rows()));
        if residual_layout.shape() != &shape {
            bail!(
                "linear_onto: the residual is {:?}, the result {shape:?}",
                residual_layout.shape()
            );
        }
        let storage = by_matrix!(self.linear, x, layout, |matrix, x| {
            let residual = (residual, residual_layout);
            self.add(matrix, x, residual)?
        });
        Ok((storage, shape))
    }
}

impl Onto<'_> {
    fn add<T: Element + Default>(
        &self,
        matrix: &impl Multiply<T>,
        x: &[T],
        (residual, layout): (&CpuStorage, &Layout),
    ) -> Result<CpuStorage> {
        let (linear, simd) = (self.linear, Simd::detect());
        let residual = contiguous::<T>(residual, layout)?;
        let n = linear.rows();
        let of = |row: usize, columns: &Range<usize>| {
            &residual[row * n + columns.start..][..columns.len()]
        };
        let out = linear.run(
            matrix,
            x,
            (n, 1),
            |row, columns| read_soon(of(row, &columns)),
            |row, columns, sums, out: &mut [T]| {
                let residual = of(row, &columns);
                add(simd, sums, linear.bias(columns), residual, self.scale, out);
            },
        );
        Ok(T::to_cpu_storage_owned(out))
    }
}

vectorized! {
    /// `out = residual + (sums + bias) · scale`, each step rounded.
    fn add<O: Element>(
        fused; sums: &[f32], bias: Option<&[f32]>, residual: &[O], scale: f32, out: &mut [O],
    ) {
        let _ = fused;
        let added = |sum: f32, residual: O| {
            let scaled = O::round(O::round(sum).widen() * scale);
            O::round(residual.widen() + scaled.widen())
        };
        match bias {
            None => zip_lanes((sums, residual), out, |sum, residual| added(*sum, *residual)),
            Some(bias) => {
                let places = out.iter_mut().zip(residual).zip(sums);
                for (((out, residual), sum), bias) in places.zip(bias) {
                    *out = added(sum + bias, *residual);
                }
            }
        }
    }
}

/// Gate and up projection at once.
struct GatedMatMul<'a> {
    linear: &'a PackedLinear,
    activation: Activation,
}

impl CustomOp1 for GatedMatMul<'_> {
    fn name(&self) -> &'static str {
        "gated_linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (t, width) = (self.linear.rows_of_x(layout)?, self.linear.rows() / 2);
        let storage = by_matrix!(self.linear, x, layout, |matrix, x| self.gate(matrix, x));
        Ok((storage, Shape::from((t, width))))
    }
}

impl GatedMatMul<'_> {
    fn gate<T: Element + Default>(&self, matrix: &impl Multiply<T>, x: &[T]) -> CpuStorage {
        let (linear, simd) = (self.linear, Simd::detect());
        let out = linear.run(
            matrix,
            x,
            (linear.rows(), 2),
            |_, _| (),
            |_, columns, sums, out: &mut [T]| {
                let padded = columns.start..columns.start + sums.len();
                let mut biased = [0f32; 4 * TILE];
                let sums = match linear.bias(padded) {
                    None => sums,
                    Some(bias) => {
                        let sums = sums.iter().zip(bias).map(|(sum, bias)| sum + bias);
                        biased.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum);
                        &biased[..]
                    }
                };
                activated_tiles(simd, self.activation, sums, out);
            },
        );
        T::to_cpu_storage_owned(out)
    }
}

/// Rows of a quantized weight that make a task.
pub(super) const ROWS: usize = 32;

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
        bf16::to_cpu_storage_owned(transposed(columns, t, n, bf16::round))
    }
}

/// `[N, T]` → `[T, N]`.
fn transposed<O>(columns: &[f32], t: usize, n: usize, round: impl Fn(f32) -> O) -> Vec<O> {
    let at = |index: usize| round(columns[(index % n) * t + index / n]);
    (0..t * n).map(at).collect()
}
