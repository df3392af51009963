//! The decoder: embedding, layers of attention and MLP, norm, LM head. One forward pass for every
//! family; `DecoderConfig` holds the switches.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::{
    config::DecoderConfig,
    ops::{CacheWrite, Embedding, Linear, PagedAttention, RmsNorm, Rotary, SiluMul},
    runner::Batch,
    weights::{Weights, WeightsError},
};

/// Weights of the whole model.
pub(super) struct Decoder {
    config: DecoderConfig,
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: Tensor,
    lm_head: Linear,
    /// `[context, head_dim]`: cosines, then sines.
    rope_table: Arc<Vec<f32>>,
}

struct Layer {
    input_norm: Tensor,
    /// Queries, keys and values, one below the other.
    qkv: Linear,
    /// Norms of query and key, `[head_dim]` each.
    qk_norm: Option<(Tensor, Tensor)>,
    out: Linear,
    post_attention_norm: Tensor,
    /// Gate, then up.
    gate_up: Linear,
    down: Linear,
}

/// Keys and values of one layer, `[blocks, 32, KV heads, head_dim]` each.
pub(super) struct LayerCache {
    pub(super) keys: Tensor,
    pub(super) values: Tensor,
}

impl Decoder {
    /// Takes the weights that `config` asks for; rotary tables reach `context` positions.
    pub(super) fn load(
        config: DecoderConfig,
        weights: &Weights<'_>,
        context: usize,
    ) -> std::result::Result<Self, WeightsError> {
        let DecoderConfig {
            hidden,
            vocab,
            head_dim,
            ..
        } = config;
        let embedding = weights.embedding("model.embed_tokens.weight", vocab, hidden)?;
        let layers = (0..config.layers)
            .map(|index| Layer::load(&config, weights, index))
            .collect::<std::result::Result<_, _>>()?;
        let norm = weights.get("model.norm.weight", &[hidden])?;
        let lm_head = if config.tied && !weights.has("lm_head.weight") {
            embedding.as_linear()
        } else {
            weights.linear(&["lm_head.weight".to_owned()], &[vocab], hidden, None)?
        };
        let rope_table = Arc::new(config.rope.table(head_dim, context));
        Ok(Self {
            config,
            embedding,
            layers,
            norm,
            lm_head,
            rope_table,
        })
    }

    /// Runs a batch: `[T]` token ids → logits of `batch.logits_idx`, `[R, V]` f32. Keys and values of
    /// its tokens are written to `caches`, one a layer.
    pub(super) fn forward(&self, batch: &Batch, caches: &[LayerCache]) -> Result<Option<Tensor>> {
        let mut x = self.embedding.rows(&batch.input_ids)?;
        for (layer, cache) in self.layers.iter().zip(caches) {
            x = self.layer(layer, &x, batch, cache)?;
        }
        if batch.logits_idx.is_empty() {
            return Ok(None);
        }
        let rows = Tensor::new(batch.logits_idx.as_slice(), x.device())?;
        let x = self.rms_norm(&x.index_select(&rows, 0)?, &self.norm)?;
        self.lm_head.forward_wide(&x).map(Some)
    }

    fn layer(
        &self,
        layer: &Layer,
        x: &Tensor,
        batch: &Batch,
        cache: &LayerCache,
    ) -> Result<Tensor> {
        let attention = self.attention(layer, x, batch, cache)?;
        let x = (x + attention)?;
        let normed = self.rms_norm(&x, &layer.post_attention_norm)?;
        let gated = layer.gate_up.forward(&normed)?.apply_op1_no_bwd(&SiluMul)?;
        x + layer.down.forward(&gated)?
    }

    fn attention(
        &self,
        layer: &Layer,
        x: &Tensor,
        batch: &Batch,
        cache: &LayerCache,
    ) -> Result<Tensor> {
        let DecoderConfig {
            heads,
            kv_heads,
            head_dim,
            ..
        } = self.config;
        let tokens = batch.input_ids.len();
        let qkv = layer.qkv.forward(&self.rms_norm(x, &layer.input_norm)?)?;
        let part = |from: usize, heads: usize| {
            let part = qkv.narrow(1, from * head_dim, heads * head_dim)?;
            part.contiguous()?.reshape((tokens, heads, head_dim))
        };
        let (mut q, mut k) = (part(0, heads)?, part(heads, kv_heads)?);
        let v = part(heads + kv_heads, kv_heads)?;
        if let Some((q_norm, k_norm)) = &layer.qk_norm {
            (q, k) = (self.rms_norm(&q, q_norm)?, self.rms_norm(&k, k_norm)?);
        }
        let table = Arc::clone(&self.rope_table);
        let rotary = Rotary {
            table,
            positions: &batch.positions,
        };
        let (q, k) = (q.apply_op1_no_bwd(&rotary)?, k.apply_op1_no_bwd(&rotary)?);
        let write = CacheWrite {
            slot_mapping: &batch.slot_mapping,
        };
        cache.keys.inplace_op2(&k, &write)?;
        cache.values.inplace_op2(&v, &write)?;
        let attention = PagedAttention {
            batch,
            scale: 1.0 / (head_dim as f32).sqrt(),
        };
        let attended = q.apply_op3_no_bwd(&cache.keys, &cache.values, &attention)?;
        layer
            .out
            .forward(&attended.reshape((tokens, heads * head_dim))?)
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        x.apply_op2_no_bwd(
            weight,
            &RmsNorm {
                eps: self.config.rms_norm_eps,
            },
        )
    }
}

impl Layer {
    fn load(
        config: &DecoderConfig,
        weights: &Weights<'_>,
        index: usize,
    ) -> std::result::Result<Self, WeightsError> {
        let &DecoderConfig {
            hidden,
            heads,
            kv_heads,
            head_dim,
            intermediate,
            ..
        } = config;
        let name = |part: &str| format!("model.layers.{index}.{part}.weight");
        let vector = |part: &str, len: usize| weights.get(&name(part), &[len]);
        let linear = |parts: &[&str], rows: &[usize], columns: usize, biased: bool| {
            let names: Vec<String> = parts.iter().map(|part| name(part)).collect();
            let bias = |name: &String| name.replace(".weight", ".bias");
            let biases: Vec<String> = names.iter().map(bias).collect();
            weights.linear(&names, rows, columns, biased.then_some(&biases))
        };
        let (q, kv) = (heads * head_dim, kv_heads * head_dim);
        let qk_norm = match config.qk_norm {
            false => None,
            true => Some((
                vector("self_attn.q_norm", head_dim)?,
                vector("self_attn.k_norm", head_dim)?,
            )),
        };
        let qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
        let gate_up = ["mlp.gate_proj", "mlp.up_proj"];
        let (attention_bias, mlp_bias) = (config.attention_bias, config.mlp_bias);
        Ok(Self {
            input_norm: vector("input_layernorm", hidden)?,
            qkv: linear(&qkv, &[q, kv, kv], hidden, attention_bias)?,
            qk_norm,
            out: linear(&["self_attn.o_proj"], &[hidden], q, attention_bias)?,
            post_attention_norm: vector("post_attention_layernorm", hidden)?,
            gate_up: linear(&gate_up, &[intermediate; 2], hidden, mlp_bias)?,
            down: linear(&["mlp.down_proj"], &[hidden], intermediate, mlp_bias)?,
        })
    }
}
