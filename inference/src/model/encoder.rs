//! The encoder: embeddings, layers of attention over the whole text and MLP, each with a norm behind its
//! residual sum. One forward pass for every family; `EncoderConfig` holds the switches.

use candle_core::{Result, Tensor};

use super::{
    config::EncoderConfig,
    ops::{
        Activate, AddScaled, Embedding, Heads, HeadsNorm, KvCache, KvWrite, LayerNorm, Linear,
        PagedAttention, Queries,
    },
    runner::Batch,
    weights::{Weights, WeightsError},
};

/// Weights of the whole model.
pub(super) struct Encoder {
    config: EncoderConfig,
    words: Embedding,
    positions: Embedding,
    token_types: Option<Embedding>,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

struct Layer {
    /// Queries, keys and values, one below the other.
    qkv: Linear,
    out: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    out_norm: LayerNorm,
}

impl Encoder {
    /// Takes the weights that `config` asks for.
    pub(super) fn load(
        config: EncoderConfig,
        weights: &Weights<'_>,
    ) -> std::result::Result<Self, WeightsError> {
        let reader = Reader::new(&config, weights);
        let (names, hidden) = (config.names, config.hidden);
        let table = |name: &str, rows: usize| {
            weights.embedding(&reader.name(name, "weight"), rows, hidden, false)
        };
        let token_types = config
            .token_types
            .map(|rows| table(names.token_types, rows))
            .transpose()?;
        let layers = (0..config.layers).map(|index| reader.layer(index));
        Ok(Self {
            words: table(names.words, config.vocab)?,
            positions: table(names.positions, config.positions)?,
            token_types,
            norm: reader.norm(names.norm)?,
            layers: layers.collect::<std::result::Result<_, _>>()?,
            config,
        })
    }

    /// Runs a batch of whole texts: `[T]` token ids → hidden states `[T, hidden]`. `cache` holds keys and
    /// values of one layer at a time; nothing of it is needed afterwards.
    pub(super) fn forward(&self, batch: &Batch, cache: &KvCache) -> Result<Tensor> {
        let mut x = self.embed(batch)?;
        for layer in &self.layers {
            let attention = self.attention(layer, &x, batch, cache)?;
            x = layer.attention_norm.forward(&sum(&x, &attention)?)?;
            let activation = Activate(self.config.activation);
            let inner = layer.up.forward(&x)?.apply_op1_no_bwd(&activation)?;
            x = layer
                .out_norm
                .forward(&sum(&x, &layer.down.forward(&inner)?)?)?;
        }
        Ok(x)
    }

    fn embed(&self, batch: &Batch) -> Result<Tensor> {
        let mut x = self.words.rows(&batch.input_ids)?;
        if let Some(types) = &self.token_types {
            x = sum(&x, &types.rows(&vec![0; batch.input_ids.len()])?)?;
        }
        let positions = match self.config.padding {
            None => self.positions.rows(&batch.positions)?,
            Some(padding) => self.positions.rows(&positions_behind(padding, batch))?,
        };
        self.norm.forward(&sum(&x, &positions)?)
    }

    fn attention(
        &self,
        layer: &Layer,
        x: &Tensor,
        batch: &Batch,
        cache: &KvCache,
    ) -> Result<Tensor> {
        let EncoderConfig { hidden, heads, .. } = self.config;
        let (tokens, dim) = (batch.input_ids.len(), self.config.head_dim());
        let part = |first| Heads {
            first,
            count: heads,
            dim,
            norm: HeadsNorm::None,
            turn: None,
            positions: &batch.positions,
        };
        let qkv = layer.qkv.forward(x)?;
        let write = KvWrite {
            keys: part(heads),
            first_value: 2 * heads,
            slot_mapping: &batch.slot_mapping,
        };
        cache.write(&qkv, &write)?;
        let attention = PagedAttention {
            batch,
            kv_heads: heads,
            causal: false,
            scale: (dim as f32).powf(-0.5),
            softcap: None,
            window: None,
        };
        let queries = qkv.apply_op1_no_bwd(&Queries(part(0)))?;
        let attended = queries.apply_op2_no_bwd(cache.numbers(), &attention)?;
        layer.out.forward(&attended.reshape((tokens, hidden))?)
    }
}

fn sum(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    x.apply_op2_no_bwd(y, &AddScaled(1.0))
}

/// Positions of RoBERTa's kind: a text's tokens are counted from behind the padding token's number, and
/// the padding token itself, where a text has it, is not counted and stands at its own number.
fn positions_behind(padding: u32, batch: &Batch) -> Vec<u32> {
    let mut positions = Vec::with_capacity(batch.input_ids.len());
    for span in batch.cu_seqlens_q.windows(2) {
        let mut position = padding;
        for &id in &batch.input_ids[span[0] as usize..span[1] as usize] {
            position += u32::from(id != padding);
            positions.push(if id == padding { padding } else { position });
        }
    }
    positions
}

/// Reads the weights by the family's names.
struct Reader<'a> {
    config: &'a EncoderConfig,
    weights: &'a Weights<'a>,
    /// Before every name.
    prefix: &'static str,
}

impl<'a> Reader<'a> {
    fn new(config: &'a EncoderConfig, weights: &'a Weights<'a>) -> Self {
        let first = format!("{}{}.weight", config.prefix, config.names.words);
        Self {
            config,
            weights,
            prefix: if weights.has(&first) {
                config.prefix
            } else {
                ""
            },
        }
    }

    fn name(&self, part: &str, kind: &str) -> String {
        format!("{}{part}.{kind}", self.prefix)
    }

    fn norm(&self, part: &str) -> std::result::Result<LayerNorm, WeightsError> {
        // Files of the first years have the names of TensorFlow's layer norm.
        let names = [("weight", "gamma"), ("bias", "beta")].map(|(name, old)| {
            let (name, old) = (self.name(part, name), self.name(part, old));
            if !self.weights.has(&name) && self.weights.has(&old) {
                old
            } else {
                name
            }
        });
        let [weight, bias] = &names;
        let shape = [self.config.hidden];
        let (w, b) = (
            self.weights.get(weight, &shape)?,
            self.weights.get(bias, &shape)?,
        );
        LayerNorm::new(&w, &b, self.config.norm_eps).map_err(|error| WeightsError::Tensor {
            name: weight.clone(),
            error,
        })
    }

    fn linear(
        &self,
        parts: &[String],
        rows: &[usize],
        columns: usize,
    ) -> std::result::Result<Linear, WeightsError> {
        let names = |kind: &str| -> Vec<String> {
            parts.iter().map(|part| self.name(part, kind)).collect()
        };
        self.weights
            .linear(&names("weight"), rows, columns, Some(&names("bias")))
    }

    fn layer(&self, index: usize) -> std::result::Result<Layer, WeightsError> {
        let EncoderConfig {
            names,
            hidden,
            intermediate,
            ..
        } = *self.config;
        let part = |name: &str| format!("{}.{index}.{name}", names.layers);
        Ok(Layer {
            qkv: self.linear(&names.qkv.map(part), &[hidden; 3], hidden)?,
            out: self.linear(&[part(names.out)], &[hidden], hidden)?,
            attention_norm: self.norm(&part(names.attention_norm))?,
            up: self.linear(&[part(names.up)], &[intermediate], hidden)?,
            down: self.linear(&[part(names.down)], &[hidden], intermediate)?,
            out_norm: self.norm(&part(names.out_norm))?,
        })
    }
}
