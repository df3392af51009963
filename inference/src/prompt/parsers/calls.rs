//! The calls of tools in an answer's text.
//!
//! Text that may still become a call is held back. What turns out to be none is given back as text,
//! all of it; once a call's name and the beginning of its arguments are there, it is one, and its
//! arguments are given out as they are written. Space around calls is not part of the text.

use super::{
    super::message::{MessageDelta, ToolCallDelta},
    CallIds,
    call::{self, Head, Members},
    cursor::{Brackets, Extent, Stop},
    partial_marker,
};

/// Longest text that may wait to become a call, in bytes; a longer one is none.
pub(super) const HEAD_BYTES_MAX: usize = 8 << 10;

/// How a model writes calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFormat {
    /// `<tool_call>{"name": …, "arguments": {…}}</tool_call>`: Hermes, Qwen and many others.
    Hermes,
    /// An answer that begins with `{"name": …, "parameters": {…}}`, or has `<|python_tag|>` before it;
    /// several are separated by `;`. Llama 3.
    Llama3Json,
    /// `[TOOL_CALLS]` and then a list of objects, or `name[ARGS]{…}`.
    Mistral,
    /// The answer is a list of `{"name": …, "parameters": {…}}`: what a grammar makes of
    /// `tool_choice: "required"`.
    List,
    /// The answer is the arguments of this tool: what a grammar makes of a named tool choice.
    Arguments(String),
}

impl CallFormat {
    /// The text before a call.
    pub const fn marker(&self) -> Option<&'static str> {
        match self {
            Self::Hermes => Some("<tool_call>"),
            Self::Llama3Json => Some("<|python_tag|>"),
            Self::Mistral => Some("[TOOL_CALLS]"),
            Self::List | Self::Arguments(_) => None,
        }
    }

    /// Texts that a tokenizer may have as special tokens, which are then no part of an answer's text
    /// but have to be seen here.
    pub const fn markers(&self) -> &'static [&'static str] {
        match self {
            Self::Hermes => &["<tool_call>", "</tool_call>"],
            Self::Llama3Json => &["<|python_tag|>"],
            Self::Mistral => &["[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"],
            Self::List | Self::Arguments(_) => &[],
        }
    }

    const fn members(&self) -> Members {
        match self {
            Self::Llama3Json => Members {
                arguments: &["parameters", "arguments"],
                all: Some(&["name", "parameters", "arguments", "type", "id"]),
            },
            Self::List => Members {
                arguments: &["parameters"],
                all: Some(&["name", "parameters"]),
            },
            _ => Members {
                arguments: &["arguments", "parameters"],
                all: None,
            },
        }
    }
}

/// Reads one answer.
#[derive(Debug, Clone)]
pub(super) struct CallParser {
    format: CallFormat,
    ids: CallIds,
    one_call: bool,
    state: State,
    /// Text that waits.
    text: String,
    /// Space that is text only if text follows.
    blank: String,
    /// The last thing that came was a call.
    after_call: bool,
    calls: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The answer's beginning.
    Start,
    /// Text.
    Content,
    /// What may be a call begins `before` bytes into the waiting text.
    Head { before: usize, list: List },
    /// The arguments of a call.
    Arguments { brackets: Brackets, list: List },
    /// The rest of a call's object.
    Tail { list: List },
    /// Behind a call.
    Between { list: List },
    /// Everything is arguments.
    Verbatim,
}

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    /// By itself.
    None,
    /// In a list.
    Inside,
    /// By itself, and not as an object: no rest follows on its arguments.
    Bare,
}

/// What a step came to.
enum Step {
    /// On with the next.
    Next(State),
    /// It takes more text.
    Wait,
}

impl CallParser {
    pub(super) fn new(format: CallFormat, ids: CallIds, one_call: bool) -> Self {
        Self {
            format,
            ids,
            one_call,
            state: State::Start,
            text: String::new(),
            blank: String::new(),
            after_call: false,
            calls: 0,
        }
    }

    /// Takes more text.
    pub(super) fn push(&mut self, text: &str, out: &mut MessageDelta) {
        self.text += text;
        while let Step::Next(state) = self.step(out) {
            self.state = state;
        }
    }

