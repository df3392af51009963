//! What a model is: `config.json` as switches of the one decoder. What we do not honour is refused by
//! name, never run wrongly.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::rope::{RopeKind, RopeParameters};

/// `config.json` describes something this decoder does not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is not what it should be.
    #[error("config.json: {0}")]
    Malformed(String),
    /// An architecture that is not among ours.
    #[error("config.json: architecture {0} is not supported; these are: {known}", known = ARCHITECTURES.join(", "))]
    Architecture(String),
    /// A setting that would change results and is not honoured.
    #[error("config.json: {key} = {value} is not supported")]
    Unsupported {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// Sizes that do not fit each other.
    #[error("config.json: {0}")]
    Shape(String),
}

const ARCHITECTURES: [&str; 2] = ["LlamaForCausalLM", "Qwen3ForCausalLM"];

/// Largest of each size we take from a file, against absurd allocations.
const SIZE_MAX: usize = 1 << 24;
const LAYERS_MAX: usize = 1 << 12;

/// The decoder's switches and sizes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DecoderConfig {
    pub(super) hidden: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) intermediate: usize,
    pub(super) vocab: usize,
    pub(super) rms_norm_eps: f32,
    pub(super) rope: RopeParameters,
    /// The LM head is the embedding.
    pub(super) tied: bool,
    /// Bias of the attention's projections, in and out.
    pub(super) attention_bias: bool,
    pub(super) mlp_bias: bool,
    /// RMS norm of each head's query and key (Qwen3).
    pub(super) qk_norm: bool,
    /// Longest sequence the model was made for.
    pub(super) context: usize,
    pub(super) eos_token_ids: Vec<u32>,
    /// The type it was saved in, as it names it.
    pub(super) saved_dtype: Option<String>,
}

#[derive(Deserialize)]
struct Raw {
    architectures: Option<Vec<String>>,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: usize,
    vocab_size: usize,
    rms_norm_eps: f32,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    max_position_embeddings: usize,
    rope_theta: Option<f64>,
    rope_scaling: Option<Map<String, Value>>,
    rope_parameters: Option<Map<String, Value>>,
    eos_token_id: Option<Value>,
    hidden_act: Option<String>,
    #[serde(alias = "torch_dtype")]
    dtype: Option<String>,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    layer_types: Option<Vec<String>>,
    partial_rotary_factor: Option<f64>,
    quantization_config: Option<Value>,
    pretraining_tp: Option<usize>,
}

impl DecoderConfig {
    /// Reads `config.json`, and `generation_config.json` for the tokens that end an answer.
    pub(super) fn parse(config: &[u8], generation: Option<&[u8]>) -> Result<Self, ConfigError> {
        let raw: Raw = serde_json::from_slice(config)
            .map_err(|error| ConfigError::Malformed(error.to_string()))?;
        let architecture = raw
            .architectures
            .iter()
            .flatten()
            .next()
            .cloned()
            .unwrap_or_default();
        if !ARCHITECTURES.contains(&architecture.as_str()) {
            return Err(ConfigError::Architecture(format!("{architecture:?}")));
        }
        refuse_unsupported(&raw)?;
        let rope = rope_parameters(&raw)?;
        let head_dim = raw
            .head_dim
            .unwrap_or(raw.hidden_size / raw.num_attention_heads.max(1));
        let generation: Option<Value> = generation.and_then(|g| serde_json::from_slice(g).ok());
        let eos = generation
            .as_ref()
            .and_then(|g| g.get("eos_token_id"))
            .filter(|v| !v.is_null());
        let config = Self {
            hidden: raw.hidden_size,
            layers: raw.num_hidden_layers,
            heads: raw.num_attention_heads,
            kv_heads: raw.num_key_value_heads.unwrap_or(raw.num_attention_heads),
            head_dim,
            intermediate: raw.intermediate_size,
            vocab: raw.vocab_size,
            rms_norm_eps: raw.rms_norm_eps,
            rope,
            tied: raw.tie_word_embeddings,
            attention_bias: raw.attention_bias,
            mlp_bias: raw.mlp_bias,
            qk_norm: architecture == "Qwen3ForCausalLM",
            context: raw.max_position_embeddings,
            eos_token_ids: token_ids(eos.or(raw.eos_token_id.as_ref())),
            saved_dtype: raw.dtype,
        };
        config.check_shapes()?;
        Ok(config)
    }

    fn check_shapes(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("hidden_size", self.hidden, SIZE_MAX),
            ("num_hidden_layers", self.layers, LAYERS_MAX),
            ("num_attention_heads", self.heads, SIZE_MAX),
            ("num_key_value_heads", self.kv_heads, SIZE_MAX),
            ("head_dim", self.head_dim, SIZE_MAX),
            ("intermediate_size", self.intermediate, SIZE_MAX),
            ("vocab_size", self.vocab, SIZE_MAX),
            ("max_position_embeddings", self.context, SIZE_MAX),
        ];
        for (name, size, max) in sizes {
            if size == 0 || size > max {
                return Err(ConfigError::Shape(format!(
                    "{name} = {size} is not in 1..={max}"
                )));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(ConfigError::Shape(format!(
                "num_attention_heads = {} is not a multiple of num_key_value_heads = {}",
                self.heads, self.kv_heads
            )));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(ConfigError::Shape(format!(
                "head_dim = {} is odd",
                self.head_dim
            )));
        }
        Ok(())
    }
}

