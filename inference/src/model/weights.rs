//! A model's tensors by their Hugging Face names, whatever file they come from, and the linear layers
//! made of them: dense, in the blocks of a GGUF file, or quantized on loading. Every error names file
//! and tensor.

#[cfg(feature = "cuda")]
mod blocks;
#[cfg(feature = "cuda")]
mod dense;
mod packed;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use candela_flags::Quantization;
use candle_core::{DType, Tensor};

use super::{
    config::DecoderConfig,
    dummy::DummyWeights,
    gguf::GgufModel,
    ops::{BlockMatrix, BlockType, Embedding, GatedLinear, Linear, Matrix, Part},
    progress::LoadProgress,
    quantization::{Choice, Tally},
    safetensors_header::SAFETENSORS_HEADER_BYTES_MAX,
    saved::{Saved, SavedType},
    shards::Shards,
    source::{ModelFiles, SourceError},
    weights_cache::CachedWeights,
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
    /// An entry of a file's header is wrong.
    #[error("{file}: tensor {name}: {problem}")]
    HeaderTensor {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A header that would take too much memory.
    #[error(
        "{file}: its header is said to have {bytes} bytes; at most {SAFETENSORS_HEADER_BYTES_MAX} \
         are read"
    )]
    HeaderTooLarge {
        /// The file.
        file: String,
        /// What it says of its header.
        bytes: u64,
    },
    /// A file of a model in several files cannot be had.
    #[error("{error}; model.safetensors.index.json says that tensor {name} is in it")]
    Shard {
        /// A tensor of it.
        name: String,
        /// What is wrong with the file.
        error: SourceError,
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
    #[error(
        "{file}: tensor {name} is of type {dtype}; F32, F16 and BF16 can be read, and of GGUF \
             files Q8_0, Q4_0, Q4_K, Q5_K and Q6_K"
    )]
    Type {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// What is in blocks already is not quantized.
    #[error(
        "--quantization is for safetensors; {file} has its own types: take the file of another \
         quantization, or leave the flag out"
    )]
    Quantized {
        /// The file.
        file: String,
    },
    /// Nobody wants it any more.
    #[error("loading was given up")]
    GivenUp,
    /// candle refused the data.
    #[error("tensor {name}: {error}")]
    Tensor {
        /// The tensor.
        name: String,
        /// Its answer.
        error: candle_core::Error,
    },
}

/// The tensors of a model, by name.
pub(super) struct Weights<'a> {
    tensors: Tensors,
    dtype: DType,
    quantization: Quantization,
    /// They are held on a GPU, which does not compute with all that the processors do.
    on_gpu: bool,
    /// What was quantized to what.
    tally: Mutex<Tally>,
    /// Matrices as an earlier start packed them.
    cached: Option<CachedWeights>,
    /// Matrices that were packed now, by what a cache calls them.
    packed: Mutex<Vec<(String, Matrix)>>,
    progress: &'a LoadProgress,
}

enum Tensors {
    Shards(Shards),
    Gguf(Arc<GgufModel>),
    Dummy(DummyWeights),
}

/// How large a model is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct WeightsSize {
    pub(super) parameters: usize,
    pub(super) bytes: usize,
    /// Parameters of the largest tensor.
    pub(super) largest: usize,
    /// Parameters that are held in blocks.
    pub(super) in_blocks: usize,
}

impl WeightsSize {
    /// Most that loading takes of memory: what is held, and the largest tensor as it is converted.
    pub(super) const fn loading_bytes(&self) -> usize {
        self.bytes + self.largest * 3 * size_of::<f32>()
    }
}

impl<'a> Weights<'a> {
    /// Maps every file of the model; dense tensors come out as `dtype`.
    pub(super) fn open(
        files: &ModelFiles,
        dtype: DType,
        quantization: Quantization,
        progress: &'a LoadProgress,
    ) -> Result<Self, WeightsError> {
        let (tensors, bytes) = match files.gguf() {
            Some(model) if quantization != Quantization::None => {
                let file = model.file().to_owned();
                return Err(WeightsError::Quantized { file });
            }
            Some(model) => (Tensors::Gguf(Arc::clone(model)), model.bytes()),
            None => {
                let shards = Shards::open(files)?;
                let bytes = shards.bytes();
                (Tensors::Shards(shards), bytes)
            }
        };
        Ok(Self::new(tensors, bytes, (dtype, quantization), progress))
    }

