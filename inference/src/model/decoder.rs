//! The decoder: embedding, layers of attention and MLP, norm, LM head. One forward pass for every
//! family; `DecoderConfig` holds the switches, `layer.rs` the weights of a layer.

use candle_core::{DType, Result, Tensor};

use super::{
    config::{DecoderConfig, EmbeddingScale, LayerConfig, QkNorm},
    layer::{Layer, Mlp, Place},
    ops::{
        AddScaled, Embedding, Heads, HeadsNorm, KvCache, KvWrite, Linear, LogitsScale,
        PagedAttention, Queries, RmsNorm, Scale, Turn,
    },
    place::{InMemory, Packed},
    runner::Batch,
    weights::{Weights, WeightsError},
};

/// Weights of the whole model.
pub(super) struct Decoder {
    config: DecoderConfig,
    embedding: Embedding,
    layers: Vec<Layer<Packed>>,
    norm: RmsNorm,
    /// None: the model is run for its hidden states.
    lm_head: Option<Linear>,
    /// One for each of the configuration's kinds, `[positions, dim]`: cosines, then sines.
    rope_tables: Vec<Vec<f32>>,
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
        let embed = "model.embed_tokens.weight";
        let tied = !pools && config.tied && !weights.has("lm_head.weight");
        let embedding = weights.embedding(embed, vocab, hidden, tied)?;
        let place = InMemory {
            config: &config,
            weights,
        };
        let layers = (0..config.layers.len())
            .map(|index| Layer::load(&config, &place, index))
            .collect::<std::result::Result<_, _>>()?;
        let norm = place.norm("model.norm.weight", hidden)?;
        let (embedding, lm_head) = if pools {
            (embedding, None)
        } else if tied {
            let name = embed.to_owned();
            let tied = embedding.tied();
            let (embedding, head) = tied.map_err(|error| WeightsError::Tensor { name, error })?;
            (embedding, Some(head))
        } else {
            let head = weights.linear(&["lm_head.weight".to_owned()], &[vocab], hidden, None)?;
            (embedding, Some(head))
        };
        let rope_tables = config
            .ropes
            .iter()
            .map(|rope| rope.table(positions, served))
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
        caches: &[KvCache],
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
    pub(super) fn forward(&self, batch: &Batch, caches: &[KvCache]) -> Result<Option<Tensor>> {
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

    fn layer(&self, index: usize, x: &Tensor, batch: &Batch, cache: &KvCache) -> Result<Tensor> {
        let layer = &self.layers[index];
        let input = normed(layer.attention_norm.as_ref(), x)?;
        let attended = self.attention(index, &input, batch, cache)?;
        let x = self.onto(x, &layer.out, &attended, layer.attention_out_norm.as_ref())?;
        let input = normed(layer.mlp_norm.as_ref(), &x)?;
        let norm = layer.mlp_out_norm.as_ref();
        match &layer.mlp {
            Mlp::Dense { gate_up, down } => {
                let gated = gate_up.forward(&input, self.config.activation)?;
                self.onto(&x, down, &gated, norm)
            }
            Mlp::Experts(experts) => self.join(&x, &experts.forward(&input)?, norm),
        }
    }

    /// The residual sum with the product of `linear` and `input`, which is normed if there is a norm, and scaled.
    fn onto(
        &self,
        x: &Tensor,
        linear: &Linear,
        input: &Tensor,
        norm: Option<&RmsNorm>,
    ) -> Result<Tensor> {
        match norm {
            None => linear.forward_onto(input, x, self.config.residual_scale),
            Some(_) => self.join(x, &linear.forward(input)?, norm),
        }
    }

    /// The residual sum, with what comes out of attention or MLP normed and scaled.
    fn join(&self, x: &Tensor, out: &Tensor, norm: Option<&RmsNorm>) -> Result<Tensor> {
        let out = normed(norm, out)?;
        x.apply_op2_no_bwd(&out, &AddScaled(self.config.residual_scale))
    }

    /// `[T, hidden]` → what the heads attend to, `[T, heads · head_dim]`.
    fn attention(
        &self,
        index: usize,
        x: &Tensor,
        batch: &Batch,
        cache: &KvCache,
    ) -> Result<Tensor> {
        let DecoderConfig {
            heads,
            kv_heads,
            head_dim,
            attention_scale,
            attention_softcap,
            ..
        } = self.config;
        let layer = &self.layers[index];
        let LayerConfig { window, rope, .. } = self.config.layers[index];
        let turn = rope.map(|rope| Turn {
            table: &self.rope_tables[rope],
            dim: self.config.ropes[rope].dim,
        });
        let norm = |norm| match self.config.qk_norm {
            QkNorm::FullWidth => HeadsNorm::FullWidth(norm),
            QkNorm::PerHead | QkNorm::None => HeadsNorm::PerHead(norm),
        };
        let (q_norm, k_norm) = match &layer.qk_norm {
            None => (HeadsNorm::None, HeadsNorm::None),
            Some((q, k)) => (norm(q), norm(k)),
        };
        let part = |first, count, norm| Heads {
            first,
            count,
            dim: head_dim,
            norm,
            turn,
            positions: &batch.positions,
        };
        let qkv = layer.qkv.forward(x)?;
        let write = KvWrite {
            keys: part(heads, kv_heads, k_norm),
            first_value: heads + kv_heads,
            slot_mapping: &batch.slot_mapping,
        };
        cache.write(&qkv, &write)?;
        let queries = qkv.apply_op1_no_bwd(&Queries(part(0, heads, q_norm)))?;
        let attention = PagedAttention {
            batch,
            kv_heads,
            causal: true,
            scale: attention_scale,
            softcap: attention_softcap,
            window,
        };
        queries
            .apply_op2_no_bwd(cache.numbers(), &attention)?
            .reshape((batch.input_ids.len(), heads * head_dim))
    }
}

/// Through the norm, if there is one.
fn normed(norm: Option<&RmsNorm>, x: &Tensor) -> Result<Tensor> {
    norm.map_or_else(|| Ok(x.clone()), |norm| norm.forward(x))
}
