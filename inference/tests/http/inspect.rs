//! `candela-engine inspect`, as a person and as a script would run it.

use std::process::{Command, Output};

const ENGINE: &str = env!("CARGO_BIN_EXE_candela-engine");

fn inspect(args: &[&str]) -> Output {
    Command::new(ENGINE)
        .arg("inspect")
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn inspect_says_what_a_model_is_and_what_it_needs() {
    let out = inspect(&["builtin://demo"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{text}");
    for line in [
        "architecture    Qwen3ForCausalLM",
        "parameters      1.44 M",
        "dtype           bfloat16 (saved as bfloat16)",
        "context         2048 tokens",
        "chat template   yes",
        "per token       1.5 KiB of KV cache",
        "per sequence    3.0 MiB of KV cache for 2048 tokens (limited by the model)",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn the_flags_of_the_server_change_what_inspect_says() {
    let flags = [
        "builtin://demo",
        "--json",
        "--max-model-len=512",
        "--quantization=q8_0",
    ];
    let out = inspect(&flags);
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let memory = &report["memory"];
    assert_eq!(memory["max_model_len"], 512);
    assert_eq!(memory["limited_by"], "--max-model-len");
    assert_eq!(memory["kv_bytes_per_sequence"], 512 * 1536);
    let weights = memory["weights_bytes"].as_u64().unwrap();
    assert!(
        weights < 2 * report["parameters"].as_u64().unwrap(),
        "{weights}"
    );
    assert!(
        report["quantization"].as_str().unwrap().contains("q8_0"),
        "{report}"
    );
}

#[test]
fn what_does_not_fit_is_said_and_what_is_no_model_is_an_error() {
    let out = inspect(&["builtin://demo", "--max-model-len=4096"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("made for: 2048 tokens"), "{text}");
    let out = inspect(&["/no/such/folder"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        String::from_utf8(out.stderr)
            .unwrap()
            .contains("/no/such/folder")
    );
    assert_eq!(inspect(&[]).status.code(), Some(2));
}
