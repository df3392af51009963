//! What of a responses request this server does not do, and what contradicts itself.

use serde_json::{Map, Value};

use super::{
    chat_terms::ALLOWED_TOOLS,
    items::{refused, unsupported},
};
use crate::{
    openai::responses::ResponsesRequest,
    request::{RequestError, limits},
};

/// What `include` may ask for, beside log probabilities: parts of items that are never in an answer of
/// this server.
const VACUOUS_INCLUDES: &[&str] = &[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
];
/// What `reasoning.summary` may be.
const SUMMARIES: [&str; 3] = ["auto", "concise", "detailed"];
/// What `text.verbosity` may be.
const VERBOSITIES: [&str; 3] = ["low", "medium", "high"];
const INCLUDE_LOGPROBS: &str = "message.output_text.logprobs";

/// Refuses them.
pub(super) fn refuse(request: &ResponsesRequest) -> Result<(), RequestError> {
    let refuse_if = |asked: bool, field: &str, why: &str| {
        if asked {
            Err(refused(field.to_owned(), why))
        } else {
            Ok(())
        }
    };
    let truncation = request.truncation.as_deref().unwrap_or("disabled");
    refuse_if(
        request.background == Some(true),
        "background",
        "not supported by this server; leave it out, and stream a long answer",
    )?;
    refuse_if(
        request.conversation.is_some(),
        "conversation",
        "not supported by this server; send the conversation as input, or previous_response_id",
    )?;
    refuse_if(
        request.prompt.is_some(),
        "prompt",
        "no prompts are kept here; send the prompt itself as input",
    )?;
    refuse_if(
        truncation != "disabled",
        "truncation",
        "must be \"disabled\": this server drops nothing from an input; shorten it, or leave the \
         field out",
    )?;
    check_hints(request)?;
    check_tools(request)?;
    check_metadata(request.metadata.as_ref())
}

/// Settings that change nothing here, but are repeated.
fn check_hints(request: &ResponsesRequest) -> Result<(), RequestError> {
    let reasoning = request.reasoning.as_ref();
    let summary = reasoning.and_then(|reasoning| reasoning.summary.as_deref());
    let text = request.text.as_ref();
    let verbosity = text.and_then(|text| text.verbosity.as_deref());
    for (field, value, known) in [
        ("reasoning.summary", summary, SUMMARIES),
        ("text.verbosity", verbosity, VERBOSITIES),
    ] {
        if value.is_some_and(|value| !known.contains(&value)) {
            let why = format!("must be one of {}", known.join(", "));
            return Err(refused(field.to_owned(), &why));
        }
    }
    Ok(())
}

fn check_tools(request: &ResponsesRequest) -> Result<(), RequestError> {
    let tools = request.tools.as_deref().unwrap_or_default();
    for (i, tool) in tools.iter().enumerate() {
        if tool.kind != "function" {
            return Err(unsupported(format!("tools[{i}].type"), &tool.kind));
        }
        if tool.name.is_none() {
            let field = format!("tools[{i}].name");
            return Err(refused(field, "required, but absent"));
        }
    }
    let Some(choice) = &request.tool_choice else {
        return Ok(());
    };
    let named = choice["type"] == "function" && choice["name"].is_string();
    let allowed = choice["type"] == ALLOWED_TOOLS && choice["tools"].is_array();
    let field = || "tool_choice".to_owned();
    match choice.as_str() {
        Some("none" | "auto") => Ok(()),
        Some("required") | None if tools.is_empty() => Err(refused(field(), "only with tools")),
        Some("required") => Ok(()),
        None if named || allowed => Ok(()),
        _ => Err(refused(
            field(),
            "must be \"none\", \"auto\", \"required\", {\"type\": \"function\", \"name\": …} or \
             {\"type\": \"allowed_tools\", \"mode\": …, \"tools\": …}",
        )),
    }
}

fn check_metadata(metadata: Option<&Map<String, Value>>) -> Result<(), RequestError> {
    let Some(metadata) = metadata else {
        return Ok(());
    };
    let fits = metadata.len() <= limits::METADATA_PAIRS_MAX
        && metadata.iter().all(|(key, value)| {
            key.chars().count() <= limits::METADATA_KEY_CHARS_MAX
                && value
                    .as_str()
                    .is_some_and(|value| value.chars().count() <= limits::METADATA_VALUE_CHARS_MAX)
        });
    if fits {
        return Ok(());
    }
    let message = format!(
        "metadata: at most {} pairs, of keys with at most {} characters and strings with at most {}",
        limits::METADATA_PAIRS_MAX,
        limits::METADATA_KEY_CHARS_MAX,
        limits::METADATA_VALUE_CHARS_MAX,
    );
    Err(RequestError::invalid("metadata", message))
}

/// Whether `include` asks for log probabilities.
pub(super) fn wants_logprobs(request: &ResponsesRequest) -> Result<bool, RequestError> {
    let includes = request.include.as_deref().unwrap_or_default();
    for (i, include) in includes.iter().enumerate() {
        if include != INCLUDE_LOGPROBS && !VACUOUS_INCLUDES.contains(&include.as_str()) {
            return Err(unsupported(format!("include[{i}]"), include));
        }
    }
    let wanted = includes.iter().any(|include| include == INCLUDE_LOGPROBS);
    if !wanted && request.top_logprobs.is_some_and(|top| top != 0) {
        let why = "only with \"include\": [\"message.output_text.logprobs\"]";
        return Err(refused("top_logprobs".to_owned(), why));
    }
    Ok(wanted)
}
