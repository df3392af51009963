//! Log probabilities, as chats and text completions write them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

/// `logprobs` of a choice.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ChoiceLogprobs {
    /// In a chat.
    Chat(ChatLogprobs),
    /// In a text completion.
    Completion(CompletionLogprobs),
}

/// `logprobs` of a chat's choice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct ChatLogprobs {
    /// One for each token.
    pub content: Vec<ChatTokenLogprob>,
    /// Always null; OpenAI's schema requires the member.
    pub refusal: Option<Vec<ChatTokenLogprob>>,
}

/// A token of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatTokenLogprob {
    /// The token itself.
    #[serde(flatten)]
    pub token: TokenLogprob,
    /// The likeliest tokens in its place, the likeliest first.
    pub top_logprobs: Vec<TokenLogprob>,
}

/// A token, and how likely it was.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TokenLogprob {
    /// As text, with U+FFFD for parts of a character.
    pub token: String,
    /// The natural log probability.
    pub logprob: f32,
    /// As bytes.
    pub bytes: Vec<u8>,
}

/// `logprobs` of a text completion's choice: lists of one member for each token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct CompletionLogprobs {
    /// Characters of the choice's text before the token; in a stream of all its text so far.
    pub text_offset: Vec<usize>,
    /// The natural log probability; null for a prompt's first token.
    pub token_logprobs: Vec<Option<f32>>,
    /// The tokens as text.
    pub tokens: Vec<String>,
    /// The likeliest tokens in its place, and the token itself; null for a prompt's first token.
    pub top_logprobs: Vec<Option<TopLogprobs>>,
}

/// An object of log probabilities by their tokens' text, the likeliest first. Of tokens with the same
/// text the first counts.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
pub struct TopLogprobs(#[schemars(with = "BTreeMap<String, f32>")] Vec<(String, f32)>);

impl TopLogprobs {
    /// Adds a token, unless there is one of the same text.
    pub fn add(&mut self, token: String, logprob: f32) {
        if self.0.iter().all(|(other, _)| *other != token) {
            self.0.push((token, logprob));
        }
    }
}

impl Serialize for TopLogprobs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(token, logprob)| (token, logprob)))
    }
}

/// vLLM's `prompt_logprobs`: null for the first token, then one object for each.
pub type PromptLogprobs = Vec<Option<PromptTokenLogprobs>>;

/// Tokens in one place of a prompt, an object by their ids: the prompt's own, then the likeliest.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
pub struct PromptTokenLogprobs(
    #[schemars(with = "BTreeMap<String, RankedLogprob>")] pub Vec<(u32, RankedLogprob)>,
);

/// How likely a token was, and how many were at least as likely.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RankedLogprob {
    /// The natural log probability.
    pub logprob: f32,
    /// 1 for the likeliest.
    pub rank: usize,
    /// As text.
    pub decoded_token: String,
}

impl Serialize for PromptTokenLogprobs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(id, ranked)| (id, ranked)))
    }
}
