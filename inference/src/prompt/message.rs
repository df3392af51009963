//! What an answer says, beyond its plain text: what the model thought, and the tools it calls.

/// What is new of an answer's message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageDelta {
    /// More text for the user.
    pub content: String,
    /// More of what the model thought.
    pub reasoning: String,
    /// New tool calls, and more of the arguments of those that came before.
    pub tool_calls: Vec<ToolCallDelta>,
}

/// What is new of a tool call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolCallDelta {
    /// Which of the answer's calls.
    pub index: usize,
    /// In the call's first delta: how the tool's answer will refer to it.
    pub id: Option<String>,
    /// In the call's first delta: the tool.
    pub name: Option<String>,
    /// More of the arguments' JSON text.
    pub arguments: String,
}

impl MessageDelta {
    /// More text, and nothing else.
    pub fn text(content: String) -> Self {
        Self {
            content,
            ..Self::default()
        }
    }

    /// Adds what is new after this.
    pub fn extend(&mut self, next: Self) {
        self.content += &next.content;
        self.reasoning += &next.reasoning;
        for call in next.tool_calls {
            match self.tool_calls.last_mut() {
                Some(last) if last.index == call.index => last.arguments += &call.arguments,
                _ => self.tool_calls.push(call),
            }
        }
    }

    /// Nothing is new.
    pub fn is_empty(&self) -> bool {
        self.content.is_empty() && self.reasoning.is_empty() && self.tool_calls.is_empty()
    }
}

/// A message, put together from what was new of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Text for the user.
    pub content: String,
    /// What the model thought.
    pub reasoning: String,
    /// The tools it calls.
    pub tool_calls: Vec<ToolCall>,
}

/// A call of a tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// How the tool's answer will refer to it.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments as JSON text.
    pub arguments: String,
}

impl Message {
    /// Adds what is new.
    pub fn push(&mut self, delta: MessageDelta) {
        self.content += &delta.content;
        self.reasoning += &delta.reasoning;
        for call in delta.tool_calls {
            if self.tool_calls.len() <= call.index {
                self.tool_calls
                    .resize_with(call.index + 1, ToolCall::default);
            }
            let so_far = &mut self.tool_calls[call.index];
            so_far.id += &call.id.unwrap_or_default();
            so_far.name += &call.name.unwrap_or_default();
            so_far.arguments += &call.arguments;
        }
    }
}
