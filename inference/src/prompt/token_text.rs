//! What single tokens say: their bytes, for a token may hold a part of a character, and their text.

use tokenizers::{Decoder, DecoderWrapper};

use super::{
    Tokenizer,
    token_bytes::{byte_of, fallback_byte},
};

/// What a single token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenText {
    /// Exactly; together, those of an answer's tokens are its text.
    pub bytes: Vec<u8>,
    /// It is a special token, which an answer's text leaves out unless asked for.
    pub special: bool,
}

impl TokenText {
    /// As text, with U+FFFD for what is no whole character.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl Tokenizer {
    /// What token `id` stands for; nothing, where the tokenizer does not know it.
    pub fn token_text(&self, id: u32) -> TokenText {
        let Some(token) = self.inner.id_to_token(id) else {
            let (bytes, special) = (Vec::new(), false);
            return TokenText { bytes, special };
        };
        let added = self.inner.get_added_vocabulary();
        let special = added.is_special_token(&token);
        let is_added = special || added.get_vocab().contains_key(&token);
        let bytes = match self.inner.get_decoder() {
            Some(decoder) if !is_added => decoded(token, decoder),
            _ => token.into_bytes(),
        };
        TokenText { bytes, special }
    }
}

/// A token of the vocabulary, as the decoder writes it in the middle of a text.
fn decoded(token: String, decoder: &DecoderWrapper) -> Vec<u8> {
    match decoder {
        DecoderWrapper::Sequence(sequence) => {
            let mut bytes = token.into_bytes();
            for decoder in sequence.get_decoders() {
                // What is no text any more is a byte that was found: nothing is left to decode.
                match String::from_utf8(bytes) {
                    Ok(text) => bytes = decoded(text, decoder),
                    Err(error) => return error.into_bytes(),
                }
            }
            bytes
        }
        DecoderWrapper::ByteLevel(_) => {
            let bytes: Option<Vec<u8>> = token.chars().map(byte_of).collect();
            bytes.unwrap_or_else(|| token.into_bytes())
        }
        DecoderWrapper::ByteFallback(_) => match fallback_byte(&token) {
            Some(byte) => vec![byte],
            None => token.into_bytes(),
        },
        DecoderWrapper::Metaspace(metaspace) => {
            token.replace(metaspace.get_replacement(), " ").into_bytes()
        }
        DecoderWrapper::BPE(bpe) => token.replace(&bpe.suffix, " ").into_bytes(),
        DecoderWrapper::WordPiece(wordpiece) => match token.strip_prefix(&wordpiece.prefix) {
            Some(rest) => rest.as_bytes().to_vec(),
            None => format!(" {token}").into_bytes(),
        },
        // These look at the edges of a text, or at several tokens.
        DecoderWrapper::Strip(_) | DecoderWrapper::Fuse(_) | DecoderWrapper::CTC(_) => {
            token.into_bytes()
        }
        DecoderWrapper::Replace(replace) => {
            let replaced = replace.decode_chain(vec![token.clone()]);
            replaced.map_or(token, |texts| texts.concat()).into_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::prompt::test_tokenizer;

    fn bytes_of(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<u8> {
        ids.iter()
            .flat_map(|&id| tokenizer.token_text(id).bytes)
            .collect()
    }

    /// A tokenizer whose tokens are `words`, with this decoder.
    fn words(words: &[&str], decoder: Value) -> Tokenizer {
        let vocab: serde_json::Map<String, Value> = words
            .iter()
            .enumerate()
            .map(|(id, &word)| (word.to_owned(), json!(id)))
            .collect();
        let file = json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
            "added_tokens": [], "pre_tokenizer": null, "post_processor": null, "decoder": decoder,
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": words[0]},
        });
        Tokenizer::from_bytes(file.to_string().as_bytes(), words.len()).unwrap()
    }

    #[test]
    fn every_byte_has_its_token() {
        let tokenizer = test_tokenizer::byte_level();
        for byte in 0..=255u8 {
            let token = tokenizer.token_text(u32::from(byte));
            assert_eq!((token.bytes, token.special), (vec![byte], false));
        }
        let end = tokenizer.token_text(test_tokenizer::END);
        assert_eq!((end.text().as_str(), end.special), ("<|end|>", true));
        assert_eq!(tokenizer.token_text(9_999).bytes, b"");
        assert_eq!(tokenizer.token_text(0xf0).text(), "\u{FFFD}");
    }

    #[test]
    fn sentencepiece_tokens_keep_their_spaces_and_bytes() {
        let llama = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]});
        let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
        let pieces = ["▁Hi", "▁▁", "<0xC3>", "<0xA9>", "<0x0A>", "x"];
        let tokenizer = words(&pieces, llama);
        assert_eq!(
            bytes_of(&tokenizer, &[0, 1, 2, 3, 4, 5]),
            " Hi  é\nx".as_bytes()
        );
        assert_eq!(tokenizer.token_text(2).text(), "\u{FFFD}");
        assert_eq!(bytes_of(&words(&pieces, metaspace), &[0, 1, 5]), b" Hi  x");
        let wordpiece = json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
        assert_eq!(
            bytes_of(&words(&["play", "##ing"], wordpiece), &[0, 1]),
            b" playing"
        );
        let bpe = json!({"type": "BPEDecoder", "suffix": "</w>"});
        assert_eq!(bytes_of(&words(&["lo", "w</w>"], bpe), &[0, 1]), b"low ");
    }

    proptest! {
        #[test]
        fn the_bytes_of_a_texts_tokens_are_the_text(text in "\\PC{0,60}") {
            let tokenizer = test_tokenizer::byte_level();
            let ids = tokenizer.encode(&text, false).unwrap();
            prop_assert_eq!(bytes_of(&tokenizer, &ids), text.into_bytes());
        }
    }
}
