//! Matrices in the form the kernels read: straight from the file's bytes, or as an earlier start packed them.

use std::sync::PoisonError;

use candela_flags::Quantization;
use candle_core::Tensor;

use super::{Tensors, Weights, WeightsError, failed};
use crate::model::{
    ops::{Matrix, PACKING, Unpacked},
    saved::{Saved, SavedType, Undo},
    weights_cache::{CachedWeights, Key, packed_name},
};

impl Weights<'_> {
    /// What a cache knows these weights by: all bytes of their files, which tensor is taken from which, what `config` makes of them,
    /// and how they are packed. `None` where a cache has nothing to keep: of a GGUF file, and of weights that are quantized at each start.
    pub(in crate::model) fn key(&self, config: &[u8], pools: bool) -> Option<Key> {
        let (Tensors::Shards(shards), Quantization::None) = (&self.tensors, self.quantization)
        else {
            return None;
        };
        let made = format!("packing {PACKING} {:?} pools {pools}", self.dtype);
        let places = shards.file_of_each();
        let mut contents = shards.contents();
        contents.push(("places", places.as_bytes()));
        contents.push(("config.json", config));
        let key = Key::of(&contents, &made);
        shards.release_all();
        Some(key)
    }

    /// Takes matrices from a cache where it has them.
    pub(in crate::model) fn use_cached(&mut self, cached: CachedWeights) {
        self.cached = Some(cached);
    }

    /// The matrices that were packed, by what a cache calls them.
    pub(in crate::model) fn into_packed(self) -> Vec<(String, Matrix)> {
        self.packed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The matrices `[rows[i], columns]` one below the other, packed; `None` where one of them is held in blocks.
    pub(super) fn packed(
        &self,
        names: &[String],
        rows: &[usize],
        columns: usize,
        gated: bool,
    ) -> Result<Option<Matrix>, WeightsError> {
        let find = |(name, &rows): (&String, &usize)| self.find(name, &[rows, columns]);
        let parts = names.iter().zip(rows).map(find);
        let parts: Vec<Saved<'_>> = parts.collect::<Result<_, _>>()?;
        let in_blocks = |part: &Saved<'_>| {
            matches!(part.kind, SavedType::Blocks(_)) || self.choice(part).is_some()
        };
        if parts.iter().any(in_blocks) {
            return Ok(None);
        }
        let size = (rows.iter().sum(), columns);
        let name = packed_name(names, size, gated);
        let cached = self.cached.as_ref();
        let cached = cached
            .and_then(|cached| cached.matrix(&name))
            .and_then(|bytes| Matrix::packed(self.dtype, bytes, size, gated));
        let (matrix, is_new) = match cached {
            Some(matrix) => (matrix, false),
            None => {
                let made = self.pack(&parts, columns, gated);
                (made.map_err(|error| failed(names, error))?, true)
            }
        };
        for (name, part) in names.iter().zip(&parts) {
            self.chosen(name, columns);
            self.taken(part, Ok(()))?;
        }
        if is_new {
            let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
            packed.push((name, matrix.clone()));
        }
        Ok(Some(matrix))
    }

    /// Packs matrices as the files have them, or made numbers of our type before.
    fn pack(
        &self,
        parts: &[Saved<'_>],
        columns: usize,
        gated: bool,
    ) -> candle_core::Result<Matrix> {
        let as_it_is = |part: &Saved<'_>| {
            part.kind == SavedType::Float(self.dtype) && part.undo == Undo::Nothing
        };
        if parts.iter().all(as_it_is) {
            let bytes: Vec<&[u8]> = parts.iter().map(|part| part.bytes).collect();
            let unpacked = Unpacked {
                parts: &bytes,
                columns,
                gated,
            };
            return Matrix::pack(self.dtype, unpacked);
        }
        let tensors = parts.iter().map(|part| part.tensor(self.dtype));
        let tensors: Vec<Tensor> = tensors.collect::<candle_core::Result<_>>()?;
        match tensors.as_slice() {
            [tensor] => Matrix::new(tensor, gated),
            tensors => Matrix::new(&Tensor::cat(tensors, 0)?, gated),
        }
    }
}
