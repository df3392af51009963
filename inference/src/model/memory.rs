//! What a model needs of memory before any of it is taken: weights, activations, KV cache; and how
//! long a sequence may be in what is free.

use candela_flags::EngineFlags;
use candle_core::DType;

use super::{
    bytes::Bytes,
    config::{DecoderConfig, EncoderConfig, MlpConfig},
    ops::kv_block_numbers,
    runner::{BLOCK_TOKENS, PROMPT_LOGITS_ROWS_MAX, blocks_for},
};

/// Settings that the memory cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// One sequence of the asked length does not fit.
    #[error(
        "--max-model-len {asked} needs {needed} blocks of KV cache ({needed_bytes}), there is \
         memory for {blocks}: at most {fits} tokens fit; lower --max-model-len to {fits}, or give the KV \
         cache more memory"
    )]
    ContextTooLong {
        /// Tokens asked for.
        asked: usize,
        /// Blocks they need.
        needed: usize,
        /// Bytes they need.
        needed_bytes: Bytes,
        /// Blocks there are.
        blocks: usize,
        /// Tokens that fit.
        fits: usize,
    },
    /// Longer than the model was made for.
    #[error(
        "--max-model-len {asked} is more than the model was made for: {context} tokens, by \
         max_position_embeddings and the rope settings of its config.json, or max_seq_length of its \
         sentence_bert_config.json"
    )]
    BeyondModel {
        /// Tokens asked for.
        asked: usize,
        /// The model's own limit.
        context: usize,
    },
    /// The weights alone are too many.
    #[error(
        "the model needs {needed} (weights {weights}, activations {activations}) and {free} are \
         free: give the engine more memory, or take a smaller model, --quantization (of safetensors), or \
         fewer --max-num-batched-tokens"
    )]
    ModelTooLarge {
        /// Bytes without any KV cache.
        needed: Bytes,
        /// Of these, the weights.
        weights: Bytes,
        /// Of these, the activations.
        activations: Bytes,
        /// Bytes that are free.
        free: Bytes,
    },
    /// The cache asked for is larger than what the weights leave.
    #[error(
        "a KV cache of {asked} was asked for, the model leaves {left} of the free memory: ask for at \
         most {blocks} blocks ({tokens} tokens)"
    )]
    CacheTooLarge {
        /// Bytes asked for.
        asked: Bytes,
        /// Bytes that are left.
        left: Bytes,
        /// Blocks that they hold.
        blocks: usize,
        /// Tokens of these.
        tokens: usize,
    },
    /// Not even two blocks fit.
    #[error(
        "the KV cache needs at least two blocks of {block_bytes}, and {blocks} fit: give it more by \
         --kv-cache-memory-bytes, or the engine more memory"
    )]
    NoCache {
        /// Blocks there are.
        blocks: usize,
        /// Bytes of a block.
        block_bytes: Bytes,
    },
}

/// What bounds the length of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContextLimit {
    /// What it was made for.
    Model,
    /// `--max-model-len`.
    Flag,
    /// The KV cache holds no more.
    KvCache,
}

impl ContextLimit {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "the model",
            Self::Flag => "--max-model-len",
            Self::KvCache => "the memory of the KV cache",
        }
    }
}

/// What is taken of memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Weights, as they are held.
    pub weights_bytes: usize,
    /// Most that the values between the layers take during a step: an upper bound.
    pub activation_bytes: usize,
    /// Cosines and sines of every position.
    pub rope_bytes: usize,
    /// Blocks of the KV cache.
    pub kv_blocks: usize,
    /// Bytes of one of them.
    pub kv_block_bytes: usize,
    /// Tokens of one sequence.
    pub max_model_len: usize,
    /// What bounds them.
    pub limited_by: ContextLimit,
}

impl MemoryPlan {
    /// Bytes of KV cache that a token takes.
    pub const fn token_bytes(&self) -> usize {
        self.kv_block_bytes / BLOCK_TOKENS
    }

    /// Bytes of KV cache that a sequence of the greatest length takes.
    pub const fn sequence_bytes(&self) -> usize {
        blocks_for(self.max_model_len) * self.kv_block_bytes
    }

    /// Bytes of the whole cache.
    pub const fn cache_bytes(&self) -> usize {
        self.kv_blocks * self.kv_block_bytes
    }

