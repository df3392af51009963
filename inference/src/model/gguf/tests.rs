//! Sound files give their model; damaged and hostile ones an error that says where, and never a panic
//! or an allocation beyond the file's own size.

use std::path::PathBuf;

use candle_core::DType;
use proptest::prelude::*;
use serde_json::Value as Json;

use super::{error::Problem, reader::Header, test_file::TestFile, *};
use crate::{
    model::{LoadProgress, open, weights::Weights},
    prompt::Tokenizer,
};
use candela_flags::Quantization;

const HIDDEN: usize = 8;
const TOKENS: [&str; 8] = [
    "<|end|>", "a", "b", "c", "ab", "\u{120}", "\u{120}c", "<pad>",
];

/// A llama of one layer: two heads of four dimensions, tokens of letters.
fn llama() -> TestFile {
    let numbers = |count: usize| (0..count).map(|i| i as f32).collect::<Vec<f32>>();
    let matrix = |file: TestFile, name: &str, rows: usize, columns: usize| {
        file.floats_tensor(name, &[rows, columns], &numbers(rows * columns))
    };
    let mut file = TestFile::default()
        .text("general.architecture", "llama")
        .size("llama.block_count", 1)
        .size("llama.embedding_length", HIDDEN as u32)
        .size("llama.attention.head_count", 2)
        .size("llama.context_length", 64)
        .size("llama.feed_forward_length", 16)
        .float("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .float("llama.rope.freq_base", 500_000.0)
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "llama-bpe")
        .texts("tokenizer.ggml.tokens", &TOKENS)
        .integers("tokenizer.ggml.token_type", &[3, 1, 1, 1, 1, 1, 1, 5])
        .texts("tokenizer.ggml.merges", &["a b", "\u{120} c"])
        .size("tokenizer.ggml.bos_token_id", 0)
        .size("tokenizer.ggml.eos_token_id", 0)
        .text("tokenizer.chat_template", "{{ messages[0].content }}");
    file = matrix(file, "token_embd.weight", TOKENS.len(), HIDDEN);
    for (name, rows, columns) in [
        ("attn_q", HIDDEN, HIDDEN),
        ("attn_k", HIDDEN, HIDDEN),
        ("attn_v", HIDDEN, HIDDEN),
        ("attn_output", HIDDEN, HIDDEN),
        ("ffn_gate", 16, HIDDEN),
        ("ffn_up", 16, HIDDEN),
        ("ffn_down", HIDDEN, 16),
    ] {
        file = matrix(file, &format!("blk.0.{name}.weight"), rows, columns);
    }
    for name in ["blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"] {
        file = file.floats_tensor(&format!("{name}.weight"), &[HIDDEN], &[1.0; HIDDEN]);
    }
    file
}

fn written(file: &TestFile) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    file.write(&path);
    (folder, path)
}

fn json(model: &GgufModel, file: &str) -> Json {
    serde_json::from_slice(&model.read(file).unwrap().unwrap()).unwrap()
}

