//! Thoughts: text between two tags at the beginning of an answer.

use super::partial_marker;

/// How a model marks its thoughts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReasoningFormat {
    /// The tag before them; the prompt may end with it.
    pub open: &'static str,
    /// The tag after them.
    pub close: &'static str,
    /// An answer without the opening tag begins with thoughts all the same.
    pub implied: bool,
}

impl ReasoningFormat {
    /// `<think>` must be there, in the prompt or the answer.
    pub const THINK: Self = Self {
        open: "<think>",
        close: "</think>",
        implied: false,
    };
    /// `<think>` may be missing: DeepSeek R1 and what was distilled from it.
    pub const THINK_IMPLIED: Self = Self {
        implied: true,
        ..Self::THINK
    };
    /// Mistral's models that reason.
    pub const MISTRAL: Self = Self {
        open: "[THINK]",
        close: "[/THINK]",
        implied: false,
    };

    /// Where an answer to this prompt begins. `continued` is the message that it goes on with, if any.
    pub fn start(&self, prompt: &str, continued: Option<&str>) -> ReasoningStart {
        // Tags in earlier messages do not count: only what the answer follows on.
        let before = continued.unwrap_or(prompt).trim_end();
        let amid = |text: &str| text.contains(self.open) && !text.contains(self.close);
        match continued {
            Some(text) if amid(text) => ReasoningStart::Thinking,
            Some(text) if !text.trim().is_empty() => ReasoningStart::Over,
            _ if before.ends_with(self.open) => ReasoningStart::Thinking,
            _ if before.ends_with(self.close) => ReasoningStart::Over,
            _ => ReasoningStart::Undecided,
        }
    }
}

/// Where an answer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningStart {
    /// Its first text says.
    Undecided,
    /// In the thoughts: the prompt has the opening tag.
    Thinking,
    /// Behind the thoughts: the prompt has the closing tag.
    Over,
}

/// Splits one answer.
#[derive(Debug, Clone)]
pub(super) struct ReasoningParser {
    format: ReasoningFormat,
    state: State,
    /// Text that is not certain yet.
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but space so far; `otherwise` is what follows without an opening tag.
    Opening {
        otherwise: Otherwise,
    },
    Thinking,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Otherwise {
    Thinking,
    Over,
}

impl ReasoningParser {
    pub(super) fn new(format: ReasoningFormat, start: ReasoningStart) -> Self {
        let opening = |implied| State::Opening {
            otherwise: if implied {
                Otherwise::Thinking
            } else {
                Otherwise::Over
            },
        };
        Self {
            format,
            state: match start {
                ReasoningStart::Over => State::Over,
                ReasoningStart::Thinking => opening(true),
                ReasoningStart::Undecided => opening(format.implied),
            },
            text: String::new(),
        }
    }

    /// More of the thoughts, and more of the answer.
    pub(super) fn push(&mut self, text: &str) -> (String, String) {
        self.text += text;
        if let State::Opening { otherwise } = self.state {
            let begun = self.text.trim_start();
            if let Some(rest) = begun.strip_prefix(self.format.open) {
                self.text = rest.to_owned();
                self.state = State::Thinking;
            } else if !self.format.open.starts_with(begun) {
                self.state = otherwise.state();
            }
        }
        self.release()
    }

    /// The rest of both.
    pub(super) fn finish(&mut self) -> (String, String) {
        if let State::Opening { otherwise } = self.state {
            self.state = otherwise.state();
        }
        let (mut thought, content) = self.release();
        thought += &std::mem::take(&mut self.text);
        (thought, content)
    }

    fn release(&mut self) -> (String, String) {
        match self.state {
            State::Opening { .. } => Default::default(),
            State::Over => (String::new(), std::mem::take(&mut self.text)),
            State::Thinking => match self.text.split_once(self.format.close) {
                Some((thought, content)) => {
                    let split = (thought.to_owned(), content.to_owned());
                    self.text.clear();
                    self.state = State::Over;
                    split
                }
                None => {
                    let held = partial_marker(&self.text, self.format.close);
                    let rest = self.text.split_off(self.text.len() - held);
                    (std::mem::replace(&mut self.text, rest), String::new())
                }
            },
        }
    }
}

impl Otherwise {
    const fn state(self) -> State {
        match self {
            Self::Thinking => State::Thinking,
            Self::Over => State::Over,
        }
    }
}
