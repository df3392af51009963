//! A model's tensors, mapped from safetensors files or found in the program. Every error names file
//! and tensor.

use std::{collections::HashMap, fs::File, io, sync::atomic::Ordering};

use candle_core::{DType, Device, Tensor};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, tensor::Metadata};
use serde::Deserialize;

use super::{
    ops::{Embedding, Linear},
    progress::LoadProgress,
    source::{Location, ModelFiles, SourceError, at},
};

/// The tensors of a model are not as its configuration says.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A file cannot be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A file is not a safetensors file, or is damaged.
    #[error("{file}: not a valid safetensors file: {error}")]
    Header {
        /// The file.
        file: String,
        /// What is wrong.
        error: safetensors::SafeTensorError,
    },
    /// The index of a model in several files is malformed.
    #[error("model.safetensors.index.json: {0}")]
    Index(serde_json::Error),
    /// A tensor is missing.
    #[error("the model has no tensor {name}, which its config.json needs")]
    Missing {
        /// The tensor.
        name: String,
    },
    /// The index says that a tensor is in a file that does not have it.
    #[error("{file}: tensor {name} is missing, though the index says it is there")]
    NotInShard {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
    },
    /// A tensor has another shape than the configuration gives it.
    #[error("{file}: tensor {name} has shape {found:?}, config.json gives it {wanted:?}")]
    Shape {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape it should have.
        wanted: Vec<usize>,
    },
    /// A tensor is of a type we do not read.
    #[error("{file}: tensor {name} is of type {dtype}; F32, F16 and BF16 can be read")]
    Type {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// candle refused the data.
    #[error("tensor {name}: {error}")]
    Tensor {
        /// The tensor.
        name: String,
        /// Its answer.
        error: candle_core::Error,
    },
}

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

enum Bytes {
    Mapped(Mmap),
    Static(&'static [u8]),
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Static(bytes) => bytes,
        }
    }
}

struct Shard {
    name: String,
    bytes: Bytes,
    metadata: Metadata,
    data_start: usize,
}

