//! Every input of the committed fuzz corpus through the function its target runs: seeds, and what the
//! fuzzer found, which stays fixed.

#![expect(unreachable_pub, reason = "the modules are those of the fuzz crate")]

#[path = "../fuzz/src/body.rs"]
mod body;
#[path = "../fuzz/src/safetensors.rs"]
mod safetensors;
#[path = "../fuzz/src/stream.rs"]
mod stream;
#[path = "../fuzz/src/template.rs"]
mod template;
#[path = "../fuzz/src/tokenizer.rs"]
mod tokenizer;

use std::{fs, path::Path};

/// All of it, seeds and findings; a clone of the repository stays small.
const CORPUS_BYTES_MAX: u64 = 200_000;

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut inputs: Vec<(String, Vec<u8>)> = fs::read_dir(&folder)
        .expect("every target has a corpus")
        .map(|entry| {
            let path = entry.expect("it can be listed").path();
            (
                path.display().to_string(),
                fs::read(&path).expect("and read"),
            )
        })
        .collect();
    inputs.sort_unstable();
    assert!(!inputs.is_empty(), "{target}: no seeds");
    inputs
}

#[expect(
    clippy::print_stdout,
    reason = "the last name is the input that failed"
)]
fn replay(target: &str, run: fn(&[u8])) {
    for (name, input) in corpus(target) {
        println!("{name}");
        run(&input);
        // What is cut off anywhere does no harm either.
        for end in (0..input.len()).step_by(1 + input.len() / 16) {
            run(&input[..end]);
        }
    }
}

#[test]
fn bodies() {
    replay("body", body::run);
}

#[test]
fn streams() {
    replay("stream", stream::run);
}

#[test]
fn model_files() {
    replay("safetensors", safetensors::run);
}

#[test]
fn templates() {
    replay("template", template::run);
}

#[test]
fn tokenizers() {
    replay("tokenizer", tokenizer::run);
}

#[test]
fn the_corpus_is_small_and_every_target_has_one() {
    let targets = ["body", "stream", "safetensors", "template", "tokenizer"];
    let bytes: usize = targets
        .iter()
        .flat_map(|target| corpus(target))
        .map(|(_, input)| input.len())
        .sum();
    assert!(bytes as u64 <= CORPUS_BYTES_MAX, "{bytes} bytes");
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml"))
            .expect("the fuzz crate has a manifest");
    let named = manifest
        .lines()
        .filter(|line| line.starts_with("path = \"fuzz_targets/"));
    assert_eq!(
        named.count(),
        targets.len(),
        "a target is not replayed here"
    );
}
