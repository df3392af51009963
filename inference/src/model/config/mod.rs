//! What a model is: `config.json` as switches of the one decoder. What we do not honour is refused by
//! name, never run wrongly.
//!
//! `families.rs` holds a row of switches per decoder, `encoder.rs` one per encoder, `keys.rs` reads the file's keys and knows
//! which of them were read, `rope.rs` reads the rotary settings, `layers.rs` what differs by layer.

mod encoder;
mod families;
mod keys;
mod layers;
mod model;
mod rope;

use serde_json::Value;

use self::{
    families::{Bias, Family, Softcap},
    keys::Keys,
};
use super::rope::RopeParameters;

pub(super) use self::{encoder::EncoderConfig, model::ModelConfig};

/// `config.json` describes something that is not done here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is not what it should be.
    #[error("config.json: {0}")]
    Malformed(String),
    /// An architecture that is not among ours.
    #[error("config.json: architecture {0} is not supported; these are: {known}", known = model::names().join(", "))]
    Architecture(String),
    /// A setting that would change results and is not honoured.
    #[error("config.json: {key} = {value} is not supported")]
    Unsupported {
        /// The setting.
        key: String,
        /// Its value.
        value: String,
    },
    /// Sizes that do not fit each other.
    #[error("config.json: {0}")]
    Shape(String),
}

/// Largest of each size we take from a file, against absurd allocations.
const SIZE_MAX: usize = 1 << 24;
const LAYERS_MAX: usize = 1 << 12;
const EXPERTS_MAX: usize = 1 << 12;

/// The decoder's switches and sizes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DecoderConfig {
    /// As `config.json` names it, with a head.
    pub(super) architecture: &'static str,
    /// There is no LM head in the files.
    pub(super) headless: bool,
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) vocab: usize,
    pub(super) layers: Vec<LayerConfig>,
    pub(super) norm: NormConfig,
    pub(super) norm_placement: NormPlacement,
    pub(super) qk_norm: QkNorm,
    /// Bias of the projections to queries, keys and values.
    pub(super) qkv_bias: bool,
    /// Bias of the attention's output projection.
    pub(super) out_bias: bool,
    pub(super) mlp_bias: bool,
    /// Queries, keys and values come as one tensor, gate and up as another.
    pub(super) fused: bool,
    pub(super) activation: Activation,
    /// One for each of the kinds of rotary embedding that the layers refer to.
    pub(super) ropes: Vec<RopeParameters>,
    /// What the products of queries and keys are multiplied by.
    pub(super) attention_scale: f32,
    /// `cap · tanh(score / cap)` before the softmax.
    pub(super) attention_softcap: Option<f32>,
    /// The same for the logits.
    pub(super) final_softcap: Option<f32>,
    pub(super) embedding_scale: EmbeddingScale,
    /// What attention and MLP are multiplied by before they join the residual.
    pub(super) residual_scale: f32,
    /// What the logits are divided by.
    pub(super) logits_divisor: f32,
    /// The LM head is the embedding.
    pub(super) tied: bool,
    /// Longest sequence the model can be run for.
    pub(super) context: usize,
    pub(super) eos_token_ids: Vec<u32>,
    /// The type it was saved in, as it names it.
    pub(super) saved_dtype: Option<String>,
    /// Keys of the file that this decoder does not know.
    pub(super) unknown_keys: Vec<String>,
}

/// What differs from layer to layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LayerConfig {
    /// Positions a token sees, itself included; `None`: all before it.
    pub(super) window: Option<usize>,
    /// Index into [`DecoderConfig::ropes`]; `None`: positions are not embedded.
    pub(super) rope: Option<usize>,
    pub(super) mlp: MlpConfig,
}

/// The second half of a layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum MlpConfig {
    /// One gated MLP.
    Dense {
        /// Width between gate and down.
        intermediate: usize,
    },
    /// The best of many, chosen per token.
    Experts(ExpertsConfig),
}

/// A mixture of experts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ExpertsConfig {
    pub(super) count: usize,
    pub(super) per_token: usize,
    pub(super) intermediate: usize,
    /// The chosen experts' weights are made to add up to 1.
    pub(super) normalized: bool,
    /// How their tensors are named.
    pub(super) names: ExpertNames,
}

/// Names of the tensors of a mixture, below `model.layers.N.`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExpertNames {
    pub(super) block: &'static str,
    pub(super) gate: &'static str,
    pub(super) up: &'static str,
    pub(super) down: &'static str,
}

