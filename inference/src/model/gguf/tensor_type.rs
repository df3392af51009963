//! The types of tensors in GGUF files, by their numbers.

use candle_core::DType;

use crate::model::{ops::BlockType, saved::SavedType};

/// How a tensor's numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TensorType {
    Float(DType),
    Blocks(BlockType),
    /// Not read. The number is GGML's.
    Other(u32),
}

/// Names of types that are not read.
const OTHERS: [(u32, &str); 23] = [
    (3, "Q4_1"),
    (6, "Q5_0"),
    (7, "Q5_1"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (26, "I32"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
];

impl TensorType {
    pub(super) fn of(number: u32) -> Self {
        match number {
            0 => Self::Float(DType::F32),
            1 => Self::Float(DType::F16),
            30 => Self::Float(DType::BF16),
            2 => Self::Blocks(BlockType::Q4_0),
            8 => Self::Blocks(BlockType::Q8_0),
            12 => Self::Blocks(BlockType::Q4K),
            13 => Self::Blocks(BlockType::Q5K),
            14 => Self::Blocks(BlockType::Q6K),
            other => Self::Other(other),
        }
    }

    /// Numbers of a block, and its bytes; `None` for a type that is not read.
    pub(super) fn block(self) -> Option<(usize, usize)> {
        match self {
            Self::Float(dtype) => Some((1, dtype.size_in_bytes())),
            Self::Blocks(kind) => Some((kind.block_len(), kind.block_bytes())),
            Self::Other(_) => None,
        }
    }

    pub(super) fn saved(self) -> SavedType {
        match self {
            Self::Float(dtype) => SavedType::Float(dtype),
            Self::Blocks(kind) => SavedType::Blocks(kind),
            Self::Other(number) => {
                let known = OTHERS.iter().find(|(other, _)| *other == number);
                SavedType::Unread(known.map_or_else(
                    || format!("number {number}"),
                    |(_, name)| (*name).to_owned(),
                ))
            }
        }
    }
}
