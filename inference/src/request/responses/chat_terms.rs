//! Fields of a responses request as a chat has them, and a chat's errors the way back.

use serde_json::{Map, Value, json};

use super::items::{refused, unsupported};
use crate::{
    openai::responses::{ReasoningOptions, ResponsesTool, TextFormat},
    request::RequestError,
};

pub(super) fn kwargs(
    kwargs: Option<Map<String, Value>>,
    reasoning: Option<ReasoningOptions>,
) -> Option<Value> {
    let effort = reasoning.and_then(|reasoning| reasoning.effort);
    let mut kwargs = kwargs.unwrap_or_default();
    if let Some(effort) = effort {
        kwargs.entry("reasoning_effort").or_insert(effort.into());
    }
    (!kwargs.is_empty()).then_some(Value::Object(kwargs))
}

/// `text.format` as `response_format`.
pub(super) fn chat_format(format: TextFormat) -> Result<Value, RequestError> {
    let TextFormat {
        kind,
        name,
        description,
        schema,
        strict,
    } = format;
    match (kind.as_str(), schema) {
        ("text" | "json_object", _) => Ok(json!({"type": kind})),
        ("json_schema", None) => Err(refused(
            "text.format.schema".to_owned(),
            "required, but absent",
        )),
        ("json_schema", Some(schema)) => {
            let mut inner = Map::new();
            inner.insert(
                "name".to_owned(),
                name.unwrap_or_else(|| "schema".to_owned()).into(),
            );
            inner.insert("schema".to_owned(), schema);
            inner.extend(description.map(|text| ("description".to_owned(), text.into())));
            inner.extend(strict.map(|strict| ("strict".to_owned(), strict.into())));
            Ok(json!({"type": kind, "json_schema": inner}))
        }
        (kind, _) => Err(unsupported("text.format.type".to_owned(), kind)),
    }
}

pub(super) fn chat_tool(tool: ResponsesTool) -> Value {
    let ResponsesTool {
        kind,
        name,
        description,
        parameters,
        strict,
    } = tool;
    let mut function = Map::new();
    function.extend(name.map(|name| ("name".to_owned(), name.into())));
    function.extend(description.map(|text| ("description".to_owned(), text.into())));
    function.extend(parameters.map(|schema| ("parameters".to_owned(), schema.into())));
    function.extend(strict.map(|strict| ("strict".to_owned(), strict.into())));
    json!({"type": kind, "function": function})
}

pub(super) fn chat_tool_choice(choice: Value) -> Value {
    match choice.get("name") {
        Some(name) => json!({"type": "function", "function": {"name": name}}),
        None => choice,
    }
}

/// A chat's error with the names of the fields that the client wrote.
pub(super) fn in_own_terms(mut error: RequestError, sources: &[Option<usize>]) -> RequestError {
    let Some(theirs) = &error.param else {
        return error;
    };
    let ours = own_name(theirs, sources);
    if let Some(rest) = error.message.strip_prefix(theirs.as_str()) {
        error.message = format!("{ours}{rest}");
    }
    error.param = Some(ours);
    error
}

fn own_name(theirs: &str, sources: &[Option<usize>]) -> String {
    if let Some(rest) = theirs.strip_prefix("messages[") {
        let index = rest.split(']').next().and_then(|index| index.parse().ok());
        let source = index.and_then(|index: usize| *sources.get(index)?);
        return source.map_or("input".to_owned(), |item| format!("input[{item}]"));
    }
    if let Some(rest) = theirs.strip_prefix("response_format") {
        return format!("text.format{}", rest.replacen(".json_schema", "", 1));
    }
    match theirs {
        "messages" => "input".to_owned(),
        "max_tokens" | "max_completion_tokens" => "max_output_tokens".to_owned(),
        "logprobs" => "include".to_owned(),
        tools if tools.starts_with("tools[") => tools.replacen(".function", "", 1),
        same => same.to_owned(),
    }
}
