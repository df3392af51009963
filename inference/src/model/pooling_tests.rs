//! Poolings by hand, and what the files of `sentence-transformers` say.

use std::{fs, path::Path, slice};

use serde_json::json;

use super::*;
use crate::model::source;

const STATES: [f32; 6] = [1.0, -2.0, 3.0, 4.0, 5.0, -8.0];

#[test]
fn each_pooling_is_what_its_name_says() {
    for (kind, expected) in [
        (PoolingType::Mean, [3.0, -2.0]),
        (
            PoolingType::MeanSqrtLen,
            [9.0 / 3f32.sqrt(), -6.0 / 3f32.sqrt()],
        ),
        (PoolingType::Max, [5.0, 4.0]),
        (PoolingType::Cls, [1.0, -2.0]),
        (PoolingType::Last, [5.0, -8.0]),
    ] {
        assert_eq!(kind.pool(&STATES, 2), expected, "{kind}");
    }
}

fn write(folder: &Path, file: &str, content: &Value) {
    let path = folder.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content.to_string()).unwrap();
}

fn config(architecture: &str) -> Value {
    json!({
        "architectures": [architecture], "hidden_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128,
        "vocab_size": 100, "max_position_embeddings": 512
    })
}

fn modules(kinds: &[&str]) -> Value {
    let paths = ["", "1_Pooling", "2_Normalize"];
    let module = |(kind, path): (&&str, &str)| json!({"path": path, "type": format!("a.b.{kind}")});
    kinds.iter().zip(paths).map(module).collect()
}

/// What is chosen for a folder with these files.
fn choose(files: &[(&str, Value)], runner: RunnerType) -> Result<Option<Pooling>, PoolingError> {
    let folder = tempfile::tempdir().unwrap();
    for (file, content) in files {
        write(folder.path(), file, content);
    }
    let files = source::open(folder.path().to_str().unwrap()).unwrap();
    let config = ModelConfig::parse(&files.read("config.json").unwrap(), None).unwrap();
    Pooling::choose(&files, &config, runner)
}

#[test]
fn the_files_of_sentence_transformers_are_followed() {
    let bert = ("config.json", config("BertModel"));
    let all = (
        "modules.json",
        modules(&["Transformer", "Pooling", "Normalize"]),
    );
    let mean = (
        "1_Pooling/config.json",
        json!({"pooling_mode_mean_tokens": true}),
    );
    let limit = (
        "sentence_bert_config.json",
        json!({"max_seq_length": 256, "do_lower_case": true}),
    );
    let chosen = choose(&[bert.clone(), all.clone(), mean, limit], RunnerType::Auto);
    let expected = Pooling {
        kind: PoolingType::Mean,
        normalize: true,
        max_seq_length: Some(256),
        lowercase: true,
        matryoshka: None,
    };
    assert_eq!(chosen.unwrap(), Some(expected));
    let newer = ("1_Pooling/config.json", json!({"pooling_mode": "max"}));
    let two = ("modules.json", modules(&["Transformer", "Pooling"]));
    let chosen = choose(&[bert.clone(), two, newer], RunnerType::Auto)
        .unwrap()
        .unwrap();
    assert_eq!((chosen.kind, chosen.normalize), (PoolingType::Max, false));
    let both = json!({"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true});
    let files = [bert, all, ("1_Pooling/config.json", both)];
    let error = choose(&files, RunnerType::Auto).unwrap_err().to_string();
    assert!(
        error.contains("1_Pooling/config.json: pooling by max and mean"),
        "{error}"
    );
}

#[test]
fn the_runner_follows_from_the_model_unless_the_flag_says() {
    let decoder = ("config.json", config("Qwen3ForCausalLM"));
    let base = ("config.json", config("Qwen3Model"));
    let encoder = ("config.json", config("BertForMaskedLM"));
    let kind = |files: &[(&str, Value)], runner| {
        choose(files, runner).map(|pooling| pooling.map(|pooling| pooling.kind))
    };
    let all = (
        "modules.json",
        modules(&["Transformer", "Pooling", "Normalize"]),
    );
    let last = (
        "1_Pooling/config.json",
        json!({"pooling_mode_lasttoken": true}),
    );
    let embedder = [decoder.clone(), all.clone(), last];
    for (files, runner, expected) in [
        (slice::from_ref(&decoder), RunnerType::Auto, None),
        (
            slice::from_ref(&decoder),
            RunnerType::Pooling,
            Some(PoolingType::Last),
        ),
        (&embedder, RunnerType::Auto, Some(PoolingType::Last)),
        (&embedder, RunnerType::Generate, None),
        (
            slice::from_ref(&base),
            RunnerType::Auto,
            Some(PoolingType::Last),
        ),
        (
            slice::from_ref(&encoder),
            RunnerType::Auto,
            Some(PoolingType::Cls),
        ),
    ] {
        assert_eq!(
            kind(files, runner).unwrap(),
            expected,
            "{files:?} {runner:?}"
        );
    }
    for files in [[base], [encoder]] {
        let error = kind(&files, RunnerType::Generate).unwrap_err();
        assert!(
            matches!(error, PoolingError::GeneratesNothing { .. }),
            "{error}"
        );
    }
    let mean = (
        "1_Pooling/config.json",
        json!({"pooling_mode_mean_tokens": true}),
    );
    let error = kind(&[decoder, all, mean], RunnerType::Auto)
        .unwrap_err()
        .to_string();
    assert!(error.contains("decoders give the last token"), "{error}");
}

#[test]
fn modules_that_are_not_done_are_refused_by_name() {
    let bert = ("config.json", config("BertModel"));
    for (kinds, named) in [
        (&["Transformer", "Dense"][..], "a.b.Dense"),
        (&["Transformer", "Pooling", "Dense"], "a.b.Dense"),
        (&["Transformer"], "without Pooling"),
        (&["WordEmbeddings"], "a.b.WordEmbeddings"),
    ] {
        let pooling = ("1_Pooling/config.json", json!({"pooling_mode": "cls"}));
        let files = [bert.clone(), ("modules.json", modules(kinds)), pooling];
        let error = choose(&files, RunnerType::Auto).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    let outside = json!([{"path": "", "type": "Transformer"}, {"path": "../x", "type": "Pooling"}]);
    let error = choose(&[bert, ("modules.json", outside)], RunnerType::Auto).unwrap_err();
    assert!(matches!(error, PoolingError::Source(_)), "{error}");
}

#[test]
fn a_model_says_whether_its_vectors_may_be_cut() {
    for (key, value, expected) in [
        ("is_matryoshka", json!(true), Some(vec![])),
        ("is_matryoshka", json!(false), None),
        ("matryoshka_dimensions", json!([32, 8]), Some(vec![32, 8])),
    ] {
        let mut config = config("BertModel");
        config[key] = value;
        let chosen = choose(&[("config.json", config)], RunnerType::Auto);
        assert_eq!(chosen.unwrap().unwrap().matryoshka, expected, "{key}");
    }
}
