//! From an answer's text to its message: what the model thought, what it says, and the tools it calls.
//!
//! Parsers take the text in pieces, cut anywhere, and give out what is certain. However it is cut, the
//! pieces of a message add up to the same, and no marker is ever half given out as text.

mod call;
mod calls;
mod cursor;
mod detect;
mod reasoning;

pub use calls::CallFormat;
pub use detect::detect_calls;
pub use reasoning::{ReasoningFormat, ReasoningStart};

use super::MessageDelta;
use calls::CallParser;
use reasoning::ReasoningParser;

/// What a request's answers are read as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnswerSyntax {
    /// How thoughts are told from the answer; `None`: they are part of it.
    pub reasoning: Option<(ReasoningFormat, ReasoningStart)>,
    /// Leave the thoughts out of the message.
    pub hide_reasoning: bool,
    /// How calls are written; `None`: the answer is text.
    pub calls: Option<CallFormat>,
    /// Form of the calls' ids.
    pub call_ids: CallIds,
    /// Take the first call only (`parallel_tool_calls: false`).
    pub one_call: bool,
    /// The request named the tool that is called.
    pub named_tool: bool,
}

/// Form of the ids of tool calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CallIds {
    /// `chatcmpl-tool-` and 32 digits, as vLLM's.
    #[default]
    Long,
    /// Nine letters and digits, which the templates of Mistral's models insist on.
    NineCharacters,
}

impl CallIds {
    fn next(self) -> String {
        let random = uuid::Uuid::new_v4().simple().to_string();
        match self {
            Self::Long => format!("chatcmpl-tool-{random}"),
            Self::NineCharacters => random[..9].to_owned(),
        }
    }
}

impl AnswerSyntax {
    /// Texts that have to be seen in an answer though they may be special tokens.
    pub fn markers(&self) -> impl Iterator<Item = &'static str> {
        let tags = self
            .reasoning
            .map(|(format, _)| [format.open, format.close]);
        let calls = self.calls.as_ref().map(CallFormat::markers);
        tags.into_iter()
            .flatten()
            .chain(calls.unwrap_or_default().iter().copied())
    }
}

/// One branch's message while its text is generated.
#[derive(Debug, Clone)]
pub struct AnswerParser {
    reasoning: Option<ReasoningParser>,
    hide_reasoning: bool,
    calls: Option<CallParser>,
}

impl AnswerParser {
    /// A parser at the beginning of an answer.
    pub fn new(syntax: &AnswerSyntax) -> Self {
        let calls = syntax.calls.clone();
        Self {
            reasoning: syntax
                .reasoning
                .map(|(format, start)| ReasoningParser::new(format, start)),
            hide_reasoning: syntax.hide_reasoning,
            calls: calls.map(|format| CallParser::new(format, syntax.call_ids, syntax.one_call)),
        }
    }

    /// Takes more of the answer's text and returns what is certain of the message.
    pub fn push(&mut self, text: &str) -> MessageDelta {
        let Some(reasoning) = &mut self.reasoning else {
            return self.content(text);
        };
        let (thought, content) = reasoning.push(text);
        self.split(thought, &content)
    }

    /// Ends the answer and returns the rest of the message.
    pub fn finish(&mut self) -> MessageDelta {
        let (thought, content) = match &mut self.reasoning {
            Some(reasoning) => reasoning.finish(),
            None => Default::default(),
        };
        let mut delta = self.split(thought, &content);
        if let Some(calls) = &mut self.calls {
            calls.finish(&mut delta);
        }
        delta
    }

    fn split(&mut self, thought: String, content: &str) -> MessageDelta {
        let mut delta = self.content(content);
        if !self.hide_reasoning {
            delta.reasoning = thought;
        }
        delta
    }

    fn content(&mut self, text: &str) -> MessageDelta {
        match &mut self.calls {
            None => MessageDelta::text(text.to_owned()),
            Some(calls) => {
                let mut delta = MessageDelta::default();
                calls.push(text, &mut delta);
                delta
            }
        }
    }
}

/// How many bytes at the end of `text` could be the beginning of `marker`, without being all of it.
fn partial_marker(text: &str, marker: &str) -> usize {
    let longest = marker.len().saturating_sub(1).min(text.len());
    (1..=longest)
        .rev()
        .find(|&bytes| text.as_bytes().ends_with(&marker.as_bytes()[..bytes]))
        .unwrap_or(0)
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod reference;
#[cfg(test)]
mod tests;