    /// Makes up what `config` asks for.
    pub(super) fn dummy(
        config: &DecoderConfig,
        dtype: DType,
        quantization: Quantization,
        progress: &'a LoadProgress,
    ) -> Result<Self, WeightsError> {
        let dummy = DummyWeights::new(config, dtype)?;
        let bytes = dummy.all().map(|saved| saved.bytes.len() as u64).sum();
        let tensors = Tensors::Dummy(dummy);
        Ok(Self::new(tensors, bytes, (dtype, quantization), progress))
    }

    fn new(
        tensors: Tensors,
        bytes: u64,
        (dtype, quantization): (DType, Quantization),
        progress: &'a LoadProgress,
    ) -> Self {
        progress.bytes_total.store(bytes, Ordering::Relaxed);
        Self {
            tensors,
            dtype,
            quantization,
            on_gpu: false,
            tally: Mutex::default(),
            cached: None,
            packed: Mutex::default(),
            progress,
        }
    }

    /// They go to a GPU.
    pub(super) fn for_gpu(self) -> Self {
        Self {
            on_gpu: true,
            ..self
        }
    }

    /// Whether the model has this tensor.
    pub(super) fn has(&self, name: &str) -> bool {
        match &self.tensors {
            Tensors::Shards(shards) => shards.has(name) || shards.has(headless(name)),
            Tensors::Gguf(model) => model.has(name),
            Tensors::Dummy(dummy) => dummy.find(name).is_some(),
        }
    }

    /// The type that most of the model is saved in.
    pub(super) fn saved_dtype(files: &ModelFiles) -> Result<Option<DType>, WeightsError> {
        Ok(Shards::open(files)?.dtype())
    }

    /// What `--quantization` did, in words; `None` where nothing was quantized on loading.
    pub(super) fn quantized(&self) -> Option<String> {
        self.tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .summary()
    }

    /// A tensor as numbers, which must have this shape: norms, biases, routers.
    pub(super) fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, WeightsError> {
        let saved = self.find(name, shape)?;
        self.taken(&saved, saved.tensor(self.dtype))
    }

    /// The token embedding `[rows, columns]`; one that is `tied` is the LM head too. Where the file has it in
    /// blocks, it stays so; with `--quantization` it is [`BlockType::Q8_0`].
    pub(super) fn embedding(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
        tied: bool,
    ) -> Result<Embedding, WeightsError> {
        if tied && let Some(matrix) = self.packed(&[name.to_owned()], &[rows], columns, false)? {
            return Ok(Embedding::Packed(matrix));
        }
        Ok(match self.part(name, rows, columns)? {
            Part::Dense(weight) => Embedding::Dense(weight),
            Part::Quantized(weight) => Embedding::Quantized(weight, self.dtype),
        })
    }

    /// A linear layer of the matrices `[rows[i], columns]` one below the other, and their biases.
    pub(super) fn linear(
        &self,
        names: &[String],
        rows: &[usize],
        columns: usize,
        biases: Option<&[String]>,
    ) -> Result<Linear, WeightsError> {
        let bias = self.bias(biases, rows)?;
        let made = match self.matrices(names, rows, columns, false)? {
            Matrices::Packed(matrix) => Linear::of_packed(matrix, bias),
            Matrices::Parts(parts) => Linear::stacked(parts, bias),
        };
        made.map_err(|error| failed(names, error))
    }

    /// Gate and up projection of an MLP, in one matrix or two, gate above up.
    pub(super) fn gated(
        &self,
        names: &[String],
        rows: &[usize],
        columns: usize,
        biases: Option<&[String]>,
    ) -> Result<GatedLinear, WeightsError> {
        let bias = self.bias(biases, rows)?;
        let made = match self.matrices(names, rows, columns, true)? {
            Matrices::Packed(matrix) => GatedLinear::of_packed(matrix, bias),
            Matrices::Parts(parts) => GatedLinear::stacked(parts, bias),
        };
        made.map_err(|error| failed(names, error))
    }

