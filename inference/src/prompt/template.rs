//! Chat templates: a conversation to the text that the model was trained to go on from.
//!
//! Templates come with the model (`chat_template.jinja` or `tokenizer_config.json`) or with a flag, and
//! are compiled once. They run as Hugging Face's `apply_chat_template` runs them. What one may cost is
//! bounded: a template that never ends or writes without end is an error, at start-up where it shows.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
};

use minijinja::{Environment, Error, ErrorKind, syntax::SyntaxConfig};
use serde_json::{Map, Value, json};

use super::{
    content::{ContentForms, without_generation_tags},
    json::tojson,
    python,
    special_tokens::TokenizerConfig,
};

/// Instructions that a rendering may take; a message takes some hundred.
pub const TEMPLATE_FUEL: u64 = 20_000_000;
/// Bytes that a rendering may write.
pub const RENDERED_BYTES_MAX: usize = 64 << 20;
/// Largest template.
pub const TEMPLATE_BYTES_MAX: usize = 1 << 20;

/// What a template is given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChatInput {
    /// Objects with `role` and `content`, content as text or a list of parts of text.
    pub messages: Vec<Value>,
    /// Tools, if there are any.
    pub tools: Option<Vec<Value>>,
    /// End where the assistant begins.
    pub add_generation_prompt: bool,
    /// End where the last message does, for the model to go on with it.
    pub continue_final_message: bool,
    /// The request's own variables.
    pub kwargs: Map<String, Value>,
}

/// Where templates may be found, the strongest first.
#[derive(Debug, Clone, Default)]
pub struct TemplateFiles {
    /// `--chat-template`.
    pub flag: Option<Vec<u8>>,
    /// `chat_template.jinja`.
    pub jinja: Option<Vec<u8>>,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<Vec<u8>>,
}

/// A template cannot be used; the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// Not JSON of the expected shape.
    #[error("reading tokenizer_config.json")]
    Config(#[source] serde_json::Error),
    /// Too large, or no UTF-8.
    #[error("the chat template `{name}` is no text of at most {TEMPLATE_BYTES_MAX} bytes")]
    NotText {
        /// Which one.
        name: String,
    },
    /// Not a template.
    #[error("compiling the chat template `{name}`: {error}")]
    Compile {
        /// Which one.
        name: String,
        /// Where and why.
        error: Error,
    },
    /// It costs too much on the shortest of chats.
    #[error("the chat template takes more than its bounds for a chat of one word: {0}")]
    Unbounded(RenderError),
}

/// A chat could not be rendered; the message is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The template refused the chat by `raise_exception`, or failed on it.
    #[error("the model's chat template refuses these messages: {0}")]
    Refused(String),
    /// Too many instructions or too much text.
    #[error("the model's chat template takes too long for these messages")]
    TooCostly,
    /// `continue_final_message` with a final message that the template changed beyond recognition.
    #[error("the model's chat template leaves no trace of the final message to continue")]
    NothingToContinue,
}

/// The templates of a model.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    special_tokens: Map<String, Value>,
    /// There is one for chats with tools.
    has_tool_use: bool,
    content: ContentForms,
}

impl ChatTemplate {
    /// Compiles the strongest of the templates; `None` if there is none.
    ///
    /// # Errors
    /// [`TemplateError`] when it is malformed, or unbounded even for the shortest of chats.
    pub fn from_files(files: TemplateFiles) -> Result<Option<Self>, TemplateError> {
        let TemplateFiles {
            flag,
            jinja,
            tokenizer_config,
        } = files;
        let config = tokenizer_config
            .map(|bytes| TokenizerConfig::from_bytes(&bytes).map_err(TemplateError::Config))
            .transpose()?
            .unwrap_or_default();
        let templates = match flag.or(jinja) {
            Some(bytes) => {
                let text = String::from_utf8(bytes).map_err(|_| TemplateError::NotText {
                    name: DEFAULT.to_owned(),
                })?;
                vec![(DEFAULT.to_owned(), text)]
            }
            None => config.templates,
        };
        if templates.is_empty() {
            return Ok(None);
        }
        let mut environment = environment();
        for (name, text) in templates {
            if text.len() > TEMPLATE_BYTES_MAX {
                return Err(TemplateError::NotText { name });
            }
            environment
                .add_template_owned(name.clone(), without_generation_tags(&text))
                .map_err(|error| TemplateError::Compile { name, error })?;
        }
        let has_tool_use = environment.get_template(TOOL_USE).is_ok();
        let mut template = Self {
            environment,
            special_tokens: config.special_tokens,
            has_tool_use,
            content: ContentForms {
                text: true,
                parts: true,
            },
        };
        template.try_shortest_chat()?;
        template.content = ContentForms::of(|content| template.render_user(content));
        Ok(Some(template))
    }

    fn try_shortest_chat(&self) -> Result<(), TemplateError> {
        let input = ChatInput {
            messages: vec![json!({"role": "user", "content": "hello"})],
            add_generation_prompt: true,
            ..ChatInput::default()
        };
        match self.render(&input, 0) {
            Err(RenderError::TooCostly) => Err(TemplateError::Unbounded(RenderError::TooCostly)),
            // A template may well insist on a system message, say.
            _ => Ok(()),
        }
    }

