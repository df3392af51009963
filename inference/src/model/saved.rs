//! A tensor as a file has it: its type, its bytes, and what writing it changed; and how it becomes
//! a tensor or a matrix in blocks.

use std::{borrow::Cow, ops::Range};

use candle_core::{DType, Device, Result, Tensor};

use super::ops::{BlockMatrix, BlockType};

/// A tensor as a file has it.
#[derive(Debug, Clone)]
pub(super) struct Saved<'a> {
    /// The file, for messages.
    pub(super) file: &'a str,
    /// The tensor, as the file names it.
    pub(super) name: String,
    /// Outermost dimension first.
    pub(super) shape: Vec<usize>,
    pub(super) kind: SavedType,
    pub(super) bytes: &'a [u8],
    pub(super) undo: Undo,
}

/// How the numbers are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SavedType {
    /// One by one, little endian.
    Float(DType),
    /// In blocks along the last dimension.
    Blocks(BlockType),
    /// In a way we do not read, by its name.
    Unread(String),
}

/// What the file's writer changed, to be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undo {
    Nothing,
    /// The rows of each head lie in pairs, (0, half), (1, half + 1), …, as llama.cpp rotates them.
    PairedRows {
        head_dim: usize,
    },
    /// One was added to every number: Gemma's norms.
    OneAdded,
}

impl Saved<'_> {
    /// The tensor as numbers of type `dtype`.
    pub(super) fn tensor(&self, dtype: DType) -> Result<Tensor> {
        let tensor = match &self.kind {
            SavedType::Float(saved) => {
                let bytes = self.ordered_bytes();
                Tensor::from_raw_buffer(&bytes, *saved, &self.shape, &Device::Cpu)?
            }
            SavedType::Blocks(_) => {
                let matrix = self.matrix()?;
                let numbers = matrix.dequantized(0..matrix.rows())?;
                Tensor::from_vec(numbers, self.shape.as_slice(), &Device::Cpu)?
            }
            SavedType::Unread(name) => candle_core::bail!("type {name} is not read"),
        };
        if self.undo == Undo::OneAdded {
            return tensor
                .to_dtype(DType::F32)?
                .affine(1.0, -1.0)?
                .to_dtype(dtype);
        }
        tensor.to_dtype(dtype)
    }

    /// Some rows of a matrix that is written number by number, in f32.
    pub(super) fn numbers(&self, rows: Range<usize>) -> Result<Vec<f32>> {
        let row_bytes = self.bytes.len() / self.rows().max(1);
        let part = Saved {
            bytes: &self.bytes[rows.start * row_bytes..rows.end * row_bytes],
            shape: vec![rows.len(), self.columns()],
            ..self.clone()
        };
        part.tensor(DType::F32)?.flatten_all()?.to_vec1()
    }

    /// The blocks of a tensor that is written in blocks.
    pub(super) fn matrix(&self) -> Result<BlockMatrix> {
        let SavedType::Blocks(kind) = self.kind else {
            candle_core::bail!("{} is not written in blocks", self.name);
        };
        let size = (self.rows(), self.columns());
        BlockMatrix::from_bytes(kind, self.bytes, size, |row| self.saved_row(row))
    }

    /// Of a matrix; a vector has rows of one number.
    fn columns(&self) -> usize {
        match self.shape.as_slice() {
            [] | [_] => 1,
            [.., columns] => *columns,
        }
    }

    fn rows(&self) -> usize {
        self.shape.iter().product::<usize>() / self.columns().max(1)
    }

    /// Where the file has the row that is to be row `row`.
    fn saved_row(&self, row: usize) -> usize {
        match self.undo {
            Undo::Nothing | Undo::OneAdded => row,
            Undo::PairedRows { head_dim } => {
                let (head, in_head) = (row / head_dim, row % head_dim);
                let (side, pair) = (in_head / (head_dim / 2), in_head % (head_dim / 2));
                head * head_dim + 2 * pair + side
            }
        }
    }

    pub(super) fn ordered_bytes(&self) -> Cow<'_, [u8]> {
        if !matches!(self.undo, Undo::PairedRows { .. }) {
            return Cow::Borrowed(self.bytes);
        }
        let rows = self.rows();
        let row_bytes = self.bytes.len() / rows.max(1);
        let ordered = (0..rows).flat_map(|row| {
            let at = self.saved_row(row) * row_bytes;
            self.bytes[at..at + row_bytes].iter().copied()
        });
        Cow::Owned(ordered.collect())
    }
}