/// The tensors of a model, by name.
pub(super) struct Weights<'a> {
    shards: Vec<Shard>,
    /// Which shard has a tensor.
    places: HashMap<String, usize>,
    dtype: DType,
    progress: &'a LoadProgress,
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl<'a> Weights<'a> {
    /// Maps every file of the model; tensors come out as `dtype`.
    pub(super) fn open(
        files: &ModelFiles,
        dtype: DType,
        progress: &'a LoadProgress,
    ) -> Result<Self, WeightsError> {
        let (names, index) = match files.read_optional(INDEX)? {
            None => (vec![SINGLE.to_owned()], None),
            Some(json) => {
                let index: Index = serde_json::from_slice(&json).map_err(WeightsError::Index)?;
                let mut names: Vec<String> = index.weight_map.values().cloned().collect();
                names.sort_unstable();
                names.dedup();
                (names, Some(index))
            }
        };
        let shards: Vec<Shard> = names
            .iter()
            .map(|name| Shard::open(files, name))
            .collect::<Result<_, _>>()?;
        let bytes: u64 = shards
            .iter()
            .map(|s| (s.bytes.as_slice().len() - s.data_start) as u64)
            .sum();
        progress.bytes_total.store(bytes, Ordering::Relaxed);
        let places = match index {
            None => shards[0]
                .metadata
                .offset_keys()
                .into_iter()
                .map(|name| (name, 0))
                .collect(),
            Some(index) => places(&index, &shards)?,
        };
        Ok(Self {
            shards,
            places,
            dtype,
            progress,
        })
    }

    /// Whether the model has this tensor.
    pub(super) fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// The type that most of the model is saved in, by its first tensor.
    pub(super) fn saved_dtype(files: &ModelFiles) -> Result<Option<DType>, WeightsError> {
        let progress = LoadProgress::default();
        let weights = Weights::open(files, DType::F32, &progress)?;
        let first = weights.shards.first();
        let tensors = first
            .map(|shard| shard.metadata.tensors())
            .unwrap_or_default();
        Ok(tensors.values().find_map(|info| candle_dtype(info.dtype)))
    }

    /// A tensor, which must have this shape.
    pub(super) fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, WeightsError> {
        let missing = || WeightsError::Missing {
            name: name.to_owned(),
        };
        let shard = &self.shards[*self.places.get(name).ok_or_else(missing)?];
        let info = shard.metadata.info(name).ok_or_else(missing)?;
        let file = || shard.name.clone();
        if info.shape != shape {
            let (found, wanted) = (info.shape.clone(), shape.to_vec());
            return Err(WeightsError::Shape {
                file: file(),
                name: name.to_owned(),
                found,
                wanted,
            });
        }
        let saved = candle_dtype(info.dtype).ok_or_else(|| WeightsError::Type {
            file: file(),
            name: name.to_owned(),
            dtype: format!("{:?}", info.dtype),
        })?;
        let (from, to) = info.data_offsets;
        let data = &shard.bytes.as_slice()[shard.data_start + from..shard.data_start + to];
        let tensor = Tensor::from_raw_buffer(data, saved, shape, &Device::Cpu)
            .and_then(|tensor| tensor.to_dtype(self.dtype))
            .map_err(|error| WeightsError::Tensor {
                name: name.to_owned(),
                error,
            })?;
        self.progress
            .bytes_done
            .fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(tensor)
    }

    /// The token embedding `[rows, columns]`.
    pub(super) fn embedding(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Embedding, WeightsError> {
        self.get(name, &[rows, columns]).map(Embedding)
    }

    /// A linear layer of parts one below the other.
    pub(super) fn linear(
        &self,
        names: &[String],
        rows: &[usize],
        columns: usize,
        biases: Option<&[String]>,
    ) -> Result<Linear, WeightsError> {
        let weight = self.stacked(names, rows, Some(columns))?;
        let bias = biases
            .map(|names| self.stacked(names, rows, None))
            .transpose()?;
        Ok(Linear::new(weight, bias))
    }

    /// Tensors of shapes `[rows[i], columns]`, one below the other.
    pub(super) fn stacked(
        &self,
        names: &[String],
        rows: &[usize],
        columns: Option<usize>,
    ) -> Result<Tensor, WeightsError> {
        let part = |(name, &rows): (&String, &usize)| {
            let shape: Vec<usize> = std::iter::once(rows).chain(columns).collect();
            self.get(name, &shape)
        };
        let parts: Vec<Tensor> = names.iter().zip(rows).map(part).collect::<Result<_, _>>()?;
        Tensor::cat(&parts, 0).map_err(|error| WeightsError::Tensor {
            name: names.join(" + "),
            error,
        })
    }
}

impl Shard {
    fn open(files: &ModelFiles, name: &str) -> Result<Self, WeightsError> {
        let bytes = match files.locate(name)? {
            Location::Memory(bytes) => Bytes::Static(bytes),
            Location::Disk(path) => {
                let file = File::open(&path).map_err(|error| at(&path, error))?;
                Bytes::Mapped(map(&file).map_err(|error| at(&path, error))?)
            }
        };
        // The whole file is checked: sizes, offsets, overlaps, and that nothing is cut off.
        let header = SafeTensors::read_metadata(bytes.as_slice());
        let (header_len, metadata) = header.map_err(|error| WeightsError::Header {
            file: name.to_owned(),
            error,
        })?;
        Ok(Self {
            name: name.to_owned(),
            bytes,
            metadata,
            data_start: header_len + 8,
        })
    }
}

#[expect(
    unsafe_code,
    reason = "mapping a file is only sound while nobody changes it"
)]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only, read while loading, and dropped after. Models are written to a
    // new place and then named, not changed in place; a file that shrinks meanwhile ends the process.
    unsafe { Mmap::map(file) }
}

fn places(index: &Index, shards: &[Shard]) -> Result<HashMap<String, usize>, WeightsError> {
    let place = |(name, file): (&String, &String)| {
        let shard = shards.iter().position(|shard| &shard.name == file);
        let found = shard.filter(|&shard| shards[shard].metadata.info(name).is_some());
        let missing = || WeightsError::NotInShard {
            file: file.clone(),
            name: name.clone(),
        };
        Ok((name.clone(), found.ok_or_else(missing)?))
    };
    index.weight_map.iter().map(place).collect()
}

fn candle_dtype(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}

#[cfg(test)]
#[path = "weights_tests.rs"]
mod tests;
