//! Loading a decoder onto a GPU: what is refused, the memory plan, weights, buffers, cache.

use candela_cuda::Gpu;
use candela_flags::EngineFlags;
use candle_core::DType;

use super::{
    CudaRunner, Limits,
    buffers::{self, Buffers},
    draws::Draws,
    error::GpuError,
    kernels::{Kernels, Widths},
    memory::{Memory, Pinned},
    multiply::{Multiply, scratch_bytes},
    padded,
    pass::{Cache, Decoder},
    products::WORKSPACE_BYTES,
    weights::{Model, Upload},
};
use crate::model::{
    bytes::Bytes,
    config::{DecoderConfig, MlpConfig, ModelConfig},
    load::{ModelError, Opened},
    memory::{MemoryPlan, Needs},
    runner::{BLOCK_TOKENS, PROMPT_LOGITS_ROWS_MAX, Runner, blocks_for},
};

/// Numbers of a head that the kernels have room for.
const HEAD_DIM_MAX: usize = 256;
/// Experts of a token that a warp can choose.
const EXPERTS_PER_TOKEN_MAX: usize = 32;
/// What an expert's matrices must be multiples of.
const EXPERTS_STEP: usize = 8;

/// Refuses by name what this runner does not do.
pub(in crate::model) fn check(opened: &Opened<'_>) -> Result<(), ModelError> {
    let refuse = |what: String| Err(ModelError::NotOnGpu(what));
    let config = match &opened.config {
        ModelConfig::Decoder(config) => config,
        ModelConfig::Encoder(config) => {
            return refuse(format!("an encoder ({})", config.architecture));
        }
    };
    if config.head_dim > HEAD_DIM_MAX || config.head_dim % 2 != 0 {
        let head_dim = config.head_dim;
        return refuse(format!(
            "head_dim = {head_dim}, odd or beyond {HEAD_DIM_MAX},"
        ));
    }
    for layer in &config.layers {
        let MlpConfig::Experts(experts) = &layer.mlp else {
            continue;
        };
        if experts.per_token > EXPERTS_PER_TOKEN_MAX {
            return refuse(format!("{} experts of a token", experts.per_token));
        }
        let sizes = [config.hidden, experts.intermediate];
        let is_tiled = opened.dtype != DType::F32;
        if is_tiled && sizes.iter().any(|size| size % EXPERTS_STEP != 0) {
            let [hidden, inner] = sizes;
            return refuse(format!(
                "a mixture of experts of {hidden} by {inner} numbers, no multiples of {EXPERTS_STEP}, in 16 bits"
            ));
        }
    }
    Ok(())
}

/// What the GPU's memory is to hold.
pub(in crate::model) fn plan(
    gpu: &Gpu,
    opened: &Opened<'_>,
    flags: &EngineFlags,
) -> Result<MemoryPlan, ModelError> {
    let ModelConfig::Decoder(config) = &opened.config else {
        return Err(ModelError::NotOnGpu("an encoder".to_owned()));
    };
    let free = gpu.free_bytes().map_err(GpuError::from)?;
    let part = gpu.info.total_bytes as f64 * flags.gpu_memory_utilization.get();
    let context = opened.context();
    let longest = flags.max_model_len.map_or(context, |len| len.as_usize());
    let limits = limits(flags, longest.min(context));
    let step = buffers::bytes(config, opened.dtype, &limits)
        + WORKSPACE_BYTES
        + scratch_bytes(opened.size.in_blocks, opened.dtype);
    let block = config.layers.len() * layer_block_bytes(config, opened.dtype);
    let needs = Needs::of_decoder_on_gpu(config, context, block, step);
    let free = free.min(part as usize);
    Ok(MemoryPlan::new(
        &needs,
        opened.size.bytes,
        flags,
        Some(free),
    )?)
}

/// Fills the GPU's memory as planned.
pub(in crate::model) fn load(
    gpu: Gpu,
    opened: &Opened<'_>,
    plan: &MemoryPlan,
    flags: &EngineFlags,
) -> Result<Box<dyn Runner>, ModelError> {
    let ModelConfig::Decoder(config) = &opened.config else {
        return Err(ModelError::NotOnGpu("an encoder".to_owned()));
    };
    let (stream, dtype, pools) = (gpu.stream(), opened.dtype, opened.pooling.is_some());
    let upload = Upload {
        stream: &stream,
        config,
        weights: &opened.weights,
        dtype,
    };
    let asked = flags.max_model_len.map(|len| len.as_usize());
    let served = asked.unwrap_or(config.context);
    let model = Model::load(&upload, plan.max_model_len, served, pools)?;
    let limits = limits(flags, plan.max_model_len);
    let buffers = Buffers::new(&stream, config, dtype, &limits)?;
    let layer_bytes = plan.kv_blocks * layer_block_bytes(config, dtype);
    let cache = Cache {
        memory: Memory::new(&stream, plan.cache_bytes(), "the KV cache")?,
        blocks: plan.kv_blocks,
        layer_bytes,
    };
    let runner = CudaRunner {
        buckets: Default::default(),
        decoder: Decoder {
            model,
            kernels: Kernels::load(&gpu, dtype, widths(config))?,
            multiply: Multiply::new(&gpu, dtype, opened.size.in_blocks)?,
            parts: buffers.parts.clone(),
            cache,
            dtype,
        },
        draws: Draws::new(&limits, config.vocab, buffers.parts.draws)?,
        buffers,
        inputs: Pinned::new(limits.words(), "a step's inputs")?,
        begun: None,
        stream,
        limits,
        positions: plan.max_model_len,
    };
    if let Ok(free) = gpu.free_bytes() {
        tracing::info!(free = %Bytes(free), "memory of the GPU beside the engine's");
    }
    Ok(Box::new(runner))
}

/// Most that a step has, for sequences of up to `positions` tokens.
fn limits(flags: &EngineFlags, positions: usize) -> Limits {
    let sequences = flags.max_num_seqs.as_usize();
    let tokens = flags.max_num_batched_tokens.as_usize().max(sequences);
    let logits = sequences + PROMPT_LOGITS_ROWS_MAX;
    Limits {
        rows: padded(tokens).max(super::ROWS_STEP),
        sequences,
        logits_rows: logits.next_multiple_of(super::ROWS_STEP),
        table_width: blocks_for(positions),
    }
}

/// Bytes of a block of one layer's keys and values.
fn layer_block_bytes(config: &DecoderConfig, dtype: DType) -> usize {
    2 * config.kv_heads * BLOCK_TOKENS * config.head_dim * dtype.size_in_bytes()
}

fn widths(config: &DecoderConfig) -> Widths {
    let experts = config.layers.iter().map(|layer| match &layer.mlp {
        MlpConfig::Dense { .. } => 0,
        MlpConfig::Experts(experts) => experts.count,
    });
    Widths {
        normed: config.hidden.max(config.heads * config.head_dim),
        head_dim: config.head_dim,
        experts: experts.max().unwrap_or(0),
    }
}
