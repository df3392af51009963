//! Log probabilities on the wire: what the engine found, with the text of its tokens.

use std::sync::Arc;

use super::{format::Endpoint, generation::Generation};
use crate::{
    openai::{
        ChatLogprobs, ChatTokenLogprob, ChoiceLogprobs, CompletionLogprobs, PromptLogprobs,
        PromptTokenLogprobs, RankedLogprob, TokenLogprob, TopLogprobs,
    },
    prompt::{TokenText, Tokenizer},
    request::{CheckedOptions, LogprobsOptions},
    sampling::TokenLogprobs,
};

/// What JSON has instead of minus infinity, as in OpenAI's API.
const LOGPROB_MIN: f32 = -9999.0;

/// How a request wants them written.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogprobsFormat {
    options: LogprobsOptions,
    skip_special_tokens: bool,
}

/// Those of an answer that are in no chunk yet, and how far the text is that those before them go with.
#[derive(Debug, Clone, Default)]
pub(super) struct PendingLogprobs {
    tokens: Vec<TokenLogprobs>,
    text: TextLength,
}

impl PendingLogprobs {
    pub(super) fn push(&mut self, logprobs: Option<Box<TokenLogprobs>>) {
        self.tokens.extend(logprobs.map(|logprobs| *logprobs));
    }
}

/// A prompt that its answers begin with.
#[derive(Debug, Clone)]
pub(super) struct Echo {
    pub(super) text: Arc<str>,
    /// Special tokens are part of the text: the client wrote them. Those that a tokenizer adds are not.
    shows_special_tokens: bool,
}

impl Echo {
    /// Of a prompt of `ids`, and of the text that it came as, if it did.
    pub(super) fn new(tokenizer: &Tokenizer, ids: &[u32], text: Option<&str>) -> Self {
        let decoded = tokenizer.decode(ids, false);
        Self {
            shows_special_tokens: text.is_none_or(|text| text == decoded),
            text: text.unwrap_or(&decoded).into(),
        }
    }
}

impl LogprobsFormat {
    pub(super) fn new(options: &CheckedOptions) -> Self {
        Self {
            options: options.reporting.logprobs,
            skip_special_tokens: options.skip_special_tokens,
        }
    }

    /// `logprobs` of a choice, with those that are pending. `first` begins the answer. `None` if the request
    /// did not ask, or nothing is new.
    pub(super) fn choice(
        &self,
        endpoint: Endpoint,
        generation: &Generation,
        index: usize,
        first: bool,
        pending: &mut PendingLogprobs,
    ) -> Option<ChoiceLogprobs> {
        let top = self.options.answer?;
        let writer = self.writer(generation);
        let tokens = std::mem::take(&mut pending.tokens);
        if endpoint == Endpoint::Chat {
            let content = tokens.iter().map(|token| writer.chat_token(token));
            let content: Vec<_> = content.collect();
            let refusal = None;
            let logprobs = ChatLogprobs { content, refusal };
            return (!tokens.is_empty()).then_some(ChoiceLogprobs::Chat(logprobs));
        }
        let mut lists = CompletionLogprobs::default();
        let echo = generation.echo(index).filter(|_| first);
        if let Some((echo, prompt, scores)) = echo {
            let shown = echo.shows_special_tokens;
            let first = prompt.first().copied().unwrap_or_default();
            let mut text = TextLength::default();
            writer.add_unscored(&mut lists, &mut text, first, shown);
            for score in scores {
                writer.add(&mut lists, &mut text, score, top, shown);
            }
            pending.text = TextLength::of(&echo.text);
        }
        for token in &tokens {
            let shown = !self.skip_special_tokens;
            writer.add(&mut lists, &mut pending.text, token, top, shown);
        }
        (!lists.tokens.is_empty()).then_some(ChoiceLogprobs::Completion(lists))
    }

    /// `prompt_logprobs` of a prompt, if the request asked.
    pub(super) fn prompt(&self, generation: &Generation, prompt: usize) -> Option<PromptLogprobs> {
        let top = self.options.prompt?;
        let writer = self.writer(generation);
        let scores = generation.prompt_logprobs(prompt).iter();
        let places = scores.map(|score| Some(writer.prompt_token(score, top)));
        Some(std::iter::once(None).chain(places).collect())
    }

    fn writer<'a>(&self, generation: &'a Generation) -> Writer<'a> {
        Writer {
            tokenizer: generation.tokenizer(),
            as_token_ids: self.options.as_token_ids,
        }
    }
}

/// Writes tokens.
struct Writer<'a> {
    tokenizer: &'a Tokenizer,
    as_token_ids: bool,
}

