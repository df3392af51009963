//! Which form a model's calls have, told by its chat template: the one whose parser reads back the call
//! that the template writes into a conversation.

use serde_json::{Value, json};

use super::{
    super::template::{ChatInput, ChatTemplate},
    AnswerParser, AnswerSyntax, CallFormat,
};

const TOOL: &str = "probe_of_tools";

/// The form of the calls that `template` writes. `None` when it shows the model no tools, or writes
/// calls in a form that is not known here.
pub fn detect_calls(template: &ChatTemplate) -> Option<CallFormat> {
    let question = json!({"role": "user", "content": "question"});
    let call = json!({"role": "assistant", "content": "", "tool_calls": [{
        // Some templates insist on ids of this form.
        "id": "a1b2c3d4e", "type": "function",
        "function": {"name": TOOL, "arguments": arguments()}
    }]});
    let render = |messages: Vec<Value>, add_generation_prompt| {
        let input = ChatInput {
            messages,
            tools: Some(vec![tool()]),
            add_generation_prompt,
            ..ChatInput::default()
        };
        template.render(&input, 0).ok()
    };
    let prompt = render(vec![question.clone()], true)?;
    if !prompt.contains(TOOL) {
        return None;
    }
    let answered = render(vec![question, call], false)?;
    let same = prompt
        .bytes()
        .zip(answered.bytes())
        .take_while(|(a, b)| a == b);
    let answer = &answered[answered.floor_char_boundary(same.count())..];
    let formats = [
        CallFormat::Hermes,
        CallFormat::Mistral,
        CallFormat::Llama3Json,
    ];
    formats.into_iter().find(|format| reads(format, answer))
}

fn arguments() -> Value {
    json!({"subject": "probe", "count": 1})
}

fn tool() -> Value {
    json!({"type": "function", "function": {
        "name": TOOL, "description": "probe",
        "parameters": {"type": "object", "properties": {
            "subject": {"type": "string", "description": "probe"},
            "count": {"type": "integer", "description": "probe"},
        }, "required": ["subject"]}
    }})
}

/// The parser finds the one call in the answer.
fn reads(format: &CallFormat, answer: &str) -> bool {
    let mut parser = AnswerParser::new(&AnswerSyntax {
        calls: Some(format.clone()),
        ..AnswerSyntax::default()
    });
    let mut message = super::super::Message::default();
    message.push(parser.push(answer));
    message.push(parser.finish());
    let [call] = message.tool_calls.as_slice() else {
        return false;
    };
    let read = serde_json::from_str::<Value>(&call.arguments);
    call.name == TOOL && read.is_ok_and(|read| read == arguments())
}
