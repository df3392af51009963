//! Loading a model: configuration, memory plan, weights, runner.

use std::{path::Path, sync::atomic::Ordering};

use candela_flags::{Dtype, EngineFlags, LoadFormat};
use candle_core::DType;

use super::{
    bytes::Bytes,
    config::{ConfigError, ModelConfig},
    cpu::{CpuRunner, EncoderRunner},
    decoder::Decoder,
    device::Device,
    encoder::Encoder,
    free_memory::free_bytes,
    memory::{MemoryError, MemoryPlan, Needs},
    ops::set_threads,
    pooling::{Pooling, PoolingError, PoolingType},
    progress::LoadProgress,
    runner::{BLOCK_TOKENS, Runner, RunnerType},
    source::{ModelFiles, SourceError},
    weights::{Weights, WeightsError, WeightsSize},
    weights_cache::WeightsCache,
};

/// A model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file cannot be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The configuration is not one we run.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It cannot be run in the way asked for.
    #[error(transparent)]
    Pooling(#[from] PoolingError),
    /// The tensors are not as the configuration says.
    #[error(transparent)]
    Weights(Box<WeightsError>),
    /// The memory does not hold what the flags ask for.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Only decoders are made up.
    #[error(
        "--load-format=dummy makes up the weights of decoders; {0} is an encoder: leave the flag out"
    )]
    DummyEncoder(&'static str),
    /// The processors have no arithmetic for it.
    #[error(
        "--dtype=float16 is for GPUs: on processors take bfloat16, as wide and quicker, or float32"
    )]
    HalfOnCpu,
    /// It is done on the processors only.
    #[cfg(feature = "cuda")]
    #[error("{0} cannot be run on a GPU yet: run the engine with --device=cpu")]
    NotOnGpu(String),
    /// The GPU refused.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Gpu(Box<super::cuda::GpuError>),
    /// The KV cache cannot be made.
    #[error("the KV cache cannot be made: {0}")]
    Cache(candle_core::Error),
}

#[cfg(feature = "cuda")]
impl From<super::cuda::GpuError> for ModelError {
    fn from(error: super::cuda::GpuError) -> Self {
        Self::Gpu(Box::new(error))
    }
}

impl From<WeightsError> for ModelError {
    fn from(error: WeightsError) -> Self {
        Self::Weights(Box::new(error))
    }
}

/// A model, ready to run.
pub struct LoadedModel {
    /// Runs it.
    pub runner: Box<dyn Runner>,
    /// Tokens of one sequence.
    pub max_model_len: usize,
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Tokens with which it ends an answer.
    pub eos_token_ids: Vec<u32>,
    /// Blocks of the KV cache.
    pub kv_blocks: usize,
    /// Type of weights, activations and cache.
    pub dtype: &'static str,
    /// What the runner is for.
    pub runner_type: RunnerType,
    /// How it makes embeddings, if it is run for that.
    pub embeddings: Option<Embeddings>,
}

/// The embeddings that a model makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embeddings {
    /// Numbers of a vector.
    pub dimensions: usize,
    /// Which hidden states make it, for people.
    pub pooling: String,
    /// It is made one long unless a request asks otherwise.
    pub normalize: bool,
    /// Texts are written in small letters first.
    pub lowercase: bool,
    /// It may be cut to these lengths; to any, where there are none. `None`: it may not.
    pub matryoshka: Option<Vec<usize>>,
}

/// Sets the compute threads that the flags ask for. [`load`] does it; who begins other work before calls this first.
pub fn use_threads(flags: &EngineFlags) {
    set_threads(flags.threads.map(|threads| threads.as_usize()));
}

/// Loads a model on a device, as `flags` ask.
///
/// # Errors
/// [`ModelError`], naming file, tensor or setting.
pub fn load(
    files: &ModelFiles,
    device: Device,
    flags: &EngineFlags,
    progress: &LoadProgress,
) -> Result<LoadedModel, ModelError> {
    use_threads(flags);
    let opened = Opened::new(files, flags, progress, !matches!(device, Device::Cpu))?;
    let unknown = opened.config.unknown_keys();
    if !unknown.is_empty() {
        let keys = unknown.join(", ");
        tracing::warn!("config.json: keys that this engine does not know have no effect: {keys}");
    }
    match device {
        Device::Cpu => load_on_cpu(files, opened, flags, progress),
        #[cfg(feature = "cuda")]
        Device::Cuda(gpu) => load_on_gpu(*gpu, &opened, flags, progress),
    }
}

