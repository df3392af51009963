//! What `tokenizer_config.json` says: the special tokens by their names, and the chat templates.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The parts of `tokenizer_config.json` that chats need.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct TokenizerConfig {
    /// `bos_token`, `eos_token` and the like, as text.
    pub(super) special_tokens: Map<String, Value>,
    /// Templates by name; a single one is called `default`.
    pub(super) templates: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl TokenizerConfig {
    /// Reads the file's bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let config: Map<String, Value> = serde_json::from_slice(bytes)?;
        let templates = match config.get("chat_template") {
            None | Some(Value::Null) => Vec::new(),
            Some(value) => match Templates::deserialize(value)? {
                Templates::One(template) => vec![("default".to_owned(), template)],
                Templates::Named(list) => list
                    .into_iter()
                    .map(|named| (named.name, named.template))
                    .collect(),
            },
        };
        let special_tokens = config
            .iter()
            .filter(|(name, _)| name.ends_with("_token"))
            .filter_map(|(name, value)| {
                let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
                Some((name.clone(), text.into()))
            })
            .collect();
        Ok(Self {
            special_tokens,
            templates,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_are_strings_or_objects_and_templates_one_or_several() {
        let file = json!({
            "bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>",
            "pad_token": null, "add_bos_token": true,
            "chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}],
        });
        let config = TokenizerConfig::from_bytes(file.to_string().as_bytes()).unwrap();
        assert_eq!(
            Value::from(config.special_tokens),
            json!({"bos_token": "<s>", "eos_token": "</s>"})
        );
        assert_eq!(config.templates[1], ("tool_use".to_owned(), "b".to_owned()));
        let one = TokenizerConfig::from_bytes(br#"{"chat_template": "a"}"#).unwrap();
        assert_eq!(one.templates, [("default".to_owned(), "a".to_owned())]);
    }
}
