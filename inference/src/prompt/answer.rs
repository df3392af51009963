//! The text of an answer while it is generated: detokenized, watched for stop strings, and given out
//! only as far as it is certain to belong to the answer.

use std::sync::Arc;

use super::{Detokenizer, StopMatcher, Tokenizer};
use crate::engine::{StopCheck, StopMatch};

/// One branch's text. The engine's thread runs one to decide where the branch ends, the server another
/// to give its text out; both see the same tokens and so come to the same text.
#[derive(Debug, Clone)]
pub struct AnswerText {
    detokenizer: Detokenizer,
    stops: StopMatcher,
    /// Stop strings that end within the text of so many tokens do not count.
    min_tokens: usize,
    tokens: usize,
    text: String,
    /// Set by the first match.
    end: Option<usize>,
    released: usize,
}

impl AnswerText {
    /// An empty answer. `min_tokens` as in the sampling parameters.
    pub fn new(
        tokenizer: Arc<Tokenizer>,
        skip_special_tokens: bool,
        stops: StopMatcher,
        min_tokens: usize,
    ) -> Self {
        Self {
            detokenizer: Detokenizer::new(tokenizer, skip_special_tokens),
            stops,
            min_tokens,
            tokens: 0,
            text: String::new(),
            end: None,
            released: 0,
        }
    }

    /// With these special tokens in the text though others are skipped.
    pub fn keeping(mut self, tokens: Arc<[u32]>) -> Self {
        self.detokenizer = self.detokenizer.keeping(tokens);
        self
    }

    /// Takes the branch's next token; a stop string that it completes is returned.
    fn take(&mut self, token: u32) -> Option<StopMatch> {
        if self.end.is_some() {
            return None;
        }
        self.tokens += 1;
        self.text += &self.detokenizer.push(token);
        if self.tokens <= self.min_tokens {
            self.stops.skip(&self.text);
            return None;
        }
        let found = self.stops.check(&self.text)?;
        self.end = Some(found.text_bytes);
        Some(found)
    }

    /// Takes the branch's next token and returns the text that is certain to belong to the answer and
    /// was not given out before.
    pub fn push_token(&mut self, token: u32) -> String {
        self.take(token);
        let safe = self
            .end
            .unwrap_or_else(|| self.stops.safe_bytes(&self.text));
        self.release(safe)
    }

    /// Ends the answer and returns what is left of its text.
    pub fn finish(&mut self) -> String {
        if self.end.is_none() {
            self.text += &self.detokenizer.finish();
        }
        self.release(self.end.unwrap_or(self.text.len()))
    }

    fn release(&mut self, upto: usize) -> String {
        let piece = self
            .text
            .get(self.released..upto)
            .unwrap_or_default()
            .to_owned();
        self.released = self.released.max(upto);
        piece
    }
}

impl StopCheck for AnswerText {
    fn push(&mut self, token: u32) -> Option<StopMatch> {
        self.take(token)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::prompt::test_tokenizer;

    fn answer(stops: &[String], include: bool, min_tokens: usize) -> AnswerText {
        let stops = stops.iter().map(|stop| Arc::from(stop.as_str())).collect();
        let stops = StopMatcher::new(stops, include);
        AnswerText::new(test_tokenizer::byte_level(), true, stops, min_tokens)
    }

    fn bytes(text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }

    #[test]
    fn a_stop_string_is_never_half_given_out() {
        let mut answer = answer(&["END".to_owned()], false, 0);
        let pieces: Vec<String> = bytes("aEbEND")
            .into_iter()
            .map(|t| answer.push_token(t))
            .collect();
        assert_eq!(pieces, ["a", "", "Eb", "", "", ""]);
        assert_eq!(answer.finish(), "");
    }

    #[test]
    fn what_was_held_back_comes_at_the_end() {
        let mut answer = answer(&["END".to_owned()], false, 0);
        let pieces: String = bytes("aEN")
            .into_iter()
            .map(|t| answer.push_token(t))
            .collect();
        assert_eq!((pieces.as_str(), answer.finish().as_str()), ("a", "EN"));
    }

    #[test]
    fn no_stop_string_counts_before_min_tokens() {
        let mut answer = answer(&["a".to_owned()], false, 3);
        let found: Vec<bool> = bytes("aaaa")
            .into_iter()
            .map(|t| answer.push(t).is_some())
            .collect();
        assert_eq!(found, [false, false, false, true]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        /// Against a slow and obvious model: the whole text so far, searched from its beginning after
        /// every token.
        #[test]
        fn pieces_add_up_to_the_text_before_the_first_stop(
            text in "[ab🦀é]{0,30}",
            stops in prop::collection::vec("[ab🦀é]{1,3}", 0..3),
            include in any::<bool>(),
        ) {
            let tokens = bytes(&text);
            let mut server = answer(&stops, include, 0);
            let mut engine = answer(&stops, include, 0);
            let (mut given, mut expected) = (String::new(), text.clone());
            for (i, &token) in tokens.iter().enumerate() {
                let found = engine.push(token);
                given += &server.push_token(token);
                let so_far = String::from_utf8_lossy(&text.as_bytes()[..=i]).into_owned();
                let so_far = so_far.trim_end_matches('\u{FFFD}');
                let obvious = stops
                    .iter()
                    .filter_map(|stop| so_far.find(stop.as_str()).map(|at| (at, stop)))
                    .min_by_key(|&(at, _)| at)
                    .map(|(at, stop)| if include { at + stop.len() } else { at });
                prop_assert_eq!(found.as_ref().map(|f| f.text_bytes), obvious);
                if let Some(end) = obvious {
                    expected.truncate(end);
                    break;
                }
                prop_assert!(so_far.starts_with(&given));
            }
            given += &server.finish();
            prop_assert_eq!(given, expected);
        }
    }
}
