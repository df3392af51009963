//! What is wrong with a GGUF file: the problem where it is found, and with the file's name for those
//! who gave it.

use std::io;

/// A GGUF file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// It cannot be read.
    #[error("{file}: {error}")]
    Read {
        /// The file.
        file: String,
        /// The system's answer.
        error: io::Error,
    },
    /// It is not what we read.
    #[error("{file}: {problem}")]
    Content {
        /// The file.
        file: String,
        /// What is wrong.
        problem: Problem,
    },
}

/// What is wrong with the content of a GGUF file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It begins otherwise.
    #[error("not a GGUF file")]
    Magic,
    /// Of another version.
    #[error("GGUF version {0} is not read; 2 and 3 are (little endian)")]
    Version(u32),
    /// It ends too early, or says things that cannot be.
    #[error("damaged at {place}: {what}")]
    Damaged {
        /// The key or the tensor.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// A key is not there.
    #[error("has no {0}")]
    Missing(String),
    /// A value is of another type than it should be.
    #[error("{key} is not {wanted}")]
    Type {
        /// The key.
        key: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A model of a kind that we do not run.
    #[error("{key} = {value} is not supported; these are: {known}")]
    Unknown {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What is known.
        known: String,
    },
    /// A setting that would change results and is not honoured.
    #[error("{key} = {value} is not supported")]
    Unsupported {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
}

impl Problem {
    pub(super) fn damaged(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Damaged {
            place: place.into(),
            what: what.into(),
        }
    }

    pub(super) fn in_file(self, file: &str) -> GgufError {
        GgufError::Content {
            file: file.to_owned(),
            problem: self,
        }
    }
}
