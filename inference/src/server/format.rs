//! The two forms of an answer: chat and text completion, each whole or in chunks.

use serde::Serialize;
use serde_json::Value;

use super::{
    generation::{Generation, Piece},
    logprobs::{LogprobsFormat, PendingLogprobs},
    message,
    request_id::RequestId,
    wall_clock,
};
use crate::{
    openai::{
        ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta, ChoiceLogprobs,
        Completion, CompletionChoice, Usage,
    },
    prompt::Message,
    request::{CheckedOptions, Streaming},
};

/// Which build answered.
const SYSTEM_FINGERPRINT: &str = concat!("candela-", env!("CARGO_PKG_VERSION"));
const CHAT: &str = "chat.completion";
const CHAT_CHUNK: &str = "chat.completion.chunk";
const TEXT_COMPLETION: &str = "text_completion";

/// Which route answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completion,
}

impl Endpoint {
    /// The field that holds the prompt.
    pub(super) const fn prompt_field(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Completion => "prompt",
        }
    }

    const fn id_prefix(self) -> &'static str {
        match self {
            Self::Chat => "chatcmpl",
            Self::Completion => "cmpl",
        }
    }
}

/// What all chunks of an answer have in common.
#[derive(Debug, Clone)]
pub(super) struct Format {
    endpoint: Endpoint,
    id: String,
    created: u64,
    model: String,
    token_ids: bool,
    logprobs: LogprobsFormat,
    streaming: Streaming,
}

/// A complete answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) message: Message,
    pub(super) tokens: Vec<u32>,
    pub(super) logprobs: PendingLogprobs,
    pub(super) finish_reason: &'static str,
}

/// What goes with a piece in its chunk.
#[derive(Debug, Default)]
pub(super) struct ChunkExtras {
    /// The answer's tokens since its last chunk.
    pub(super) tokens: Vec<u32>,
    /// Their log probabilities, if the request asked.
    pub(super) logprobs: Option<ChoiceLogprobs>,
    /// It is the answer's first chunk.
    pub(super) first: bool,
    pub(super) metrics: Option<Value>,
}

/// One event of a stream, in its route's form.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Chunk {
    /// Of a chat.
    Chat(ChatChunk),
    /// Of a text completion.
    Completion(Completion),
}

impl Format {
    pub(super) fn new(endpoint: Endpoint, id: &RequestId, options: &CheckedOptions) -> Self {
        Self {
            endpoint,
            id: format!("{}-{}", endpoint.id_prefix(), id.as_str()),
            created: wall_clock::unix_seconds(),
            model: options.model.clone(),
            token_ids: options.reporting.token_ids,
            logprobs: LogprobsFormat::new(options),
            streaming: options.streaming.unwrap_or_default(),
        }
    }

    /// The stream ends with a usage chunk.
    pub(super) fn include_usage(&self) -> bool {
        self.streaming.include_usage
    }

    /// `logprobs` of an answer, with those that are pending.
    pub(super) fn logprobs(
        &self,
        generation: &Generation,
        index: usize,
        first: bool,
        pending: &mut PendingLogprobs,
    ) -> Option<ChoiceLogprobs> {
        let endpoint = self.endpoint;
        self.logprobs
            .choice(endpoint, generation, index, first, pending)
    }

    /// The whole answer, as JSON text: as a [`Value`] log probabilities would take several times as much.
    pub(super) fn whole(
        &self,
        generation: &Generation,
        answers: Vec<Answer>,
        metrics: Option<Value>,
    ) -> Vec<u8> {
        let ids = |tokens: Vec<u32>| self.token_ids.then_some(tokens);
        let usage = generation.usage();
        match self.endpoint {
            Endpoint::Chat => to_json(&ChatCompletion {
                id: self.id.clone(),
                object: CHAT,
                created: self.created,
                model: self.model.clone(),
                choices: answers
                    .into_iter()
                    .enumerate()
                    .map(|(index, mut answer)| ChatChoice {
                        index,
                        message: message::whole(answer.message),
                        logprobs: self.logprobs(generation, index, true, &mut answer.logprobs),
                        finish_reason: answer.finish_reason,
                        token_ids: ids(answer.tokens),
                    })
                    .collect(),
                usage,
                system_fingerprint: SYSTEM_FINGERPRINT,
                prompt_token_ids: ids(generation.prompts()[0].to_vec()),
                prompt_logprobs: self.logprobs.prompt(generation, 0),
                metrics,
            }),
            Endpoint::Completion => {
                let choices = answers.into_iter().enumerate().map(|(index, mut answer)| {
                    let prompt_index = index / generation.answers();
                    let prompt = &generation.prompts()[prompt_index];
                    CompletionChoice {
                        index,
                        text: answer.message.content,
                        logprobs: self.logprobs(generation, index, true, &mut answer.logprobs),
                        prompt_logprobs: self.logprobs.prompt(generation, prompt_index),
                        finish_reason: Some(answer.finish_reason),
                        prompt_token_ids: ids(prompt.to_vec()),
                        token_ids: ids(answer.tokens),
                    }
                });
                to_json(&self.completion(choices.collect(), Some(Some(usage)), metrics))
            }
        }
    }

