//! A GGUF file, presented as the files of a Hugging Face model: its metadata as `config.json`,
//! `tokenizer.json`, `tokenizer_config.json` and `generation_config.json`, its tensors under
//! Hugging Face's names and in their layout. The rest of the engine knows of no GGUF.
//!
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. `reader.rs` reads the
//! header, `names.rs` knows the tensors' names, `config.rs`, `rope.rs` and `tokenizer.rs` write the files.

mod config;
mod error;
mod keys;
mod metadata;
mod names;
mod pretokenizer;
mod reader;
mod rope;
mod tensor_type;
mod tokenizer;

use std::{fmt, fs::File, path::Path};

use candle_core::DType;
use memmap2::Mmap;

pub use error::GgufError;

use super::{
    mapped::map,
    saved::{Saved, Undo},
};
use metadata::Metadata;
use names::Names;
use reader::{Header, TensorInfo};

/// A GGUF file with a model of a family we know.
pub(super) struct GgufModel {
    /// Its name, for messages.
    file: String,
    map: Mmap,
    header: Header,
    names: Names,
}

impl fmt::Debug for GgufModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GgufModel({})", self.file)
    }
}

impl GgufModel {
    /// Maps a file and checks its header.
    pub(super) fn open(path: &Path) -> Result<Self, GgufError> {
        let file = path.display().to_string();
        let read = |error| GgufError::Read {
            file: file.clone(),
            error,
        };
        let map = map(&File::open(path).map_err(read)?).map_err(read)?;
        let header = Header::read(&map).map_err(|problem| problem.in_file(&file))?;
        let names = Names::of(&header).map_err(|problem| problem.in_file(&file))?;
        Ok(Self {
            file,
            map,
            header,
            names,
        })
    }

    /// The content of one of the files that a Hugging Face model would have; `None` for a file that
    /// this model does without.
    pub(super) fn read(&self, name: &str) -> Option<Result<Vec<u8>, GgufError>> {
        let content = match name {
            "config.json" => config::config_json(self),
            "generation_config.json" => config::generation_config_json(self),
            "tokenizer.json" => tokenizer::tokenizer_json(&self.header.metadata),
            "tokenizer_config.json" => tokenizer::tokenizer_config_json(&self.header.metadata),
            _ => return None,
        };
        let content = content.map_err(|problem| problem.in_file(&self.file));
        Some(content.map(|value| value.to_string().into_bytes()))
    }

    /// Its name, for messages.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// Bytes of all tensors.
    pub(super) fn bytes(&self) -> u64 {
        self.header
            .tensors
            .values()
            .map(|info| info.bytes as u64)
            .sum()
    }

    /// The type of its matrices; none: they are in blocks.
    pub(super) fn matrices_dtype(&self) -> Option<DType> {
        config::matrices_dtype(self)
    }

    /// Whether there is a tensor of this Hugging Face name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The tensor of this Hugging Face name.
    pub(super) fn find(&self, name: &str) -> Option<Saved<'_>> {
        let place = self.names.place(name)?;
        let info = self.header.tensors.get(&place.tensor)?;
        let mut bytes = self.data(info);
        let mut shape = info.shape.as_slice();
        if let Some(expert) = place.expert {
            let (&experts, rest) = shape.split_first()?;
            let each = bytes.len() / experts;
            bytes = bytes.get(expert * each..(expert + 1) * each)?;
            shape = rest;
        }
        Some(Saved {
            file: &self.file,
            name: place.tensor,
            shape: shape.to_vec(),
            kind: info.kind.saved(),
            bytes,
            undo: place.undo,
        })
    }

    /// All tensors, as the file has them.
    pub(super) fn all(&self) -> impl Iterator<Item = Saved<'_>> {
        self.header.tensors.iter().map(|(name, info)| Saved {
            file: &self.file,
            name: name.clone(),
            shape: info.shape.clone(),
            kind: info.kind.saved(),
            bytes: self.data(info),
            undo: Undo::Nothing,
        })
    }

    fn metadata(&self) -> &Metadata {
        &self.header.metadata
    }

    fn data(&self, info: &TensorInfo) -> &[u8] {
        &self.map[info.offset..info.offset + info.bytes]
    }
}

#[cfg(test)]
mod test_file;
#[cfg(test)]
mod tests;
