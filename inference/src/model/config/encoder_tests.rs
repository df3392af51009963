//! Encoders' configurations as the switches they set, and what is refused.

use serde_json::{Value, json};

use super::*;
use crate::model::config::ModelConfig;

fn bert() -> Value {
    json!({
        "architectures": ["BertModel"], "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 100,
        "max_position_embeddings": 512, "hidden_act": "gelu", "model_type": "bert",
        "attention_probs_dropout_prob": 0.1, "position_embedding_type": "absolute"
    })
}

/// The configuration above with other values.
fn read(changes: Value) -> Result<EncoderConfig, ConfigError> {
    let mut config = bert();
    config
        .as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    match ModelConfig::parse(config.to_string().as_bytes(), None)? {
        ModelConfig::Encoder(encoder) => Ok(encoder),
        ModelConfig::Decoder(_) => panic!("{config} is an encoder"),
    }
}

#[test]
fn each_family_is_a_row_of_switches() {
    let bert = read(json!({"layer_norm_eps": 1e-5, "torch_dtype": "float16", "eos_token_id": 2, "tie_word_embeddings": true})).unwrap();
    assert_eq!(
        (bert.prefix, bert.padding, bert.token_types),
        ("bert.", None, Some(2))
    );
    assert_eq!(
        (bert.context, bert.head_dim(), bert.norm_eps),
        (512, 16, 1e-5)
    );
    assert_eq!(bert.saved_dtype.as_deref(), Some("float16"));
    assert_eq!(bert.unknown_keys, [""; 0]);
    let roberta = json!({"architectures": ["XLMRobertaModel"], "max_position_embeddings": 514});
    let roberta = read(roberta).unwrap();
    assert_eq!(
        (roberta.padding, roberta.context, roberta.positions),
        (Some(1), 512, 514)
    );
    let distilbert = json!({
        "architectures": ["DistilBertForMaskedLM"], "dim": 32, "n_heads": 2, "n_layers": 1,
        "hidden_dim": 48, "activation": "relu", "hidden_act": null
    });
    let distilbert = read(distilbert).unwrap();
    assert_eq!(
        (
            distilbert.hidden,
            distilbert.layers,
            distilbert.intermediate
        ),
        (32, 1, 48)
    );
    assert_eq!(
        (distilbert.token_types, distilbert.activation),
        (None, Activation::Relu)
    );
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    for (changes, named) in [
        (
            json!({"position_embedding_type": "relative_key"}),
            "relative_key",
        ),
        (json!({"is_decoder": true}), "is_decoder"),
        (json!({"add_cross_attention": true}), "add_cross_attention"),
        (json!({"hidden_act": "mish"}), "mish"),
        (json!({"num_attention_heads": 5}), "num_attention_heads = 5"),
        (
            json!({"num_hidden_layers": 5000}),
            "num_hidden_layers = 5000",
        ),
        (json!({"hidden_size": u64::MAX}), "hidden_size"),
        (
            json!({"architectures": ["BertForSequenceClassification"]}),
            "DistilBertModel",
        ),
        (
            json!({"architectures": ["RobertaModel"], "max_position_embeddings": 2}),
            "no position",
        ),
        (
            json!({"architectures": ["RobertaModel"], "pad_token_id": -1}),
            "pad_token_id",
        ),
    ] {
        let error = read(changes.clone()).unwrap_err().to_string();
        assert!(error.contains(named), "{changes}: {error}");
    }
    let odd = read(json!({"embedding_size": 128})).unwrap();
    assert_eq!(odd.unknown_keys, ["embedding_size"]);
}