#[test]
fn keys_and_tensors_become_a_config() {
    let (_folder, path) = written(&llama());
    let config = json(&GgufModel::open(&path).unwrap(), "config.json");
    for (key, value) in [
        ("architectures", serde_json::json!(["LlamaForCausalLM"])),
        ("hidden_size", 8.into()),
        ("head_dim", 4.into()),
        ("num_key_value_heads", 2.into()),
        ("vocab_size", 8.into()),
        ("tie_word_embeddings", true.into()),
        ("attention_bias", false.into()),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
    assert_eq!(config["rope_parameters"]["rope_theta"], 500_000.0);

    let more = llama()
        .size("llama.attention.sliding_window", 32)
        .size("llama.novelty", 1);
    let (_folder, path) = written(&more);
    let config = json(&GgufModel::open(&path).unwrap(), "config.json");
    assert_eq!(config["architectures"][0], "MistralForCausalLM");
    assert_eq!(config["sliding_window"], 32);
    assert!(config.get("llama.novelty").is_some());
}

#[test]
fn paired_rows_of_queries_are_put_back_and_values_are_left() {
    let (folder, path) = written(&llama());
    for uri in [folder.path(), path.as_path()] {
        let files = open(uri.to_str().unwrap()).unwrap();
        let progress = LoadProgress::default();
        let weights = Weights::open(&files, DType::F32, Quantization::None, &progress).unwrap();
        let first_numbers = |name: &str| -> Vec<f32> {
            let name = format!("model.layers.0.self_attn.{name}.weight");
            let tensor = weights.get(&name, &[HIDDEN, HIDDEN]).unwrap();
            let rows = tensor.to_vec2::<f32>().unwrap();
            rows.iter().map(|row| row[0] / HIDDEN as f32).collect()
        };
        assert_eq!(
            first_numbers("q_proj"),
            [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
        );
        assert_eq!(
            first_numbers("v_proj"),
            [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
        );
        assert!(!weights.has("lm_head.weight"));
    }
}

#[test]
fn of_several_files_in_a_folder_none_is_guessed() {
    let (folder, _path) = written(&llama());
    llama().write(&folder.path().join("other.gguf"));
    let error = open(folder.path().to_str().unwrap())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("model.gguf") && error.contains("other.gguf"),
        "{error}"
    );
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    assert!(
        open(folder.path().to_str().unwrap())
            .unwrap()
            .gguf()
            .is_none()
    );
}

#[test]
fn experts_are_parts_of_one_tensor_and_norms_lose_what_was_added() {
    let numbers: Vec<f32> = (0..3 * 2 * 4).map(|i| i as f32).collect();
    let file = TestFile::default()
        .text("general.architecture", "qwen3moe")
        .size("qwen3moe.attention.key_length", 4)
        .floats_tensor("blk.1.ffn_up_exps.weight", &[3, 2, 4], &numbers);
    let (_folder, path) = written(&file);
    let model = GgufModel::open(&path).unwrap();
    let name = |expert: usize| format!("model.layers.1.mlp.experts.{expert}.up_proj.weight");
    let saved = model.find(&name(2)).unwrap();
    let rows = saved.tensor(DType::F32).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(rows, [[16.0, 17.0, 18.0, 19.0], [20.0, 21.0, 22.0, 23.0]]);
    assert!(model.find(&name(3)).is_none());

    let file = TestFile::default()
        .text("general.architecture", "gemma3")
        .size("gemma3.attention.key_length", 4)
        .floats_tensor("blk.0.post_attention_norm.weight", &[2], &[1.5, 0.0])
        .floats_tensor("blk.0.ffn_norm.weight", &[2], &[1.0, 2.0]);
    let (_folder, path) = written(&file);
    let model = GgufModel::open(&path).unwrap();
    let norm = |name: &str| -> Vec<f32> {
        let saved = model
            .find(&format!("model.layers.0.{name}.weight"))
            .unwrap();
        saved.tensor(DType::F32).unwrap().to_vec1().unwrap()
    };
    assert_eq!(norm("post_attention_layernorm"), [0.5, -1.0]);
    assert_eq!(norm("pre_feedforward_layernorm"), [0.0, 1.0]);
}

#[test]
fn the_tokenizer_and_the_template_come_from_the_keys() {
    let (_folder, path) = written(&llama());
    let model = GgufModel::open(&path).unwrap();
    let bytes = model.read("tokenizer.json").unwrap().unwrap();
    let tokenizer = Tokenizer::from_bytes(&bytes, 8).unwrap();
    assert_eq!(tokenizer.encode("ab c<|end|>", true).unwrap(), [0, 4, 6, 0]);
    assert_eq!(tokenizer.decode(&[4, 6, 7], true), "ab c");
    let config = json(&model, "tokenizer_config.json");
    assert_eq!(config["bos_token"], "<|end|>");
    assert_eq!(
        config["chat_template"][0]["template"],
        "{{ messages[0].content }}"
    );
    assert_eq!(json(&model, "generation_config.json")["eos_token_id"][0], 0);
}

#[test]
fn pieces_are_merged_by_their_scores() {
    let pieces = [
        "<unk>",
        "<s>",
        "\u{2581}",
        "a",
        "b",
        "\u{2581}a",
        "ab",
        "\u{2581}ab",
        "<0x63>",
    ];
    let scores = [0.0, 0.0, -9.0, -8.0, -7.0, -6.0, -5.0, -4.0, 0.0];
    let file = TestFile::default()
        .text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", &pieces)
        .floats("tokenizer.ggml.scores", &scores)
        .integers("tokenizer.ggml.token_type", &[2, 3, 1, 1, 1, 1, 1, 1, 6])
        .size("tokenizer.ggml.bos_token_id", 1);
    let header = Header::read(&file.bytes()).unwrap();
    let json = tokenizer::tokenizer_json(&header.metadata)
        .unwrap()
        .to_string();
    let tokenizer = Tokenizer::from_bytes(json.as_bytes(), 9).unwrap();
    assert_eq!(tokenizer.encode("ab a", true).unwrap(), [1, 7, 5]);
    assert_eq!(tokenizer.encode("c", false).unwrap(), [2, 8]);
    assert_eq!(tokenizer.decode(&[7, 5, 8], true), "ab ac");
}

#[test]
fn what_we_do_not_run_is_refused_by_name() {
    let cases: [(TestFile, &str); 7] = [
        (
            llama().size("llama.attention.sliding_window_pattern", 4),
            "llama.attention.sliding_window_pattern",
        ),
        (
            llama().size("llama.expert_shared_count", 1),
            "llama.expert_shared_count = 1",
        ),
        (
            llama().size("general.alignment", 24),
            "general.alignment = 24",
        ),
        (TestFile::default(), "has no general.architecture"),
        (
            TestFile::default().text("general.architecture", "mamba"),
            "general.architecture = mamba",
        ),
        (llama().size("split.count", 2), "split.count = 2"),
        (
            llama().size("llama.attention.value_length", 2),
            "llama.attention.value_length = 2",
        ),
    ];
    for (file, named) in cases {
        let (_folder, path) = written(&file);
        let error = GgufModel::open(&path)
            .and_then(|model| model.read("config.json").unwrap().map(|_| ()))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(named) && error.contains("model.gguf"),
            "{error}"
        );
    }
    let file = llama().tensor("output.weight", &[8, 256], 10, &[0; 8 * 84]);
    let (_folder, path) = written(&file);
    let files = open(path.to_str().unwrap()).unwrap();
    let progress = LoadProgress::default();
    let open = |quantization| Weights::open(&files, DType::F32, quantization, &progress);
    let weights = open(Quantization::None).unwrap();
    let error = weights
        .get("lm_head.weight", &[8, 256])
        .unwrap_err()
        .to_string();
    assert!(error.contains("output.weight is of type Q2_K"), "{error}");
    let flags = candela_flags::EngineFlags::for_model("m");
    let error = crate::model::describe(&files, &flags)
        .unwrap_err()
        .to_string();
    assert!(error.contains("output.weight is of type Q2_K"), "{error}");
    let error = open(Quantization::Q8_0).err().unwrap().to_string();
    assert!(
        error.contains("--quantization is for safetensors"),
        "{error}"
    );
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let whole = llama().bytes();
    Header::read(&whole).unwrap();
    // Padding behind the last tensor may be missing.
    for len in 0..whole.len() - 31 {
        Header::read(&whole[..len]).unwrap_err();
    }
}

#[test]
fn absurd_counts_and_places_are_refused_before_anything_is_allocated() {
    let huge = u64::MAX.to_le_bytes();
    for at in [8, 16] {
        let mut file = llama().bytes();
        file[at..at + 8].copy_from_slice(&huge);
        let error = Header::read(&file).unwrap_err();
        assert!(matches!(error, Problem::Damaged { .. }), "{error}");
    }
    let zero_alignment = llama().size("general.alignment", 0).bytes();
    assert!(
        Header::read(&zero_alignment)
            .unwrap_err()
            .to_string()
            .contains("general.alignment")
    );
    // The second tensor's place, moved onto the first's.
    let file = TestFile::default().floats_tensor("a", &[8], &[0.0; 8]);
    let file = file.floats_tensor("b", &[8], &[0.0; 8]).bytes();
    let second = file
        .windows(8)
        .rposition(|bytes| bytes == 32u64.to_le_bytes())
        .unwrap();
    let mut overlapping = file.clone();
    overlapping[second..second + 8].fill(0);
    assert!(
        Header::read(&overlapping)
            .unwrap_err()
            .to_string()
            .contains("overlap")
    );
    let mut beyond = file;
    beyond[second..second + 8].copy_from_slice(&(u64::MAX - 31).to_le_bytes());
    assert!(
        Header::read(&beyond)
            .unwrap_err()
            .to_string()
            .contains("tensor b")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_bytes_never_panic(
        changes in prop::collection::vec((0usize..2000, any::<u8>()), 1..6), len in 0usize..4000,
    ) {
        let mut file = llama().bytes();
        for (at, byte) in changes {
            let at = at % file.len();
            file[at] = byte;
        }
        if len < 400 {
            file.truncate(len);
        }
        if let Ok(header) = Header::read(&file) {
            // What the header allows must be there, and the files made of it be or fail cleanly.
            for info in header.tensors.values() {
                prop_assert!(info.offset + info.bytes <= file.len());
            }
            let _ = tokenizer::tokenizer_json(&header.metadata);
            let _ = tokenizer::tokenizer_config_json(&header.metadata);
            if let Ok(names) = Names::of(&header) {
                let _ = names.place("model.layers.0.self_attn.q_proj.weight");
            }
        }
    }
}