    /// From what the model needs, the flags, and at most half of what the model leaves of the `free`
    /// bytes where they leave the cache's size open; on a GPU all of it.
    pub(super) fn new(
        needs: &Needs,
        weights_bytes: usize,
        flags: &EngineFlags,
        free: Option<usize>,
    ) -> Result<Self, MemoryError> {
        let context = needs.context;
        let asked = flags.max_model_len.map(|len| len.as_usize());
        if let Some(asked) = asked.filter(|&asked| asked > context) {
            return Err(MemoryError::BeyondModel { asked, context });
        }
        let wanted = asked.unwrap_or(context);
        let rope_bytes = |positions: usize| needs.rope_dims * positions * size_of::<f32>();
        let mut plan = Self {
            weights_bytes,
            activation_bytes: needs.activation_bytes,
            rope_bytes: rope_bytes(wanted),
            kv_blocks: 0,
            kv_block_bytes: needs.block_bytes,
            max_model_len: wanted,
            limited_by: if asked.is_some() {
                ContextLimit::Flag
            } else {
                ContextLimit::Model
            },
        };
        let left = free.map(|free| plan.left_of(free)).transpose()?;
        plan.kv_blocks = plan.blocks(flags, left, needs)?;
        let mut plan = plan.fit(asked)?;
        plan.rope_bytes = rope_bytes(plan.max_model_len);
        Ok(plan)
    }

    /// What the model leaves of the free bytes.
    fn left_of(&self, free: usize) -> Result<usize, MemoryError> {
        let needed = self.weights_bytes + self.activation_bytes + self.rope_bytes;
        free.checked_sub(needed).ok_or(MemoryError::ModelTooLarge {
            needed: Bytes(needed),
            weights: Bytes(self.weights_bytes),
            activations: Bytes(self.activation_bytes),
            free: Bytes(free),
        })
    }

    /// Blocks that the flags ask for, or that `left` bytes give.
    fn blocks(
        &self,
        flags: &EngineFlags,
        left: Option<usize>,
        needs: &Needs,
    ) -> Result<usize, MemoryError> {
        let fit = left.map_or(usize::MAX, |left| left / self.kv_block_bytes);
        let asked = match (flags.num_gpu_blocks_override, flags.kv_cache_memory_bytes) {
            (Some(blocks), _) => blocks.as_usize(),
            (None, Some(bytes)) => bytes.as_usize() / self.kv_block_bytes,
            (None, None) if needs.takes_all => return Ok(fit),
            (None, None) => {
                let sequences = flags.max_num_seqs.as_usize();
                // The last block of each sequence may be almost empty.
                let of_a_step = needs
                    .step_tokens
                    .map(|tokens| blocks_for(tokens) + sequences);
                return Ok(sequences
                    .saturating_mul(blocks_for(self.max_model_len))
                    .min(of_a_step.unwrap_or(usize::MAX))
                    .min(fit / 2));
            }
        };
        if asked > fit {
            return Err(MemoryError::CacheTooLarge {
                asked: Bytes(asked.saturating_mul(self.kv_block_bytes)),
                left: Bytes(left.unwrap_or(usize::MAX)),
                blocks: fit,
                tokens: fit.saturating_mul(BLOCK_TOKENS),
            });
        }
        Ok(asked)
    }

    /// Shortens the sequences to what the cache holds, unless their length was asked for.
    fn fit(mut self, asked: Option<usize>) -> Result<Self, MemoryError> {
        let blocks = self.kv_blocks;
        if blocks < 2 {
            let block_bytes = Bytes(self.kv_block_bytes);
            return Err(MemoryError::NoCache {
                blocks,
                block_bytes,
            });
        }
        let fits = blocks.saturating_mul(BLOCK_TOKENS);
        match asked.filter(|&asked| asked > fits) {
            Some(asked) => {
                let needed = blocks_for(asked);
                let needed_bytes = Bytes(needed * self.kv_block_bytes);
                return Err(MemoryError::ContextTooLong {
                    asked,
                    needed,
                    needed_bytes,
                    blocks,
                    fits,
                });
            }
            None if self.max_model_len > fits => {
                self.max_model_len = fits;
                self.limited_by = ContextLimit::KvCache;
            }
            None => {}
        }
        Ok(self)
    }
}

/// What a model takes of memory, by what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Needs {
    /// Longest sequence it can be run for.
    context: usize,
    /// Rotary dimensions of a position, over all kinds.
    rope_dims: usize,
    /// Bytes of a block of the KV cache.
    block_bytes: usize,
    activation_bytes: usize,
    /// The cache is empty after every step, and holds so many tokens at most; `None`: it fills.
    step_tokens: Option<usize>,
    /// Nobody else wants the memory: the cache takes all that is left, for prefixes that come again.
    takes_all: bool,
}