    /// Takes what waited for what did not come.
    pub(super) fn finish(&mut self, out: &mut MessageDelta) {
        loop {
            match self.step(out) {
                Step::Next(state) => self.state = state,
                Step::Wait => match self.state {
                    State::Head { before, .. } => self.state = self.none(before, out),
                    State::Tail { .. } | State::Between { .. } => self.state = State::Content,
                    State::Start | State::Content | State::Arguments { .. } | State::Verbatim => {
                        break;
                    }
                },
            }
        }
        let rest = std::mem::take(&mut self.text);
        self.content(&rest, out);
        if !self.after_call {
            out.content += &std::mem::take(&mut self.blank);
        }
    }

    fn step(&mut self, out: &mut MessageDelta) -> Step {
        match self.state {
            State::Start => self.start(out),
            State::Content => self.plain(out),
            State::Head { before, list } => self.head(before, list, out),
            State::Arguments { brackets, list } => self.arguments(brackets, list, out),
            State::Tail { list } => match call::tail(self.window(0)) {
                Ok(bytes) => {
                    self.text.drain(..bytes);
                    Step::Next(State::Between { list })
                }
                Err(_) if self.may_grow(0) => Step::Wait,
                Err(_) => Step::Next(State::Between { list }),
            },
            State::Between { list } => self.between(list),
            State::Verbatim => {
                if !self.text.is_empty() {
                    let text = std::mem::take(&mut self.text);
                    self.more_arguments(&text, out);
                }
                Step::Wait
            }
        }
    }

    fn start(&mut self, out: &mut MessageDelta) -> Step {
        let space = self.text.len() - self.text.trim_start().len();
        let space: String = self.text.drain(..space).collect();
        self.content(&space, out);
        let Some(first) = self.text.chars().next() else {
            return Step::Wait;
        };
        let head = State::Head {
            before: 0,
            list: List::None,
        };
        match &self.format {
            CallFormat::Arguments(name) => {
                let name = name.clone();
                self.begin_call(&name, out);
                Step::Next(State::Verbatim)
            }
            CallFormat::Llama3Json if first == '{' => Step::Next(head),
            CallFormat::List if first == '[' => Step::Next(head),
            _ => Step::Next(State::Content),
        }
    }

    fn plain(&mut self, out: &mut MessageDelta) -> Step {
        let marker = self.format.marker().unwrap_or_default();
        if !marker.is_empty()
            && let Some(at) = self.text.find(marker)
        {
            let text: String = self.text.drain(..at).collect();
            self.content(&text, out);
            return Step::Next(State::Head {
                before: marker.len(),
                list: List::None,
            });
        }
        let certain = self.text.len() - partial_marker(&self.text, marker);
        let text: String = self.text.drain(..certain).collect();
        self.content(&text, out);
        Step::Wait
    }

    fn head(&mut self, before: usize, list: List, out: &mut MessageDelta) -> Step {
        let found = self.find_head(before, list);
        match found {
            Ok((head, list)) => Step::Next(self.begin(head, list, out)),
            Err(Stop::More) if self.may_grow(before) => Step::Wait,
            Err(_) => Step::Next(self.none(before, out)),
        }
    }

    fn find_head(&self, before: usize, list: List) -> Result<(Head, List), Stop> {
        let members = self.format.members();
        // The same bytes, however the text is cut.
        let text = self.window(before);
        let object = |from| call::head(text, from, members);
        let may_be_list = matches!(self.format, CallFormat::Mistral | CallFormat::List);
        if list == List::Inside || !may_be_list {
            return object(before).map(|head| (head, list));
        }
        let mut cursor = super::cursor::Cursor::new(text, before);
        cursor.blank();
        if cursor.peek()? == b'[' {
            object(cursor.at + 1).map(|head| (head, List::Inside))
        } else {
            call::bare_head(text, before).map(|head| (head, List::Bare))
        }
    }

    /// The waiting text as far as it may wait, counted from `from`.
    fn window(&self, from: usize) -> &str {
        let end = self.text.len().min(from + HEAD_BYTES_MAX);
        &self.text[..self.text.floor_char_boundary(end)]
    }

