//! A dense matrix that is packed, whatever the type of its numbers.

use std::sync::Arc;

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor, bail};
use half::bf16;

use super::{
    contiguous,
    kernels::tile::Packed,
    packed::{PackedMatrix, Unpacked},
};
use crate::model::mapped::MappedBytes;

/// A packed matrix `[N, K]`, shared.
#[derive(Debug, Clone)]
pub(in crate::model) enum Matrix {
    F32(Arc<PackedMatrix<f32>>),
    BF16(Arc<PackedMatrix<bf16>>),
}

impl Matrix {
    /// Packs a tensor `[N, K]` in memory; with `gated`, its upper half beside its lower.
    pub(in crate::model) fn new(weight: &Tensor, gated: bool) -> Result<Self> {
        let weight = weight.contiguous()?;
        let (storage, layout) = weight.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            bail!("weights are packed in memory only");
        };
        let (_, columns) = layout.shape().dims2()?;
        let bytes = match storage {
            CpuStorage::F32(_) => bytes_of(contiguous::<f32>(storage, layout)?),
            CpuStorage::BF16(_) => bytes_of(contiguous::<bf16>(storage, layout)?),
            _ => bail!("linear takes weights in f32 or bf16"),
        };
        let unpacked = Unpacked {
            parts: &[bytes],
            columns,
            gated,
        };
        Self::pack(weight.dtype(), unpacked)
    }

    /// Packs a matrix of numbers of this type.
    pub(in crate::model) fn pack(dtype: DType, unpacked: Unpacked<'_>) -> Result<Self> {
        Ok(match dtype {
            DType::F32 => Self::F32(Arc::new(PackedMatrix::pack(unpacked)?)),
            DType::BF16 => Self::BF16(Arc::new(PackedMatrix::pack(unpacked)?)),
            _ => bail!("linear takes weights in f32 or bf16"),
        })
    }

    /// A matrix that was packed before; `None` if the bytes are not one of this type and size.
    pub(in crate::model) fn packed(
        dtype: DType,
        bytes: MappedBytes,
        size: (usize, usize),
        gated: bool,
    ) -> Option<Self> {
        match dtype {
            DType::F32 => PackedMatrix::packed(bytes, size, gated).map(|m| Self::F32(Arc::new(m))),
            DType::BF16 => {
                PackedMatrix::packed(bytes, size, gated).map(|m| Self::BF16(Arc::new(m)))
            }
            _ => None,
        }
    }

    /// The matrix as it lies in memory.
    pub(in crate::model) fn bytes(&self) -> &[u8] {
        match self {
            Self::F32(matrix) => matrix.bytes(),
            Self::BF16(matrix) => matrix.bytes(),
        }
    }

    /// Numbers of a row.
    pub(in crate::model) fn columns(&self) -> usize {
        match self {
            Self::F32(matrix) => matrix.columns(),
            Self::BF16(matrix) => matrix.columns(),
        }
    }

    /// Rows, those of the padding aside.
    pub(super) fn row_count(&self) -> usize {
        match self {
            Self::F32(matrix) => matrix.rows(),
            Self::BF16(matrix) => matrix.rows(),
        }
    }

    /// These rows, `[T, K]`; not of a gated matrix.
    pub(super) fn rows(&self, ids: &[u32]) -> Result<Tensor> {
        fn gathered<T: Packed>(matrix: &PackedMatrix<T>, ids: &[u32]) -> Result<Tensor> {
            let mut rows = Vec::with_capacity(ids.len() * matrix.columns());
            for &id in ids {
                if id as usize >= matrix.rows() {
                    bail!("row {id} of a matrix of {} rows", matrix.rows());
                }
                matrix.row(id as usize, &mut rows);
            }
            Tensor::from_vec(rows, (ids.len(), matrix.columns()), &Device::Cpu)
        }
        match self {
            Self::F32(matrix) => gathered(matrix, ids),
            Self::BF16(matrix) => gathered(matrix, ids),
        }
    }
}

#[expect(unsafe_code, reason = "numbers as the bytes they are")]
fn bytes_of<T: Packed>(numbers: &[T]) -> &[u8] {
    // SAFETY: f32 and bf16 have no padding, and a byte needs no alignment.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}
