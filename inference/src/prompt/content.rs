//! Which form of content a chat template reads: text, a list of parts, or both. A template shows it: what
//! it makes of a message in either form says which of them it understands.

use serde_json::{Value, json};

/// The forms of content that a template reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentForms {
    pub(super) text: bool,
    pub(super) parts: bool,
}

/// A word that no template writes of itself.
const WORD: &str = "candela-probe-of-content";

impl ContentForms {
    /// Asks a template, given by what it makes of a message's content.
    pub(super) fn of(render: impl Fn(Value) -> Option<String>) -> Self {
        let text = render(json!(WORD)).filter(|text| text.contains(WORD));
        let parts = render(json!([{"type": "text", "text": WORD}]));
        // A list that is printed as such holds the word too.
        let is_printed = |text: &str| text.contains("'type'") || text.contains("\"type\"");
        let parts = parts.filter(|text| text.contains(WORD) && !is_printed(text));
        Self {
            // Where neither works the messages are to blame: some templates want a system's first.
            text: text.is_some() || parts.is_none(),
            parts: parts.is_some() && (text.is_none() || text == parts),
        }
    }

    /// The message with its content in a form that the template reads.
    pub(super) fn adapted(self, message: &Value) -> Value {
        let mut message = message.clone();
        let Some(content) = message.get_mut("content") else {
            return message;
        };
        match content {
            Value::Array(parts) if !self.parts => *content = joined(parts).into(),
            Value::String(text) if !self.text => {
                *content = json!([{"type": "text", "text": text}]);
            }
            _ => {}
        }
        message
    }
}

/// The text of all parts, one a line, as vLLM joins them.
fn joined(parts: &[Value]) -> String {
    let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
    texts.collect::<Vec<_>>().join("\n")
}

/// Hugging Face's `{% generation %}` blocks mark what a model is trained on; for a prompt they are
/// nothing. What stands around their tags is trimmed all the same.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out += before;
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        let inner = tag.trim_start_matches("{%").trim_end_matches("%}");
        let word = inner.trim_matches(|c: char| c.is_whitespace() || "-+".contains(c));
        match word {
            "generation" => out += &tag.replacen("generation", "if true", 1),
            "endgeneration" => out += &tag.replacen("endgeneration", "endif", 1),
            _ => out += tag,
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_become_blocks_that_do_nothing() {
        let source = "a{%- generation -%} b {% endgeneration %}{% if x %}{%endgeneration+%}{%";
        let expected = "a{%- if true -%} b {% endif %}{% if x %}{%endif+%}{%";
        assert_eq!(without_generation_tags(source), expected);
    }

    #[test]
    fn forms_are_told_by_what_a_template_makes_of_them() {
        let forms = |text, parts| ContentForms { text, parts };
        let text = |content: &Value| content.as_str().map(str::to_owned);
        let parts = |content: &Value| content.as_array().map(|parts| joined(parts));
        assert_eq!(
            ContentForms::of(|content| text(&content)),
            forms(true, false)
        );
        assert_eq!(
            ContentForms::of(|content| parts(&content)),
            forms(false, true)
        );
        assert_eq!(
            ContentForms::of(|c| text(&c).or(parts(&c))),
            forms(true, true)
        );
        assert_eq!(
            ContentForms::of(|content| Some(content.to_string())),
            forms(true, false)
        );
        assert_eq!(ContentForms::of(|_| None), forms(true, false));
    }

    #[test]
    fn content_is_put_into_the_form_that_is_read() {
        let parts =
            json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]});
        let both = ContentForms {
            text: true,
            parts: true,
        };
        assert_eq!(both.adapted(&parts), parts);
        let text = ContentForms {
            text: true,
            parts: false,
        };
        assert_eq!(text.adapted(&parts), json!({"content": "a\nb"}));
        let only_parts = ContentForms {
            text: false,
            parts: true,
        };
        let wrapped = json!({"content": [{"type": "text", "text": "a"}]});
        assert_eq!(only_parts.adapted(&json!({"content": "a"})), wrapped);
    }
}
