//! What can be asked of an answer. A [`Grammar`] is only a description: cheap, comparable, and not
//! checked beyond its size before it is compiled.

use serde_json::Value;

use super::{GrammarError, gbnf, limits, schema};

/// What an answer must follow. Two that are equal are compiled once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Grammar {
    /// JSON that a schema allows, as the text of the schema.
    Json(String),
    /// A regular expression, for the whole answer.
    Regex(String),
    /// One of these, to the letter.
    Choice(Vec<String>),
    /// A context-free grammar in llguidance's Lark.
    Lark(String),
    /// Text with structured parts.
    Tagged(Tagged),
    /// Anything up to and including `end`, such as a model's reasoning, then what `then` allows.
    After {
        /// The text, or the special token, that ends the free part.
        end: String,
        /// What follows it.
        then: Box<Grammar>,
    },
    /// What one of these allows.
    Any(Vec<Grammar>),
}

/// Structured parts, such as tool calls: alone, or within text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tagged {
    /// Any text may stand before, between and behind the parts. Without it there is nothing but parts.
    pub text: bool,
    /// The kinds of parts; at least one.
    pub structures: Vec<Structure>,
    /// Fewest parts.
    pub at_least: usize,
    /// Most parts; `None`: any number.
    pub at_most: Option<usize>,
    /// What stands between two parts, unless text may; often empty.
    pub separator: String,
}

/// A structured part: how it begins, what is in it, how it ends. Where `trigger`, `begin` or `end` is
/// exactly a special token of the model, it stands for that token, otherwise for its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Structure {
    /// Within text: as soon as it was written, a part has begun. Not empty there.
    pub trigger: String,
    /// What follows the trigger, up to the content.
    pub begin: String,
    /// The content.
    pub content: Grammar,
    /// What follows the content.
    pub end: String,
}

/// How JSON may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SchemaOptions {
    /// No space between the parts of a value.
    pub compact: bool,
    /// Objects whose schema names properties have no others, unless it says so.
    pub closed: bool,
}

impl Grammar {
    /// JSON that `schema` (Draft 2020-12) allows.
    ///
    /// # Errors
    /// [`GrammarError::TooLarge`]; whether the schema makes sense is found when it is compiled.
    pub fn json_schema(schema: &Value) -> Result<Self, GrammarError> {
        Self::json_schema_with(schema, SchemaOptions::default())
    }

    /// JSON that `schema` allows, written as `options` say.
    ///
    /// # Errors
    /// As [`Grammar::json_schema`].
    pub fn json_schema_with(schema: &Value, options: SchemaOptions) -> Result<Self, GrammarError> {
        let text = schema::prepare(schema, options)?.to_string();
        within("the schema", text.len(), limits::SCHEMA_BYTES_MAX)?;
        Ok(Self::Json(text))
    }

    /// Any JSON object.
    pub fn json_object(options: SchemaOptions) -> Self {
        Self::json_schema_with(&serde_json::json!({"type": "object"}), options)
            .expect("a schema within all bounds")
    }

    /// A regular expression (the syntax of Rust's `regex` crate) that the whole answer matches.
    ///
    /// # Errors
    /// [`GrammarError::TooLarge`].
    pub fn regex(expression: &str) -> Result<Self, GrammarError> {
        within("the expression", expression.len(), limits::REGEX_BYTES_MAX)?;
        Ok(Self::Regex(expression.to_owned()))
    }

    /// One of `choices`.
    ///
    /// # Errors
    /// [`GrammarError::TooLarge`]; [`GrammarError::Invalid`] without any, or with an empty one.
    pub fn choice(choices: Vec<String>) -> Result<Self, GrammarError> {
        if choices.is_empty() || choices.iter().any(String::is_empty) {
            let reason = "needs at least one choice, none of them empty";
            return Err(GrammarError::Invalid(reason.to_owned()));
        }
        let bytes = choices.iter().map(String::len).sum();
        within("all choices together", bytes, limits::CHOICES_BYTES_MAX)?;
        Ok(Self::Choice(choices))
    }

    /// A context-free grammar: llguidance's Lark, or GBNF as llama.cpp and vLLM's examples write it,
    /// known by its `::=`.
    ///
    /// # Errors
    /// [`GrammarError::TooLarge`]; [`GrammarError::Invalid`] for GBNF that cannot be read.
    pub fn context_free(text: &str) -> Result<Self, GrammarError> {
        within("the grammar", text.len(), limits::GRAMMAR_BYTES_MAX)?;
        let lark = match gbnf::is_gbnf(text) {
            true => gbnf::to_lark(text)?,
            false => text.to_owned(),
        };
        Ok(Self::Lark(lark))
    }

    /// Bytes of all texts that it is made of.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Json(text) | Self::Regex(text) | Self::Lark(text) => text.len(),
            Self::Choice(choices) => choices.iter().map(String::len).sum(),
            Self::Tagged(tagged) => {
                let structures = tagged.structures.iter();
                tagged.separator.len() + structures.map(Structure::bytes).sum::<usize>()
            }
            Self::After { end, then } => end.len() + then.bytes(),
            Self::Any(grammars) => grammars.iter().map(Self::bytes).sum(),
        }
    }

    /// Refuses one that is too large as a whole, whatever it is made of.
    pub(super) fn check_total(&self) -> Result<(), GrammarError> {
        let what = "everything that the answer must follow";
        within(what, self.bytes(), limits::GRAMMAR_TOTAL_BYTES_MAX)
    }

    /// Anything up to and including `end`, then what `self` allows: for models that reason first.
    #[must_use]
    pub fn after(self, end: impl Into<String>) -> Self {
        Self::After {
            end: end.into(),
            then: Box::new(self),
        }
    }
}

impl Structure {
    fn bytes(&self) -> usize {
        let Self {
            trigger,
            begin,
            content,
            end,
        } = self;
        trigger.len() + begin.len() + content.bytes() + end.len()
    }
}

/// Refuses what is longer than `max` bytes.
fn within(what: &'static str, bytes: usize, max: usize) -> Result<(), GrammarError> {
    if bytes > max {
        return Err(GrammarError::TooLarge { what, bytes, max });
    }
    Ok(())
}
