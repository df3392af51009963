//! Text to tokens and back, by the model's `tokenizer.json`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{PostProcessor, TruncationDirection};

/// Largest `tokenizer.json`. The largest vocabularies in use take 35 MB.
pub const TOKENIZER_BYTES_MAX: usize = 128 << 20;
/// How deep its parts may be nested. The tokenizers library reads them by recursion; those of real models
/// have eight levels at most.
pub const TOKENIZER_DEPTH_MAX: usize = 32;
/// Most tokens that a byte of text may become: a tokenizer that makes more of the probe is a bomb.
pub const TOKENS_PER_BYTE_MAX: usize = 16;
/// How much longer than the probe the text of its tokens may be.
const DECODED_GROWTH_MAX: usize = 256;
/// What every tokenizer is tried on before it serves: words, digits, space, several scripts, an emoji.
const PROBE: &str =
    "Once upon a time, 1234 caf\u{e9}s   had\n\tno \u{4e2d}\u{6587} or \u{1f980} menu!";
/// Bytes of a token beyond which a text is not tokenized to see that it is too long: a beginning of so
/// many times the context tells.
const BEGINNING_BYTES_PER_TOKEN: usize = 16;
/// Tokens by which the end of a beginning may differ from the same place in the whole text.
const BEGINNING_SLACK_TOKENS: usize = 64;
/// How many times more bytes than its longest token a token may stand for, normalization included,
/// before a text is taken for too long without being tokenized.
const NORMALIZATION_SLACK: usize = 4;

/// `tokenizer.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// Too large.
    #[error("tokenizer.json has {bytes} bytes; at most {TOKENIZER_BYTES_MAX} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Nested too deep.
    #[error("tokenizer.json is nested deeper than {TOKENIZER_DEPTH_MAX} levels")]
    TooDeep,
    /// Not what the format says.
    #[error("reading tokenizer.json: {0}")]
    Parse(String),
    /// The text has a token that the model has no embedding for.
    #[error("the text has the token {token:?}, which this model does not know")]
    NotInModel {
        /// The token.
        token: String,
    },
    /// A text cannot be cut to fewer tokens than the special ones that belong to it.
    #[error("{asked} tokens are too few: the special tokens of a text alone are {special}")]
    NoRoom {
        /// Tokens that were asked for.
        asked: usize,
        /// Special tokens of a text.
        special: usize,
    },
    /// The decoder does not say which bytes a token is.
    #[error("its decoder ({decoder}) does not work on single tokens")]
    Decoder {
        /// The decoder's type.
        decoder: String,
    },
    /// A text could not be tokenized.
    #[error("tokenizing: {0}")]
    Encode(String),
    /// It fails on a sentence, or makes far too much of it.
    #[error("tokenizer.json cannot be used: {0}")]
    Unusable(String),
}

/// How a text that is too long is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncation {
    /// Tokens that are left, special ones included; at least 1.
    pub tokens: usize,
    /// Where the others are taken away.
    pub side: TruncationSide,
}

/// A text's end or beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TruncationSide {
    /// The beginning.
    Left,
    /// The end.
    Right,
}

impl Truncation {
    /// What is left of token ids that came as such.
    pub fn cut<'a>(&self, ids: &'a [u32]) -> &'a [u32] {
        let kept = self.tokens.min(ids.len());
        match self.side {
            TruncationSide::Right => &ids[..kept],
            TruncationSide::Left => &ids[ids.len() - kept..],
        }
    }
}

/// A model's tokenizer. Without truncation and padding, whatever the file says.
#[derive(Debug)]
pub struct Tokenizer {
    pub(super) inner: tokenizers::Tokenizer,
    /// Tokens of the file; some may be beyond the model's vocabulary.
    tokens: usize,
    /// Rows of the model's embedding.
    pub(super) vocab_size: usize,
    token_bytes_max: usize,
}

