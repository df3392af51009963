//! Matrices in blocks, for memory that is not the processors'.

use std::collections::BTreeMap;

use super::{Weights, WeightsError, is_expert};
use crate::model::{
    ops::{BlockMatrix, BlockType},
    saved::SavedType,
};

impl Weights<'_> {
    /// The block type that a matrix is held in; none: number by number. What `--quantization` makes of it is counted.
    pub(in crate::model) fn held_in(
        &self,
        name: &str,
        (rows, columns): (usize, usize),
    ) -> Result<Option<BlockType>, WeightsError> {
        let saved = self.find(name, &[rows, columns])?;
        if !matches!(saved.kind, SavedType::Blocks(_)) {
            self.chosen(name, columns);
        }
        Ok(self.held(&saved))
    }

    /// A matrix in blocks of the kind that it is held in: as the file has it, or quantized now.
    pub(in crate::model) fn blocks(
        &self,
        name: &str,
        (rows, columns): (usize, usize),
        kind: BlockType,
    ) -> Result<BlockMatrix, WeightsError> {
        let saved = self.find(name, &[rows, columns])?;
        let made = match saved.kind {
            SavedType::Blocks(_) => saved.matrix(),
            _ => BlockMatrix::quantize(kind, (rows, columns), |rows| saved.numbers(rows)),
        };
        self.taken(&saved, made)
    }

    /// The tensors that are or would be in blocks and are held number by number, in words.
    pub(in crate::model) fn unpacked(&self) -> Option<String> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for saved in self.saved() {
            let kind = match saved.kind {
                SavedType::Blocks(kind) => Some(kind),
                _ => self.choice(&saved),
            };
            let Some(kind) = kind.filter(|_| self.held(&saved).is_none()) else {
                continue;
            };
            let why = if is_expert(&saved.name) {
                "experts"
            } else {
                "the type"
            };
            *counts.entry(format!("{kind} ({why})")).or_default() += 1;
        }
        let part = |(what, count): (&String, &usize)| format!("{count} in {what}");
        let parts: Vec<String> = counts.iter().map(part).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}
