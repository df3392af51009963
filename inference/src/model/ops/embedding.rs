//! The token embedding: rows of a matrix that may be quantized, and may serve as LM head too.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::{BlockMatrix, Linear, Matrix, Part};

/// An embedding `[V, hidden]`.
#[derive(Debug, Clone)]
pub(in crate::model) enum Embedding {
    /// In f32 or bf16.
    Dense(Tensor),
    /// The same, packed, since it is the LM head too.
    Packed(Matrix),
    /// In blocks; rows come out in this type.
    Quantized(Arc<BlockMatrix>, DType),
}

impl Embedding {
    /// The rows of these tokens, `[T, hidden]`.
    pub(in crate::model) fn rows(&self, ids: &[u32]) -> Result<Tensor> {
        match self {
            Self::Dense(weight) => {
                let ids = Tensor::new(ids, weight.device())?;
                weight.index_select(&ids, 0)
            }
            Self::Packed(matrix) => matrix.rows(ids),
            Self::Quantized(weight, dtype) => {
                let rows = weight.dequantized(ids.iter().map(|&id| id as usize))?;
                Tensor::from_vec(rows, (ids.len(), weight.columns()), &Device::Cpu)?
                    .to_dtype(*dtype)
            }
        }
    }

    /// The embedding, and the same matrix as LM head, its memory shared.
    pub(in crate::model) fn tied(self) -> Result<(Self, Linear)> {
        Ok(match self {
            Self::Dense(weight) => {
                let matrix = Matrix::new(&weight, false)?;
                Self::Packed(matrix).tied()?
            }
            Self::Packed(matrix) => {
                let head = Linear::of_packed(matrix.clone(), None)?;
                (Self::Packed(matrix), head)
            }
            Self::Quantized(weight, dtype) => {
                let head = Linear::stacked(vec![Part::Quantized(Arc::clone(&weight))], None)?;
                (Self::Quantized(weight, dtype), head)
            }
        })
    }
}