    /// More text can change what is in the window.
    fn may_grow(&self, from: usize) -> bool {
        self.text.len() <= from + HEAD_BYTES_MAX
    }

    /// What waited is no call.
    fn none(&mut self, before: usize, out: &mut MessageDelta) -> State {
        let text: String = self.text.drain(..before).collect();
        self.content(&text, out);
        State::Content
    }

    fn begin(&mut self, head: Head, list: List, out: &mut MessageDelta) -> State {
        let Head {
            name,
            arguments: (from, to),
            read,
        } = head;
        self.begin_call(&name, out);
        if let Some(to) = to {
            let arguments = self.text[from..to].to_owned();
            self.more_arguments(&arguments, out);
        }
        self.text.drain(..read);
        match to {
            Some(_) => State::Tail { list },
            None => State::Arguments {
                brackets: Brackets::default(),
                list,
            },
        }
    }

    fn arguments(&mut self, mut brackets: Brackets, list: List, out: &mut MessageDelta) -> Step {
        let after = match list {
            List::Bare => State::Between { list },
            List::None | List::Inside => State::Tail { list },
        };
        let (bytes, next) = match brackets.push(&self.text) {
            Extent::Open => (self.text.len(), State::Arguments { brackets, list }),
            Extent::Closed(bytes) => (bytes, after),
            // The model stopped short; the call is taken as it is.
            Extent::Broken(bytes) => (bytes, State::Between { list }),
        };
        let text: String = self.text.drain(..bytes).collect();
        self.more_arguments(&text, out);
        if matches!(next, State::Arguments { .. }) {
            self.state = next;
            return Step::Wait;
        }
        Step::Next(next)
    }

    /// Behind a call: the end of its markup, or the next one.
    fn between(&mut self, list: List) -> Step {
        let rest = self.text.trim_start();
        let space = self.text.len() - rest.len();
        let separator = match (&self.format, list) {
            (_, List::Inside) => ",",
            (CallFormat::Llama3Json, _) => ";",
            _ => "",
        };
        let end = match (&self.format, list) {
            (_, List::Inside) => "]",
            (CallFormat::Hermes, _) => "</tool_call>",
            _ => "",
        };
        if rest.is_empty() || !end.is_empty() && end.len() > rest.len() && end.starts_with(rest) {
            return Step::Wait;
        }
        if !end.is_empty() && rest.starts_with(end) {
            self.text.drain(..space + end.len());
            return Step::Next(State::Content);
        }
        let next = rest.strip_prefix(separator).unwrap_or(rest).trim_start();
        let separated = next.len() < rest.len() || matches!(self.format, CallFormat::Llama3Json);
        match next.chars().next() {
            _ if separator.is_empty() || !separated => Step::Next(State::Content),
            None => Step::Wait,
            Some('{') => Step::Next(State::Head {
                before: self.text.len() - next.len(),
                list,
            }),
            Some(_) => Step::Next(State::Content),
        }
    }

    /// More text for the user; space at its end waits for what follows.
    fn content(&mut self, text: &str, out: &mut MessageDelta) {
        let solid = text.trim_end();
        if !solid.is_empty() {
            out.content += &std::mem::take(&mut self.blank);
            out.content += solid;
            self.after_call = false;
        }
        self.blank += &text[solid.len()..];
    }

    fn begin_call(&mut self, name: &str, out: &mut MessageDelta) {
        self.blank.clear();
        self.after_call = true;
        self.calls += 1;
        if self.is_wanted() {
            out.tool_calls.push(ToolCallDelta {
                index: self.calls - 1,
                id: Some(self.ids.next()),
                name: Some(name.to_owned()),
                arguments: String::new(),
            });
        }
    }

    fn more_arguments(&mut self, text: &str, out: &mut MessageDelta) {
        if text.is_empty() || !self.is_wanted() {
            return;
        }
        let index = self.calls - 1;
        match out.tool_calls.last_mut() {
            Some(call) if call.index == index => call.arguments += text,
            _ => out.tool_calls.push(ToolCallDelta {
                index,
                arguments: text.to_owned(),
                ..ToolCallDelta::default()
            }),
        }
    }

    fn is_wanted(&self) -> bool {
        self.calls == 1 || !self.one_call
    }
}
