//! Encoders: one row of switches per architecture, and `config.json` read by it. Defaults of keys that a
//! file leaves out are those of the architecture's configuration class in `transformers` 5.

use super::{Activation, ConfigError, LAYERS_MAX, SIZE_MAX, keys::Keys, refuse_unsupported};

/// An encoder's switches and sizes.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::model) struct EncoderConfig {
    /// As `config.json` names it.
    pub(in crate::model) architecture: &'static str,
    /// What stands before the tensors' names in files that hold more than the encoder.
    pub(in crate::model) prefix: &'static str,
    pub(in crate::model) names: &'static EncoderNames,
    pub(in crate::model) hidden: usize,
    pub(in crate::model) heads: usize,
    pub(in crate::model) intermediate: usize,
    pub(in crate::model) layers: usize,
    pub(in crate::model) vocab: usize,
    /// Rows of the position table.
    pub(in crate::model) positions: usize,
    /// The token that counts as none: positions begin behind its number. `None`: they begin at 0.
    pub(in crate::model) padding: Option<u32>,
    /// Rows of the table of token types; every token is of type 0. `None`: there is no table.
    pub(in crate::model) token_types: Option<usize>,
    pub(in crate::model) norm_eps: f32,
    pub(in crate::model) activation: Activation,
    /// Longest sequence the model can be run for.
    pub(in crate::model) context: usize,
    /// The type it was saved in, as it names it.
    pub(in crate::model) saved_dtype: Option<String>,
    /// Keys of the file that this encoder does not know.
    pub(in crate::model) unknown_keys: Vec<String>,
}

/// Names of an encoder's tensors, without `.weight` and `.bias`.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::model) struct EncoderNames {
    pub(in crate::model) words: &'static str,
    pub(in crate::model) positions: &'static str,
    pub(in crate::model) token_types: &'static str,
    pub(in crate::model) norm: &'static str,
    /// Before a layer's number; what follows is below it.
    pub(in crate::model) layers: &'static str,
    pub(in crate::model) qkv: [&'static str; 3],
    pub(in crate::model) out: &'static str,
    pub(in crate::model) attention_norm: &'static str,
    pub(in crate::model) up: &'static str,
    pub(in crate::model) down: &'static str,
    pub(in crate::model) out_norm: &'static str,
}

/// Where `config.json` has an encoder's sizes.
#[derive(Debug, PartialEq, Eq)]
struct SizeKeys {
    hidden: &'static str,
    heads: &'static str,
    layers: &'static str,
    intermediate: &'static str,
    activation: &'static str,
}

/// An architecture.
#[derive(Debug, Clone, Copy, PartialEq)]
struct EncoderFamily {
    architecture: &'static str,
    prefix: &'static str,
    names: &'static EncoderNames,
    sizes: &'static SizeKeys,
    /// `pad_token_id` of a file that has none, where positions begin behind it.
    padding: Option<u32>,
    /// `type_vocab_size` of a file that has none, where there are token types.
    token_types: Option<usize>,
    /// Where the key `layer_norm_eps` is missing.
    norm_eps: f64,
}

const BERT_NAMES: EncoderNames = EncoderNames {
    words: "embeddings.word_embeddings",
    positions: "embeddings.position_embeddings",
    token_types: "embeddings.token_type_embeddings",
    norm: "embeddings.LayerNorm",
    layers: "encoder.layer",
    qkv: [
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
    ],
    out: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    out_norm: "output.LayerNorm",
};

const DISTILBERT_NAMES: EncoderNames = EncoderNames {
    layers: "transformer.layer",
    qkv: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    out: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    out_norm: "output_layer_norm",
    ..BERT_NAMES
};

const BERT_SIZES: SizeKeys = SizeKeys {
    hidden: "hidden_size",
    heads: "num_attention_heads",
    layers: "num_hidden_layers",
    intermediate: "intermediate_size",
    activation: "hidden_act",
};

const DISTILBERT_SIZES: SizeKeys = SizeKeys {
    hidden: "dim",
    heads: "n_heads",
    layers: "n_layers",
    intermediate: "hidden_dim",
    activation: "activation",
};

const BERT: EncoderFamily = EncoderFamily {
    architecture: "BertModel",
    prefix: "bert.",
    names: &BERT_NAMES,
    sizes: &BERT_SIZES,
    padding: None,
    token_types: Some(2),
    norm_eps: 1e-12,
};

const ROBERTA: EncoderFamily = EncoderFamily {
    architecture: "RobertaModel",
    prefix: "roberta.",
    padding: Some(1),
    ..BERT
};

const DISTILBERT: EncoderFamily = EncoderFamily {
    architecture: "DistilBertModel",
    prefix: "distilbert.",
    names: &DISTILBERT_NAMES,
    sizes: &DISTILBERT_SIZES,
    token_types: None,
    ..BERT
};

