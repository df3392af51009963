//! A checked chat request.

use serde_json::{Map, Value};

use super::{
    AnswerLength, CheckedOptions, FieldRoute, LogprobsOptions, ModelFacts, RequestError, ToolUse,
    limits,
    messages::template_message,
    options,
    other_fields::refuse_other_fields,
    parse,
    tools::{self, ToolFields},
    unsupported,
};
use crate::{openai::ChatRequest, prompt::ChatInput};

/// A chat request without a fault that can be seen before its prompt is rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedChat {
    /// How to answer.
    pub options: CheckedOptions,
    /// What the chat template gets.
    pub input: ChatInput,
    /// What the answer may do with tools.
    pub tools: ToolUse,
    /// Report what the model thought, if that can be told from its answer.
    pub include_reasoning: bool,
    /// Begin the rendered text with the tokenizer's own special tokens; templates write theirs.
    pub add_special_tokens: bool,
}

/// Reads and checks a body of `/v1/chat/completions`.
///
/// # Errors
/// [`RequestError`]: a 400 naming the field, or a 404 for an unknown model.
pub fn check_chat(body: &[u8], facts: &ModelFacts) -> Result<CheckedChat, RequestError> {
    let object = parse::object(body)?;
    refuse_other_fields(FieldRoute::Chat, &object)?;
    check_object(object, facts)
}

/// Checks a body that is read.
pub(super) fn check_object(object: Value, facts: &ModelFacts) -> Result<CheckedChat, RequestError> {
    let shared: crate::openai::GenerationOptions = parse::fields(&object)?;
    let chat: ChatRequest = parse::fields(&object)?;
    drop(object);
    let newer = options::answer_length("max_completion_tokens", chat.max_completion_tokens, facts)?;
    let older = options::answer_length("max_tokens", shared.max_tokens, facts)?;
    let length = newer.or(older).unwrap_or(AnswerLength::Rest);
    let logprobs = LogprobsOptions::of_chat(&shared, &chat)?;
    let mut options = CheckedOptions::check(shared, length, facts)?;
    options.report_logprobs(logprobs, 1);
    unsupported::refuse_chat(&chat)?;
    let add_special_tokens = chat.add_special_tokens.unwrap_or(false);
    let include_reasoning = chat.include_reasoning.unwrap_or(true);
    let (input, tools) = conversation(chat)?;
    Ok(CheckedChat {
        options,
        input,
        tools,
        include_reasoning,
        add_special_tokens,
    })
}

/// Reads and checks what of a body of `/v1/chat/completions` becomes its prompt.
///
/// # Errors
/// [`RequestError`]: a 400 naming the field.
pub fn check_conversation(body: &[u8]) -> Result<ChatInput, RequestError> {
    let chat = parse::fields(&parse::object(body)?)?;
    Ok(conversation(chat)?.0)
}

/// What the chat template gets, and what the answer may do with tools.
pub(super) fn conversation(mut chat: ChatRequest) -> Result<(ChatInput, ToolUse), RequestError> {
    let (tool_use, tools) = tools::check(ToolFields {
        tools: chat.tools.take(),
        tool_choice: chat.tool_choice.take(),
        parallel_tool_calls: chat.parallel_tool_calls,
    })?;
    let input = ChatInput {
        tools,
        ..chat_input(chat)?
    };
    Ok((input, tool_use))
}

fn chat_input(chat: ChatRequest) -> Result<ChatInput, RequestError> {
    let continue_final_message = chat.continue_final_message.unwrap_or(false);
    let add_generation_prompt = chat.add_generation_prompt.unwrap_or(true);
    if continue_final_message && add_generation_prompt {
        return Err(RequestError::invalid(
            "continue_final_message",
            "continue_final_message: set add_generation_prompt to false with it",
        ));
    }
    let count = chat.messages.len();
    if !(1..=limits::MESSAGES_MAX).contains(&count) {
        let max = limits::MESSAGES_MAX;
        let message = format!("messages: must be from 1 to {max} messages, not {count}");
        return Err(RequestError::invalid("messages", message));
    }
    let messages = chat.messages.into_iter().enumerate();
    let mut texts = parse::NestedJson::new();
    Ok(ChatInput {
        messages: messages
            .map(|(i, m)| template_message(i, m, &mut texts))
            .collect::<Result<_, _>>()?,
        tools: None,
        add_generation_prompt,
        continue_final_message,
        kwargs: template_kwargs(
            chat.chat_template_kwargs.unwrap_or_default(),
            chat.reasoning_effort,
            chat.documents,
        )?,
    })
}

/// The request's own variables, and what fields of their own say unless these do.
fn template_kwargs(
    mut kwargs: Map<String, Value>,
    reasoning_effort: Option<String>,
    documents: Option<Vec<Value>>,
) -> Result<Map<String, Value>, RequestError> {
    if let Some(effort) = reasoning_effort {
        if !EFFORTS.contains(&effort.as_str()) {
            let message = format!("reasoning_effort: must be one of {}", EFFORTS.join(", "));
            return Err(RequestError::invalid("reasoning_effort", message));
        }
        let thinks = effort != "none";
        kwargs.entry("enable_thinking").or_insert(thinks.into());
        kwargs.entry("reasoning_effort").or_insert(effort.into());
    }
    if let Some(documents) = documents {
        kwargs.entry("documents").or_insert(documents.into());
    }
    Ok(kwargs)
}

/// What `reasoning_effort` may be.
const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
