//! A linear layer whose weight lies in parts one below the other, each quantized in its own way or
//! dense. The activations are quantized once for all parts of a kind.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Storage, Tensor, bail};

use super::{
    BlockMatrix,
    blocks::Activations,
    by_dtype, contiguous,
    linear::{add_bias, dense_products, rounded, widened},
};

/// Rows of a stacked weight.
#[derive(Debug, Clone)]
pub(in crate::model) enum Part {
    /// `[N, K]` in f32 or bf16.
    Dense(Tensor),
    /// `[N, K]` in blocks.
    Quantized(Arc<BlockMatrix>),
}

impl Part {
    fn rows_and_columns(&self) -> Result<(usize, usize)> {
        match self {
            Self::Dense(weight) => weight.dims2(),
            Self::Quantized(weight) => Ok((weight.rows(), weight.columns())),
        }
    }

    /// The products `[N, T]` with the activations.
    fn products(&self, x: &Activations<'_>, columns: &mut [f32]) -> Result<()> {
        match self {
            Self::Quantized(weight) => weight.products(x, columns),
            Self::Dense(weight) => {
                let (storage, layout) = weight.storage_and_layout();
                let Storage::Cpu(storage) = &*storage else {
                    bail!("stacked linear takes weights in memory");
                };
                by_dtype!(storage, "linear", dense(x, (storage, layout), columns))?;
            }
        }
        Ok(())
    }
}

fn dense<T: super::Element>(
    x: &Activations<'_>,
    (storage, layout): (&CpuStorage, &Layout),
    columns: &mut [f32],
) -> Result<()> {
    let weight = contiguous::<T>(storage, layout)?;
    dense_products(x.wide(), weight, x.columns(), columns);
    Ok(())
}

/// `y = x · Wᵀ + b`, accumulated in f32.
pub(super) struct StackedMatMul<'a> {
    pub(super) parts: &'a [Part],
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
            let (rows, columns_of_part) = part.rows_and_columns()?;
            if columns_of_part != k {
                bail!("linear: input has {k} columns, the weight {columns_of_part}");
            }
            let from = columns.len();
            columns.resize(from + rows * t, 0.0);
            part.products(&activations, &mut columns[from..])?;
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
