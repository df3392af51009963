//! How many KV blocks there are, and how long a sequence may be: arithmetic, and what the system
//! says is free.

use std::fs;

use candela_flags::EngineFlags;
use candle_core::DType;

use super::{
    config::DecoderConfig,
    runner::{BLOCK_TOKENS, blocks_for},
};

/// Settings that the memory cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// One sequence of the asked length does not fit.
    #[error(
        "--max-model-len {asked} needs {needed} blocks of KV cache ({needed_bytes} bytes), there is \
         memory for {blocks}: at most {fits} tokens fit; lower --max-model-len, or raise \
         --kv-cache-memory-bytes"
    )]
    ContextTooLong {
        /// Tokens asked for.
        asked: usize,
        /// Blocks they need.
        needed: usize,
        /// Bytes they need.
        needed_bytes: usize,
        /// Blocks there are.
        blocks: usize,
        /// Tokens that fit.
        fits: usize,
    },
    /// Longer than the model was made for.
    #[error(
        "--max-model-len {asked} is more than the model was made for: its config.json says \
         max_position_embeddings = {context}"
    )]
    BeyondModel {
        /// Tokens asked for.
        asked: usize,
        /// The model's own limit.
        context: usize,
    },
    /// Not even two blocks fit.
    #[error("there is no memory for a KV cache: {blocks} blocks of {block_bytes} bytes fit")]
    NoCache {
        /// Blocks there are.
        blocks: usize,
        /// Bytes of a block.
        block_bytes: usize,
    },
}

/// The KV cache that the flags and the memory give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KvPlan {
    pub(super) blocks: usize,
    pub(super) block_bytes: usize,
    pub(super) max_model_len: usize,
}

impl KvPlan {
    /// From the flags, and at most half of the `free` bytes where they leave it open.
    pub(super) fn new(
        config: &DecoderConfig,
        dtype: DType,
        flags: &EngineFlags,
        free: Option<usize>,
    ) -> Result<Self, MemoryError> {
        let context = config.context;
        let asked = flags.max_model_len.map(|len| len.as_usize());
        if let Some(asked) = asked.filter(|&asked| asked > context) {
            return Err(MemoryError::BeyondModel { asked, context });
        }
        let wanted = asked.unwrap_or(context);
        let block_bytes = 2
            * config.layers.len()
            * BLOCK_TOKENS
            * config.kv_heads
            * config.head_dim
            * dtype.size_in_bytes();
        let blocks = match (flags.num_gpu_blocks_override, flags.kv_cache_memory_bytes) {
            (Some(blocks), _) => blocks.as_usize(),
            (None, Some(bytes)) => bytes.as_usize() / block_bytes,
            (None, None) => {
                let most = flags
                    .max_num_seqs
                    .as_usize()
                    .saturating_mul(blocks_for(wanted));
                free.map_or(most, |free| most.min(free / 2 / block_bytes))
            }
        };
        if blocks < 2 {
            return Err(MemoryError::NoCache {
                blocks,
                block_bytes,
            });
        }
        let fits = blocks * BLOCK_TOKENS;
        if let Some(asked) = asked.filter(|&asked| asked > fits) {
            let needed = blocks_for(asked);
            let needed_bytes = needed * block_bytes;
            return Err(MemoryError::ContextTooLong {
                asked,
                needed,
                needed_bytes,
                blocks,
                fits,
            });
        }
        Ok(Self {
            blocks,
            block_bytes,
            max_model_len: wanted.min(fits),
        })
    }
}

/// Bytes that this process may still take: what the system has, or its cgroup leaves. `None` where
/// neither can be read.
pub(super) fn free_bytes() -> Option<usize> {
    let system = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim()
            .strip_suffix(" kB")?
            .trim()
            .parse::<usize>()
            .ok()
            .map(|kib| kib * 1024)
    });
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<usize>().ok();
    let left = |limit: &str, used: &str| Some(number(limit)?.saturating_sub(number(used)?));
    let cgroup = left("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current").or_else(|| {
        left(
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        )
    });
    [system, cgroup].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use candela_flags::{ContextLength, KvBlocks};

    use super::*;

    fn config() -> DecoderConfig {
        let json = br#"{"architectures": ["Qwen3ForCausalLM"], "hidden_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 16, "intermediate_size": 128, "vocab_size": 100, "rms_norm_eps": 1e-6,
            "max_position_embeddings": 2048}"#;
        DecoderConfig::parse(json, None).unwrap()
    }

    fn plan(change: impl FnOnce(&mut EngineFlags), free: usize) -> Result<KvPlan, MemoryError> {
        let mut flags = EngineFlags::for_model("m");
        change(&mut flags);
        KvPlan::new(&config(), DType::BF16, &flags, Some(free))
    }

    #[test]
    fn a_block_holds_keys_and_values_of_all_layers() {
        let plan = plan(|_| {}, usize::MAX).unwrap();
        assert_eq!(plan.block_bytes, 2 * 2 * 32 * 2 * 16 * 2);
        assert_eq!((plan.blocks, plan.max_model_len), (64 * 64, 2048));
    }

    #[test]
    fn half_of_the_free_memory_bounds_the_cache_and_then_the_context() {
        let plan = plan(|_| {}, 8192 * 2 * 8).unwrap();
        assert_eq!((plan.blocks, plan.max_model_len), (8, 256));
    }

    #[test]
    fn a_context_that_does_not_fit_is_refused_with_the_number_that_does() {
        let error = plan(
            |flags| {
                flags.num_gpu_blocks_override = KvBlocks::new(8).ok();
                flags.max_model_len = ContextLength::new(300).ok();
            },
            usize::MAX,
        );
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("at most 256 tokens fit")
        );
        let error = plan(
            |flags| flags.max_model_len = ContextLength::new(4096).ok(),
            usize::MAX,
        );
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("max_position_embeddings = 2048")
        );
    }
}