impl Tokenizer {
    /// Reads `tokenizer.json` for a model with `vocab_size` tokens. The file may have more, as that of
    /// text models made from multimodal ones: a text that has one of these is refused.
    ///
    /// # Errors
    /// [`TokenizerError`] when the file is too large, nested too deep or malformed.
    pub fn from_bytes(bytes: &[u8], vocab_size: usize) -> Result<Self, TokenizerError> {
        if bytes.len() > TOKENIZER_BYTES_MAX {
            return Err(TokenizerError::TooLarge { bytes: bytes.len() });
        }
        if json_depth(bytes) > TOKENIZER_DEPTH_MAX {
            return Err(TokenizerError::TooDeep);
        }
        let mut inner = catch_unwind(|| tokenizers::Tokenizer::from_bytes(bytes))
            .map_err(|_| TokenizerError::Parse("its parts contradict each other".to_owned()))?
            .map_err(|error| TokenizerError::Parse(error.to_string()))?;
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| TokenizerError::Parse(error.to_string()))?;
        let vocab = inner.get_vocab(true);
        let tokens = vocab.values().max().map_or(0, |&last| last as usize + 1);
        if tokens > vocab_size {
            tracing::warn!(
                tokens,
                vocab_size,
                "tokenizer.json has tokens that the model does not know"
            );
        }
        let token_bytes_max = vocab.keys().map(String::len).max().unwrap_or(1).max(1);
        let this = Self {
            inner,
            tokens,
            vocab_size,
            token_bytes_max,
        };
        this.probe()?;
        Ok(this)
    }

    /// Tokenizes a sentence and reads it back, so that what is broken in a file is found before it
    /// serves.
    fn probe(&self) -> Result<(), TokenizerError> {
        let encoding = self.encoding(PROBE, true);
        let encoding = encoding.map_err(TokenizerError::Unusable)?;
        let ids = encoding.get_ids();
        // In pieces, so that the work is as long as the text.
        let bytes: usize = ids.chunks(8).map(|ids| self.decode(ids, false).len()).sum();
        let tokens = ids.len();
        if tokens > PROBE.len() * TOKENS_PER_BYTE_MAX || bytes > PROBE.len() * DECODED_GROWTH_MAX {
            let sentence = PROBE.len();
            return Err(TokenizerError::Unusable(format!(
                "it makes {tokens} tokens and {bytes} bytes of a sentence of {sentence} bytes"
            )));
        }
        Ok(())
    }

    /// Tokens that the file knows.
    pub fn token_count(&self) -> usize {
        self.tokens
    }

    /// The tokens of `text`. Special tokens written in it are read as such.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`], or [`TokenizerError::NotInModel`] for a token beyond the model's.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.encoding(text, add_special_tokens);
        self.known(encoding.map_err(TokenizerError::Encode)?.get_ids())
    }

    /// The same of a text that is cut where it has too many tokens. Special tokens that are added stay.
    ///
    /// # Errors
    /// As for [`Self::encode`]; [`TokenizerError::NoRoom`] when only special tokens would be left.
    pub fn encode_cut(
        &self,
        text: &str,
        add_special_tokens: bool,
        truncation: Truncation,
    ) -> Result<Vec<u32>, TokenizerError> {
        let failed = |error: tokenizers::Error| TokenizerError::Encode(error.to_string());
        let processor = self
            .inner
            .get_post_processor()
            .filter(|_| add_special_tokens);
        let special = processor.map_or(0, |processor| processor.added_tokens(false));
        let asked = truncation.tokens;
        let Some(left) = asked.checked_sub(special).filter(|&left| left > 0) else {
            return Err(TokenizerError::NoRoom { asked, special });
        };
        let encoding = self.encoding(text, false);
        let mut encoding = encoding.map_err(TokenizerError::Encode)?;
        let direction = match truncation.side {
            TruncationSide::Left => TruncationDirection::Left,
            TruncationSide::Right => TruncationDirection::Right,
        };
        encoding.truncate(left, 0, direction);
        let encoding = self.inner.post_process(encoding, None, add_special_tokens);
        self.known(encoding.map_err(failed)?.get_ids())
    }

    /// A token as the vocabulary writes it; nothing for one that it has not.
    pub fn vocabulary_entry(&self, id: u32) -> String {
        self.inner.id_to_token(id).unwrap_or_default()
    }

    fn known(&self, ids: &[u32]) -> Result<Vec<u32>, TokenizerError> {
        match ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            None => Ok(ids.to_vec()),
            Some(&id) => Err(TokenizerError::NotInModel {
                token: self.inner.id_to_token(id).unwrap_or_default(),
            }),
        }
    }

    /// The text of `ids`; bytes that are no UTF-8 become U+FFFD, ids beyond the tokenizer nothing.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> String {
        // Decoders fail, or panic, on malformed configurations only; a token then has no text.
        let decode = AssertUnwindSafe(|| self.inner.decode(ids, skip_special_tokens));
        catch_unwind(decode).map_or_else(|_| String::new(), Result::unwrap_or_default)
    }

    /// A tokenizer whose parts contradict each other panics on some texts.
    fn encoding(&self, text: &str, special: bool) -> Result<tokenizers::Encoding, String> {
        let encode = AssertUnwindSafe(|| self.inner.encode_fast(text, special));
        catch_unwind(encode)
            .map_err(|_| "the tokenizer panicked".to_owned())?
            .map_err(|error| error.to_string())
    }

    /// A number of tokens, at least `tokens_max`, that `text` certainly has; `None` if it may have less.
    /// Much cheaper than to tokenize it, and in bounded memory.
    pub fn surely_exceeds(&self, text: &str, tokens_max: usize) -> Option<usize> {
        let fewest = self.fewest_tokens(text.len());
        if fewest >= tokens_max {
            return Some(fewest);
        }
        let bytes = tokens_max.saturating_mul(BEGINNING_BYTES_PER_TOKEN);
        if text.len() <= bytes.saturating_mul(2) {
            return None;
        }
        let beginning = &text[..text.floor_char_boundary(bytes)];
        let tokens = self.encoding(beginning, false).ok()?.get_ids().len();
        let fewest = tokens.saturating_sub(BEGINNING_SLACK_TOKENS);
        (fewest >= tokens_max).then_some(fewest)
    }

    /// The token whose text this is, special ones included.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// A lower bound of the tokens of a text so long, to refuse hopeless prompts without the work.
    pub fn fewest_tokens(&self, text_bytes: usize) -> usize {
        text_bytes / self.token_bytes_max.saturating_mul(NORMALIZATION_SLACK)
    }
}

