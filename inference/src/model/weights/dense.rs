//! Tensors as plain numbers, for memory that is not the processors'.

use candle_core::{DType, Result, bail};
use half::{bf16, f16};
use rayon::prelude::*;

use super::{Weights, WeightsError};
use crate::model::saved::{Saved, SavedType, Undo};

/// Numbers that are converted at a time.
const CONVERTED: usize = 4 << 20;
/// Numbers that one thread converts at a time.
const BY_THREAD: usize = 64 << 10;

impl Weights<'_> {
    /// The numbers of a tensor, which must have this shape, in the type that tensors come out as: their bytes go to `take`, in order.
    pub(in crate::model) fn dense(
        &self,
        name: &str,
        shape: &[usize],
        take: impl FnMut(&[u8]) -> Result<()>,
    ) -> std::result::Result<(), WeightsError> {
        let saved = self.find(name, shape)?;
        self.taken(&saved, numbers(&saved, self.dtype, take))
    }
}

fn numbers(
    saved: &Saved<'_>,
    dtype: DType,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let from = match &saved.kind {
        _ if saved.undo == Undo::OneAdded => bail!("{} is no matrix", saved.name),
        SavedType::Float(from) => *from,
        SavedType::Blocks(_) => return unpacked(saved, dtype, take),
        SavedType::Unread(name) => bail!("type {name} is not read"),
    };
    let bytes = saved.ordered_bytes();
    if from == dtype {
        return take(&bytes);
    }
    let (narrow, wide) = (from.size_in_bytes(), dtype.size_in_bytes());
    let mut converted = Vec::new();
    for some in bytes.chunks(CONVERTED * narrow) {
        converted.resize(some.len() / narrow * wide, 0);
        let parts = converted.par_chunks_mut(BY_THREAD * wide);
        parts
            .zip(some.par_chunks(BY_THREAD * narrow))
            .for_each(|(to, some)| {
                let places = to.chunks_exact_mut(wide).zip(some.chunks_exact(narrow));
                places.for_each(|(to, number)| write(dtype, widened(from, number), to));
            });
        take(&converted)?;
    }
    Ok(())
}

/// The numbers of a matrix that is written in blocks.
fn unpacked(
    saved: &Saved<'_>,
    dtype: DType,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let matrix = saved.matrix()?;
    let wide = dtype.size_in_bytes();
    let some = (CONVERTED / matrix.columns().max(1)).max(1);
    let mut converted = Vec::new();
    for first in (0..matrix.rows()).step_by(some) {
        let numbers = matrix.dequantized(first..matrix.rows().min(first + some))?;
        converted.resize(numbers.len() * wide, 0);
        let parts = converted.par_chunks_mut(BY_THREAD * wide);
        parts
            .zip(numbers.par_chunks(BY_THREAD))
            .for_each(|(to, numbers)| {
                let places = to.chunks_exact_mut(wide).zip(numbers);
                places.for_each(|(to, number)| write(dtype, *number, to));
            });
        take(&converted)?;
    }
    Ok(())
}

/// One number, little endian.
fn widened(dtype: DType, bytes: &[u8]) -> f32 {
    match (dtype, bytes) {
        (DType::BF16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
        (DType::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
        (_, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
        _ => unreachable!("numbers of f32, f16 and bf16 are read"),
    }
}

fn write(dtype: DType, number: f32, to: &mut [u8]) {
    match dtype {
        DType::BF16 => to.copy_from_slice(&bf16::from_f32(number).to_le_bytes()),
        DType::F16 => to.copy_from_slice(&f16::from_f32(number).to_le_bytes()),
        _ => to.copy_from_slice(&number.to_le_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(from: DType, bytes: &[u8], to: DType) -> Vec<u8> {
        let saved = Saved {
            file: "a file",
            name: "a tensor".to_owned(),
            shape: vec![bytes.len() / from.size_in_bytes()],
            kind: SavedType::Float(from),
            bytes,
            undo: Undo::Nothing,
        };
        let mut all = Vec::new();
        let take = |some: &[u8]| {
            all.extend_from_slice(some);
            Ok(())
        };
        numbers(&saved, to, take).unwrap();
        all
    }

    #[test]
    fn numbers_are_rounded_to_the_type_asked_for() {
        let wide: Vec<u8> = [1.0f32, -2.5, 1.003_906_3].map(f32::to_le_bytes).concat();
        let narrow = [
            bf16::from_f32(1.0),
            bf16::from_f32(-2.5),
            bf16::from_f32(1.0),
        ];
        let narrow = narrow.map(bf16::to_le_bytes).concat();
        assert_eq!(converted(DType::F32, &wide, DType::BF16), narrow);
        assert_eq!(converted(DType::F32, &wide, DType::F32), wide);
        let half = [1.0f32, -2.5]
            .map(|x| f16::from_f32(x).to_le_bytes())
            .concat();
        assert_eq!(converted(DType::F16, &half, DType::F32), &wide[..8]);
        assert_eq!(converted(DType::BF16, &narrow[..4], DType::F16), half);
    }
}