    fn bias(
        &self,
        names: Option<&[String]>,
        rows: &[usize],
    ) -> Result<Option<Tensor>, WeightsError> {
        let vector = |(name, &rows): (&String, &usize)| self.get(name, &[rows]);
        names
            .map(|names| {
                let vectors = names.iter().zip(rows).map(vector);
                concatenated(names, &vectors.collect::<Result<Vec<_>, _>>()?)
            })
            .transpose()
    }

    fn matrices(
        &self,
        names: &[String],
        rows: &[usize],
        columns: usize,
        gated: bool,
    ) -> Result<Matrices, WeightsError> {
        if let Some(matrix) = self.packed(names, rows, columns, gated)? {
            return Ok(Matrices::Packed(matrix));
        }
        let part = |(name, &rows): (&String, &usize)| self.part(name, rows, columns);
        let parts = names.iter().zip(rows).map(part);
        parts.collect::<Result<_, _>>().map(Matrices::Parts)
    }

    /// That every tensor of a GGUF file is of a type we read. A safetensors file may carry others,
    /// which nobody asks for.
    pub(super) fn check_types(&self) -> Result<(), WeightsError> {
        let Tensors::Gguf(model) = &self.tensors else {
            return Ok(());
        };
        model.all().try_for_each(|saved| is_read(&saved))
    }

    /// How many parameters there are, and how many bytes they take as they will be held.
    pub(super) fn size(&self) -> WeightsSize {
        let mut size = WeightsSize::default();
        // Loading names a tensor of a type that is not read, if it is needed.
        let read = |saved: &Saved<'_>| !matches!(saved.kind, SavedType::Unread(_));
        for saved in self.saved().filter(read) {
            let count: usize = saved.shape.iter().product();
            size.parameters += count;
            size.largest = size.largest.max(count);
            size.bytes += match self.held(&saved) {
                Some(kind) => count / kind.block_len() * kind.block_bytes(),
                None => count * self.dtype.size_in_bytes(),
            };
            size.in_blocks += self.held(&saved).map_or(0, |_| count);
        }
        size
    }

    /// The block types that matrices will be held in, and how many of them, most first.
    pub(super) fn block_types(&self) -> Option<String> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for saved in self.saved() {
            if let Some(kind) = self.held(&saved) {
                *counts.entry(kind.to_string()).or_default() += 1;
            }
        }
        let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let part = |(kind, count): &(String, usize)| format!("{count} tensors in {kind}");
        let parts: Vec<String> = counts.iter().map(part).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    fn saved(&self) -> Box<dyn Iterator<Item = Saved<'_>> + '_> {
        match &self.tensors {
            Tensors::Shards(shards) => {
                Box::new(shards.names().filter_map(|name| shards.find(name)))
            }
            Tensors::Gguf(model) => Box::new(model.all()),
            Tensors::Dummy(dummy) => Box::new(dummy.all()),
        }
    }

    /// What `--quantization` makes of a tensor.
    fn choice(&self, saved: &Saved<'_>) -> Option<BlockType> {
        match saved.shape.as_slice() {
            &[.., _, columns] => Choice::of(&saved.name, columns, self.quantization).block_type,
            _ => None,
        }
    }

    /// The block type that a tensor is held in; none: number by number.
    fn held(&self, saved: &Saved<'_>) -> Option<BlockType> {
        let kind = match saved.kind {
            SavedType::Blocks(kind) => Some(kind),
            _ => self.choice(saved),
        };
        let on_gpu = |kind: &BlockType| BlockType::ON_GPU.contains(kind) && !is_expert(&saved.name);
        kind.filter(|kind| !self.on_gpu || on_gpu(kind))
    }

