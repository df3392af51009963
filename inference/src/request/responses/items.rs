//! The items of a responses request as the messages of a chat. Items that are parts of one turn of the
//! assistant (reasoning, text, function calls) become one message, as chat templates expect it.

use serde_json::{Value, json};

use crate::{
    openai::responses::{InputItem, InputPart, TextOr},
    request::{RequestError, limits},
};

/// Messages, and the item of the input that each comes from.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) messages: Vec<Value>,
    /// `None`: instructions, or from an earlier response.
    pub(super) sources: Vec<Option<usize>>,
    /// The last item is an assistant's message that is not whole.
    pub(super) ends_unfinished: bool,
}

impl Conversation {
    /// Adds a message that comes from no item.
    pub(super) fn push(&mut self, message: Value) {
        self.messages.push(message);
        self.sources.push(None);
    }

    /// Adds the request's input.
    pub(super) fn extend(&mut self, input: TextOr<InputItem>) -> Result<(), RequestError> {
        let items = match input {
            TextOr::Text(text) => {
                self.push_from(0, json!({"role": "user", "content": text}));
                return Ok(());
            }
            TextOr::List(items) => items,
        };
        let (count, max) = (items.len(), limits::INPUT_ITEMS_MAX);
        if !(1..=max).contains(&count) {
            let message = format!("input: must be from 1 to {max} items, not {count}");
            return Err(RequestError::invalid("input", message));
        }
        let own = self.messages.len();
        for (i, item) in items.into_iter().enumerate() {
            self.push_item(i, item, own)?;
        }
        Ok(())
    }

    /// Adds an item. What came before message `own` is whole, and no item becomes part of it.
    fn push_item(&mut self, i: usize, item: InputItem, own: usize) -> Result<(), RequestError> {
        self.ends_unfinished = false;
        match item.kind.as_deref().unwrap_or("message") {
            "message" => self.push_message(i, item, own),
            "function_call" => self.push_call(i, item, own),
            "function_call_output" => self.push_output(i, item),
            "reasoning" => self.push_reasoning(i, item),
            "item_reference" => Err(refused(
                format!("input[{i}].type"),
                "`item_reference` is not supported; send the item itself, or previous_response_id",
            )),
            kind => Err(unsupported(format!("input[{i}].type"), kind)),
        }
    }

    fn push_message(&mut self, i: usize, item: InputItem, own: usize) -> Result<(), RequestError> {
        let role = required(i, "role", item.role)?;
        let content = required(i, "content", item.content)?;
        let text = text(&format!("input[{i}].content"), content)?;
        if role != "assistant" {
            self.push_from(i, json!({"role": role, "content": text}));
            return Ok(());
        }
        let status = item.status.as_deref();
        self.ends_unfinished = matches!(status, Some("in_progress" | "incomplete"));
        match self.turn(i, own, &["content", "tool_calls"]) {
            Some(turn) => turn["content"] = text.into(),
            None => self.push_from(i, json!({"role": "assistant", "content": text})),
        }
        Ok(())
    }

    fn push_reasoning(&mut self, i: usize, item: InputItem) -> Result<(), RequestError> {
        let content = item.content.unwrap_or(TextOr::List(Vec::new()));
        let mut reasoning = text(&format!("input[{i}].content"), content)?;
        if reasoning.is_empty() {
            let summary = TextOr::List(item.summary.unwrap_or_default());
            reasoning = text(&format!("input[{i}].summary"), summary)?;
        }
        if reasoning.is_empty() {
            return match item.encrypted_content {
                Some(_) => Err(refused(
                    format!("input[{i}].encrypted_content"),
                    "only the provider who encrypted it can read it; leave the item out",
                )),
                None => Ok(()),
            };
        }
        // Thoughts come first: they begin a turn.
        self.push_from(i, json!({"role": "assistant", "reasoning": reasoning}));
        Ok(())
    }

    fn push_call(&mut self, i: usize, item: InputItem, own: usize) -> Result<(), RequestError> {
        let call = json!({
            "id": required(i, "call_id", item.call_id)?,
            "type": "function",
            "function": {
                "name": required(i, "name", item.name)?,
                "arguments": required(i, "arguments", item.arguments)?,
            },
        });
        let Some(turn) = self.turn(i, own, &[]) else {
            self.push_from(i, json!({"role": "assistant", "tool_calls": [call]}));
            return Ok(());
        };
        match turn.get_mut("tool_calls").and_then(Value::as_array_mut) {
            Some(calls) => calls.push(call),
            None => turn["tool_calls"] = json!([call]),
        }
        Ok(())
    }

    fn push_output(&mut self, i: usize, item: InputItem) -> Result<(), RequestError> {
        let call_id = required(i, "call_id", item.call_id)?;
        let output = required(i, "output", item.output)?;
        let content = text(&format!("input[{i}].output"), output)?;
        self.push_from(
            i,
            json!({"role": "tool", "tool_call_id": call_id, "content": content}),
        );
        Ok(())
    }

    /// The assistant's turn that item `i` goes on with, if it has none of these members yet.
    fn turn(&mut self, i: usize, own: usize, without: &[&str]) -> Option<&mut Value> {
        let last = self.messages.len().checked_sub(1)?;
        let turn = &mut self.messages[last];
        let joins = last >= own
            && turn["role"] == "assistant"
            && without.iter().all(|member| turn.get(member).is_none());
        if joins {
            self.sources[last] = Some(i);
        }
        joins.then_some(turn)
    }

    fn push_from(&mut self, i: usize, message: Value) {
        self.messages.push(message);
        self.sources.push(Some(i));
    }
}

/// The text of a content or an output, its parts joined as those of a chat message are.
fn text(field: &str, content: TextOr<InputPart>) -> Result<String, RequestError> {
    let parts = match content {
        TextOr::Text(text) => return Ok(text),
        TextOr::List(parts) => parts,
    };
    let texts = parts.into_iter().enumerate().map(|(j, part)| {
        let (member, text) = match part.kind.as_str() {
            "input_text" | "output_text" | "text" | "reasoning_text" | "summary_text" => {
                ("text", part.text)
            }
            "refusal" => ("refusal", part.refusal),
            kind => return Err(unsupported(format!("{field}[{j}].type"), kind)),
        };
        text.ok_or_else(|| absent(format!("{field}[{j}].{member}")))
    });
    Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
}

fn required<T>(i: usize, member: &str, value: Option<T>) -> Result<T, RequestError> {
    value.ok_or_else(|| absent(format!("input[{i}].{member}")))
}

fn absent(field: String) -> RequestError {
    let message = format!("{field}: required, but absent");
    RequestError::invalid(field, message)
}

pub(super) fn refused(field: String, why: &str) -> RequestError {
    let message = format!("{field}: {why}");
    RequestError::invalid(field, message)
}

/// A 400 for a kind of something that this server does not have.
pub(super) fn unsupported(field: String, kind: &str) -> RequestError {
    let kind: String = kind.chars().take(limits::ECHOED_CHARS_MAX).collect();
    let why = match kind.as_str() {
        "input_image" | "input_file" | "input_audio" => "this model reads text",
        _ => "see the route's documentation for what is",
    };
    let message = format!("{field}: `{kind}` is not supported; {why}");
    RequestError::invalid(field, message)
}
