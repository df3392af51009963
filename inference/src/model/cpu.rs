//! The runner on the CPU: the decoder with its KV cache in memory.

use candle_core::{DType, Device, Result, Tensor};
use half::{bf16, vec::HalfBitsVecExt};

use super::{
    config::DecoderConfig,
    decoder::{Decoder, LayerCache},
    runner::{BLOCK_TOKENS, Batch, Runner, RunnerError},
};
use crate::sampling::Logits;

/// A decoder and its cache.
pub(super) struct CpuRunner {
    decoder: Decoder,
    caches: Vec<LayerCache>,
    vocab: usize,
}

impl CpuRunner {
    pub(super) fn new(
        config: &DecoderConfig,
        decoder: Decoder,
        dtype: DType,
        kv_blocks: usize,
    ) -> Result<Self> {
        let shape = [kv_blocks, BLOCK_TOKENS, config.kv_heads, config.head_dim];
        let cache = |_| {
            Ok(LayerCache {
                keys: untouched(&shape, dtype)?,
                values: untouched(&shape, dtype)?,
            })
        };
        let caches = (0..config.layers.len()).map(cache).collect::<Result<_>>()?;
        Ok(Self {
            decoder,
            caches,
            vocab: config.vocab,
        })
    }
}

/// A tensor of zeros whose memory the system hands out only as it is written to.
fn untouched(shape: &[usize], dtype: DType) -> Result<Tensor> {
    let count = shape.iter().product();
    match dtype {
        DType::BF16 => Tensor::from_vec(
            vec![0u16; count].reinterpret_into::<bf16>(),
            shape,
            &Device::Cpu,
        ),
        _ => Tensor::from_vec(vec![0f32; count], shape, &Device::Cpu),
    }
}

impl Runner for CpuRunner {
    fn forward(
        &mut self,
        batch: &Batch,
        logits: &mut Logits,
    ) -> std::result::Result<(), RunnerError> {
        let failed = |error: candle_core::Error| RunnerError(error.to_string());
        logits.vocab = self.vocab;
        logits.data.clear();
        let Some(rows) = self.decoder.forward(batch, &self.caches).map_err(failed)? else {
            return Ok(());
        };
        logits.data = rows
            .flatten_all()
            .and_then(|rows| rows.to_vec1())
            .map_err(failed)?;
        Ok(())
    }
}
