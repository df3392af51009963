//! What is said about one field of an object, and the same with its place in a text.

use std::fmt;

use crate::{FieldPath, Position, Span};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The object is refused, or does not mean what it says.
    Error,
    /// It may be meant.
    Warning,
}

/// Something about one field that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The field; empty for the whole object.
    pub path: FieldPath,
    /// What is wrong and what to change.
    pub message: String,
    /// Other fields that have a part in it.
    pub related: Vec<FieldPath>,
    /// Whether the field's name is what is wrong, and not its value.
    pub about_name: bool,
}

/// A finding and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The field; empty for the whole object.
    pub path: FieldPath,
    /// What is wrong and what to change.
    pub message: String,
    /// Where: the value, its key where the key is what is wrong, or the key of the block that
    /// something is missing from.
    pub span: Span,
    /// Other places that have a part in it.
    pub notes: Vec<Note>,
}

/// A place that has a part in a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Where.
    pub span: Span,
    /// What is there.
    pub message: String,
}

impl Severity {
    /// As messages say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl Finding {
    pub(crate) fn error(path: FieldPath, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            path,
            message: message.into(),
            related: Vec::new(),
            about_name: false,
        }
    }

    pub(crate) fn warning(path: FieldPath, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(path, message)
        }
    }
}

impl Diagnostic {
    /// An error of a whole text, at its start.
    pub fn whole(message: impl Into<String>) -> Self {
        let start = Position { line: 1, column: 1 };
        Self {
            severity: Severity::Error,
            path: FieldPath::default(),
            message: message.into(),
            span: Span { start, end: start },
            notes: Vec::new(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_line(f, self.severity, &self.path, &self.message)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_line(f, self.severity, &self.path, &self.message)
    }
}

fn write_line(
    f: &mut fmt::Formatter<'_>,
    severity: Severity,
    path: &FieldPath,
    message: &str,
) -> fmt::Result {
    let severity = severity.as_str();
    if path.is_empty() {
        write!(f, "{severity}: {message}")
    } else {
        write!(f, "{severity}: {path}: {message}")
    }
}