/// RMS norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct NormConfig {
    pub(super) eps: f32,
    /// The weight is 1 + w (Gemma).
    pub(super) unit_offset: bool,
    /// The normed value meets the weight before it is rounded (Gemma, OLMo2), not after (Llama).
    pub(super) weight_in_f32: bool,
}

/// Where the norms of a layer stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NormPlacement {
    /// Before attention and MLP.
    Pre,
    /// After them (OLMo2).
    Post,
    /// Before and after (Gemma 2 and 3).
    Sandwich,
}

/// Norms of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QkNorm {
    /// None.
    None,
    /// Of each head (Qwen3, Gemma3).
    PerHead,
    /// Of all heads together (OLMo2).
    FullWidth,
}

/// The function of a gate, or between an encoder's two matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    Silu,
    /// GELU by the error function.
    Gelu,
    /// GELU by its tanh approximation.
    GeluTanh,
    Relu,
}

/// What embeddings are multiplied by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum EmbeddingScale {
    /// A number.
    By(f32),
    /// √hidden, rounded to the type of the weights (Gemma).
    RootHidden,
}

impl DecoderConfig {
    /// Reads `config.json`, and `generation_config.json` for the tokens that end an answer.
    pub(super) fn parse(config: &[u8], generation: Option<&[u8]>) -> Result<Self, ConfigError> {
        let keys = Keys::parse(config)?;
        let architecture = keys.architecture()?;
        let (family, headless) = Family::find(&architecture)
            .ok_or_else(|| ConfigError::Architecture(format!("{architecture:?}")))?;
        refuse_unsupported(&keys)?;
        let (hidden, heads) = (keys.size("hidden_size")?, keys.size("num_attention_heads")?);
        let kv_heads = match keys.optional_size("num_key_value_heads")? {
            Some(kv_heads) => kv_heads,
            None if keys.is_null("num_key_value_heads") => heads,
            None => family.kv_heads.unwrap_or(heads),
        };
        let head_dim = match keys.optional_size("head_dim")?.or(family.head_dim) {
            Some(head_dim) => head_dim,
            None => hidden / heads,
        };
        let max_position = keys.size("max_position_embeddings")?;
        let (ropes, context) = rope::read(&keys, family, head_dim, max_position)?;
        let attention_bias = keys.flag("attention_bias")?.unwrap_or(false);
        let biased = |bias: Bias| match bias {
            Bias::Never => false,
            Bias::Always => true,
            Bias::Configured => attention_bias,
        };
        let config = Self {
            architecture: family.architecture,
            headless,
            hidden,
            heads,
            kv_heads,
            head_dim,
            vocab: keys.size("vocab_size")?,
            layers: layers::read(&keys, family)?,
            norm: NormConfig {
                eps: keys.number("rms_norm_eps")?.unwrap_or(family.norm_eps) as f32,
                unit_offset: family.norm_unit_offset,
                weight_in_f32: family.norm_weight_in_f32,
            },
            norm_placement: family.norm_placement,
            qk_norm: family.qk_norm,
            qkv_bias: biased(family.qkv_bias),
            out_bias: biased(family.out_bias),
            mlp_bias: family.mlp_bias && keys.flag("mlp_bias")?.unwrap_or(false),
            fused: family.fused,
            activation: activation(&keys, family)?,
            ropes,
            attention_scale: attention_scale(&keys, family, head_dim)?,
            attention_softcap: softcap(&keys, family.attention_softcap, "attn_logit_softcapping")?,
            final_softcap: softcap(&keys, family.final_softcap, "final_logit_softcapping")?,
            embedding_scale: embedding_scale(&keys, family)?,
            residual_scale: multiplier(&keys, family, "residual_multiplier")?,
            logits_divisor: multiplier(&keys, family, "logits_scaling")?,
            tied: keys.flag("tie_word_embeddings")?.unwrap_or(family.tied),
            context,
            eos_token_ids: eos_token_ids(&keys, generation),
            saved_dtype: keys.text("dtype")?.or(keys.text("torch_dtype")?),
            unknown_keys: Vec::new(),
        };
        config.check_shapes()?;
        Ok(Self {
            unknown_keys: keys.unknown(),
            ..config
        })
    }

