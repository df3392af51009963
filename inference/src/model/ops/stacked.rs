//! A linear layer whose weight lies in parts one below the other, each quantized in its own way or
//! dense. The activations are quantized once for all parts of a kind.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{
    BlockMatrix,
    blocks::Activations,
    by_dtype,
    linear::{PackedLinear, add_bias, rounded, widened},
};

/// Rows of a stacked weight, as they are loaded.
#[derive(Debug, Clone)]
pub(in crate::model) enum Part {
    /// `[N, K]` in f32 or bf16.
    Dense(Tensor),
    /// `[N, K]` in blocks.
    Quantized(Arc<BlockMatrix>),
}

/// Rows of a stacked weight, ready to be multiplied.
#[derive(Debug, Clone)]
pub(super) enum Rows {
    Packed(PackedLinear),
    Quantized(Arc<BlockMatrix>),
}

impl Rows {
    pub(super) fn new(part: Part) -> Result<Self> {
        Ok(match part {
            Part::Dense(weight) => Self::Packed(PackedLinear::new(&weight)?),
            Part::Quantized(weight) => Self::Quantized(weight),
        })
    }

    fn count(&self) -> usize {
        match self {
            Self::Packed(linear) => linear.rows(),
            Self::Quantized(weight) => weight.rows(),
        }
    }
}

/// `y = x · Wᵀ + b`, accumulated in f32.
pub(super) struct StackedMatMul<'a> {
    pub(super) parts: &'a [Rows],
    pub(super) bias: Option<&'a Tensor>,
    /// The result stays in f32.
    pub(super) wide: bool,
}

impl CustomOp1 for StackedMatMul<'_> {
    fn name(&self) -> &'static str {
        "stacked_linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (t, k) = layout.shape().dims2()?;
        let wide = by_dtype!(x, "linear", widened(x, layout))?;
        let activations = Activations::new(&wide, k);
        let mut columns = Vec::new();
        for part in self.parts {
            let (from, rows) = (columns.len(), part.count());
            columns.resize(from + rows * t, 0.0);
            let columns = &mut columns[from..];
            match part {
                Rows::Quantized(weight) if weight.columns() != k => {
                    bail!(
                        "linear: input has {k} columns, the weight {}",
                        weight.columns()
                    )
                }
                Rows::Quantized(weight) => weight.products(&activations, columns),
                Rows::Packed(linear) => {
                    let sums = linear.wide(x, layout)?;
                    let places = columns.chunks_mut(t).enumerate();
                    places.for_each(|(row, place)| {
                        let sums = sums.iter().skip(row).step_by(rows);
                        place.iter_mut().zip(sums).for_each(|(to, sum)| *to = *sum);
                    });
                }
            }
        }
        if let Some(bias) = self.bias {
            let bias = bias.to_dtype(candle_core::DType::F32)?.to_vec1()?;
            add_bias(&mut columns, &bias, t);
        }
        let n = columns.len() / t.max(1);
        let wide = self.wide || matches!(x, CpuStorage::F32(_));
        Ok((rounded(&columns, t, n, wide), Shape::from((t, n))))
    }
}
