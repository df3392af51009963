//! Tokens to text, one token at a time.
//!
//! Decoding token by token would break characters whose bytes span tokens, and lose the spaces that
//! some decoders write between tokens only. So a window of tokens is decoded, and what it adds to the
//! text already given out is new. The window shrinks whenever its text ends with a whole character.

use std::sync::Arc;

use super::Tokenizer;

/// An incomplete character is at most three bytes, and a decoder writes at most one U+FFFD for each.
const INCOMPLETE_CHARS_MAX: usize = 3;
/// A window that never ends with a whole character (bytes that are no UTF-8) is given up here, so that
/// the work per token stays bounded.
const WINDOW_TOKENS_MAX: usize = 256;

/// The text of a growing list of tokens.
///
/// # Guarantees
/// What `push` and `finish` return, put together, is the text of all tokens decoded at once, for
/// decoders that work on bytes; no piece ends inside a character.
#[derive(Debug, Clone)]
pub struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    skip_special_tokens: bool,
    /// Special tokens that are text all the same.
    kept: Arc<[u32]>,
    /// The last tokens: `context` ones whose text is out, for the decoder to see, then new ones.
    window: Vec<u32>,
    context: usize,
    /// Bytes of the window's text that are out.
    emitted: usize,
}

impl Detokenizer {
    /// A detokenizer at the beginning of a text.
    pub fn new(tokenizer: Arc<Tokenizer>, skip_special_tokens: bool) -> Self {
        Self {
            tokenizer,
            skip_special_tokens,
            kept: Arc::default(),
            window: Vec::new(),
            context: 0,
            emitted: 0,
        }
    }

    /// With these special tokens in the text though others are skipped.
    pub fn keeping(mut self, tokens: Arc<[u32]>) -> Self {
        self.kept = tokens;
        self
    }

    /// Takes the next token and returns the text that is certain now; often none.
    pub fn push(&mut self, token: u32) -> String {
        if self.skip_special_tokens && self.kept.contains(&token) {
            let waited = self.finish();
            (self.window, self.context) = (vec![token], 1);
            // A token that is no special one is not skipped.
            self.emitted = self.tokenizer.decode(&self.window, true).len();
            return waited + &self.tokenizer.decode(&[token], false);
        }
        self.window.push(token);
        let text = self
            .tokenizer
            .decode(&self.window, self.skip_special_tokens);
        let certain = certain_bytes(&text);
        let piece = text
            .get(self.emitted..certain)
            .unwrap_or_default()
            .to_owned();
        self.emitted = self.emitted.max(certain);
        if certain == text.len() && !piece.is_empty() || self.window.len() >= WINDOW_TOKENS_MAX {
            let rest = text.get(self.emitted..).unwrap_or_default();
            let piece = piece + rest;
            self.shrink();
            return piece;
        }
        piece
    }

    /// The text that waited for more bytes, with U+FFFD for those that never came.
    pub fn finish(&mut self) -> String {
        let text = self
            .tokenizer
            .decode(&self.window, self.skip_special_tokens);
        let rest = text.get(self.emitted..).unwrap_or_default().to_owned();
        self.emitted = text.len();
        rest
    }

    /// Keeps the tokens since the last shrinking as the context of those to come.
    fn shrink(&mut self) {
        self.window.drain(..self.context);
        self.context = self.window.len();
        self.emitted = self
            .tokenizer
            .decode(&self.window, self.skip_special_tokens)
            .len();
    }
}

/// Bytes of `text` that no later token can change.
fn certain_bytes(text: &str) -> usize {
    let mut certain = text;
    for _ in 0..INCOMPLETE_CHARS_MAX {
        match certain.strip_suffix('\u{FFFD}') {
            Some(shorter) => certain = shorter,
            None => break,
        }
    }
    certain.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::prompt::test_tokenizer;

    fn pieces(ids: &[u32], skip: bool) -> (Vec<String>, String) {
        let tokenizer = test_tokenizer::byte_level();
        let mut detokenizer = Detokenizer::new(tokenizer.clone(), skip);
        let mut pieces: Vec<String> = ids.iter().map(|&id| detokenizer.push(id)).collect();
        pieces.push(detokenizer.finish());
        (pieces, tokenizer.decode(ids, skip))
    }

    #[test]
    fn a_kept_token_that_is_not_special_comes_once() {
        let kept = Arc::from([u32::from(b'a')]);
        let mut detokenizer = Detokenizer::new(test_tokenizer::byte_level(), true).keeping(kept);
        let text: String = b"xaby"
            .iter()
            .map(|&b| detokenizer.push(b.into()))
            .collect();
        assert_eq!(text + &detokenizer.finish(), "xaby");
    }

    #[test]
    fn a_character_over_four_tokens_comes_whole() {
        let ids: Vec<u32> = "a🦀b".bytes().map(u32::from).collect();
        let (pieces, _) = pieces(&ids, true);
        assert_eq!(pieces, ["a", "", "", "", "🦀", "b", ""]);
    }

    #[test]
    fn an_endless_run_of_broken_bytes_is_not_held_back_forever() {
        let ids = vec![0x80; 2 * WINDOW_TOKENS_MAX];
        let (pieces, whole) = pieces(&ids, true);
        assert!(pieces[..ids.len()].concat().chars().count() > ids.len() / 2);
        assert_eq!(pieces.concat(), whole);
    }

    #[test]
    fn a_special_token_can_be_kept_while_others_are_skipped() {
        let tokenizer = test_tokenizer::byte_level();
        let text = |kept: &[u32]| {
            let mut text = Detokenizer::new(tokenizer.clone(), true).keeping(kept.into());
            let ids = [u32::from(b'a'), 0xf0, test_tokenizer::END, u32::from(b'b')];
            let pieces: String = ids.into_iter().map(|id| text.push(id)).collect();
            pieces + &text.finish()
        };
        assert_eq!(text(&[test_tokenizer::END]), "a\u{FFFD}<|end|>b");
        assert_eq!(text(&[u32::from(b'a'), u32::from(b'b')]), "a\u{FFFD}b");
        assert_eq!(text(&[]), "a\u{FFFD}b");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn pieces_of_text_add_up(text in "\\PC{0,40}", skip in any::<bool>()) {
            let ids: Vec<u32> = text.bytes().map(u32::from).collect();
            let (pieces, whole) = pieces(&ids, skip);
            prop_assert_eq!(&whole, &text);
            prop_assert_eq!(pieces.concat(), whole);
        }

        #[test]
        fn pieces_of_any_tokens_add_up(
            ids in prop::collection::vec(prop_oneof![0u32..=test_tokenizer::END, 0x80u32..0x100], 0..60),
            skip in any::<bool>(),
        ) {
            let (pieces, whole) = pieces(&ids, skip);
            prop_assert_eq!(pieces.concat(), whole);
        }
    }
}
