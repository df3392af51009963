//! Loading a model: configuration, memory plan, weights, runner.

use candela_flags::{Dtype, EngineFlags};
use candle_core::DType;

use super::{
    bytes::Bytes,
    config::{ConfigError, DecoderConfig},
    cpu::CpuRunner,
    decoder::Decoder,
    free_memory::free_bytes,
    memory::{MemoryError, MemoryPlan},
    progress::LoadProgress,
    runner::BLOCK_TOKENS,
    runner::Runner,
    source::{ModelFiles, SourceError},
    weights::{Weights, WeightsError, WeightsSize},
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
    /// The tensors are not as the configuration says.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The memory does not hold what the flags ask for.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The KV cache cannot be made.
    #[error("the KV cache cannot be made: {0}")]
    Cache(candle_core::Error),
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
}

/// Loads a model, as `flags` ask.
///
/// # Errors
/// [`ModelError`], naming file, tensor or setting.
pub fn load(
    files: &ModelFiles,
    flags: &EngineFlags,
    progress: &LoadProgress,
) -> Result<LoadedModel, ModelError> {
    let Opened {
        config,
        dtype,
        weights,
        size,
    } = Opened::new(files, flags, progress)?;
    if !config.unknown_keys.is_empty() {
        let keys = config.unknown_keys.join(", ");
        tracing::warn!("config.json: keys that this engine does not know have no effect: {keys}");
    }
    let plan = MemoryPlan::new(&config, size.bytes, dtype, flags, free_bytes())?;
    log_plan(&plan);
    let asked = flags.max_model_len.map(|len| len.as_usize());
    let served = asked.unwrap_or(config.context);
    let decoder = Decoder::load(config.clone(), &weights, plan.max_model_len, served)?;
    if let Some(summary) = weights.quantized() {
        tracing::info!("--quantization: {summary}");
    }
    let runner =
        CpuRunner::new(&config, decoder, dtype, plan.kv_blocks).map_err(ModelError::Cache)?;
    Ok(LoadedModel {
        runner: Box::new(runner),
        max_model_len: plan.max_model_len,
        vocab_size: config.vocab,
        eos_token_ids: config.eos_token_ids,
        kv_blocks: plan.kv_blocks,
        dtype: dtype_name(dtype),
    })
}

/// Tokens of a model's vocabulary, from its configuration alone.
///
/// # Errors
/// [`ModelError`], as for [`load`].
pub fn vocab_size(files: &ModelFiles) -> Result<usize, ModelError> {
    Ok(DecoderConfig::parse(&files.read("config.json")?, None)?.vocab)
}

/// A model whose files are mapped and whose configuration is read.
pub(super) struct Opened<'a> {
    pub(super) config: DecoderConfig,
    pub(super) dtype: DType,
    pub(super) weights: Weights<'a>,
    pub(super) size: WeightsSize,
}

impl<'a> Opened<'a> {
    pub(super) fn new(
        files: &ModelFiles,
        flags: &EngineFlags,
        progress: &'a LoadProgress,
    ) -> Result<Self, ModelError> {
        let generation = files.read_optional("generation_config.json")?;
        let config = DecoderConfig::parse(&files.read("config.json")?, generation.as_deref())?;
        let dtype = choose_dtype(&config, files, flags.dtype)?;
        let weights = Weights::open(files, dtype, flags.quantization, progress)?;
        weights.check_types()?;
        let size = weights.size();
        Ok(Self {
            config,
            dtype,
            weights,
            size,
        })
    }
}

pub(super) fn dtype_name(dtype: DType) -> &'static str {
    if dtype == DType::BF16 {
        "bfloat16"
    } else {
        "float32"
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

/// The type asked for; with `auto` the type the model was saved in, f16 as f32 (its range is
/// narrower than bf16's precision is coarse).
fn choose_dtype(
    config: &DecoderConfig,
    files: &ModelFiles,
    asked: Dtype,
) -> Result<DType, WeightsError> {
    let saved = match asked {
        Dtype::Bfloat16 => return Ok(DType::BF16),
        Dtype::Float32 => return Ok(DType::F32),
        Dtype::Auto => config.saved_dtype.as_deref(),
    };
    let bfloat16 = match saved {
        Some(name) => name == "bfloat16",
        None => Weights::saved_dtype(files)? == Some(DType::BF16),
    };
    Ok(if bfloat16 { DType::BF16 } else { DType::F32 })
}
