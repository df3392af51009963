//! Messages on the wire: members that have nothing to say are left out.

use crate::{
    openai::{
        AssistantMessage, ChatDelta, FunctionCall, FunctionChunk, ToolCallChunk, ToolCallObject,
    },
    prompt::{Message, MessageDelta},
};

const FUNCTION: &str = "function";

/// A whole message. Its content is null only if something else is there.
pub(super) fn whole(message: Message) -> AssistantMessage {
    let Message {
        content,
        reasoning,
        tool_calls,
    } = message;
    let says_more = !reasoning.is_empty() || !tool_calls.is_empty();
    let calls = tool_calls.into_iter().map(|call| ToolCallObject {
        id: call.id,
        kind: FUNCTION,
        function: FunctionCall {
            name: call.name,
            arguments: call.arguments,
        },
    });
    AssistantMessage {
        role: "assistant",
        content: (!content.is_empty() || !says_more).then_some(content),
        refusal: None,
        reasoning: (!reasoning.is_empty()).then_some(reasoning),
        tool_calls: calls.collect(),
    }
}

/// What is new of a message.
pub(super) fn delta(delta: MessageDelta) -> ChatDelta {
    let MessageDelta {
        content,
        reasoning,
        tool_calls,
    } = delta;
    let calls = tool_calls.into_iter().map(|call| ToolCallChunk {
        index: call.index,
        kind: call.id.is_some().then_some(FUNCTION),
        id: call.id,
        function: FunctionChunk {
            name: call.name,
            arguments: call.arguments,
        },
    });
    ChatDelta {
        role: None,
        content: (!content.is_empty()).then_some(content),
        reasoning: (!reasoning.is_empty()).then_some(reasoning),
        tool_calls: calls.collect(),
    }
}