    /// What becomes of a user's message, if it is not refused.
    fn render_user(&self, content: Value) -> Option<String> {
        let input = ChatInput {
            messages: vec![json!({"role": "user", "content": content})],
            ..ChatInput::default()
        };
        self.render(&input, 0).ok()
    }

    /// The text that the model goes on from. `now` is the wall clock in unix seconds, for templates
    /// that tell the date.
    ///
    /// # Errors
    /// [`RenderError`], fit for the client.
    pub fn render(&self, input: &ChatInput, now: u64) -> Result<String, RenderError> {
        let name = if input.tools.is_some() && self.has_tool_use {
            TOOL_USE
        } else {
            DEFAULT
        };
        let template = self
            .environment
            .get_template(name)
            .map_err(|error| RenderError::Refused(reason(&error)))?;
        let mut context = self.special_tokens.clone();
        context.extend(input.kwargs.clone());
        let messages = input.messages.iter();
        let mut messages: Vec<Value> = messages.map(|m| self.content.adapted(m)).collect();
        let continued = match messages.last_mut() {
            Some(last) if input.continue_final_message => Some(mark_end(last)?),
            _ => None,
        };
        context.insert("messages".to_owned(), messages.into());
        context.insert(
            "tools".to_owned(),
            input.tools.clone().map_or(Value::Null, Value::Array),
        );
        context.entry("documents").or_insert(Value::Null);
        context.insert(
            "add_generation_prompt".to_owned(),
            input.add_generation_prompt.into(),
        );
        context.insert(NOW.to_owned(), now.into());
        let mut text = Bounded(Vec::new());
        // minijinja panics on some slices of slices. Nothing of a rendering is used after that.
        let render = AssertUnwindSafe(|| {
            template.render_captured_to(minijinja::value::Serde(&context), &mut text)
        });
        catch_unwind(render)
            .map_err(|_| RenderError::Refused("it fails on such a conversation".to_owned()))?
            .map_err(|error| render_error(&error))?;
        let text = String::from_utf8(text.0)
            .map_err(|_| RenderError::Refused("it wrote no UTF-8".to_owned()))?;
        match continued {
            Some(content) => cut_at_mark(text, &content),
            None => Ok(text),
        }
    }
}

const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";
/// The variable that `strftime_now` reads; no name that a template would write.
const NOW: &str = "__candela_now";

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.expect("Jinja's own delimiters"));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(python::unknown_method);
    environment.set_fuel(Some(TEMPLATE_FUEL));
    environment.add_filter("tojson", tojson);
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        },
    );
    environment.add_function("strftime_now", strftime_now);
    environment
}

/// The date and time in UTC, by a format as in Python's `strftime`.
fn strftime_now(state: &minijinja::State<'_, '_>, format: String) -> Result<String, Error> {
    let now = state
        .lookup(NOW)
        .and_then(|now| i64::try_from(now).ok())
        .unwrap_or(0);
    let invalid = |error: jiff::Error| {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("strftime_now: {error}"),
        )
    };
    let now = jiff::Timestamp::from_second(now).map_err(invalid)?;
    let now = now.to_zoned(jiff::tz::TimeZone::UTC);
    jiff::fmt::strtime::format(&format, &now).map_err(invalid)
}

/// Refuses to grow beyond [`RENDERED_BYTES_MAX`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > RENDERED_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn render_error(error: &Error) -> RenderError {
    match error.kind() {
        ErrorKind::OutOfFuel | ErrorKind::WriteFailure => RenderError::TooCostly,
        _ => RenderError::Refused(reason(error)),
    }
}

/// Why, without where: templates are none of the client's business.
fn reason(error: &Error) -> String {
    error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned)
}

/// Stands at the end of a message that is to be continued, while it is rendered. The space at its end
/// shows whether the template trims.
const MARK: &str = "<candela: go on here> ";

/// Puts the mark at the end of a message; returns the text that it is the end of.
fn mark_end(message: &mut Value) -> Result<String, RenderError> {
    let text = match &mut message["content"] {
        Value::Array(parts) => parts.last_mut().map(|part| &mut part["text"]),
        content => Some(content),
    };
    let Some(Value::String(text)) = text else {
        return Err(RenderError::NothingToContinue);
    };
    let content = text.clone();
    text.push_str(MARK);
    Ok(content)
}

/// The text up to the mark. Where the template trims, the space before the mark goes as well.
fn cut_at_mark(mut text: String, content: &str) -> Result<String, RenderError> {
    let Some(at) = text.rfind(MARK.trim_end()) else {
        return Err(RenderError::NothingToContinue);
    };
    let trims = !text[at..].starts_with(MARK);
    text.truncate(at);
    if trims {
        text.truncate(text.trim_end().len());
    }
    match text.contains(content.trim()) {
        true => Ok(text),
        false => Err(RenderError::NothingToContinue),
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
