//! The model's tokens as llguidance wants them: a trie over their bytes.

use std::{collections::HashMap, sync::Arc};

use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie};

use super::limits;
use crate::prompt::TokenBytes;

/// The tokens of a model. Built once, when the first grammar is compiled.
pub struct Vocabulary {
    env: TokEnv,
    special: HashMap<String, u32>,
}

impl Vocabulary {
    /// The vocabulary of `vocab_size` tokens, the first of which `tokens` are. `eos_token_ids` end an
    /// answer.
    pub fn new(tokens: Vec<TokenBytes>, vocab_size: usize, eos_token_ids: &[u32]) -> Self {
        let mut special = HashMap::new();
        let mut words: Vec<Vec<u8>> = tokens
            .into_iter()
            .zip(0u32..)
            .take(vocab_size)
            .map(|(token, id)| match token {
                TokenBytes::Text(bytes) if bytes.len() <= limits::TOKEN_BYTES_MAX => bytes,
                TokenBytes::Special(name) if name.len() < limits::TOKEN_BYTES_MAX => {
                    let word = marked(name.as_bytes());
                    special.insert(name, id);
                    word
                }
                _ => Vec::new(),
            })
            .collect();
        // What the tokenizer does not know, the model may still have rows for.
        words.resize(vocab_size, Vec::new());
        let eos: Vec<u32> = eos_token_ids
            .iter()
            .copied()
            .filter(|&id| (id as usize) < vocab_size)
            .collect();
        for &id in &eos {
            let word = &mut words[id as usize];
            if word.first() != Some(&TokTrie::SPECIAL_TOKEN_MARKER) {
                // The model ends with it, so it is no text, whatever the tokenizer says.
                *word = marked(format!("[{id}]").as_bytes());
            }
        }
        let size = u32::try_from(vocab_size).unwrap_or(u32::MAX);
        let info = TokRxInfo::new(size, eos.first().copied().unwrap_or(INVALID_TOKEN));
        let mut trie = TokTrie::from(&info, &words);
        if eos.len() > 1 {
            trie = trie.with_eos_tokens(&eos);
        }
        Self {
            env: Arc::new(ApproximateTokEnv::new(trie)),
            special,
        }
    }

    pub(super) fn env(&self) -> &TokEnv {
        &self.env
    }

    /// The special token that is written so.
    pub(super) fn special_token(&self, text: &str) -> Option<u32> {
        self.special.get(text).copied()
    }
}

/// A word that no text has.
fn marked(name: &[u8]) -> Vec<u8> {
    [&[TokTrie::SPECIAL_TOKEN_MARKER], name].concat()
}
