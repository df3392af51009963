//! The messages of a chat, checked, as chat templates expect them.

use serde_json::{Map, Value};

use super::{RequestError, limits, parse::NestedJson};
use crate::openai::{ChatMessage, Content, ContentPart};

/// The message with its content as text or parts of text, its calls' arguments as objects, and without
/// members that are null: templates ask whether a member is there.
///
/// # Errors
/// A 400 naming the member. The arguments of calls that come as text are taken out of `texts`.
pub(super) fn template_message(
    i: usize,
    message: ChatMessage,
    texts: &mut NestedJson,
) -> Result<Value, RequestError> {
    let ChatMessage {
        role,
        content,
        rest,
    } = message;
    let content = match content {
        None => Value::from(""),
        Some(Content::Text(text)) => text.into(),
        Some(Content::Parts(parts)) => text_parts(i, parts)?,
    };
    let mut map = Map::new();
    map.insert("role".to_owned(), role.into());
    map.insert("content".to_owned(), content);
    map.extend(rest.into_iter().filter(|(_, value)| !value.is_null()));
    if let Some(calls) = map.get_mut("tool_calls") {
        match check_calls(i, calls)? {
            0 => drop(map.shift_remove("tool_calls")),
            _ => {
                let calls = calls.as_array_mut().into_iter().flatten();
                for (j, call) in calls.enumerate() {
                    let field = format!("messages[{i}].tool_calls[{j}].function.arguments");
                    parse_arguments(&field, call, texts)?;
                }
            }
        }
    }
    for name in ["tool_call_id", "name"] {
        if map.get(name).is_some_and(|value| !value.is_string()) {
            return Err(refuse(format!("messages[{i}].{name}"), "must be a string"));
        }
    }
    name_reasoning(i, &mut map)?;
    Ok(Value::Object(map))
}

fn refuse(field: impl Into<String>, what: &str) -> RequestError {
    let field = field.into();
    let message = format!("{field}: {what}");
    RequestError::invalid(field, message)
}

/// Templates read what the model thought by one of three names, and clients send one of two.
fn name_reasoning(i: usize, message: &mut Map<String, Value>) -> Result<(), RequestError> {
    let names = ["reasoning", "reasoning_content"];
    let Some(name) = names.into_iter().find(|name| message.contains_key(*name)) else {
        return Ok(());
    };
    let reasoning = message[name].clone();
    if !reasoning.is_string() {
        return Err(refuse(format!("messages[{i}].{name}"), "must be a string"));
    }
    for name in names.into_iter().chain(["thinking"]) {
        message.entry(name).or_insert_with(|| reasoning.clone());
    }
    Ok(())
}

/// How many calls there are, all of them of the right shape.
fn check_calls(i: usize, calls: &Value) -> Result<usize, RequestError> {
    let field = format!("messages[{i}].tool_calls");
    let Some(calls) = calls.as_array() else {
        return Err(refuse(field, "must be a list"));
    };
    let max = limits::MESSAGE_CALLS_MAX;
    if calls.len() > max {
        return Err(refuse(field, &format!("at most {max} calls")));
    }
    for (j, call) in calls.iter().enumerate() {
        let field = |member: &str| format!("{field}[{j}]{member}");
        if !call.is_object() {
            return Err(refuse(field(""), "must be an object"));
        }
        if call.get("type").is_some_and(|kind| kind != "function") {
            return Err(refuse(field(".type"), "must be \"function\""));
        }
        if call
            .get("id")
            .is_some_and(|id| !id.is_string() && !id.is_null())
        {
            return Err(refuse(field(".id"), "must be a string"));
        }
        if call
            .pointer("/function/name")
            .is_none_or(|name| !name.is_string())
        {
            return Err(refuse(field(".function.name"), "must be a string"));
        }
        let arguments = call.pointer("/function/arguments");
        if arguments.is_some_and(|a| !a.is_string() && !a.is_object() && !a.is_null()) {
            let what = "must be a string of JSON, or an object";
            return Err(refuse(field(".function.arguments"), what));
        }
    }
    Ok(calls.len())
}

/// Clients send a call's arguments as JSON text; templates print them with `tojson`. What is no JSON
/// stays as it is: it is what the model wrote.
fn parse_arguments(
    field: &str,
    call: &mut Value,
    texts: &mut NestedJson,
) -> Result<(), RequestError> {
    let Some(Value::Object(function)) = call.get_mut("function") else {
        return Ok(());
    };
    let arguments = function.entry("arguments").or_insert(Value::Null);
    let parsed = match arguments {
        Value::Null => Some(Value::Object(Map::new())),
        Value::String(text) if text.trim().is_empty() => Some(Value::Object(Map::new())),
        Value::String(text) => texts.read(field, text)?.ok(),
        _ => None,
    };
    if let Some(parsed) = parsed {
        *arguments = parsed;
    }
    Ok(())
}

fn text_parts(i: usize, parts: Vec<ContentPart>) -> Result<Value, RequestError> {
    let parts = parts.into_iter().enumerate().map(|(j, part)| {
        let field = |member: &str| format!("messages[{i}].content[{j}].{member}");
        let text = match part.kind.as_str() {
            "text" => part.text.ok_or_else(|| refuse(field("text"), ABSENT))?,
            "refusal" => part
                .refusal
                .ok_or_else(|| refuse(field("refusal"), ABSENT))?,
            kind => {
                let kind: String = kind.chars().take(limits::ECHOED_CHARS_MAX).collect();
                let what = format!("`{kind}` is not supported; this model reads text");
                return Err(refuse(field("type"), &what));
            }
        };
        Ok(serde_json::json!({"type": "text", "text": text}))
    });
    parts.collect::<Result<Vec<_>, _>>().map(Value::Array)
}

const ABSENT: &str = "required, but absent";