fn refuse_unsupported(raw: &Raw) -> Result<(), ConfigError> {
    let refuse = |key, value: String| Err(ConfigError::Unsupported { key, value });
    match raw.hidden_act.as_deref() {
        None | Some("silu") => {}
        Some(other) => return refuse("hidden_act", other.to_owned()),
    }
    if let Some(factor) = raw.partial_rotary_factor.filter(|&factor| factor != 1.0) {
        return refuse("partial_rotary_factor", factor.to_string());
    }
    if let Some(window) = raw
        .sliding_window
        .filter(|_| raw.use_sliding_window != Some(false))
    {
        return refuse("sliding_window", window.to_string());
    }
    if let Some(kind) = raw
        .layer_types
        .iter()
        .flatten()
        .find(|kind| *kind != "full_attention")
    {
        return refuse("layer_types", kind.clone());
    }
    if raw
        .quantization_config
        .as_ref()
        .is_some_and(|config| !config.is_null())
    {
        return refuse("quantization_config", "(an object)".to_owned());
    }
    if let Some(parts) = raw.pretraining_tp.filter(|&parts| parts > 1) {
        return refuse("pretraining_tp", parts.to_string());
    }
    Ok(())
}

/// From `rope_parameters`, or the older `rope_theta` and `rope_scaling`.
fn rope_parameters(raw: &Raw) -> Result<RopeParameters, ConfigError> {
    let empty = Map::new();
    let parameters = raw
        .rope_parameters
        .as_ref()
        .or(raw.rope_scaling.as_ref())
        .unwrap_or(&empty);
    let number = |key: &'static str| {
        parameters
            .get(key)
            .and_then(Value::as_f64)
            .ok_or_else(|| ConfigError::Malformed(format!("rope_parameters need {key}, a number")))
    };
    let theta = parameters
        .get("rope_theta")
        .and_then(Value::as_f64)
        .or(raw.rope_theta);
    let kind = parameters
        .get("rope_type")
        .or_else(|| parameters.get("type"));
    let kind = match kind.and_then(Value::as_str).unwrap_or("default") {
        "default" => RopeKind::Default,
        "linear" => RopeKind::Linear {
            factor: number("factor")?,
        },
        "llama3" => RopeKind::Llama3 {
            factor: number("factor")?,
            low_freq_factor: number("low_freq_factor")?,
            high_freq_factor: number("high_freq_factor")?,
            original_context: number("original_max_position_embeddings")?,
        },
        other => {
            let value = other.to_owned();
            return Err(ConfigError::Unsupported {
                key: "rope_type",
                value,
            });
        }
    };
    Ok(RopeParameters {
        theta: theta.unwrap_or(10_000.0),
        kind,
    })
}

/// One id, or a list of them.
fn token_ids(value: Option<&Value>) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn qwen3() -> Value {
        json!({
            "architectures": ["Qwen3ForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
            "intermediate_size": 128, "vocab_size": 100, "rms_norm_eps": 1e-6,
            "max_position_embeddings": 2048, "rope_theta": 1e6, "hidden_act": "silu",
            "tie_word_embeddings": true, "torch_dtype": "bfloat16", "eos_token_id": 7,
            "use_sliding_window": false, "sliding_window": null
        })
    }

    fn parse(config: &Value) -> Result<DecoderConfig, ConfigError> {
        DecoderConfig::parse(config.to_string().as_bytes(), None)
    }

    #[test]
    fn qwen3_has_norms_of_query_and_key_and_llama_has_not() {
        let mut config = qwen3();
        assert!(parse(&config).unwrap().qk_norm);
        config["architectures"] = json!(["LlamaForCausalLM"]);
        assert!(!parse(&config).unwrap().qk_norm);
    }

    #[test]
    fn generation_config_names_the_end_tokens() {
        let generation = br#"{"eos_token_id": [3, 4]}"#;
        let config = qwen3().to_string();
        let parsed = DecoderConfig::parse(config.as_bytes(), Some(generation)).unwrap();
        assert_eq!(parsed.eos_token_ids, [3, 4]);
        assert_eq!(parse(&qwen3()).unwrap().eos_token_ids, [7]);
    }

    #[test]
    fn what_is_not_honoured_is_refused_by_name() {
        for (key, value, named) in [
            (
                "architectures",
                json!(["MambaForCausalLM"]),
                "MambaForCausalLM",
            ),
            ("hidden_act", json!("gelu"), "hidden_act = gelu"),
            (
                "rope_scaling",
                json!({"rope_type": "yarn", "factor": 4.0}),
                "rope_type = yarn",
            ),
            (
                "rope_parameters",
                json!({"rope_type": "llama3", "factor": 4.0}),
                "low_freq_factor",
            ),
            (
                "layer_types",
                json!(["sliding_attention"]),
                "layer_types = sliding_attention",
            ),
            (
                "quantization_config",
                json!({"bits": 4}),
                "quantization_config",
            ),
            ("num_key_value_heads", json!(3), "num_key_value_heads = 3"),
            ("head_dim", json!(33), "head_dim = 33"),
            ("num_hidden_layers", json!(0), "num_hidden_layers = 0"),
            ("vocab_size", json!(u64::MAX >> 1), "vocab_size"),
        ] {
            let mut config = qwen3();
            config[key] = value;
            let error = parse(&config).unwrap_err().to_string();
            assert!(error.contains(named), "{key}: {error}");
        }
        let mut config = qwen3();
        config["use_sliding_window"] = json!(true);
        config["sliding_window"] = json!(128);
        assert!(parse(&config).is_err());
    }

    #[test]
    fn both_forms_of_rope_settings_are_read() {
        let mut config = qwen3();
        let llama3 = json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 256
        });
        config["rope_scaling"] = llama3.clone();
        let old = parse(&config).unwrap().rope;
        config["rope_scaling"] = json!(null);
        config["rope_theta"] = json!(null);
        config["rope_parameters"] = llama3;
        config["rope_parameters"]["rope_theta"] = json!(1e6);
        assert_eq!(parse(&config).unwrap().rope, old);
        assert_eq!(old.theta, 1e6);
    }
}
