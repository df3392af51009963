//! Any bytes as `tokenizer.json`, and what loads, over a few texts.

use std::sync::Arc;

use candela_engine::prompt::{Detokenizer, TOKENS_PER_BYTE_MAX, Tokenizer};

const VOCAB_SIZE: usize = 500;
const TEXTS: [&str; 4] = [
    "",
    "a b",
    "Hello, wörld! \u{1f980}\u{200d}\u{0301}\n\t 1234567890",
    "<|end|> <s> [UNK] \u{feff}\u{0}\u{fffd}",
];

/// Loads `data`, and tokenizes with it.
///
/// # Panics
/// When that does, or gives ids that the model does not have.
pub fn run(data: &[u8]) {
    let Ok(tokenizer) = Tokenizer::from_bytes(data, VOCAB_SIZE) else {
        return;
    };
    let tokenizer = Arc::new(tokenizer);
    for text in TEXTS {
        for special in [false, true] {
            let Ok(ids) = tokenizer.encode(text, special) else {
                continue;
            };
            assert!(ids.iter().all(|&id| (id as usize) < VOCAB_SIZE));
            assert!(
                ids.len() <= 1 << 20,
                "{TOKENS_PER_BYTE_MAX} tokens a byte and no more"
            );
            tokenizer.decode(&ids, special);
            let mut detokenizer = Detokenizer::new(Arc::clone(&tokenizer), special);
            for &id in ids.iter().take(64) {
                detokenizer.push(id);
            }
            detokenizer.finish();
        }
        tokenizer.surely_exceeds(text, 1);
    }
}