    /// What a stream begins with: each chat answer's role.
    pub(super) fn opening(&self, generation: &Generation) -> Vec<Chunk> {
        if self.endpoint == Endpoint::Completion {
            return Vec::new();
        }
        let role = |index| {
            let delta = ChatDelta {
                role: Some("assistant"),
                content: Some(String::new()),
                ..ChatDelta::default()
            };
            let prompt = (self.token_ids && index == 0).then(|| generation.prompts()[0].to_vec());
            let choice = ChatChunkChoice {
                index,
                delta,
                logprobs: None,
                finish_reason: None,
                token_ids: None,
            };
            let usage = self.chunk_usage(|| generation.usage_of_answer(index));
            self.chat_chunk(vec![choice], usage, prompt, None)
        };
        (0..generation.answers()).map(role).collect()
    }

    /// A piece of an answer.
    pub(super) fn chunk(
        &self,
        generation: &Generation,
        piece: Piece,
        extras: ChunkExtras,
    ) -> Chunk {
        let Piece {
            index,
            delta,
            token: _,
            logprobs: _,
            finish_reason,
        } = piece;
        let ChunkExtras {
            tokens,
            logprobs,
            first,
            metrics,
        } = extras;
        let token_ids = self.token_ids.then_some(tokens);
        let usage = self.chunk_usage(|| generation.usage_of_answer(index));
        match self.endpoint {
            Endpoint::Chat => {
                let delta = message::delta(delta);
                let choice = ChatChunkChoice {
                    index,
                    delta,
                    logprobs,
                    finish_reason,
                    token_ids,
                };
                self.chat_chunk(vec![choice], usage, None, metrics)
            }
            Endpoint::Completion => {
                let prompt = &generation.prompts()[index / generation.answers()];
                let prompt_token_ids = (self.token_ids && first).then(|| prompt.to_vec());
                let choice = CompletionChoice {
                    index,
                    text: delta.content,
                    logprobs,
                    prompt_logprobs: None,
                    finish_reason,
                    prompt_token_ids,
                    token_ids,
                };
                Chunk::Completion(self.completion(vec![choice], usage, metrics))
            }
        }
    }

    /// The chunk with the whole request's usage.
    pub(super) fn usage_chunk(&self, usage: Usage, metrics: Option<Value>) -> Chunk {
        let usage = Some(Some(usage));
        match self.endpoint {
            Endpoint::Chat => self.chat_chunk(Vec::new(), usage, None, metrics),
            Endpoint::Completion => Chunk::Completion(self.completion(Vec::new(), usage, metrics)),
        }
    }

    /// `usage` of a chunk: absent, null, or so far.
    fn chunk_usage(&self, so_far: impl FnOnce() -> Usage) -> Option<Option<Usage>> {
        let Streaming {
            include_usage,
            continuous_usage,
        } = self.streaming;
        include_usage.then(|| continuous_usage.then(so_far))
    }

    fn chat_chunk(
        &self,
        choices: Vec<ChatChunkChoice>,
        usage: Option<Option<Usage>>,
        prompt_token_ids: Option<Vec<u32>>,
        metrics: Option<Value>,
    ) -> Chunk {
        Chunk::Chat(ChatChunk {
            id: self.id.clone(),
            object: CHAT_CHUNK,
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: SYSTEM_FINGERPRINT,
            choices,
            usage,
            prompt_token_ids,
            metrics,
        })
    }

    fn completion(
        &self,
        choices: Vec<CompletionChoice>,
        usage: Option<Option<Usage>>,
        metrics: Option<Value>,
    ) -> Completion {
        Completion {
            id: self.id.clone(),
            object: TEXT_COMPLETION,
            created: self.created,
            model: self.model.clone(),
            choices,
            usage,
            system_fingerprint: SYSTEM_FINGERPRINT,
            metrics,
        }
    }
}

fn to_json(answer: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).expect("wire types have string keys and no maps that fail")
}
