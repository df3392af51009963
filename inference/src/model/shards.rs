//! The safetensors files of a model: mapped, their headers checked, tensors by name.

use std::{collections::HashMap, fs::File};

use candle_core::DType;
use memmap2::Mmap;
use safetensors::{Dtype, tensor::Metadata};
use serde::Deserialize;

use super::{
    mapped::{map, release},
    safetensors_header::read_header,
    saved::{Saved, SavedType, Undo},
    source::{Location, ModelFiles, at},
    weights::WeightsError,
};

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The tensors of a model's safetensors files.
pub(super) struct Shards {
    files: Vec<Shard>,
    /// Which file has a tensor.
    places: HashMap<String, usize>,
}

struct Shard {
    name: String,
    bytes: Bytes,
    metadata: Metadata,
    data_start: usize,
}

enum Bytes {
    Mapped(Mmap),
    Static(&'static [u8]),
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl Shards {
    /// Maps every file of the model.
    pub(super) fn open(files: &ModelFiles) -> Result<Self, WeightsError> {
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
            .map(|name| {
                Shard::open(files, name).map_err(|error| missing_shard(error, name, index.as_ref()))
            })
            .collect::<Result<_, _>>()?;
        let places = match index {
            None => {
                let names = shards[0].metadata.offset_keys().into_iter();
                names.map(|name| (name, 0)).collect()
            }
            Some(index) => places(&index, &shards)?,
        };
        Ok(Self {
            files: shards,
            places,
        })
    }

    /// Bytes of all tensors.
    pub(super) fn bytes(&self) -> u64 {
        let of_file = |shard: &Shard| (shard.bytes.as_slice().len() - shard.data_start) as u64;
        self.files.iter().map(of_file).sum()
    }

    /// Every file: its name, and all its bytes.
    pub(super) fn contents(&self) -> Vec<(&str, &[u8])> {
        let files = self.files.iter();
        files
            .map(|shard| (shard.name.as_str(), shard.content()))
            .collect()
    }

    /// A line for every tensor, in the order of their names: its name, and its file.
    pub(super) fn file_of_each(&self) -> String {
        let mut lines: Vec<String> = self
            .places
            .iter()
            .map(|(name, &file)| format!("{name}\t{}\n", self.files[file].name))
            .collect();
        lines.sort_unstable();
        lines.concat()
    }

    /// Gives back the memory of all that was read.
    pub(super) fn release_all(&self) {
        for shard in &self.files {
            shard.release(0..shard.content().len());
        }
    }

    /// Gives back the memory of a tensor that was read.
    pub(super) fn release(&self, name: &str) {
        let Some(&place) = self.places.get(name) else {
            return;
        };
        let shard = &self.files[place];
        if let Some(info) = shard.metadata.info(name) {
            let (from, to) = info.data_offsets;
            shard.release(shard.data_start + from..shard.data_start + to);
        }
    }

    /// Of every tensor.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// The type that most bytes of the model are saved in.
    pub(super) fn dtype(&self) -> Option<DType> {
        let mut bytes: Vec<(DType, usize)> = Vec::new();
        for info in self
            .files
            .iter()
            .flat_map(|file| file.metadata.tensors().into_values())
        {
            let Some(dtype) = candle_dtype(info.dtype) else {
                continue;
            };
            let (from, to) = info.data_offsets;
            match bytes.iter_mut().find(|(other, _)| *other == dtype) {
                Some((_, sum)) => *sum += to - from,
                None => bytes.push((dtype, to - from)),
            }
        }
        bytes
            .into_iter()
            .max_by_key(|&(dtype, sum)| (sum, dtype.as_str()))
            .map(|(dtype, _)| dtype)
    }

    pub(super) fn find(&self, name: &str) -> Option<Saved<'_>> {
        let shard = &self.files[*self.places.get(name)?];
        let info = shard.metadata.info(name)?;
        let (from, to) = info.data_offsets;
        let kind = match candle_dtype(info.dtype) {
            Some(dtype) => SavedType::Float(dtype),
            None => SavedType::Unread(format!("{:?}", info.dtype)),
        };
        Some(Saved {
            file: &shard.name,
            name: name.to_owned(),
            shape: info.shape.clone(),
            kind,
            bytes: &shard.bytes.as_slice()[shard.data_start + from..shard.data_start + to],
            undo: Undo::Nothing,
        })
    }
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Static(bytes) => bytes,
        }
    }
}

impl Shard {
    fn content(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    fn release(&self, bytes: std::ops::Range<usize>) {
        if let Bytes::Mapped(map) = &self.bytes {
            release(map, bytes);
        }
    }

    fn open(files: &ModelFiles, name: &str) -> Result<Self, WeightsError> {
        let bytes = match files.locate(name)? {
            Location::Memory(bytes) => Bytes::Static(bytes),
            Location::Disk(path) => {
                let file = File::open(&path).map_err(|error| at(&path, error))?;
                Bytes::Mapped(map(&file).map_err(|error| at(&path, error))?)
            }
        };
        let (data_start, metadata) = read_header(name, bytes.as_slice())?;
        Ok(Self {
            name: name.to_owned(),
            bytes,
            metadata,
            data_start,
        })
    }
}

/// A file that the index promises and that cannot be read, with a tensor that was to be in it.
fn missing_shard(error: WeightsError, file: &str, index: Option<&Index>) -> WeightsError {
    let tensors = index.into_iter().flat_map(|index| &index.weight_map);
    let here = tensors.filter(|(_, shard)| *shard == file);
    match (error, here.map(|(name, _)| name).min()) {
        (WeightsError::Source(error), Some(name)) => WeightsError::Shard {
            name: name.clone(),
            error,
        },
        (error, _) => error,
    }
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
