//! The response object at each moment of its life.

use serde_json::{Value, json};

use super::output::Output;
use crate::{
    model::runner::BLOCK_TOKENS,
    openai::{
        ChatTokenLogprob, ChoiceLogprobs,
        responses::{
            CachedTokens, ContentItem, IncompleteDetails, ItemStatus, OutputItem, ReasoningTokens,
            ResponseError, ResponseObject, ResponseStatus, ResponseUsage,
        },
    },
    request::{CheckedOptions, ResponsesEcho},
    sampling::TokenLogprobs,
    server::{
        error::ApiError,
        format::Endpoint,
        generation::Generation,
        logprobs::{LogprobsFormat, PendingLogprobs},
        request_id::RequestId,
        state::SharedState,
        wall_clock,
    },
};

/// `object` of every response.
pub(super) const OBJECT: &str = "response";

/// What is the same in all objects of a response.
#[derive(Debug)]
pub(super) struct ResponseFormat {
    id: String,
    created_at: u64,
    model: String,
    user: Option<String>,
    echo: ResponsesEcho,
    logprobs: LogprobsFormat,
    /// The messages before the answer, if it is to be stored.
    keep: Option<Vec<Value>>,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Completed,
    CutOff,
}

impl Outcome {
    pub(super) fn of(finish_reason: &str) -> Self {
        if finish_reason == "length" {
            Self::CutOff
        } else {
            Self::Completed
        }
    }

    /// The last item's status.
    pub(super) const fn item_status(self) -> ItemStatus {
        match self {
            Self::Completed => ItemStatus::Completed,
            Self::CutOff => ItemStatus::Incomplete,
        }
    }
}

impl ResponseFormat {
    pub(super) fn new(
        id: &RequestId,
        options: &CheckedOptions,
        echo: ResponsesEcho,
        keep: Option<Vec<Value>>,
    ) -> Self {
        // Who knows a stored response's id may read it: it is never one that a client chose.
        let id = match keep {
            Some(_) => format!("resp_{}", uuid::Uuid::new_v4().simple()),
            None => format!("resp_{}", id.as_str()),
        };
        Self {
            id,
            created_at: wall_clock::unix_seconds(),
            model: options.model.clone(),
            user: options.reporting.user.clone(),
            echo,
            logprobs: LogprobsFormat::new(options),
            keep,
        }
    }

    /// How likely a token was, if the request asked.
    pub(super) fn logprobs(
        &self,
        generation: &Generation,
        found: Option<Box<TokenLogprobs>>,
    ) -> Vec<ChatTokenLogprob> {
        let mut pending = PendingLogprobs::default();
        pending.push(found);
        let written = self
            .logprobs
            .choice(Endpoint::Chat, generation, 0, false, &mut pending);
        match written {
            Some(ChoiceLogprobs::Chat(logprobs)) => logprobs.content,
            _ => Vec::new(),
        }
    }

    /// Before the first token.
    pub(super) fn in_progress(&self) -> ResponseObject {
        let ResponsesEcho {
            instructions,
            max_output_tokens,
            max_tool_calls,
            parallel_tool_calls,
            previous_response_id,
            reasoning,
            temperature,
            text,
            tool_choice,
            tools,
            top_logprobs,
            top_p,
            metadata,
        } = self.echo.clone();
        ResponseObject {
            id: self.id.clone(),
            object: OBJECT,
            created_at: self.created_at,
            status: ResponseStatus::InProgress,
            completed_at: None,
            error: None,
            incomplete_details: None,
            instructions,
            max_output_tokens,
            max_tool_calls,
            model: self.model.clone(),
            output: Vec::new(),
            parallel_tool_calls,
            previous_response_id,
            reasoning,
            service_tier: "default",
            temperature,
            text,
            tool_choice,
            tools,
            top_logprobs,
            top_p,
            truncation: "disabled",
            usage: None,
            user: self.user.clone(),
            metadata,
            background: false,
            metrics: None,
        }
    }

    /// At the answer's end.
    pub(super) fn finished(
        &self,
        outcome: Outcome,
        output: Output,
        usage: ResponseUsage,
        metrics: Option<Value>,
    ) -> ResponseObject {
        let cut_off = outcome == Outcome::CutOff;
        ResponseObject {
            status: match outcome {
                Outcome::Completed => ResponseStatus::Completed,
                Outcome::CutOff => ResponseStatus::Incomplete,
            },
            completed_at: (!cut_off).then(wall_clock::unix_seconds),
            incomplete_details: cut_off.then_some(IncompleteDetails {
                reason: "max_output_tokens",
            }),
            output: output.into_items(),
            usage: Some(usage),
            metrics,
            ..self.in_progress()
        }
    }

    /// When the engine failed under way.
    pub(super) fn failed(&self, error: &ApiError, output: Output) -> ResponseObject {
        ResponseObject {
            status: ResponseStatus::Failed,
            error: Some(ResponseError {
                code: "server_error",
                message: error.message.clone(),
            }),
            output: output.into_items(),
            ..self.in_progress()
        }
    }

    /// The conversation with the answer, if it is to be stored: chat messages.
    pub(super) fn messages_with(&self, output: &[OutputItem]) -> Option<Vec<Value>> {
        let mut messages = self.keep.clone()?;
        messages.push(as_message(output));
        Some(messages)
    }
}

/// An answer as the assistant's message of a chat.
fn as_message(output: &[OutputItem]) -> Value {
    let mut message = json!({"role": "assistant", "content": ""});
    let (mut text, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
    for item in output {
        match item {
            OutputItem::Message { content, .. } | OutputItem::Reasoning { content, .. } => {
                for part in content {
                    match part {
                        ContentItem::OutputText(part) => text += &part.text,
                        ContentItem::ReasoningText { text } => thoughts += text,
                    }
                }
            }
            OutputItem::FunctionCall {
                call_id,
                name,
                arguments,
                ..
            } => calls.push(json!({
                "id": call_id, "type": "function",
                "function": {"name": name, "arguments": arguments},
            })),
        }
    }
    message["content"] = text.into();
    if !thoughts.is_empty() {
        message["reasoning"] = thoughts.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    message
}

/// Tokens in and out.
pub(super) fn usage(
    state: &SharedState,
    generation: &Generation,
    output: &Output,
) -> ResponseUsage {
    let usage = generation.usage();
    let cached_tokens = generation.cached_tokens();
    let in_whole_blocks = usage.prompt_tokens / BLOCK_TOKENS * BLOCK_TOKENS;
    let cache_write_tokens = if state.flags.enable_prefix_caching {
        in_whole_blocks.saturating_sub(cached_tokens)
    } else {
        0
    };
    ResponseUsage {
        input_tokens: usage.prompt_tokens,
        input_tokens_details: CachedTokens {
            cached_tokens,
            cache_write_tokens,
        },
        output_tokens: usage.completion_tokens,
        output_tokens_details: ReasoningTokens {
            reasoning_tokens: output.reasoning_tokens(),
        },
        total_tokens: usage.total_tokens,
    }
}