fn load_on_cpu(
    files: &ModelFiles,
    opened: Opened<'_>,
    flags: &EngineFlags,
    progress: &LoadProgress,
) -> Result<LoadedModel, ModelError> {
    let plan = opened.plan(flags)?;
    log_plan(&plan);
    let loading_bytes = opened.size.loading_bytes() + plan.rope_bytes;
    progress
        .memory_bytes
        .store(loading_bytes as u64, Ordering::Relaxed);
    let loaded = opened.loaded(&plan);
    let Opened {
        config,
        pooling,
        dtype,
        mut weights,
        ..
    } = opened;
    let cache = match &flags.weights_cache_dir {
        Some(folder) => weights_cache(folder, files, &mut weights, pooling.is_some())?,
        None => None,
    };
    let runner: Box<dyn Runner> = match (config, pooling) {
        (ModelConfig::Encoder(config), pooling) => {
            let encoder = Encoder::load(config.clone(), &weights)?;
            // Chosen for every encoder: it can be run for nothing else.
            let kind = pooling.map_or(PoolingType::Cls, |pooling| pooling.kind);
            let runner = EncoderRunner::new(&config, encoder, kind, dtype, plan.kv_blocks);
            Box::new(runner.map_err(ModelError::Cache)?)
        }
        (ModelConfig::Decoder(config), pooling) => {
            let asked = flags.max_model_len.map(|len| len.as_usize());
            let served = asked.unwrap_or(config.context);
            let (positions, pools) = (plan.max_model_len, pooling.is_some());
            let decoder = Decoder::load(*config.clone(), &weights, positions, served, pools)?;
            let runner = CpuRunner::new(&config, decoder, dtype, plan.kv_blocks);
            Box::new(runner.map_err(ModelError::Cache)?)
        }
    };
    if let Some(summary) = weights.quantized() {
        tracing::info!("--quantization: {summary}");
    }
    if let Some(cache) = cache {
        cache.keep_later(weights.into_packed());
    }
    Ok(loaded(runner))
}

#[cfg(feature = "cuda")]
fn load_on_gpu(
    gpu: candela_cuda::Gpu,
    opened: &Opened<'_>,
    flags: &EngineFlags,
    progress: &LoadProgress,
) -> Result<LoadedModel, ModelError> {
    use super::cuda;
    cuda::check(opened)?;
    let plan = cuda::plan(&gpu, opened, flags)?;
    log_plan(&plan);
    // Of the host's memory it takes what is converted on the way.
    let converted = opened.size.largest * size_of::<f32>();
    progress
        .memory_bytes
        .store(converted as u64, Ordering::Relaxed);
    if flags.weights_cache_dir.is_some() {
        tracing::info!(
            "--weights-cache-dir: a GPU takes weights as the files have them; nothing is kept"
        );
    }
    let runner = cuda::load(gpu, opened, &plan, flags)?;
    if let Some(summary) = opened.weights.quantized() {
        tracing::info!("--quantization: {summary}");
    }
    if let Some(summary) = opened.weights.unpacked() {
        let dtype = dtype_name(opened.dtype);
        tracing::info!("tensors that a GPU holds in {dtype} and not in blocks: {summary}");
    }
    Ok(opened.loaded(&plan)(runner))
}

/// Takes weights that an earlier start kept in `folder`; where there are none, says where these are to be kept.
fn weights_cache(
    folder: &Path,
    files: &ModelFiles,
    weights: &mut Weights<'_>,
    pools: bool,
) -> Result<Option<WeightsCache>, ModelError> {
    let Some(key) = weights.key(&files.read("config.json")?, pools) else {
        tracing::info!(
            "--weights-cache-dir: nothing is kept of a GGUF file, nor of weights that are quantized at each start"
        );
        return Ok(None);
    };
    let cache = WeightsCache::new(folder.to_owned(), key);
    let Some(cached) = cache.find() else {
        return Ok(Some(cache));
    };
    tracing::info!(bytes = %Bytes(cached.bytes()), "--weights-cache-dir: the weights are as they were kept");
    weights.use_cached(cached);
    Ok(None)
}

/// Tokens of a model's vocabulary, from its configuration alone.
///
/// # Errors
/// [`ModelError`], as for [`load`].
pub fn vocab_size(files: &ModelFiles) -> Result<usize, ModelError> {
    Ok(ModelConfig::parse(&files.read("config.json")?, None)?.vocab())
}

/// A model whose files are mapped and whose configuration is read.
pub(super) struct Opened<'a> {
    pub(super) config: ModelConfig,
    /// How it makes embeddings, if it is run for that.
    pub(super) pooling: Option<Pooling>,
    pub(super) dtype: DType,
    pub(super) weights: Weights<'a>,
    pub(super) size: WeightsSize,
}

impl<'a> Opened<'a> {
    pub(super) fn new(
        files: &ModelFiles,
        flags: &EngineFlags,
        progress: &'a LoadProgress,
        on_gpu: bool,
    ) -> Result<Self, ModelError> {
        let generation = files.read_optional("generation_config.json")?;
        let config = ModelConfig::parse(&files.read("config.json")?, generation.as_deref())?;
        let pooling = Pooling::choose(files, &config, flags.runner)?;
        let dtype = choose_dtype(&config, files, flags, on_gpu)?;
        let weights = match (flags.load_format, &config) {
            (LoadFormat::Auto, _) => Weights::open(files, dtype, flags.quantization, progress)?,
            (LoadFormat::Dummy, ModelConfig::Decoder(config)) => {
                tracing::warn!(
                    "--load-format=dummy: the weights are random, and answers mean nothing"
                );
                Weights::dummy(config, dtype, flags.quantization, progress)?
            }
            (LoadFormat::Dummy, ModelConfig::Encoder(config)) => {
                return Err(ModelError::DummyEncoder(config.architecture));
            }
        };
        weights.check_types()?;
        let weights = if on_gpu { weights.for_gpu() } else { weights };
        let size = weights.size();
        Ok(Self {
            config,
            pooling,
            dtype,
            weights,
            size,
        })
    }

