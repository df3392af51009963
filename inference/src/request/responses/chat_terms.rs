//! Fields of a responses request as a chat has them, and a chat's errors the way back.

use serde_json::{Map, Value, json};

use super::items::{refused, unsupported};
use crate::{
    openai::responses::{ResponsesTool, TextFormat},
    request::RequestError,
};

/// The `type` of a choice among some of the tools.
pub(super) const ALLOWED_TOOLS: &str = "allowed_tools";

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

/// Functions are named in a flat object here, in a nested one there.
pub(super) fn chat_tool_choice(choice: Value) -> Value {
    let nested = |tool: &Value| json!({"type": "function", "function": {"name": tool["name"]}});
    if choice["type"] == ALLOWED_TOOLS {
        let tools = choice["tools"].as_array().into_iter().flatten();
        let tools: Vec<Value> = tools.map(nested).collect();
        let allowed = json!({"mode": choice["mode"], "tools": tools});
        return json!({"type": ALLOWED_TOOLS, "allowed_tools": allowed});
    }
    match choice.get("name") {
        Some(_) => nested(&choice),
        None => choice,
    }
}

/// A choice of tools that passed, with nothing but the members that are read of it.
pub(super) fn known_tool_choice(choice: &Value) -> Value {
    let named = |tool: &Value| json!({"type": "function", "name": tool["name"]});
    if choice["type"] == ALLOWED_TOOLS {
        let tools = choice["tools"].as_array().into_iter().flatten();
        let tools: Vec<Value> = tools.map(named).collect();
        return json!({"type": ALLOWED_TOOLS, "mode": choice["mode"], "tools": tools});
    }
    match choice {
        Value::Object(_) => named(choice),
        choice => choice.clone(),
    }
}

/// A chat's error with the names of the fields that the client wrote. `sources` are the items of the
/// input that messages came from.
pub(super) fn in_own_terms(mut error: RequestError, sources: &[Option<usize>]) -> RequestError {
    if let Some(theirs) = error.param.take() {
        let ours = own_name(&theirs, sources);
        error.message = renamed(&error.message, &theirs, &ours);
        error.param = Some(ours);
    }
    error
}

/// The name that a responses request has for a field of the chat that it amounts to, and a message
/// about that field.
pub fn responses_terms(field: &str, message: &str) -> (String, String) {
    let ours = own_name(field, &[]);
    let message = renamed(message, field, &ours);
    (ours, message)
}

/// Messages begin with the field that they are about.
fn renamed(message: &str, theirs: &str, ours: &str) -> String {
    match message.strip_prefix(theirs) {
        Some(rest) => format!("{ours}{rest}"),
        None => message.to_owned(),
    }
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
        "reasoning_effort" => "reasoning.effort".to_owned(),
        tools if tools.starts_with("tool") => {
            tools.replace(".function", "").replace(".allowed_tools", "")
        }
        same => same.to_owned(),
    }
}
