//! A checked request of `/v1/responses`. It becomes a chat: its items are turned into messages, its
//! fields into those that mean the same, and what comes out passes the very checks of chats. Errors are
//! given the names of the fields that the client wrote.

mod chat_terms;
mod items;
mod refuse;

use serde_json::{Map, Value, json};

pub use self::chat_terms::responses_terms;
use self::{
    chat_terms::{chat_format, chat_tool, chat_tool_choice, in_own_terms, known_tool_choice},
    items::{Conversation, refused},
    refuse::{refuse, wants_logprobs},
};
use super::{
    AnswerLength, CheckedChat, FieldRoute, ModelFacts, RequestError, RequestErrorKind, chat,
    limits, other_fields::refuse_other_fields, parse,
};
use crate::openai::{
    GenerationOptions,
    responses::{ReasoningOptions, ResponsesRequest, ResponsesTool, TextFormat, TextOptions},
};

/// Fields of the body that mean the same in a chat.
pub const RESPONSES_SHARED_FIELDS: &[&str] = &[
    "model",
    "temperature",
    "top_p",
    "seed",
    "stream",
    "user",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "stop",
    "top_k",
    "min_p",
    "repetition_penalty",
    "stop_token_ids",
    "include_stop_str_in_output",
    "ignore_eos",
    "min_tokens",
    "skip_special_tokens",
    "structured_outputs",
    "priority",
    "cache_salt",
    "include_metrics",
    "include_reasoning",
];
/// A responses request without a fault that can be seen before its prompt is rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedResponses {
    /// The chat that it amounts to.
    pub chat: CheckedChat,
    /// What the response repeats of the request.
    pub echo: ResponsesEcho,
    /// `store`.
    pub store: bool,
    /// The conversation as messages, instructions aside: with the answer, what a later request goes on
    /// from. Empty unless `store`.
    pub history: Vec<Value>,
}

/// What a response repeats of its request.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the members are the request's")]
pub struct ResponsesEcho {
    pub instructions: Option<String>,
    pub max_output_tokens: Option<u64>,
    pub max_tool_calls: Option<i64>,
    pub parallel_tool_calls: bool,
    pub previous_response_id: Option<String>,
    pub reasoning: ReasoningOptions,
    pub temperature: f64,
    pub text: TextOptions,
    pub tool_choice: Value,
    pub tools: Vec<ResponsesTool>,
    pub top_logprobs: u64,
    pub top_p: f64,
    pub metadata: Map<String, Value>,
}

/// Reads and checks a body of `/v1/responses`. `stored` gives the messages of an earlier response.
///
/// # Errors
/// [`RequestError`]: a 400 naming the field, or a 404 for an unknown model or response.
pub fn check_responses(
    body: &[u8],
    facts: &ModelFacts,
    stored: impl FnOnce(&str) -> Option<Vec<Value>>,
) -> Result<CheckedResponses, RequestError> {
    let object = parse::object(body)?;
    refuse_other_fields(FieldRoute::Responses, &object)?;
    let shared: GenerationOptions = parse::fields(&object)?;
    let request: ResponsesRequest = parse::fields(&object)?;
    refuse(&request)?;
    let logprobs = wants_logprobs(&request)?;
    let echo = echo(&request, &shared, facts)?;
    let store = request.store.unwrap_or(false);

    let mut chat = Map::new();
    for &field in RESPONSES_SHARED_FIELDS {
        if let Some(value) = object.get(field) {
            chat.insert(field.to_owned(), value.clone());
        }
    }
    let mut conversation = Conversation::default();
    if let Some(instructions) = &request.instructions {
        conversation.push(json!({"role": "system", "content": instructions}));
    }
    let before = conversation.messages.len();
    if let Some(id) = &request.previous_response_id {
        let earlier = stored(id).ok_or_else(|| response_not_found("previous_response_id", id))?;
        earlier
            .into_iter()
            .for_each(|message| conversation.push(message));
    }
    conversation.extend(request.input)?;
    if conversation.ends_unfinished {
        chat.insert("continue_final_message".to_owned(), true.into());
        chat.insert("add_generation_prompt".to_owned(), false.into());
    }
    let Conversation {
        messages, sources, ..
    } = conversation;
    let history = if store {
        messages[before..].to_vec()
    } else {
        Vec::new()
    };
    chat.insert("messages".to_owned(), messages.into());
    let mut set = |field: &str, value: Option<Value>| {
        if let Some(value) = value {
            chat.insert(field.to_owned(), value);
        }
    };
    set(
        "max_completion_tokens",
        request.max_output_tokens.map(Value::from),
    );
    set(
        "response_format",
        request
            .text
            .and_then(|text| text.format)
            .map(chat_format)
            .transpose()?,
    );
    set("logprobs", logprobs.then_some(Value::Bool(true)));
    set("top_logprobs", request.top_logprobs.map(Value::from));
    set(
        "chat_template_kwargs",
        request.chat_template_kwargs.map(Value::Object),
    );
    let effort = request.reasoning.and_then(|reasoning| reasoning.effort);
    set("reasoning_effort", effort.map(Value::from));
    set(
        "parallel_tool_calls",
        request.parallel_tool_calls.map(Value::from),
    );
    if let Some(tools) = request.tools.filter(|tools| !tools.is_empty()) {
        set("tools", Some(tools.into_iter().map(chat_tool).collect()));
        set("tool_choice", request.tool_choice.map(chat_tool_choice));
    }
    let mut chat = chat::check_object(Value::Object(chat), facts)
        .map_err(|error| in_own_terms(error, &sources))?;
    if let AnswerLength::Exactly(tokens) = chat.options.length {
        // As vLLM does it: less when the context ends before, which the response says.
        chat.options.length = AnswerLength::AtMost(tokens);
    }
    Ok(CheckedResponses {
        chat,
        echo,
        store,
        history,
    })
}