    fn part(&self, name: &str, rows: usize, columns: usize) -> Result<Part, WeightsError> {
        let saved = self.find(name, &[rows, columns])?;
        let block_type = match saved.kind {
            SavedType::Blocks(_) => None,
            _ => self.chosen(name, columns),
        };
        let part = match (&saved.kind, block_type) {
            (SavedType::Blocks(_), _) => saved.matrix().map(|m| Part::Quantized(Arc::new(m))),
            (_, Some(kind)) => quantized(&saved, kind, columns),
            (_, None) => saved.tensor(self.dtype).map(Part::Dense),
        };
        self.taken(&saved, part)
    }

    /// What `--quantization` makes of a matrix that is loaded now: it is counted.
    fn chosen(&self, name: &str, columns: usize) -> Option<BlockType> {
        if self.quantization == Quantization::None {
            return None;
        }
        let choice = Choice::of(name, columns, self.quantization);
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.add(&choice);
        choice.block_type
    }

    /// The tensor as its file has it; it must have this shape and a type that we read.
    fn find(&self, name: &str, shape: &[usize]) -> Result<Saved<'_>, WeightsError> {
        if self.progress.given_up.load(Ordering::Relaxed) {
            return Err(WeightsError::GivenUp);
        }
        let missing = || WeightsError::Missing {
            name: name.to_owned(),
        };
        let saved = match &self.tensors {
            Tensors::Shards(shards) => shards.find(name).or_else(|| shards.find(headless(name))),
            Tensors::Gguf(model) => model.find(name),
            Tensors::Dummy(dummy) => dummy.find(name),
        };
        let saved = saved.ok_or_else(missing)?;
        let file = || saved.file.to_owned();
        if saved.shape != shape {
            return Err(WeightsError::Shape {
                file: file(),
                name: saved.name.clone(),
                found: saved.shape.clone(),
                wanted: shape.to_vec(),
            });
        }
        is_read(&saved)?;
        Ok(saved)
    }

    /// Counts the tensor as loaded, or names it in the error.
    fn taken<T>(&self, saved: &Saved<'_>, made: candle_core::Result<T>) -> Result<T, WeightsError> {
        let made = made.map_err(|error| WeightsError::Tensor {
            name: saved.name.clone(),
            error,
        })?;
        if let Tensors::Shards(shards) = &self.tensors {
            shards.release(&saved.name);
        }
        self.progress
            .bytes_done
            .fetch_add(saved.bytes.len() as u64, Ordering::Relaxed);
        Ok(made)
    }
}

/// The name of a decoder's tensor in the files of a model that was saved without its LM head.
fn headless(name: &str) -> &str {
    name.strip_prefix("model.").unwrap_or(name)
}

/// Matrices of a mixture's experts, as safetensors and GGUF files name them.
fn is_expert(name: &str) -> bool {
    name.contains(".experts.") || name.contains("_exps.")
}

fn is_read(saved: &Saved<'_>) -> Result<(), WeightsError> {
    match &saved.kind {
        SavedType::Unread(dtype) => Err(WeightsError::Type {
            file: saved.file.to_owned(),
            name: saved.name.clone(),
            dtype: dtype.clone(),
        }),
        SavedType::Float(_) | SavedType::Blocks(_) => Ok(()),
    }
}

/// Quantizes a matrix some rows at a time: its numbers in f32 would take eight times the result.
fn quantized(saved: &Saved<'_>, kind: BlockType, columns: usize) -> candle_core::Result<Part> {
    let rows = saved.shape.iter().product::<usize>() / columns;
    let matrix = BlockMatrix::quantize(kind, (rows, columns), |rows| saved.numbers(rows))?;
    Ok(Part::Quantized(Arc::new(matrix)))
}

/// The matrices of a linear layer, one below the other.
enum Matrices {
    Packed(Matrix),
    /// Some or all of them in blocks.
    Parts(Vec<Part>),
}

fn failed(names: &[String], error: candle_core::Error) -> WeightsError {
    WeightsError::Tensor {
        name: names.join(" + "),
        error,
    }
}

fn concatenated(names: &[String], parts: &[Tensor]) -> Result<Tensor, WeightsError> {
    match parts {
        [part] => Ok(part.clone()),
        parts => Tensor::cat(parts, 0).map_err(|error| failed(names, error)),
    }
}

#[cfg(test)]
#[path = "weights_tests.rs"]
mod tests;