/// The deepest nesting of a JSON text, whether it is well-formed or not.
fn json_depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            // To the end of the string; an escape is two bytes at least.
            b'"' => {
                while let Some(byte) = bytes.next()
                    && *byte != b'"'
                {
                    if *byte == b'\\' {
                        bytes.next();
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::test_tokenizer;

    #[test]
    fn special_tokens_in_text_are_read_as_such() {
        let tokenizer = test_tokenizer::byte_level();
        let ids = tokenizer.encode("a<|end|>b", false).unwrap();
        assert_eq!(ids, [u32::from(b'a'), test_tokenizer::END, u32::from(b'b')]);
        assert_eq!(tokenizer.decode(&ids, true), "ab");
        assert_eq!(tokenizer.decode(&ids, false), "a<|end|>b");
    }

    #[test]
    fn a_token_beyond_the_models_vocabulary_refuses_its_text_only() {
        let tokenizer = Tokenizer::from_bytes(&test_tokenizer::json(), 200).unwrap();
        assert!(tokenizer.token_count() > 200);
        assert_eq!(tokenizer.encode("ab", false).unwrap().len(), 2);
        let error = tokenizer.encode("a<|end|>", false).unwrap_err();
        assert!(error.to_string().contains("<|end|>"), "{error}");
        assert!(Tokenizer::from_bytes(b"{}", 200).is_err());
    }

    #[test]
    fn a_text_is_cut_and_keeps_its_special_tokens() {
        let mut json: serde_json::Value = serde_json::from_slice(&test_tokenizer::json()).unwrap();
        let special = |id: &str| serde_json::json!({"SpecialToken": {"id": id, "type_id": 0}});
        json["post_processor"] = serde_json::json!({
            "type": "TemplateProcessing", "pair": [],
            "single": [special("a"), {"Sequence": {"id": "A", "type_id": 0}}, special("b")],
            "special_tokens": {
                "a": {"id": "a", "ids": [97], "tokens": ["a"]},
                "b": {"id": "b", "ids": [98], "tokens": ["b"]}
            }
        });
        let bytes = serde_json::to_vec(&json).unwrap();
        let tokenizer = Tokenizer::from_bytes(&bytes, test_tokenizer::VOCAB_SIZE).unwrap();
        let cut = |text: &str, special, tokens, side| {
            let ids = tokenizer.encode_cut(text, special, Truncation { tokens, side });
            ids.map(|ids| tokenizer.decode(&ids, false))
        };
        let (left, right) = (TruncationSide::Left, TruncationSide::Right);
        for (text, special, tokens, side, expected) in [
            ("1234", true, 4, right, "a12b"),
            ("1234", true, 4, left, "a34b"),
            ("1234", true, 9, left, "a1234b"),
            ("1234", false, 3, right, "123"),
            ("", true, 3, right, "ab"),
        ] {
            assert_eq!(cut(text, special, tokens, side).unwrap(), expected);
            let whole = tokenizer.encode(text, special).unwrap();
            let all = Truncation { tokens: 100, side };
            assert_eq!(tokenizer.encode_cut(text, special, all).unwrap(), whole);
        }
        let error = cut("1", true, 2, right).unwrap_err();
        assert!(matches!(error, TokenizerError::NoRoom { special: 2, .. }));
        assert_eq!(
            Truncation {
                tokens: 2,
                side: left
            }
            .cut(&[1, 2, 3]),
            [2, 3]
        );
        assert_eq!(
            Truncation {
                tokens: 9,
                side: right
            }
            .cut(&[1, 2, 3]),
            [1, 2, 3]
        );
    }

    #[test]
    fn the_lower_bound_is_below_the_count() {
        let tokenizer = test_tokenizer::byte_level();
        let text = "hello world ".repeat(50);
        let count = tokenizer.encode(&text, false).unwrap().len();
        assert!(tokenizer.fewest_tokens(text.len()) <= count);
        assert!(tokenizer.fewest_tokens(1 << 20) > 1_000);
    }

    #[test]
    fn a_text_far_beyond_the_context_is_known_by_its_beginning() {
        let tokenizer = test_tokenizer::byte_level();
        let text = "a".repeat(100_000);
        let fewest = tokenizer.surely_exceeds(&text, 1_000).unwrap();
        assert!((1_000..=100_000).contains(&fewest), "{fewest}");
        assert_eq!(tokenizer.surely_exceeds(&text, 100_001), None);
        assert_eq!(tokenizer.surely_exceeds("short", 1_000), None);
        let crabs = "\u{1f980}".repeat(100_000);
        assert!(tokenizer.surely_exceeds(&crabs, 999).is_some());
    }

    #[test]
    fn brackets_in_strings_are_not_nesting() {
        for (json, depth) in [
            ("", 0),
            ("[]{}", 1),
            (r#"{"a":[{"b":"[[[["}]}"#, 3),
            (r#"["\"[[", "\\", [1]]"#, 2),
            ("]]][[", 2),
            (r#"["[["#, 1),
        ] {
            assert_eq!(json_depth(json.as_bytes()), depth, "{json}");
        }
    }

    /// A tokenizer with another part.
    fn with(key: &str, value: serde_json::Value) -> Result<Tokenizer, TokenizerError> {
        let mut json: serde_json::Value = serde_json::from_slice(&test_tokenizer::json()).unwrap();
        json[key] = value;
        Tokenizer::from_bytes(json.to_string().as_bytes(), 260)
    }

    #[test]
    fn bombs_are_refused() {
        let replace = |content: &str| serde_json::json!({"type": "Replace", "pattern": {"String": "a"}, "content": content});
        let doubling = |times| {
            serde_json::json!({
                "type": "Sequence", "normalizers": vec![replace("aa"); times]
            })
        };
        with("normalizer", doubling(2)).unwrap();
        let error = with("normalizer", doubling(14)).unwrap_err().to_string();
        assert!(error.contains("sentence"), "{error}");
        let decoders = serde_json::json!({
            "type": "Sequence", "decoders": vec![replace("aa"); 16]
        });
        assert!(with("decoder", decoders).is_err());
        let deep = |levels| {
            let nfc = serde_json::json!({"type": "NFC"});
            (0..levels).fold(
                nfc,
                |inner, _| serde_json::json!({"type": "Sequence", "normalizers": [inner]}),
            )
        };
        with("normalizer", deep(TOKENIZER_DEPTH_MAX / 2 - 1)).unwrap();
        for levels in [TOKENIZER_DEPTH_MAX / 2, 60] {
            let error = with("normalizer", deep(levels)).unwrap_err();
            assert!(matches!(error, TokenizerError::TooDeep), "{error}");
        }
        assert!(matches!(
            Tokenizer::from_bytes(&vec![b' '; TOKENIZER_BYTES_MAX + 1], 1),
            Err(TokenizerError::TooLarge { .. })
        ));
    }
}