/// A 404 for a response that is not kept here.
pub fn response_not_found(param: &str, id: &str) -> RequestError {
    let id: String = id.chars().take(limits::ECHOED_CHARS_MAX).collect();
    RequestError {
        message: format!(
            "{param}: there is no response `{id}` here; responses are kept in memory, for a while, \
             and only with \"store\": true"
        ),
        param: Some(param.to_owned()),
        kind: RequestErrorKind::ResponseNotFound,
    }
}

fn echo(
    request: &ResponsesRequest,
    shared: &GenerationOptions,
    facts: &ModelFacts,
) -> Result<ResponsesEcho, RequestError> {
    let unsigned = |field: &str, value: Option<i64>| {
        let checked = value.map(u64::try_from).transpose();
        checked.map_err(|_| refused(field.to_owned(), "must not be negative"))
    };
    let mut text = request.text.clone().unwrap_or_default();
    text.format.get_or_insert_with(TextFormat::plain);
    let tool_choice = request.tool_choice.as_ref().map(known_tool_choice);
    let echo = ResponsesEcho {
        instructions: request.instructions.clone(),
        max_output_tokens: unsigned("max_output_tokens", request.max_output_tokens)?,
        max_tool_calls: request.max_tool_calls,
        parallel_tool_calls: request.parallel_tool_calls.unwrap_or(true),
        previous_response_id: request.previous_response_id.clone(),
        reasoning: request.reasoning.clone().unwrap_or_default(),
        temperature: shared.temperature.unwrap_or(facts.defaults.temperature),
        text,
        tool_choice: tool_choice.unwrap_or_else(|| "auto".into()),
        tools: request.tools.clone().unwrap_or_default(),
        top_logprobs: unsigned("top_logprobs", request.top_logprobs)?.unwrap_or(0),
        top_p: shared.top_p.unwrap_or(facts.defaults.top_p),
        metadata: request.metadata.clone().unwrap_or_default(),
    };
    check_size(&echo)?;
    Ok(echo)
}

/// Refuses what is too large to keep until the answer ends. What else is repeated is small.
fn check_size(echo: &ResponsesEcho) -> Result<(), RequestError> {
    let sizes = [
        ("instructions", json_bytes(&echo.instructions)),
        ("text", json_bytes(&echo.text)),
        ("tool_choice", json_bytes(&echo.tool_choice)),
        ("tools", json_bytes(&echo.tools)),
    ];
    let max = limits::RESPONSE_ECHO_BYTES_MAX;
    let bytes: usize = sizes.iter().map(|(_, bytes)| bytes).sum();
    let largest = sizes.iter().max_by_key(|(_, bytes)| bytes);
    match largest.filter(|_| bytes > max) {
        None => Ok(()),
        Some((field, _)) => {
            let why = format!(
                "what a response repeats of its request must be at most {max} bytes of JSON, not \
                 {bytes}: shorten {field}"
            );
            Err(refused((*field).to_owned(), &why))
        }
    }
}

fn json_bytes(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |json| json.len())
}
