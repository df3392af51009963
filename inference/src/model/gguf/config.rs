//! `config.json` and `generation_config.json` of a model in a GGUF file, from its keys and from which
//! tensors there are.

use candle_core::DType;
use serde_json::{Map, Value, json};

use super::{
    GgufModel,
    error::Problem,
    keys::{Keys, refuse_unsupported, unknown},
    rope::rope,
    tensor_type::TensorType,
    tokenizer::end_token_ids,
};

/// Layers of the two Gemma models whose queries are scaled by hidden size / heads instead of the
/// head's size; the file does not say.
const GEMMA2_27B_LAYERS: usize = 46;
const GEMMA3_27B_LAYERS: usize = 62;
/// Every how many layers Gemma 3 has one of full attention; the file does not say.
const GEMMA3_PATTERN: usize = 6;

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
    refuse_unsupported(&keys)?;
    let family = model.names.family;
    let window = keys
        .size("attention.sliding_window")?
        .filter(|&window| window > 0);
    let architecture = match (family.gguf, experts, window) {
        ("llama", Some(_), _) => "MixtralForCausalLM",
        ("llama", None, Some(_)) => "MistralForCausalLM",
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
        "torch_dtype": dtype(&keys),
        "bos_token_id": model.metadata().size("tokenizer.ggml.bos_token_id")?,
        "eos_token_id": end_token_ids(model.metadata())?,
    });
    let members = config.as_object_mut().expect("it was made as an object");
    members.extend(rope(&keys, head_dim)?);
    members.extend(of_family(&keys, architecture, head_dim, window)?);
    members.extend(unknown(&keys));
    Ok(config)
}

/// The type that `--dtype auto` takes: bf16 for a file of bf16 matrices. All others are computed in
/// f32, as llama.cpp does: activations that are rounded to 8 bits before each product should not be
/// rounded to bf16 besides.
fn dtype(keys: &Keys<'_>) -> &'static str {
    match matrices_dtype(keys.model) {
        Some(DType::BF16) => "bfloat16",
        _ => "float32",
    }
}

/// The type of the matrices, as one of them has it; none: they are in blocks.
pub(super) fn matrices_dtype(model: &GgufModel) -> Option<DType> {
    let tensors = &model.header.tensors;
    let down = ["blk.0.ffn_down.weight", "blk.0.ffn_down_exps.weight"];
    let found = down.iter().find_map(|name| tensors.get(*name));
    match found?.kind {
        TensorType::Float(dtype) => Some(dtype),
        TensorType::Blocks(_) | TensorType::Other(_) => None,
    }
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
    window: Option<usize>,
) -> Result<Map<String, Value>, Problem> {
    let value = match architecture {
        "MixtralForCausalLM" => json!({
            "num_local_experts": keys.needed_size("expert_count")?,
            "num_experts_per_tok": keys.needed_size("expert_used_count")?,
            "sliding_window": window,
        }),
        "Qwen3MoeForCausalLM" => json!({
            "num_experts": keys.needed_size("expert_count")?,
            "num_experts_per_tok": keys.needed_size("expert_used_count")?,
            "moe_intermediate_size": keys.needed_size("expert_feed_forward_length")?,
            // llama.cpp normalizes the weights of every Qwen3-MoE.
            "norm_topk_prob": keys.metadata().bool(&keys.key("expert_weights_norm"))?.unwrap_or(true),
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        }),
        "Phi3ForCausalLM" | "MistralForCausalLM" => json!({ "sliding_window": window }),
        "GraniteForCausalLM" => json!({
            "embedding_multiplier": keys.number("embedding_scale")?.unwrap_or(1.0),
            "residual_multiplier": keys.number("residual_scale")?.unwrap_or(1.0),
            "attention_multiplier": keys.number("attention.scale")?
                .unwrap_or(1.0 / (head_dim as f64).sqrt()),
            "logits_scaling": keys.number("logit_scale")?.unwrap_or(1.0),
        }),
        "Gemma2ForCausalLM" => gemma(keys, window, GEMMA2_27B_LAYERS, |layer| layer % 2 == 1)?,
        "Gemma3ForCausalLM" => {
            let full = |layer: usize| (layer + 1).is_multiple_of(GEMMA3_PATTERN);
            gemma(keys, window, GEMMA3_27B_LAYERS, full)?
        }
        _ => match window {
            Some(window) => return Err(keys.unsupported("attention.sliding_window", window)),
            None => json!({}),
        },
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