    /// Longest sequence it can be run for.
    pub(super) fn context(&self) -> usize {
        let limit = self.pooling.as_ref().and_then(|p| p.max_seq_length);
        let context = self.config.context();
        limit.map_or(context, |limit| limit.min(context))
    }

    /// What it takes of memory with these flags on this machine.
    pub(super) fn plan(&self, flags: &EngineFlags) -> Result<MemoryPlan, MemoryError> {
        let (context, dtype) = (self.context(), self.dtype);
        let needs = match &self.config {
            ModelConfig::Decoder(config) => Needs::of_decoder(config, context, dtype, flags),
            ModelConfig::Encoder(config) => Needs::of_encoder(config, context, dtype, flags),
        };
        MemoryPlan::new(&needs, self.size.bytes, flags, free_bytes())
    }

    /// What it is with its runner.
    fn loaded(&self, plan: &MemoryPlan) -> impl FnOnce(Box<dyn Runner>) -> LoadedModel + use<> {
        let MemoryPlan {
            max_model_len,
            kv_blocks,
            ..
        } = *plan;
        let (vocab_size, dtype) = (self.config.vocab(), dtype_name(self.dtype));
        let eos_token_ids = self.config.eos_token_ids().to_vec();
        let (embeddings, runner_type) = (self.embeddings(), self.runner_type());
        move |runner| LoadedModel {
            runner,
            max_model_len,
            vocab_size,
            eos_token_ids,
            kv_blocks,
            dtype,
            runner_type,
            embeddings,
        }
    }

    pub(super) fn runner_type(&self) -> RunnerType {
        match self.pooling {
            None => RunnerType::Generate,
            Some(_) => RunnerType::Pooling {
                whole_prompts: matches!(self.config, ModelConfig::Encoder(_)),
            },
        }
    }

    /// The embeddings it makes, if it is run for that.
    pub(super) fn embeddings(&self) -> Option<Embeddings> {
        self.pooling.as_ref().map(|pooling| Embeddings {
            dimensions: self.config.hidden(),
            pooling: pooling.kind.to_string(),
            normalize: pooling.normalize,
            lowercase: pooling.lowercase,
            matryoshka: pooling.matryoshka.clone(),
        })
    }
}

pub(super) fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::BF16 => "bfloat16",
        DType::F16 => "float16",
        _ => "float32",
    }
}

fn log_plan(plan: &MemoryPlan) {
    tracing::info!(
        weights = %Bytes(plan.weights_bytes),
        activations_at_most = %Bytes(plan.activation_bytes),
        rope = %Bytes(plan.rope_bytes),
        kv_cache = %Bytes(plan.cache_bytes()),
        kv_blocks = plan.kv_blocks,
        kv_block_tokens = BLOCK_TOKENS,
        kv_block = %Bytes(plan.kv_block_bytes),
        max_model_len = plan.max_model_len,
        limited_by = plan.limited_by.as_str(),
        "memory"
    );
}

/// The type asked for; with `auto` the type the model was saved in. The processors take f16 as f32: its range is narrower than bf16's
/// precision is coarse. A GGUF file with matrices in blocks is bf16 on a GPU, which multiplies with activations as they are, and f32 on
/// the processors (see `gguf/config.rs`).
fn choose_dtype(
    config: &ModelConfig,
    files: &ModelFiles,
    flags: &EngineFlags,
    on_gpu: bool,
) -> Result<DType, ModelError> {
    if let (Dtype::Auto, true, Some(model)) = (flags.dtype, on_gpu, files.gguf()) {
        return Ok(model.matrices_dtype().unwrap_or(DType::BF16));
    }
    let named = match flags.dtype {
        Dtype::Bfloat16 => return Ok(DType::BF16),
        Dtype::Float16 if on_gpu => return Ok(DType::F16),
        Dtype::Float16 => return Err(ModelError::HalfOnCpu),
        Dtype::Float32 => return Ok(DType::F32),
        Dtype::Auto => config.saved_dtype(),
    };
    let saved = match named {
        Some("bfloat16") => Some(DType::BF16),
        Some("float16") => Some(DType::F16),
        Some(_) => None,
        None if flags.load_format == LoadFormat::Dummy => None,
        None => Weights::saved_dtype(files)?,
    };
    Ok(match saved {
        Some(DType::BF16) => DType::BF16,
        Some(DType::F16) if on_gpu => DType::F16,
        _ => DType::F32,
    })
}
