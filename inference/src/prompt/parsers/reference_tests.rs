//! A slow and plain second version of the parsers: it has the whole text, and looks ahead as far as it
//! likes.

use proptest::prelude::*;

use super::{
    super::message::{Message, ToolCall},
    CallFormat, ReasoningFormat, ReasoningStart,
};

/// Texts of JSON objects.
pub(super) fn arguments() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("-1.5e3".to_owned()),
        "[a-z<>/_{}\\[\\]é🦀 ]{0,8}".prop_map(|text| serde_json::Value::from(text).to_string()),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            inner.prop_map(|value| format!("{{ \"k\\\"\":{value} }}")),
        ]
    });
    prop::collection::vec(value, 0..3).prop_map(|values| {
        let members = values.iter().enumerate();
        let members: Vec<_> = members.map(|(i, v)| format!("\"m{i}\": {v}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

/// What a whole text says.
pub(super) fn message(
    text: &str,
    format: &CallFormat,
    reasoning: Option<(ReasoningFormat, ReasoningStart)>,
) -> Message {
    let (thought, rest) = match reasoning {
        None => ("", text),
        Some((format, start)) => thoughts(text, format, start),
    };
    let mut message = Message {
        reasoning: thought.to_owned(),
        ..Message::default()
    };
    if let CallFormat::Arguments(name) = format {
        let arguments = rest.trim_start().to_owned();
        match arguments.is_empty() {
            true => message.content = rest.to_owned(),
            false => message.tool_calls.push(call(name, arguments)),
        }
        return message;
    }
    let parts = Reader { text: rest, format }.parts();
    for (i, part) in parts.iter().enumerate() {
        match part {
            Part::Call(name, arguments) => {
                message.tool_calls.push(call(name, arguments.clone()));
            }
            Part::Text(text) if i + 1 < parts.len() => message.content += text.trim_end(),
            Part::Text(text) if i > 0 && text.trim().is_empty() => {}
            Part::Text(text) => message.content += text,
        }
    }
    message
}

fn call(name: &str, arguments: String) -> ToolCall {
    ToolCall {
        id: String::new(),
        name: name.to_owned(),
        arguments,
    }
}

fn thoughts(text: &str, format: ReasoningFormat, start: ReasoningStart) -> (&str, &str) {
    let body = match text.trim_start().strip_prefix(format.open) {
        _ if start == ReasoningStart::Over => return ("", text),
        Some(body) => body,
        None if format.implied || start == ReasoningStart::Thinking => text,
        None => return ("", text),
    };
    body.split_once(format.close).unwrap_or((body, ""))
}

enum Part {
    Text(String),
    Call(String, String),
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Alone,
    InList,
    Bare,
}

/// A call: its name, its arguments, how they end, and where to read on.
struct Found {
    name: String,
    arguments: String,
    next: usize,
    /// Nothing of the object is left.
    over: bool,
    place: Place,
}

struct Reader<'a> {
    text: &'a str,
    format: &'a CallFormat,
}

impl Reader<'_> {
    /// Text and calls in turn; text that touches text is one.
    fn parts(&self) -> Vec<Part> {
        let mut calls: Vec<(String, String)> = Vec::new();
        let mut order = Vec::new();
        let mut at = 0;
        let mut next = self.first();
        while let Some((from, head, mut place)) = next {
            order.push(Ok(self.text[at..from].to_owned()));
            let Some(mut found) = self.head(head, place) else {
                order.push(Ok(self.text[from..head].to_owned()));
                at = head;
                next = self.marked(at);
                continue;
            };
            loop {
                place = found.place;
                calls.push((found.name, found.arguments));
                order.push(Err(calls.len() - 1));
                at = found.next;
                if !found.over {
                    at = self.tail(at);
                }
                let (after, another) = self.between(at, place);
                match another.map(|head| (head, self.head(head, place))) {
                    Some((_, Some(another))) => found = another,
                    Some((head, None)) => {
                        order.push(Ok(self.text[at..head].to_owned()));
                        at = head;
                        break;
                    }
                    None => {
                        at = after;
                        break;
                    }
                }
            }
            next = self.marked(at);
        }
        order.push(Ok(self.text[at..].to_owned()));
        let mut out: Vec<Part> = Vec::new();
        for item in order {
            match item {
                Ok(text) => match out.last_mut() {
                    Some(Part::Text(last)) => last.push_str(&text),
                    _ => out.push(Part::Text(text)),
                },
                Err(i) => out.push(Part::Call(calls[i].0.clone(), calls[i].1.clone())),
            }
        }
        out
    }

    /// Where the first candidate begins, where its object does, and how it stands.
    fn first(&self) -> Option<(usize, usize, Place)> {
        let space = self.text.len() - self.text.trim_start().len();
        match (self.format, self.text[space..].chars().next()) {
            (CallFormat::Llama3Json, Some('{')) | (CallFormat::List, Some('[')) => {
                Some((space, space, Place::Alone))
            }
            _ => self.marked(0),
        }
    }

    fn marked(&self, at: usize) -> Option<(usize, usize, Place)> {
        let marker = self.format.marker()?;
        let from = at + self.text[at..].find(marker)?;
        Some((from, from + marker.len(), Place::Alone))
    }

    fn blank(&self, at: usize) -> usize {
        let rest = &self.text[at..];
        at + rest.len() - rest.trim_start_matches([' ', '\n', '\r', '\t']).len()
    }

    fn head(&self, at: usize, place: Place) -> Option<Found> {
        let begins = self.blank(at);
        let lists = matches!(self.format, CallFormat::Mistral | CallFormat::List);
        if place == Place::Alone && lists {
            if self.text[begins..].starts_with('[') {
                return self.object(begins + 1, Place::InList);
            }
            return self.bare(begins);
        }
        self.object(at, place)
    }

    fn bare(&self, at: usize) -> Option<Found> {
        let named = |from: usize| {
            let rest = &self.text[from..];
            let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            from + rest.find(|c| !is_name(c)).unwrap_or(rest.len())
        };
        let mut end = named(at);
        let name = &self.text[at..end];
        if let Some(id) = self.text[end..].strip_prefix("[CALL_ID]") {
            end = named(self.text.len() - id.len());
        }
        if let Some(rest) = self.text[end..].strip_prefix("[ARGS]") {
            end = self.text.len() - rest.len();
        }
        end = self.blank(end);
        if name.is_empty() || !self.text[end..].starts_with('{') {
            return None;
        }
        Some(self.streamed(name.to_owned(), end, Place::Bare))
    }

    fn streamed(&self, name: String, from: usize, place: Place) -> Found {
        let (next, closed) = extent(self.text, from);
        Found {
            name,
            arguments: self.text[from..next].to_owned(),
            next,
            over: place == Place::Bare || !closed,
            place,
        }
    }

    fn object(&self, at: usize, place: Place) -> Option<Found> {
        let mut at = self.blank(at);
        let allowed: Option<&[&str]> = match self.format {
            CallFormat::Llama3Json => Some(&["name", "parameters", "arguments", "type", "id"]),
            CallFormat::List => Some(&["name", "parameters"]),
            _ => None,
        };
        let (mut name, mut arguments) = (None, None);
        let mut lead = '{';
        loop {
            at = self.blank(self.text[at..].strip_prefix(lead).map(|_| at + 1)?);
            lead = ',';
            let (key, end) = self.string(at)?;
            if allowed.is_some_and(|keys| !keys.contains(&key.as_str())) {
                return None;
            }
            at = self.blank(end);
            at = self.blank(self.text[at..].strip_prefix(':').map(|_| at + 1)?);
            let holds =
                key == "parameters" || key == "arguments" && self.format != &CallFormat::List;
            if key == "name" && name.is_none() {
                let (value, end) = self.string(at)?;
                (name, at) = (Some(value).filter(|value| !value.is_empty()), end);
                name.as_ref()?;
            } else if holds && arguments.is_none() {
                if !self.text[at..].starts_with('{') {
                    return None;
                }
                if let Some(name) = name {
                    return Some(self.streamed(name, at, place));
                }
                let end = self.value(at)?;
                (arguments, at) = (Some(self.text[at..end].to_owned()), end);
            } else {
                at = self.value(at)?;
            }
            if let (Some(name), Some(arguments)) = (&name, &arguments) {
                return Some(Found {
                    name: name.clone(),
                    arguments: arguments.clone(),
                    next: at,
                    over: false,
                    place,
                });
            }
            at = self.blank(at);
        }
    }

    fn string(&self, at: usize) -> Option<(String, usize)> {
        let mut values = serde_json::Deserializer::from_str(&self.text[at..]).into_iter::<String>();
        let value = values.next()?.ok()?;
        Some((value, at + values.byte_offset()))
    }

    fn value(&self, at: usize) -> Option<usize> {
        match self.text[at..].chars().next()? {
            '"' => {
                let mut rest = self.text[at + 1..].char_indices();
                while let Some((i, c)) = rest.next() {
                    match c {
                        '\\' => drop(rest.next()),
                        '"' => return Some(at + 1 + i + 1),
                        _ => {}
                    }
                }
                None
            }
            '{' | '[' => {
                let (end, closed) = extent(self.text, at);
                closed.then_some(end)
            }
            _ => {
                let is_literal = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
                let bytes = self.text[at..].find(|c| !is_literal(c))?;
                let literal = &self.text[at..at + bytes];
                serde_json::from_str::<serde_json::Value>(literal).ok()?;
                Some(at + bytes)
            }
        }
    }

    fn tail(&self, from: usize) -> usize {
        let mut at = self.blank(from);
        loop {
            if self.text[at..].starts_with('}') {
                return at + 1;
            }
            let member = || {
                let at = self.blank(self.text[at..].strip_prefix(',').map(|_| at + 1)?);
                let at = self.blank(self.string(at)?.1);
                let at = self.blank(self.text[at..].strip_prefix(':').map(|_| at + 1)?);
                Some(self.blank(self.value(at)?))
            };
            match member() {
                Some(next) => at = next,
                None => return from,
            }
        }
    }

    /// Where text goes on, and where another call may begin.
    fn between(&self, at: usize, place: Place) -> (usize, Option<usize>) {
        let rest = self.text[at..].trim_start();
        let end = if place == Place::InList {
            "]"
        } else {
            "</tool_call>"
        };
        let ended = rest.strip_prefix(end);
        if let Some(after) =
            ended.filter(|_| place == Place::InList || matches!(self.format, CallFormat::Hermes))
        {
            return (self.text.len() - after.len(), None);
        }
        let next = match (self.format, place) {
            (_, Place::InList) => rest.strip_prefix(','),
            (CallFormat::Llama3Json, _) => Some(rest.strip_prefix(';').unwrap_or(rest)),
            _ => None,
        };
        let next = next
            .map(str::trim_start)
            .filter(|next| next.starts_with('{'));
        (at, next.map(|next| self.text.len() - next.len()))
    }
}

/// Where the brackets that open at `from` close, or where that goes wrong.
fn extent(text: &str, from: usize) -> (usize, bool) {
    let mut depth = 0;
    let mut rest = text[from..].char_indices();
    while let Some((i, c)) = rest.next() {
        match c {
            '"' => loop {
                match rest.next() {
                    Some((_, '\\')) => drop(rest.next()),
                    Some((_, '"')) => break,
                    Some(_) => {}
                    None => return (text.len(), false),
                }
            },
            '{' | '[' => depth += 1,
            '}' | ']' if depth == 1 => return (from + i + 1, true),
            '}' | ']' => depth -= 1,
            ' ' | '\n' | '\r' | '\t' | ',' | ':' | '+' | '-' | '.' => {}
            _ if c.is_ascii_alphanumeric() => {}
            _ => return (from + i, false),
        }
    }
    (text.len(), false)
}
