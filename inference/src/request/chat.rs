//! A checked chat request.

use serde_json::{Map, Value};

use super::{
    AnswerLength, CheckedOptions, ModelFacts, RequestError, limits, options, parse, unsupported,
};
use crate::{
    openai::{ChatMessage, ChatRequest, Content, ContentPart},
    prompt::ChatInput,
};

/// A chat request without a fault that can be seen before its prompt is rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedChat {
    /// How to answer.
    pub options: CheckedOptions,
    /// What the chat template gets.
    pub input: ChatInput,
    /// Begin the rendered text with the tokenizer's own special tokens; templates write theirs.
    pub add_special_tokens: bool,
}

/// Reads and checks a body of `/v1/chat/completions`.
///
/// # Errors
/// [`RequestError`]: a 400 naming the field, or a 404 for an unknown model.
pub fn check_chat(body: &[u8], facts: &ModelFacts) -> Result<CheckedChat, RequestError> {
    let object = parse::object(body)?;
    let shared: crate::openai::GenerationOptions = parse::fields(&object)?;
    let chat: ChatRequest = parse::fields(&object)?;
    drop(object);
    let newer = options::answer_length("max_completion_tokens", chat.max_completion_tokens, facts)?;
    let older = options::answer_length("max_tokens", shared.max_tokens, facts)?;
    let length = newer.or(older).unwrap_or(AnswerLength::Rest);
    let options = CheckedOptions::check(shared, length, facts)?;
    unsupported::refuse_chat(&chat)?;
    let add_special_tokens = chat.add_special_tokens.unwrap_or(false);
    Ok(CheckedChat {
        options,
        input: chat_input(chat)?,
        add_special_tokens,
    })
}

/// What the chat template gets.
pub(super) fn chat_input(chat: ChatRequest) -> Result<ChatInput, RequestError> {
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
    Ok(ChatInput {
        messages: messages
            .map(|(i, m)| template_message(i, m))
            .collect::<Result<_, _>>()?,
        tools: chat.tools,
        add_generation_prompt,
        continue_final_message,
        kwargs: chat.chat_template_kwargs.unwrap_or_default(),
    })
}

/// The message as templates expect it: content as one string, tool arguments as objects.
fn template_message(i: usize, message: ChatMessage) -> Result<Value, RequestError> {
    let content = match message.content {
        None => String::new(),
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => joined_text(i, parts)?,
    };
    let mut map = Map::new();
    map.insert("role".to_owned(), message.role.into());
    map.insert("content".to_owned(), content.into());
    map.extend(message.rest);
    if let Some(Value::Array(calls)) = map.get_mut("tool_calls") {
        calls.iter_mut().for_each(parse_arguments);
    }
    Ok(Value::Object(map))
}

fn joined_text(i: usize, parts: Vec<ContentPart>) -> Result<String, RequestError> {
    let texts: Vec<String> = parts
        .into_iter()
        .enumerate()
        .map(|(j, part)| match (part.kind.as_str(), part.text) {
            ("text", Some(text)) => Ok(text),
            ("text", None) => {
                let field = format!("messages[{i}].content[{j}].text");
                let message = format!("{field}: required, but absent");
                Err(RequestError::invalid(field, message))
            }
            (kind, _) => {
                let kind: String = kind.chars().take(limits::ECHOED_CHARS_MAX).collect();
                let field = format!("messages[{i}].content[{j}].type");
                let message = format!("{field}: `{kind}` is not supported; this model reads text");
                Err(RequestError::invalid(field, message))
            }
        })
        .collect::<Result<_, _>>()?;
    Ok(texts.join("\n"))
}

/// Clients send a tool call's arguments as JSON text; templates print them with `tojson`.
fn parse_arguments(call: &mut Value) {
    let Some(arguments) = call.pointer_mut("/function/arguments") else {
        return;
    };
    if let Some(parsed) = arguments
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok())
    {
        *arguments = parsed;
    }
}
