//! Which bytes each token stands for in an answer's text, as its tokenizer's decoder has it.

use serde_json::Value;

use super::{Tokenizer, TokenizerError};

/// What a token is in an answer's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenBytes {
    /// These bytes; by themselves often no UTF-8.
    Text(Vec<u8>),
    /// Nothing: a special token, written so.
    Special(String),
    /// Nothing is known of it.
    Unknown,
}

/// How a decoder makes bytes of a token's text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Spelling {
    /// Each character stands for a byte, in GPT-2's way.
    ByteLevel,
    /// `<0x0A>` is a byte, and some characters stand for others, such as `▁` for a space.
    Text { replaced: Vec<(String, String)> },
}

impl Tokenizer {
    /// What each token is in an answer's text, by id.
    ///
    /// # Errors
    /// [`TokenizerError::Decoder`] for a decoder that does not work token by token.
    pub fn token_bytes(&self) -> Result<Vec<TokenBytes>, TokenizerError> {
        let decoder = serde_json::to_value(self.inner.get_decoder()).unwrap_or(Value::Null);
        let spelling = spelling(&decoder)?;
        let added = self.inner.get_added_tokens_decoder();
        let token = |id: u32| {
            if let Some(added) = added.get(&id) {
                return match added.special {
                    true => TokenBytes::Special(added.content.clone()),
                    false => TokenBytes::Text(added.content.clone().into_bytes()),
                };
            }
            let text = self.inner.id_to_token(id);
            text.and_then(|text| bytes_of(&text, &spelling))
                .map_or(TokenBytes::Unknown, TokenBytes::Text)
        };
        // No more than the model has: a file may give a token any id, up to 4294967295.
        let count = self.token_count().min(self.vocab_size);
        Ok((0..u32::try_from(count).unwrap_or(u32::MAX))
            .map(token)
            .collect())
    }
}

/// Reads a decoder's configuration.
fn spelling(decoder: &Value) -> Result<Spelling, TokenizerError> {
    let refuse = |kind: &str| TokenizerError::Decoder {
        decoder: kind.to_owned(),
    };
    let single = [decoder.clone()];
    let steps = match decoder["type"].as_str() {
        Some("Sequence") => decoder["decoders"].as_array().map_or(&[][..], |d| d),
        _ => &single[..],
    };
    let mut replaced = Vec::new();
    for step in steps {
        match step["type"].as_str().unwrap_or("none") {
            "ByteLevel" => return Ok(Spelling::ByteLevel),
            // These work on the joined text, and change at most its first space.
            "ByteFallback" | "Fuse" | "Strip" => {}
            "Metaspace" => {
                let mark = step["replacement"].as_str().unwrap_or("▁");
                replaced.push((mark.to_owned(), " ".to_owned()));
            }
            "Replace" => {
                let (from, to) = (step["pattern"]["String"].as_str(), step["content"].as_str());
                let Some((from, to)) = from.zip(to) else {
                    return Err(refuse("Replace by a regular expression"));
                };
                replaced.push((from.to_owned(), to.to_owned()));
            }
            other => return Err(refuse(other)),
        }
    }
    Ok(Spelling::Text { replaced })
}

fn bytes_of(text: &str, spelling: &Spelling) -> Option<Vec<u8>> {
    match spelling {
        Spelling::ByteLevel => text.chars().map(byte_of).collect(),
        Spelling::Text { replaced } => Some(fallback_byte(text).map_or_else(
            || {
                let replace = |text: String, (from, to): &(String, String)| text.replace(from, to);
                replaced.iter().fold(text.to_owned(), replace).into_bytes()
            },
            |byte| vec![byte],
        )),
    }
}

/// The byte that `<0x0A>` stands for.
pub(super) fn fallback_byte(text: &str) -> Option<u8> {
    let hex = text.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 2)
}

/// The byte that a character of GPT-2's alphabet stands for: printable ones for themselves, the others,
/// in order, for those from U+0100.
pub(super) fn byte_of(stand_in: char) -> Option<u8> {
    let printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    match u32::from(stand_in) {
        code @ 0..=255 => u8::try_from(code).ok().filter(|&byte| printable(byte)),
        code => {
            let rank = (code - 256) as usize;
            (0..=255u8).filter(|&byte| !printable(byte)).nth(rank)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::prompt::test_tokenizer;

    #[test]
    fn byte_level_tokens_are_their_bytes_and_special_ones_have_none() {
        let bytes = test_tokenizer::byte_level().token_bytes().unwrap();
        for byte in 0..=255u8 {
            assert_eq!(bytes[usize::from(byte)], TokenBytes::Text(vec![byte]));
        }
        assert_eq!(bytes[258], TokenBytes::Text(b"hell".to_vec()));
        let end = TokenBytes::Special("<|end|>".to_owned());
        assert_eq!(bytes[test_tokenizer::END as usize], end);
    }

    #[test]
    fn a_token_with_a_great_id_costs_nothing() {
        let mut file: Value = serde_json::from_slice(&test_tokenizer::json()).unwrap();
        file["model"]["vocab"]["far"] = json!(u32::MAX);
        let size = test_tokenizer::VOCAB_SIZE;
        let tokenizer = Tokenizer::from_bytes(file.to_string().as_bytes(), size).unwrap();
        assert_eq!(tokenizer.token_count(), 1 << 32);
        assert_eq!(tokenizer.token_bytes().unwrap().len(), size);
    }

    #[test]
    fn sentencepiece_tokens_have_spaces_and_single_bytes() {
        let decoder = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]});
        let spelling = spelling(&decoder).unwrap();
        assert_eq!(bytes_of("▁a▁b", &spelling), Some(b" a b".to_vec()));
        assert_eq!(bytes_of("<0xE2>", &spelling), Some(vec![0xe2]));
        assert_eq!(bytes_of("<0xE>", &spelling), Some(b"<0xE>".to_vec()));
    }

    #[test]
    fn a_decoder_that_joins_words_is_refused() {
        let error = spelling(&json!({"type": "WordPiece"})).unwrap_err();
        assert!(error.to_string().contains("WordPiece"), "{error}");
    }
}
