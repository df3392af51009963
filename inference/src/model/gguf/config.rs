//! `config.json` and `generation_config.json` of a model in a GGUF file, from its keys and from which
//! tensors there are.

use serde_json::{Map, Value, json};

use super::{GgufModel, error::Problem, metadata::Metadata, tokenizer::end_token_ids};

/// Layers of the two Gemma models whose queries are scaled by hidden size / heads instead of the
/// head's size; the file does not say.
const GEMMA2_27B_LAYERS: usize = 46;
const GEMMA3_27B_LAYERS: usize = 62;
/// Every how many layers Gemma 3 has one of full attention; the file does not say.
const GEMMA3_PATTERN: usize = 6;

/// Reads keys of the model's architecture, `llama.…`.
struct Keys<'a> {
    model: &'a GgufModel,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.model.names.family.gguf)
    }

    fn metadata(&self) -> &Metadata {
        self.model.metadata()
    }

    fn needed_size(&self, name: &str) -> Result<usize, Problem> {
        self.metadata().needed_size(&self.key(name))
    }

    fn size(&self, name: &str) -> Result<Option<usize>, Problem> {
        self.metadata().size(&self.key(name))
    }

    fn number(&self, name: &str) -> Result<Option<f64>, Problem> {
        self.metadata().number(&self.key(name))
    }

    fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        self.metadata().text(&self.key(name))
    }

    fn has(&self, tensor: &str) -> bool {
        self.model.header.tensors.contains_key(tensor)
    }

    fn unsupported(&self, name: &str, value: impl ToString) -> Problem {
        Problem::Unsupported {
            key: self.key(name),
            value: value.to_string(),
        }
    }

    /// The factors of a tensor of them.
    fn factors(&self, tensor: &str) -> Result<Option<Vec<f32>>, Problem> {
        let Some(info) = self.model.header.tensors.get(tensor) else {
            return Ok(None);
        };
        let numbers = self.model.data(info).as_chunks::<4>().0;
        if info.kind.block() != Some((1, 4)) || info.shape.len() != 1 {
            return Err(Problem::Type {
                key: tensor.to_owned(),
                wanted: "a list of F32",
            });
        }
        Ok(Some(
            numbers
                .iter()
                .map(|&bytes| f32::from_le_bytes(bytes))
                .collect(),
        ))
    }
}

