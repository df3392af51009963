//! The message of an answer while it is generated: its text, and what that says.

use super::{AnswerParser, AnswerSyntax, AnswerText, MessageDelta};

/// One branch's message, token by token.
#[derive(Debug, Clone)]
pub struct AnswerMessage {
    text: AnswerText,
    parser: AnswerParser,
    named_tool: bool,
    calls_tools: bool,
}

impl AnswerMessage {
    /// An empty message.
    pub fn new(text: AnswerText, syntax: &AnswerSyntax) -> Self {
        Self {
            text,
            parser: AnswerParser::new(syntax),
            named_tool: syntax.named_tool,
            calls_tools: false,
        }
    }

    /// Takes the branch's next token and returns what is certain to belong to the message and was not
    /// given out before.
    pub fn push_token(&mut self, token: u32) -> MessageDelta {
        let text = self.text.push_token(token);
        let delta = self.parser.push(&text);
        self.calls_tools |= !delta.tool_calls.is_empty();
        delta
    }

    /// Ends the answer and returns the rest of its message.
    pub fn finish(&mut self) -> MessageDelta {
        let text = self.text.finish();
        let mut delta = self.parser.push(&text);
        delta.extend(self.parser.finish());
        self.calls_tools |= !delta.tool_calls.is_empty();
        delta
    }

    /// It calls tools by the model's own choice: its finish reason is `tool_calls`, where that of a call
    /// that the request named is `stop`, as in OpenAI's API.
    pub fn stops_for_tools(&self) -> bool {
        self.calls_tools && !self.named_tool
    }
}
