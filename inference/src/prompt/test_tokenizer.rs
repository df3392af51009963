//! A byte-level tokenizer for tests: token `b` is byte `b`, then a few merges, then special tokens.

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};

use super::Tokenizer;

/// The special token `<|end|>`.
pub(crate) const END: u32 = 259;
/// Every id is below.
pub(crate) const VOCAB_SIZE: usize = 260;
const MERGES: [(&str, &str); 3] = [("l", "l"), ("h", "e"), ("he", "ll")];

/// GPT-2's printable stand-in for a byte.
fn stand_in(byte: u8) -> char {
    let printable = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    if printable(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|&b| !printable(b)).count();
    char::from_u32(256 + rank as u32).expect("below the surrogates")
}

/// Its `tokenizer.json`.
pub(crate) fn json() -> Vec<u8> {
    let mut vocab = Map::new();
    for byte in 0..=255u8 {
        vocab.insert(stand_in(byte).to_string(), json!(byte));
    }
    for (i, (left, right)) in MERGES.iter().enumerate() {
        vocab.insert(format!("{left}{right}"), json!(256 + i));
    }
    let merges: Vec<Value> = MERGES.iter().map(|(l, r)| json!([l, r])).collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false
    });
    serde_json::to_vec(&json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [{
            "id": END, "content": "<|end|>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true
        }],
        "pre_tokenizer": byte_level, "decoder": byte_level, "post_processor": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocab, "merges": merges
        }
    }))
    .expect("a JSON value")
}

/// The tokenizer.
pub(crate) fn byte_level() -> Arc<Tokenizer> {
    static TOKENIZER: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
        Arc::new(Tokenizer::from_bytes(&json(), VOCAB_SIZE).expect("the file above"))
    });
    Arc::clone(&TOKENIZER)
}