    fn check_shapes(&self) -> Result<(), ConfigError> {
        let shape = |message: String| Err(ConfigError::Shape(message));
        if !self.heads.is_multiple_of(self.kv_heads) {
            return shape(format!(
                "num_attention_heads = {} is not a multiple of num_key_value_heads = {}",
                self.heads, self.kv_heads
            ));
        }
        let sizes = [
            (
                "num_attention_heads × head_dim",
                self.heads.saturating_mul(self.head_dim),
            ),
            (
                "the longest sequence, by max_position_embeddings and the rope factor",
                self.context,
            ),
        ];
        for (name, size) in sizes {
            if !(1..=SIZE_MAX).contains(&size) {
                return shape(format!("{name}: {size} is not in 1..={SIZE_MAX}"));
            }
        }
        for rope in &self.ropes {
            if !rope.dim.is_multiple_of(2) || rope.dim == 0 || rope.dim > self.head_dim {
                return shape(format!(
                    "head_dim = {} gives {} rotary dimensions; they must be even and at least 2",
                    self.head_dim, rope.dim
                ));
            }
        }
        Ok(())
    }
}

/// Settings with one value that asks for nothing; any other would change results.
fn refuse_unsupported(keys: &Keys) -> Result<(), ConfigError> {
    for key in [
        "use_bidirectional_attention",
        "is_encoder_decoder",
        "add_cross_attention",
    ] {
        if keys.flag(key)? == Some(true) {
            return Err(keys.unsupported(key));
        }
    }
    for key in ["quantization_config", "text_config"] {
        if keys.value(key).is_some() {
            return Err(ConfigError::Unsupported {
                key: key.to_owned(),
                value: "(an object)".to_owned(),
            });
        }
    }
    Ok(())
}

fn activation(keys: &Keys, family: &Family) -> Result<Activation, ConfigError> {
    let key = match family.activation {
        // Gemma's files may say something else under `hidden_act`, which nobody reads.
        Activation::GeluTanh => "hidden_activation",
        _ => "hidden_act",
    };
    let named = keys.text(key)?;
    match named.as_deref() {
        None => Ok(family.activation),
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some("gelu_pytorch_tanh" | "gelu_new") => Ok(Activation::GeluTanh),
        Some(_) => Err(keys.unsupported(key)),
    }
}

fn attention_scale(keys: &Keys, family: &Family, head_dim: usize) -> Result<f32, ConfigError> {
    let root = |dim: f64| (dim.powf(-0.5)) as f32;
    if family.multipliers {
        return multiplier(keys, family, "attention_multiplier");
    }
    match family.query_pre_attn_scalar {
        None => Ok(root(head_dim as f64)),
        Some(default) => {
            let scalar = keys.number("query_pre_attn_scalar")?.unwrap_or(default);
            if scalar > 0.0 {
                Ok(root(scalar))
            } else {
                Err(keys.unsupported("query_pre_attn_scalar"))
            }
        }
    }
}

/// One of Granite's multipliers; 1 where the family has none.
fn multiplier(keys: &Keys, family: &Family, key: &'static str) -> Result<f32, ConfigError> {
    let value = match family.multipliers {
        false => None,
        true => keys.number(key)?,
    };
    match value.unwrap_or(1.0) {
        0.0 => Err(keys.unsupported(key)),
        value => Ok(value as f32),
    }
}

fn embedding_scale(keys: &Keys, family: &Family) -> Result<EmbeddingScale, ConfigError> {
    if family.embedding_root_hidden {
        return Ok(EmbeddingScale::RootHidden);
    }
    multiplier(keys, family, "embedding_multiplier").map(EmbeddingScale::By)
}

fn softcap(keys: &Keys, cap: Softcap, key: &'static str) -> Result<Option<f32>, ConfigError> {
    let Softcap::Configured { default } = cap else {
        return match keys.value(key) {
            Some(_) => Err(keys.unsupported(key)),
            None => Ok(None),
        };
    };
    let cap = match keys.is_null(key) {
        true => None,
        false => keys.number(key)?.or(default),
    };
    match cap {
        Some(cap) if cap <= 0.0 => Err(keys.unsupported(key)),
        cap => Ok(cap.map(|cap| cap as f32)),
    }
}

/// Of `generation_config.json` if it names any, else of `config.json`: one id, or a list of them.
fn eos_token_ids(keys: &Keys, generation: Option<&[u8]>) -> Vec<u32> {
    let generation: Option<Value> = generation.and_then(|g| serde_json::from_slice(g).ok());
    let own = keys.value("eos_token_id").cloned();
    let eos = generation
        .as_ref()
        .and_then(|generation| generation.get("eos_token_id"))
        .filter(|value| !value.is_null())
        .or(own.as_ref());
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match eos {
        Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
