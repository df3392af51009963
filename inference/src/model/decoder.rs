//! The decoder: embedding, layers of attention and MLP, norm, LM head. One forward pass for every
//! family; `DecoderConfig` holds the switches, `layer.rs` the weights of a layer.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use super::{
    config::{DecoderConfig, EmbeddingScale, LayerConfig, QkNorm},
    layer::{Layer, Mlp, NormTensor},
    ops::{
        AddScaled, CacheWrite, Embedding, GatedMul, Linear, LogitsScale, PagedAttention, RmsNorm,
        Rotary, Scale,
    },
    runner::Batch,
    weights::{Weights, WeightsError},
};

/// Weights of the whole model.
pub(super) struct Decoder {
    config: DecoderConfig,
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    /// None: the model is run for its hidden states.
    lm_head: Option<Linear>,
    /// One for each of the configuration's kinds, `[positions, dim]`: cosines, then sines.
    rope_tables: Vec<Arc<Vec<f32>>>,
}

/// Keys and values of one layer, `[blocks, 32, KV heads, head_dim]` each.
pub(super) struct LayerCache {
    pub(super) keys: Tensor,
    pub(super) values: Tensor,
}

impl Decoder {
    /// Takes the weights that `config` asks for. Sequences have up to `positions` tokens; what depends
    /// on the length that was asked for goes by `served`. One that `pools` needs no LM head.
    pub(super) fn load(
        config: DecoderConfig,
        weights: &Weights<'_>,
        positions: usize,
        served: usize,
        pools: bool,
    ) -> std::result::Result<Self, WeightsError> {
        let (hidden, vocab) = (config.hidden, config.vocab);
        let embedding = weights.embedding("model.embed_tokens.weight", vocab, hidden)?;
        let layers = (0..config.layers.len())
            .map(|index| Layer::load(&config, weights, index))
            .collect::<std::result::Result<_, _>>()?;
        let norm = NormTensor::new("model.norm.weight", hidden).load(&config, weights)?;
        let lm_head = if pools {
            None
        } else if config.tied && !weights.has("lm_head.weight") {
            Some(embedding.as_linear())
        } else {
            Some(weights.linear(&["lm_head.weight".to_owned()], &[vocab], hidden, None)?)
        };
        let rope_tables = config
            .ropes
            .iter()
            .map(|rope| Arc::new(rope.table(positions, served)))
            .collect();
        Ok(Self {
            config,
            embedding,
            layers,
            norm,
            lm_head,
            rope_tables,
        })
    }

    /// Runs a batch: `[T]` token ids → hidden states of `batch.logits_idx` behind the last norm,
    /// `[R, hidden]`. Keys and values of its tokens are written to `caches`, one a layer.
    pub(super) fn hidden_states(
        &self,
        batch: &Batch,
        caches: &[LayerCache],
    ) -> Result<Option<Tensor>> {
        let mut x = self.embed(&batch.input_ids)?;
        for (index, cache) in caches.iter().enumerate() {
            x = self.layer(index, &x, batch, cache)?;
        }
        if batch.logits_idx.is_empty() {
            return Ok(None);
        }
        let rows = Tensor::new(batch.logits_idx.as_slice(), x.device())?;
        self.norm.forward(&x.index_select(&rows, 0)?).map(Some)
    }

    /// The same, → logits, `[R, V]` f32.
    pub(super) fn forward(&self, batch: &Batch, caches: &[LayerCache]) -> Result<Option<Tensor>> {
        let Some(x) = self.hidden_states(batch, caches)? else {
            return Ok(None);
        };
        let Some(lm_head) = &self.lm_head else {
            candle_core::bail!("the model was loaded without an LM head");
        };
        let logits = lm_head.forward_wide(&x)?;
        let scale = LogitsScale {
            divisor: self.config.logits_divisor,
            softcap: self.config.final_softcap,
        };
        if scale.is_neutral() {
            Ok(Some(logits))
        } else {
            logits.apply_op1_no_bwd(&scale).map(Some)
        }
    }

    fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        let x = self.embedding.rows(ids)?;
        let scale = match self.config.embedding_scale {
            EmbeddingScale::By(scale) => scale,
            EmbeddingScale::RootHidden => {
                let root = (self.config.hidden as f32).sqrt();
                if x.dtype() == DType::BF16 {
                    half::bf16::from_f32(root).to_f32()
                } else {
                    root
                }
            }
        };
        if scale == 1.0 {
            Ok(x)
        } else {
            x.apply_op1_no_bwd(&Scale(scale))
        }
    }

    fn layer(&self, index: usize, x: &Tensor, batch: &Batch, cache: &LayerCache) -> Result<Tensor> {
        let layer = &self.layers[index];
        let input = normed(layer.attention_norm.as_ref(), x)?;
        let attention = self.attention(index, &input, batch, cache)?;
        let x = self.join(x, &attention, layer.attention_out_norm.as_ref())?;
        let input = normed(layer.mlp_norm.as_ref(), &x)?;
        let out = match &layer.mlp {
            Mlp::Dense { gate_up, down } => {
                let gated = GatedMul(self.config.activation);
                down.forward(&gate_up.forward(&input)?.apply_op1_no_bwd(&gated)?)?
            }
            Mlp::Experts(experts) => experts.forward(&input)?,
        };
        self.join(&x, &out, layer.mlp_out_norm.as_ref())
    }

    /// The residual sum, with what comes out of attention or MLP normed and scaled.
    fn join(&self, x: &Tensor, out: &Tensor, norm: Option<&RmsNorm>) -> Result<Tensor> {
        let out = normed(norm, out)?;
        x.apply_op2_no_bwd(&out, &AddScaled(self.config.residual_scale))
    }

    fn attention(
        &self,
        index: usize,
        x: &Tensor,
        batch: &Batch,
        cache: &LayerCache,
    ) -> Result<Tensor> {
        let DecoderConfig {
            heads,
            kv_heads,
            head_dim,
            attention_scale,
            attention_softcap,
            ..
        } = self.config;
        let (layer, tokens) = (&self.layers[index], batch.input_ids.len());
        let qkv = layer.qkv.forward(x)?;
        let part = |from: usize, heads: usize, norm: Option<&RmsNorm>| {
            let part = qkv
                .narrow(1, from * head_dim, heads * head_dim)?
                .contiguous()?;
            let shape = (tokens, heads, head_dim);
            match norm {
                Some(norm) if self.config.qk_norm == QkNorm::FullWidth => {
                    norm.forward(&part)?.reshape(shape)
                }
                norm => normed(norm, &part.reshape(shape)?),
            }
        };
        let (q_norm, k_norm) = layer.qk_norm.as_ref().map(|(q, k)| (q, k)).unzip();
        let mut q = part(0, heads, q_norm)?;
        let mut k = part(heads, kv_heads, k_norm)?;
        let v = part(heads + kv_heads, kv_heads, None)?;
        let LayerConfig { window, rope, .. } = self.config.layers[index];
        if let Some(rope) = rope {
            let rotary = Rotary {
                table: Arc::clone(&self.rope_tables[rope]),
                dim: self.config.ropes[rope].dim,
                positions: &batch.positions,
            };
            (q, k) = (q.apply_op1_no_bwd(&rotary)?, k.apply_op1_no_bwd(&rotary)?);
        }
        let write = CacheWrite {
            slot_mapping: &batch.slot_mapping,
        };
        cache.keys.inplace_op2(&k, &write)?;
        cache.values.inplace_op2(&v, &write)?;
        let attention = PagedAttention {
            batch,
            causal: true,
            scale: attention_scale,
            softcap: attention_softcap,
            window,
        };
        let attended = q.apply_op3_no_bwd(&cache.keys, &cache.values, &attention)?;
        layer
            .out
            .forward(&attended.reshape((tokens, heads * head_dim))?)
    }
}

/// Through the norm, if there is one.
fn normed(norm: Option<&RmsNorm>, x: &Tensor) -> Result<Tensor> {
    norm.map_or_else(|| Ok(x.clone()), |norm| norm.forward(x))
}