const FAMILIES: [EncoderFamily; 10] = [
    BERT,
    EncoderFamily {
        architecture: "BertForMaskedLM",
        ..BERT
    },
    ROBERTA,
    EncoderFamily {
        architecture: "RobertaForMaskedLM",
        ..ROBERTA
    },
    EncoderFamily {
        architecture: "XLMRobertaModel",
        ..ROBERTA
    },
    EncoderFamily {
        architecture: "XLMRobertaForMaskedLM",
        ..ROBERTA
    },
    EncoderFamily {
        architecture: "CamembertModel",
        ..ROBERTA
    },
    EncoderFamily {
        architecture: "CamembertForMaskedLM",
        ..ROBERTA
    },
    DISTILBERT,
    EncoderFamily {
        architecture: "DistilBertForMaskedLM",
        ..DISTILBERT
    },
];

/// The architectures' names.
pub(super) fn names() -> [&'static str; 10] {
    FAMILIES.map(|family| family.architecture)
}

impl EncoderConfig {
    /// Reads `config.json`; `None` if its architecture is no encoder of ours.
    pub(in crate::model) fn parse(config: &[u8]) -> Result<Option<Self>, ConfigError> {
        let keys = Keys::parse(config)?;
        let architecture = keys.architecture()?;
        let family = FAMILIES
            .iter()
            .find(|family| family.architecture == architecture);
        family.map(|family| Self::read(&keys, family)).transpose()
    }

    fn read(keys: &Keys, family: &EncoderFamily) -> Result<Self, ConfigError> {
        refuse_unsupported(keys)?;
        // What these mean for decoders means nothing here.
        for key in ["eos_token_id", "tie_word_embeddings"] {
            keys.value(key);
        }
        if keys.flag("is_decoder")? == Some(true) {
            return Err(keys.unsupported("is_decoder"));
        }
        if !matches!(
            keys.text("position_embedding_type")?.as_deref(),
            None | Some("absolute")
        ) {
            return Err(keys.unsupported("position_embedding_type"));
        }
        let sizes = family.sizes;
        let positions = keys.size("max_position_embeddings")?;
        let padding = match family.padding {
            None => None,
            Some(default) => Some(token(keys, "pad_token_id")?.unwrap_or(default)),
        };
        let token_types = match family.token_types {
            None => None,
            Some(default) => Some(keys.optional_size("type_vocab_size")?.unwrap_or(default)),
        };
        let config = Self {
            architecture: family.architecture,
            prefix: family.prefix,
            names: family.names,
            hidden: keys.size(sizes.hidden)?,
            heads: keys.size(sizes.heads)?,
            intermediate: keys.size(sizes.intermediate)?,
            layers: keys.size(sizes.layers)?,
            vocab: keys.size("vocab_size")?,
            positions,
            padding,
            token_types,
            norm_eps: keys.number("layer_norm_eps")?.unwrap_or(family.norm_eps) as f32,
            activation: activation(keys, sizes.activation)?,
            context: positions.saturating_sub(padding.map_or(0, |padding| padding as usize + 1)),
            saved_dtype: keys.text("dtype")?.or(keys.text("torch_dtype")?),
            unknown_keys: Vec::new(),
        };
        config.check_shapes(sizes)?;
        Ok(Self {
            unknown_keys: keys.unknown(),
            ..config
        })
    }

    fn check_shapes(&self, keys: &SizeKeys) -> Result<(), ConfigError> {
        let shape = |message: String| Err(ConfigError::Shape(message));
        if !self.hidden.is_multiple_of(self.heads) {
            return shape(format!(
                "{} = {} is not a multiple of {} = {}",
                keys.hidden, self.hidden, keys.heads, self.heads
            ));
        }
        if self.layers > LAYERS_MAX {
            let (key, layers) = (keys.layers, self.layers);
            return shape(format!("{key} = {layers} is not in 1..={LAYERS_MAX}"));
        }
        if self.context == 0 {
            return shape(format!(
                "max_position_embeddings = {} leaves no position behind pad_token_id",
                self.positions
            ));
        }
        Ok(())
    }

    /// Width of a head.
    pub(in crate::model) fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }
}

/// A token id, if the key is there.
fn token(keys: &Keys, key: &'static str) -> Result<Option<u32>, ConfigError> {
    let Some(value) = keys.value(key) else {
        return Ok(None);
    };
    let id = value
        .as_u64()
        .filter(|&id| id < SIZE_MAX as u64)
        .and_then(|id| u32::try_from(id).ok());
    id.map(Some).ok_or_else(|| keys.unsupported(key))
}

fn activation(keys: &Keys, key: &'static str) -> Result<Activation, ConfigError> {
    match keys.text(key)?.as_deref() {
        None | Some("gelu") => Ok(Activation::Gelu),
        Some("gelu_new" | "gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
        Some("relu") => Ok(Activation::Relu),
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some(_) => Err(keys.unsupported(key)),
    }
}

#[cfg(test)]
#[path = "encoder_tests.rs"]
mod tests;