impl Writer<'_> {
    fn text(&self, id: u32, token: &TokenText) -> String {
        if self.as_token_ids {
            format!("token_id:{id}")
        } else {
            token.text()
        }
    }

    fn token(&self, id: u32, logprob: f32) -> TokenLogprob {
        let token = self.tokenizer.token_text(id);
        TokenLogprob {
            token: self.text(id, &token),
            logprob: logprob.max(LOGPROB_MIN),
            bytes: token.bytes,
        }
    }

    fn chat_token(&self, found: &TokenLogprobs) -> ChatTokenLogprob {
        let top = found.top.iter();
        ChatTokenLogprob {
            token: self.token(found.token, found.logprob),
            top_logprobs: top.map(|&(id, logprob)| self.token(id, logprob)).collect(),
        }
    }

    /// Adds a token to the lists of a text completion. `shown`: special tokens are part of the text.
    fn add(
        &self,
        lists: &mut CompletionLogprobs,
        text: &mut TextLength,
        found: &TokenLogprobs,
        top: usize,
        shown: bool,
    ) {
        self.add_unscored(lists, text, found.token, shown);
        let place = lists.token_logprobs.len() - 1;
        lists.token_logprobs[place] = Some(found.logprob.max(LOGPROB_MIN));
        let mut likeliest = TopLogprobs::default();
        // The token itself is always among them.
        let own = (found.token, found.logprob);
        for &(id, logprob) in found.top.iter().take(top).chain([&own]) {
            let token = self.token(id, logprob);
            likeliest.add(token.token, token.logprob);
        }
        lists.top_logprobs[place] = Some(likeliest);
    }

    /// Adds a token of which nothing is known.
    fn add_unscored(
        &self,
        lists: &mut CompletionLogprobs,
        text: &mut TextLength,
        id: u32,
        shown: bool,
    ) {
        let token = self.tokenizer.token_text(id);
        lists.tokens.push(self.text(id, &token));
        lists.token_logprobs.push(None);
        lists.top_logprobs.push(None);
        let bytes = token.bytes.as_slice();
        let bytes = if token.special && !shown { &[] } else { bytes };
        lists.text_offset.push(text.push(bytes));
    }

    fn prompt_token(&self, found: &TokenLogprobs, top: usize) -> PromptTokenLogprobs {
        let ranked = |id, logprob: f32, rank| {
            let decoded_token = self.text(id, &self.tokenizer.token_text(id));
            let logprob = logprob.max(LOGPROB_MIN);
            (
                id,
                RankedLogprob {
                    logprob,
                    rank,
                    decoded_token,
                },
            )
        };
        let mut tokens = vec![ranked(found.token, found.logprob, found.rank)];
        let likeliest = (1..).zip(&found.top).take(top);
        let others = likeliest.filter(|(_, (id, _))| *id != found.token);
        tokens.extend(others.map(|(rank, &(id, logprob))| ranked(id, logprob, rank)));
        PromptTokenLogprobs(tokens)
    }
}

/// Characters of a text that comes in pieces, which may be parts of a character.
#[derive(Debug, Clone, Default)]
struct TextLength {
    chars: usize,
    /// The beginning of a character.
    partial: Vec<u8>,
}

impl TextLength {
    fn of(text: &str) -> Self {
        Self {
            chars: text.chars().count(),
            partial: Vec::new(),
        }
    }

    /// Adds a piece, and returns how many characters there are before the one that it begins with, or goes
    /// on with.
    fn push(&mut self, piece: &[u8]) -> usize {
        let before = self.chars;
        let held = !self.partial.is_empty();
        let goes_on = piece.first().is_none_or(|byte| (0x80..0xc0).contains(byte));
        self.partial.extend_from_slice(piece);
        let bytes = std::mem::take(&mut self.partial);
        for chunk in bytes.utf8_chunks() {
            self.chars += chunk.valid().chars().count();
            let is_last = chunk.invalid().as_ptr_range().end == bytes.as_ptr_range().end;
            if is_last && is_incomplete(chunk.invalid()) {
                self.partial = chunk.invalid().to_vec();
            } else {
                self.chars += usize::from(!chunk.invalid().is_empty());
            }
        }
        before + usize::from(held && !goes_on)
    }
}

/// More bytes can make it a character.
fn is_incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_characters_whatever_the_pieces() {
        let offsets = |pieces: &[&[u8]]| -> Vec<usize> {
            let mut text = TextLength::default();
            pieces.iter().map(|piece| text.push(piece)).collect()
        };
        let crab = "🦀".as_bytes();
        assert_eq!(offsets(&[b"a", b"bc", b"", b"d"]), [0, 1, 3, 3]);
        assert_eq!(
            offsets(&[b"a", &crab[..1], &crab[1..3], &crab[3..], b"b"]),
            [0, 1, 1, 1, 2]
        );
        // Cut off, the bytes are one U+FFFD; on their own, one each.
        assert_eq!(offsets(&[&crab[..2], b"b", b"c"]), [0, 1, 2]);
        assert_eq!(offsets(&[&[0x80], &[0x80], b"a"]), [0, 1, 2]);
        assert_eq!(offsets(&[&crab[..2], crab, b"a"]), [0, 1, 2]);
    }
}
