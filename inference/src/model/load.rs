//! Loading a model: configuration, memory plan, weights, runner.

use candela_flags::{Dtype, EngineFlags};
use candle_core::DType;

use super::{
    config::{ConfigError, DecoderConfig},
    cpu::CpuRunner,
    decoder::Decoder,
    memory::{KvPlan, MemoryError, free_bytes},
    progress::LoadProgress,
    runner::Runner,
    source::{ModelFiles, SourceError},
    weights::{Weights, WeightsError},
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
    /// Bytes of one of them.
    pub kv_block_bytes: usize,
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
    let generation = files.read_optional("generation_config.json")?;
    let config = DecoderConfig::parse(&files.read("config.json")?, generation.as_deref())?;
    let dtype = choose_dtype(&config, files, flags.dtype)?;
    let weights = Weights::open(files, dtype, flags.quantization, progress)?;
    let plan = KvPlan::new(&config, dtype, flags, free_bytes())?;
    let decoder = Decoder::load(config.clone(), &weights, plan.max_model_len)?;
    if let Some(summary) = weights.quantized() {
        tracing::info!("--quantization: {summary}");
    }
    let runner = CpuRunner::new(&config, decoder, dtype, plan.blocks).map_err(ModelError::Cache)?;
    Ok(LoadedModel {
        runner: Box::new(runner),
        max_model_len: plan.max_model_len,
        vocab_size: config.vocab,
        eos_token_ids: config.eos_token_ids,
        kv_blocks: plan.blocks,
        kv_block_bytes: plan.block_bytes,
        dtype: if dtype == DType::BF16 {
            "bfloat16"
        } else {
            "float32"
        },
    })
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
