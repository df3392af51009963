//! The runners on the CPU: a model with its KV cache in memory.

use candle_core::{DType, Result, Tensor};

use super::{
    config::{DecoderConfig, EncoderConfig},
    decoder::Decoder,
    encoder::Encoder,
    ops::KvCache,
    pooling::PoolingType,
    runner::{Batch, Pooled, Runner, RunnerError},
};
use crate::sampling::Logits;

/// A decoder and its cache.
pub(super) struct CpuRunner {
    decoder: Decoder,
    caches: Vec<KvCache>,
    vocab: usize,
    hidden: usize,
}

impl CpuRunner {
    pub(super) fn new(
        config: &DecoderConfig,
        decoder: Decoder,
        dtype: DType,
        kv_blocks: usize,
    ) -> Result<Self> {
        let heads = (config.kv_heads, config.head_dim);
        let cache = |_| KvCache::new(kv_blocks, heads, dtype);
        let caches = (0..config.layers.len()).map(cache).collect::<Result<_>>()?;
        Ok(Self {
            decoder,
            caches,
            vocab: config.vocab,
            hidden: config.hidden,
        })
    }
}

impl Runner for CpuRunner {
    fn forward(
        &mut self,
        batch: &Batch,
        logits: &mut Logits,
    ) -> std::result::Result<(), RunnerError> {
        logits.vocab = self.vocab;
        logits.data.clear();
        let rows = self.decoder.forward(batch, &self.caches).map_err(failed)?;
        if let Some(rows) = rows {
            logits.data = numbers(&rows).map_err(failed)?;
        }
        Ok(())
    }

    /// The last token's hidden state.
    fn pool(&mut self, batch: &Batch, pooled: &mut Pooled) -> std::result::Result<(), RunnerError> {
        pooled.width = self.hidden;
        pooled.data.clear();
        let rows = self
            .decoder
            .hidden_states(batch, &self.caches)
            .map_err(failed)?;
        if let Some(rows) = rows {
            pooled.data = numbers(&rows).map_err(failed)?;
        }
        Ok(())
    }
}

fn failed(error: candle_core::Error) -> RunnerError {
    RunnerError(error.to_string())
}

/// All numbers of a tensor, in f32.
fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}

/// An encoder and blocks for one of its layers.
pub(super) struct EncoderRunner {
    encoder: Encoder,
    cache: KvCache,
    pooling: PoolingType,
    hidden: usize,
}

impl EncoderRunner {
    pub(super) fn new(
        config: &EncoderConfig,
        encoder: Encoder,
        pooling: PoolingType,
        dtype: DType,
        kv_blocks: usize,
    ) -> Result<Self> {
        let heads = (config.heads, config.head_dim());
        Ok(Self {
            encoder,
            cache: KvCache::new(kv_blocks, heads, dtype)?,
            pooling,
            hidden: config.hidden,
        })
    }
}

impl Runner for EncoderRunner {
    fn forward(&mut self, _: &Batch, _: &mut Logits) -> std::result::Result<(), RunnerError> {
        Err(RunnerError("an encoder generates nothing".to_owned()))
    }

    /// Every sequence of the batch is there as a whole.
    fn pool(&mut self, batch: &Batch, pooled: &mut Pooled) -> std::result::Result<(), RunnerError> {
        let states = self.encoder.forward(batch, &self.cache).map_err(failed)?;
        let states = numbers(&states).map_err(failed)?;
        let width = self.hidden;
        let texts = batch.cu_seqlens_q.windows(2);
        let pool = |span: &[u32]| {
            let text = span[0] as usize * width..span[1] as usize * width;
            self.pooling.pool(&states[text], width)
        };
        pooled.width = width;
        pooled.data = texts.flat_map(pool).collect();
        Ok(())
    }
}
