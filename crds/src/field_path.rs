//! The path of a field, step by step. Its text is what messages show; its steps are what the field is
//! found by in a manifest, since a key may hold dots.

use std::fmt;

/// One step from a value to one inside it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// The field of a block.
    Field(String),
    /// The item of a list, from 0.
    Item(usize),
}

/// A field of an object; empty for the whole object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct FieldPath(Vec<Step>);

/// Characters of a key that are shown.
const KEY_SHOWN_MAX: usize = 80;

impl FieldPath {
    /// The path of a field whose name and whose parents' names hold no dots.
    pub fn of(path: &str) -> Self {
        let names = path.split('.').filter(|name| !name.is_empty());
        Self(names.map(|name| Step::Field(name.to_owned())).collect())
    }

    /// The field `name` of this one.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        self.then(Step::Field(name.to_owned()))
    }

    /// The item `index` of this one.
    #[must_use]
    pub fn item(&self, index: usize) -> Self {
        self.then(Step::Item(index))
    }

    /// The steps from the object to the field.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether this is the whole object.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn then(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if is_plain(name) && position == 0 => f.write_str(name)?,
                Step::Field(name) if is_plain(name) => write!(f, ".{name}")?,
                Step::Field(name) => {
                    let shown: String = name.chars().take(KEY_SHOWN_MAX).collect();
                    write!(f, "[{}]", serde_json::Value::String(shown))?;
                }
                Step::Item(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Whether a key can be told from a dot and from a break of the line.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '$' | '<');
    (1..=KEY_SHOWN_MAX).contains(&name.len()) && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_dots_is_in_brackets() {
        let labels = FieldPath::of("spec.pod.labels");
        assert_eq!(labels.to_string(), "spec.pod.labels");
        assert_eq!(
            labels.field("a.b/c\n").item(2).field("d").to_string(),
            r#"spec.pod.labels["a.b/c\n"][2].d"#
        );
        assert_eq!(FieldPath::of("").to_string(), "");
    }
}
