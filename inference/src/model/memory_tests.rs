//! Plans of memory: what fits, and what is said where it does not.

use candela_flags::{ContextLength, KvBlocks};

use super::*;

const MODEL: usize = 1 << 20;

fn config() -> DecoderConfig {
    let json = br#"{"architectures": ["Qwen3ForCausalLM"], "hidden_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 16, "intermediate_size": 128, "vocab_size": 100, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 2048}"#;
    DecoderConfig::parse(json, None).unwrap()
}

fn needs(flags: &EngineFlags) -> Needs {
    Needs::of_decoder(&config(), 2048, DType::BF16, flags)
}

/// With this much left by the model.
fn plan(change: impl FnOnce(&mut EngineFlags), left: usize) -> Result<MemoryPlan, MemoryError> {
    let mut flags = EngineFlags::for_model("m");
    change(&mut flags);
    let activations = activation_bytes(&config(), DType::BF16, &flags);
    let wanted = flags.max_model_len.map_or(2048, |len| len.as_usize());
    let free = left.saturating_add(MODEL + activations + wanted * 16 * 4);
    MemoryPlan::new(&needs(&flags), MODEL, &flags, Some(free))
}

#[test]
fn a_block_holds_keys_and_values_of_all_layers() {
    let plan = plan(|_| {}, usize::MAX).unwrap();
    assert_eq!(plan.kv_block_bytes, 2 * 2 * 32 * 2 * 16 * 2);
    assert_eq!((plan.kv_blocks, plan.max_model_len), (64 * 64, 2048));
    assert_eq!(plan.limited_by, ContextLimit::Model);
    assert_eq!(plan.sequence_bytes(), 2048 * plan.token_bytes());
}

#[test]
fn half_of_what_the_model_leaves_bounds_the_cache_and_then_the_context() {
    let plan = plan(|_| {}, 8192 * 2 * 8).unwrap();
    assert_eq!((plan.kv_blocks, plan.max_model_len), (8, 256));
    assert_eq!(plan.limited_by, ContextLimit::KvCache);
    assert_eq!(plan.rope_bytes, 256 * 16 * 4);
}

#[test]
fn what_does_not_fit_is_refused_with_the_number_that_does() {
    let refused = |change: fn(&mut EngineFlags), left: usize| plan(change, left).unwrap_err();
    let long = |flags: &mut EngineFlags| {
        flags.num_gpu_blocks_override = KvBlocks::new(8).ok();
        flags.max_model_len = ContextLength::new(300).ok();
    };
    let error = refused(long, usize::MAX).to_string();
    assert!(error.contains("at most 256 tokens fit"), "{error}");
    let beyond = |flags: &mut EngineFlags| flags.max_model_len = ContextLength::new(4096).ok();
    let error = refused(beyond, usize::MAX).to_string();
    assert!(error.contains("made for: 2048 tokens"), "{error}");
    let large = |flags: &mut EngineFlags| flags.num_gpu_blocks_override = KvBlocks::new(100).ok();
    let error = refused(large, 8192 * 10).to_string();
    assert!(error.contains("at most 10 blocks (320 tokens)"), "{error}");
    assert!(matches!(refused(|_| {}, 8192), MemoryError::NoCache { .. }));
}

#[test]
fn weights_beyond_the_free_memory_are_refused_before_they_are_read() {
    let flags = EngineFlags::for_model("m");
    let plan = MemoryPlan::new(&needs(&flags), MODEL, &flags, Some(MODEL));
    let error = plan.unwrap_err().to_string();
    assert!(error.contains("weights 1.0 MiB"), "{error}");
    assert!(error.contains("--quantization"), "{error}");
}

#[test]
fn an_encoder_has_blocks_for_one_step_and_one_layer() {
    let json = br#"{"architectures": ["BertModel"], "hidden_size": 64, "num_hidden_layers": 6,
        "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 100,
        "max_position_embeddings": 2048}"#;
    let config = EncoderConfig::parse(json).unwrap().unwrap();
    let flags = EngineFlags::for_model("m");
    let needs = Needs::of_encoder(&config, 2048, DType::F32, &flags);
    let plan = MemoryPlan::new(&needs, MODEL, &flags, None).unwrap();
    assert_eq!(plan.kv_block_bytes, 2 * 32 * 64 * 4);
    // A whole text fits in a step, though --max-num-batched-tokens is less.
    assert_eq!((plan.kv_blocks, plan.max_model_len), (2048 / 32 + 64, 2048));
    assert!(plan.activation_bytes > 2048 * (3 * 64 + 128) * 4);
}
