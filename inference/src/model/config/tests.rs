//! Configurations as the switches they set, and what is refused.

use serde_json::json;

use super::*;
use crate::model::rope::RopeKind;

fn llama() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
        "intermediate_size": 128, "vocab_size": 100, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 2048, "rope_theta": 1e6, "hidden_act": "silu",
        "tie_word_embeddings": true, "torch_dtype": "bfloat16", "eos_token_id": 7
    })
}

/// The configuration above with other values.
fn with(changes: Value) -> Value {
    let mut config = llama();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn parse(config: &Value) -> Result<DecoderConfig, ConfigError> {
    DecoderConfig::parse(config.to_string().as_bytes(), None)
}

fn family(architecture: &str, changes: Value) -> DecoderConfig {
    let mut config = with(changes);
    config["architectures"] = json!([architecture]);
    parse(&config).unwrap_or_else(|error| panic!("{architecture}: {error}"))
}

fn windows(config: &DecoderConfig) -> Vec<Option<usize>> {
    config.layers.iter().map(|layer| layer.window).collect()
}

#[test]
fn each_family_is_a_row_of_switches() {
    let llama = family(
        "LlamaForCausalLM",
        json!({"attention_bias": true, "mlp_bias": true}),
    );
    assert!(llama.qkv_bias && llama.out_bias && llama.mlp_bias);
    assert_eq!(llama.qk_norm, QkNorm::None);
    let qwen2 = family("Qwen2ForCausalLM", json!({"head_dim": null}));
    assert!(qwen2.qkv_bias && !qwen2.out_bias);
    assert_eq!(qwen2.head_dim, 16);
    assert_eq!(
        family("Qwen3ForCausalLM", json!({})).qk_norm,
        QkNorm::PerHead
    );
    assert!(family("Phi3ForCausalLM", json!({})).fused);
    let olmo2 = family("Olmo2ForCausalLM", json!({}));
    assert_eq!(
        (olmo2.norm_placement, olmo2.qk_norm),
        (NormPlacement::Post, QkNorm::FullWidth)
    );
    let granite = family(
        "GraniteForCausalLM",
        json!({"embedding_multiplier": 12.0, "residual_multiplier": 0.22, "logits_scaling": 8.0,
               "attention_multiplier": 0.0078125}),
    );
    assert_eq!(granite.embedding_scale, EmbeddingScale::By(12.0));
    assert_eq!(
        (granite.residual_scale, granite.logits_divisor),
        (0.22, 8.0)
    );
    assert_eq!(granite.attention_scale, 0.0078125);
}

#[test]
fn gemma_has_caps_root_scale_and_alternating_windows() {
    let gemma2 = family(
        "Gemma2ForCausalLM",
        json!({"sliding_window": 16, "query_pre_attn_scalar": 64}),
    );
    assert_eq!(
        (gemma2.attention_softcap, gemma2.final_softcap),
        (Some(50.0), Some(30.0))
    );
    assert_eq!(gemma2.attention_scale, 0.125);
    assert_eq!(gemma2.embedding_scale, EmbeddingScale::RootHidden);
    assert_eq!(windows(&gemma2), [Some(16), None, Some(16), None]);
    let uncapped = family("Gemma2ForCausalLM", json!({"attn_logit_softcapping": null}));
    assert_eq!(uncapped.attention_softcap, None);
    let gemma3 = family(
        "Gemma3ForCausalLM",
        json!({"sliding_window": 16, "sliding_window_pattern": 3, "rope_local_base_freq": 5e3,
               "rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
    );
    assert_eq!(windows(&gemma3), [Some(16), Some(16), None, Some(16)]);
    let kinds: Vec<_> = gemma3.layers.iter().map(|layer| layer.rope).collect();
    assert_eq!(kinds, [Some(1), Some(1), Some(0), Some(1)]);
    assert_eq!(gemma3.ropes[0].kind, RopeKind::Linear { factor: 8.0 });
    assert_eq!((gemma3.ropes[0].theta, gemma3.ropes[1].theta), (1e6, 5e3));
    assert_eq!(gemma3.context, 2048);
    let by_type = family(
        "Gemma3ForCausalLM",
        json!({"rope_theta": null, "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 5e3}}}),
    );
    assert_eq!(by_type.ropes, gemma3.ropes);
}

#[test]
fn windows_follow_each_familys_rule() {
    let mistral = family("MistralForCausalLM", json!({"sliding_window": 8}));
    assert_eq!(windows(&mistral), [Some(8); 4]);
    assert_eq!(
        windows(&family(
            "MistralForCausalLM",
            json!({"sliding_window": null})
        )),
        [None; 4]
    );
    let used = json!({"use_sliding_window": true, "sliding_window": 8, "max_window_layers": 2});
    let qwen2 = family("Qwen2ForCausalLM", used.clone());
    assert_eq!(windows(&qwen2), [None, None, Some(8), Some(8)]);
    let unused = json!({"use_sliding_window": false, "sliding_window": 8, "max_window_layers": 2});
    assert_eq!(windows(&family("Qwen2ForCausalLM", unused)), [None; 4]);
    assert_eq!(windows(&family("LlamaForCausalLM", used)), [None; 4]);
    let types = json!({"use_sliding_window": true, "sliding_window": 8, "layer_types":
        ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]});
    assert_eq!(
        windows(&family("Qwen3ForCausalLM", types)),
        [Some(8), None, None, Some(8)]
    );
    let smollm3 = family("SmolLM3ForCausalLM", json!({"no_rope_layer_interval": 2}));
    let rotary: Vec<_> = smollm3.layers.iter().map(|layer| layer.rope).collect();
    assert_eq!(rotary, [Some(0), None, Some(0), None]);
}

#[test]
fn experts_are_in_the_layers_that_have_them() {
    let is_dense = |layer: &LayerConfig| matches!(layer.mlp, MlpConfig::Dense { .. });
    let mixtral = family(
        "MixtralForCausalLM",
        json!({"num_local_experts": 4, "num_experts_per_tok": 2}),
    );
    assert!(!mixtral.layers.iter().any(is_dense));
    let qwen = family(
        "Qwen3MoeForCausalLM",
        json!({"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 48,
               "decoder_sparse_step": 2, "mlp_only_layers": [1], "norm_topk_prob": true}),
    );
    let dense: Vec<bool> = qwen.layers.iter().map(is_dense).collect();
    assert_eq!(dense, [true, true, true, false]);
    let MlpConfig::Experts(experts) = &qwen.layers[3].mlp else {
        panic!("layer 3 has experts");
    };
    assert_eq!(
        (experts.count, experts.intermediate, experts.normalized),
        (8, 48, true)
    );
}

#[test]
fn generation_config_names_the_end_tokens() {
    let generation = br#"{"eos_token_id": [3, 4]}"#;
    let config = llama().to_string();
    let parsed = DecoderConfig::parse(config.as_bytes(), Some(generation)).unwrap();
    assert_eq!(parsed.eos_token_ids, [3, 4]);
    assert_eq!(parse(&llama()).unwrap().eos_token_ids, [7]);
}

#[test]
fn what_is_not_honoured_is_refused_by_name() {
    for (changes, named) in [
        (
            json!({"architectures": ["MambaForCausalLM"]}),
            "MambaForCausalLM",
        ),
        (json!({"architectures": null}), "architectures"),
        (json!({"hidden_act": "relu"}), "hidden_act = relu"),
        (
            json!({"rope_scaling": {"rope_type": "spiral"}}),
            "rope_type = spiral",
        ),
        (json!({"rope_scaling": {"rope_type": "linear"}}), "factor"),
        (
            json!({"rope_parameters": {"rope_type": "llama3", "factor": 4.0}}),
            "low_freq_factor",
        ),
        (
            json!({"rope_scaling": {"type": "default", "mrope_section": [1, 2]}}),
            "mrope_section",
        ),
        (
            json!({"partial_rotary_factor": 0.5}),
            "partial_rotary_factor = 0.5",
        ),
        (
            json!({"architectures": ["Qwen3ForCausalLM"], "layer_types":
            ["linear_attention", "full_attention", "full_attention", "full_attention"]}),
            "layer_types = linear_attention",
        ),
        (
            json!({"quantization_config": {"bits": 4}}),
            "quantization_config",
        ),
        (
            json!({"use_bidirectional_attention": true}),
            "use_bidirectional_attention = true",
        ),
        (json!({"num_key_value_heads": 3}), "num_key_value_heads = 3"),
        (json!({"head_dim": 33}), "head_dim = 33"),
        (
            json!({"num_attention_heads": 1 << 20, "num_key_value_heads": 1, "head_dim": 1 << 20}),
            "num_attention_heads × head_dim",
        ),
        (
            json!({"rope_scaling": {"type": "linear", "factor": 1e300}}),
            "the longest sequence",
        ),
        (
            json!({"rope_scaling": {"type": "dynamic", "factor": 1e-9}}),
            "the longest sequence",
        ),
        (json!({"num_hidden_layers": 0}), "num_hidden_layers = 0"),
        (
            json!({"num_hidden_layers": 1_000_000}),
            "num_hidden_layers = 1000000",
        ),
        (json!({"vocab_size": u64::MAX >> 1}), "vocab_size"),
        (json!({"hidden_size": null}), "hidden_size"),
        (json!({"rms_norm_eps": "small"}), "rms_norm_eps"),
        (
            json!({"architectures": ["MixtralForCausalLM"], "num_local_experts": 2,
                "num_experts_per_tok": 3}),
            "num_experts_per_tok = 3",
        ),
    ] {
        let error = parse(&with(changes.clone())).unwrap_err().to_string();
        assert!(error.contains(named), "{changes}: {error}");
    }
}

#[test]
fn keys_that_nobody_knows_are_named() {
    let config = with(json!({"transformers_version": "5", "use_cache": true, "warp_factor": 9}));
    assert_eq!(parse(&config).unwrap().unknown_keys, ["warp_factor"]);
}

#[test]
fn both_forms_of_rope_settings_are_read() {
    let llama3 = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 256
    });
    let old = parse(&with(json!({"rope_scaling": llama3}))).unwrap().ropes;
    let mut new = with(json!({"rope_theta": null, "rope_parameters": llama3}));
    new["rope_parameters"]["rope_theta"] = json!(1e6);
    assert_eq!(parse(&new).unwrap().ropes, old);
    assert_eq!(old[0].theta, 1e6);
}

#[test]
fn scaled_rope_reaches_further_than_the_training() {
    let context = |scaling: Value| {
        parse(&with(json!({"rope_scaling": scaling})))
            .unwrap()
            .context
    };
    assert_eq!(context(json!({"type": "linear", "factor": 4.0})), 8192);
    assert_eq!(context(json!({"type": "dynamic", "factor": 2.0})), 4096);
    let yarn = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024});
    assert_eq!(context(yarn), 4096);
    let phi3 = family(
        "Phi3ForCausalLM",
        json!({"partial_rotary_factor": 0.5, "original_max_position_embeddings": 512,
               "rope_scaling": {"type": "su", "short_factor": vec![1.0; 8], "long_factor": vec![2.0; 8]}}),
    );
    assert_eq!((phi3.context, phi3.ropes[0].dim), (2048, 16));
    let RopeKind::LongRope {
        attention_factor,
        original_context: 512,
        ..
    } = phi3.ropes[0].kind
    else {
        panic!("{:?}", phi3.ropes[0].kind);
    };
    assert!((attention_factor - (1.0 + 4f64.ln() / 512f64.ln()).sqrt()).abs() < 1e-12);
}
