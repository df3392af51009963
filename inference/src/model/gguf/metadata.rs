//! The keys of a GGUF file and their values, and reading them as the type that is needed.

use std::collections::HashMap;

use super::error::Problem;

/// The value of a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    /// Of integers, signed or not, and of booleans.
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    Texts(Vec<String>),
}

/// All keys of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Metadata(pub(super) HashMap<String, Value>);

impl Metadata {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, Problem> {
        self.read(key, "text", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    pub(super) fn bool(&self, key: &str) -> Result<Option<bool>, Problem> {
        self.read(key, "true or false", |value| match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        })
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, Problem> {
        self.read(key, "a number", |value| match value {
            Value::Float(value) => Some(*value),
            Value::Unsigned(value) => Some(*value as f64),
            Value::Signed(value) => Some(*value as f64),
            _ => None,
        })
    }

    /// A size; of an array with one entry for each layer, the entry that they share.
    pub(super) fn size(&self, key: &str) -> Result<Option<usize>, Problem> {
        self.read(key, "a size that all layers share", |value| {
            let value = match value {
                Value::Unsigned(value) => return usize::try_from(*value).ok(),
                Value::Signed(value) => *value,
                Value::Integers(values) => {
                    let first = *values.first()?;
                    values
                        .iter()
                        .all(|&value| value == first)
                        .then_some(first)?
                }
                _ => return None,
            };
            usize::try_from(value).ok()
        })
    }

    pub(super) fn needed_size(&self, key: &str) -> Result<usize, Problem> {
        self.size(key)?
            .ok_or_else(|| Problem::Missing(key.to_owned()))
    }

    pub(super) fn integers(&self, key: &str) -> Result<Option<&[i64]>, Problem> {
        self.read(key, "a list of integers", |value| match value {
            Value::Integers(values) => Some(values.as_slice()),
            _ => None,
        })
    }

    pub(super) fn floats(&self, key: &str) -> Result<Option<&[f32]>, Problem> {
        self.read(key, "a list of numbers", |value| match value {
            Value::Floats(values) => Some(values.as_slice()),
            _ => None,
        })
    }

    pub(super) fn texts(&self, key: &str) -> Result<Option<&[String]>, Problem> {
        self.read(key, "a list of texts", |value| match value {
            Value::Texts(values) => Some(values.as_slice()),
            _ => None,
        })
    }

    fn read<'a, T>(
        &'a self,
        key: &str,
        wanted: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let wrong = || Problem::Type {
            key: key.to_owned(),
            wanted,
        };
        self.get(key)
            .map(|value| read(value).ok_or_else(wrong))
            .transpose()
    }
}