/// `config.json`.
pub(super) fn config_json(model: &GgufModel) -> Result<Value, Problem> {
    let keys = Keys { model };
    let (hidden, heads) = (
        keys.needed_size("embedding_length")?,
        keys.needed_size("attention.head_count")?,
    );
    let head_dim = model.names.head_dim();
    if let Some(len) = keys
        .size("attention.value_length")?
        .filter(|&len| len != head_dim)
    {
        return Err(keys.unsupported("attention.value_length", len));
    }
    let experts = keys.size("expert_count")?.filter(|&experts| experts > 0);
    let family = model.names.family;
    let architecture = match (family.gguf, experts) {
        ("llama", Some(_)) => "MixtralForCausalLM",
        _ => family.architecture,
    };
    let embedding = "token_embd.weight";
    let embedding = model.header.tensors.get(embedding);
    let embedding = embedding.ok_or_else(|| Problem::Missing("token_embd.weight".to_owned()))?;
    let eps = "attention.layer_norm_rms_epsilon";
    let eps = keys
        .number(eps)?
        .ok_or_else(|| Problem::Missing(keys.key(eps)))?;
    let mut config = json!({
        "architectures": [architecture],
        "hidden_size": hidden,
        "num_hidden_layers": keys.needed_size("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": keys.size("attention.head_count_kv")?.unwrap_or(heads),
        "head_dim": head_dim,
        "intermediate_size": keys.size("feed_forward_length")?,
        "vocab_size": embedding.shape[0],
        "max_position_embeddings": keys.needed_size("context_length")?,
        "rms_norm_eps": eps,
        "hidden_act": "silu",
        "tie_word_embeddings": !keys.has("output.weight"),
        "attention_bias": keys.has("blk.0.attn_q.bias"),
        "mlp_bias": keys.has("blk.0.ffn_gate.bias"),
        "torch_dtype": "float32",
        "bos_token_id": model.metadata().size("tokenizer.ggml.bos_token_id")?,
        "eos_token_id": end_token_ids(model.metadata())?,
    });
    let members = config.as_object_mut().expect("it was made as an object");
    members.extend(rope(&keys, head_dim)?);
    members.extend(of_family(&keys, architecture, head_dim)?);
    Ok(config)
}

/// `generation_config.json`: the tokens that end an answer, and sampling where the file recommends any.
pub(super) fn generation_config_json(model: &GgufModel) -> Result<Value, Problem> {
    let mut config = Map::new();
    config.insert(
        "eos_token_id".to_owned(),
        json!(end_token_ids(model.metadata())?),
    );
    for (key, name) in [("temp", "temperature"), ("top_p", "top_p")] {
        if let Some(value) = model
            .metadata()
            .number(&format!("general.sampling.{key}"))?
        {
            // Written as f32: 0.7 is to be 0.7 again.
            config.insert(name.to_owned(), json!((value * 1e6).round() / 1e6));
        }
    }
    if let Some(top_k) = model.metadata().size("general.sampling.top_k")? {
        config.insert("top_k".to_owned(), json!(top_k));
    }
    Ok(Value::Object(config))
}

/// What only some families have.
fn of_family(
    keys: &Keys<'_>,
    architecture: &str,
    head_dim: usize,
) -> Result<Map<String, Value>, Problem> {
    let window = keys
        .size("attention.sliding_window")?
        .filter(|&window| window > 0);
    let value = match architecture {
        "MixtralForCausalLM" => json!({
            "num_local_experts": keys.needed_size("expert_count")?,
            "num_experts_per_tok": keys.needed_size("expert_used_count")?,
        }),
        "Qwen3MoeForCausalLM" => json!({
            "num_experts": keys.needed_size("expert_count")?,
            "num_experts_per_tok": keys.needed_size("expert_used_count")?,
            "moe_intermediate_size": keys.needed_size("expert_feed_forward_length")?,
            // llama.cpp normalizes the weights of every Qwen3-MoE.
            "norm_topk_prob": true,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        }),
        "Phi3ForCausalLM" => json!({ "sliding_window": window }),
        "GraniteForCausalLM" => json!({
            "embedding_multiplier": keys.number("embedding_scale")?.unwrap_or(1.0),
            "residual_multiplier": keys.number("residual_scale")?.unwrap_or(1.0),
            "attention_multiplier": keys.number("attention.scale")?
                .unwrap_or(1.0 / (head_dim as f64).sqrt()),
            "logits_scaling": keys.number("logit_scale")?.unwrap_or(1.0),
        }),
        "Olmo2ForCausalLM" => match window {
            Some(window) => return Err(keys.unsupported("attention.sliding_window", window)),
            None => json!({}),
        },
        "Gemma2ForCausalLM" => gemma(keys, window, GEMMA2_27B_LAYERS, |layer| layer % 2 == 1)?,
        "Gemma3ForCausalLM" => {
            let full = |layer: usize| (layer + 1).is_multiple_of(GEMMA3_PATTERN);
            gemma(keys, window, GEMMA3_27B_LAYERS, full)?
        }
        _ => json!({}),
    };
    Ok(value.as_object().cloned().unwrap_or_default())
}

/// Both Gemmas: windows in some layers, softcaps, the scale of queries.
fn gemma(
    keys: &Keys<'_>,
    window: Option<usize>,
    layers_27b: usize,
    full: impl Fn(usize) -> bool,
) -> Result<Value, Problem> {
    let layers = keys.needed_size("block_count")?;
    let scalar = if layers == layers_27b {
        keys.needed_size("embedding_length")? / keys.needed_size("attention.head_count")?.max(1)
    } else {
        keys.model.names.head_dim()
    };
    let is_full = |layer: usize| full(layer) || window.is_none();
    let kind = |layer| {
        if is_full(layer) {
            "full_attention"
        } else {
            "sliding_attention"
        }
    };
    Ok(json!({
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_act": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": scalar,
        "sliding_window": window,
        "layer_types": (0..layers).map(kind).collect::<Vec<_>>(),
        "attn_logit_softcapping": keys.number("attn_logit_softcapping")?,
        "final_logit_softcapping": keys.number("final_logit_softcapping")?,
    }))
}

/// `rope_parameters` and what goes with them.
fn rope(keys: &Keys<'_>, head_dim: usize) -> Result<Map<String, Value>, Problem> {
    let theta = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    let context = keys.needed_size("context_length")?;
    let original = keys
        .size("rope.scaling.original_context_length")?
        .unwrap_or(context);
    let mut parameters = match keys.factors("rope_freqs.weight")? {
        // One divisor for each frequency, whatever the length: Llama 3's scaling, worked out.
        Some(factors) => json!({ "rope_type": "frequency_factors", "factors": factors }),
        None => scaling(keys, original)?,
    };
    let members = parameters
        .as_object_mut()
        .expect("it was made as an object");
    members.insert("rope_theta".to_owned(), json!(theta));
    let mut config = Map::new();
    config.insert(
        "original_max_position_embeddings".to_owned(),
        json!(original),
    );
    let rotated = keys.size("rope.dimension_count")?.unwrap_or(head_dim);
    if rotated != head_dim {
        if keys.model.names.family.paired_rows() || rotated > head_dim {
            return Err(keys.unsupported("rope.dimension_count", rotated));
        }
        let share = json!(rotated as f64 / head_dim as f64);
        members.insert("partial_rotary_factor".to_owned(), share.clone());
        config.insert("partial_rotary_factor".to_owned(), share);
    }
    if keys.model.names.family.gguf == "gemma3" {
        let local = keys.number("rope.freq_base_swa")?.unwrap_or(10_000.0);
        parameters = json!({
            "full_attention": parameters,
            "sliding_attention": { "rope_type": "default", "rope_theta": local },
        });
    }
    config.insert("rope_parameters".to_owned(), parameters);
    Ok(config)
}

/// The scaling that the keys name.
fn scaling(keys: &Keys<'_>, original: usize) -> Result<Value, Problem> {
    let factor = keys.number("rope.scaling.factor")?.unwrap_or(1.0);
    let long = keys.factors("rope_factors_long.weight")?;
    let short = keys.factors("rope_factors_short.weight")?;
    if let (Some(long), Some(short)) = (long, short) {
        return Ok(json!({
            "rope_type": "longrope", "short_factor": short, "long_factor": long,
            "attention_factor": keys.number("rope.scaling.attn_factor")?.unwrap_or(1.0),
            "original_max_position_embeddings": original,
        }));
    }
    Ok(match keys.text("rope.scaling.type")? {
        None | Some("none") => json!({ "rope_type": "default" }),
        Some("linear") => json!({ "rope_type": "linear", "factor": factor }),
        Some("yarn") => {
            let mut yarn = json!({
                "rope_type": "yarn", "factor": factor,
                "original_max_position_embeddings": original,
            });
            for (key, name) in [
                ("yarn_beta_fast", "beta_fast"),
                ("yarn_beta_slow", "beta_slow"),
            ] {
                if let Some(value) = keys.number(&format!("rope.scaling.{key}"))? {
                    yarn[name] = json!(value);
                }
            }
            for key in ["yarn_attn_factor", "yarn_ext_factor", "attn_factor"] {
                let name = format!("rope.scaling.{key}");
                if let Some(value) = keys.number(&name)?.filter(|&value| value != 1.0) {
                    return Err(keys.unsupported(&name, value));
                }
            }
            yarn
        }
        Some(other) => return Err(keys.unsupported("rope.scaling.type", other)),
    })
}