impl Needs {
    /// Of a decoder for sequences of up to `context` tokens.
    pub(super) fn of_decoder(
        config: &DecoderConfig,
        context: usize,
        dtype: DType,
        flags: &EngineFlags,
    ) -> Self {
        Self {
            context,
            rope_dims: config.ropes.iter().map(|rope| rope.dim).sum(),
            block_bytes: block_bytes(config, dtype),
            activation_bytes: activation_bytes(config, dtype, flags),
            step_tokens: None,
            takes_all: false,
        }
    }

    /// The same on a GPU, where a step's values, `activation_bytes`, and a block of the cache have sizes of their own.
    #[cfg(feature = "cuda")]
    pub(super) fn of_decoder_on_gpu(
        config: &DecoderConfig,
        context: usize,
        block_bytes: usize,
        activation_bytes: usize,
    ) -> Self {
        Self {
            context,
            rope_dims: config.ropes.iter().map(|rope| rope.dim).sum(),
            block_bytes,
            activation_bytes,
            step_tokens: None,
            takes_all: true,
        }
    }

    /// Of an encoder, whose blocks hold keys and values of one layer at a time.
    pub(super) fn of_encoder(
        config: &EncoderConfig,
        context: usize,
        dtype: DType,
        flags: &EngineFlags,
    ) -> Self {
        let (wide, narrow) = (size_of::<f32>(), dtype.size_in_bytes());
        let longest = flags.max_model_len.map_or(context, |len| len.as_usize());
        let tokens = flags.max_num_batched_tokens.as_usize().max(longest);
        let (hidden, inner) = (config.hidden, config.intermediate);
        let block = kv_block_numbers(config.heads, config.head_dim());
        let attention = 3 * hidden * (wide + 2 * narrow) + hidden * (2 * wide + narrow);
        let mlp = (hidden + inner) * wide + inner * (wide + 2 * narrow) + hidden * (wide + narrow);
        Self {
            context,
            rope_dims: 0,
            block_bytes: block * narrow,
            activation_bytes: tokens * (4 * hidden * narrow + attention.max(mlp)),
            step_tokens: Some(tokens),
            takes_all: false,
        }
    }
}

/// Bytes of a block: keys and values of 32 tokens in all layers.
fn block_bytes(config: &DecoderConfig, dtype: DType) -> usize {
    let of_a_layer = kv_block_numbers(config.kv_heads, config.head_dim);
    config.layers.len() * of_a_layer * dtype.size_in_bytes()
}

/// Most that the values of a step take: the residual stream, and beside it the attention, or the
/// widest MLP, or the logits. Products are held in f32 before they are rounded.
fn activation_bytes(config: &DecoderConfig, dtype: DType, flags: &EngineFlags) -> usize {
    let (wide, narrow) = (size_of::<f32>(), dtype.size_in_bytes());
    let tokens = flags
        .max_num_batched_tokens
        .as_usize()
        .min(flags.max_num_seqs.as_usize().saturating_mul(config.context));
    let hidden = config.hidden;
    let queries = config.heads * config.head_dim;
    let qkv = queries + 2 * config.kv_heads * config.head_dim;
    let attention = hidden * wide + qkv * (wide + 3 * narrow) + queries * (2 * wide + narrow);
    let mlp = |layer: &super::config::LayerConfig| match &layer.mlp {
        MlpConfig::Dense { intermediate } => (*intermediate, 0),
        MlpConfig::Experts(experts) => (experts.intermediate, hidden * wide),
    };
    let mlp_bytes = |(intermediate, sums): (usize, usize)| {
        (hidden + intermediate) * wide
            + 2 * intermediate * (wide + narrow)
            + intermediate * narrow
            + hidden * wide
            + sums
    };
    let widest = config
        .layers
        .iter()
        .map(|layer| mlp_bytes(mlp(layer)))
        .max()
        .unwrap_or(0);
    let step = tokens * (4 * hidden * narrow + attention.max(widest));
    let rows = flags.max_num_seqs.as_usize() + PROMPT_LOGITS_ROWS_MAX;
    step.max(tokens * hidden * narrow + rows * (hidden * wide + 3 * config.vocab * wide))
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
