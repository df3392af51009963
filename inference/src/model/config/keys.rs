//! The keys of `config.json`: typed reading with errors that name key and value, and the keys that
//! nobody asked for.

use std::{cell::RefCell, collections::HashSet};

use serde_json::{Map, Value};

use super::{ConfigError, SIZE_MAX};

/// Keys that change nothing about an answer: training, bookkeeping, and what other parts read.
const INERT: [&str; 53] = [
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_name_or_path",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "auto_map",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "directionality",
    "dropout",
    "embd_pdrop",
    "gradient_checkpointing",
    "hidden_act",
    "hidden_dropout_prob",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_matryoshka",
    "label2id",
    "matryoshka_dimensions",
    "max_length",
    "max_window_layers",
    "mlp_dropout",
    "model_type",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_router_logits",
    "pad_token_id",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "pretraining_tp",
    "problem_type",
    "qa_dropout",
    "resid_pdrop",
    "return_dict",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "seq_classif_dropout",
    "sinusoidal_pos_embds",
    "tie_weights_",
    "tokenizer_class",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "unk_token_id",
    "use_cache",
    "use_return_dict",
];

/// `config.json`.
pub(super) struct Keys {
    map: Map<String, Value>,
    read: RefCell<HashSet<&'static str>>,
}

impl Keys {
    pub(super) fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let map = serde_json::from_slice(json)
            .map_err(|error| ConfigError::Malformed(error.to_string()))?;
        let read = RefCell::default();
        Ok(Self { map, read })
    }

    /// The value of a key; `None` when it is missing or null.
    pub(super) fn value(&self, key: &'static str) -> Option<&Value> {
        self.read.borrow_mut().insert(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Whether the key is there and null.
    pub(super) fn is_null(&self, key: &'static str) -> bool {
        self.map.get(key).is_some_and(Value::is_null)
    }

    /// The first of `architectures`.
    pub(super) fn architecture(&self) -> Result<String, ConfigError> {
        let names = self.value("architectures").and_then(Value::as_array);
        let first = names.and_then(|names| names.first()?.as_str());
        first.map(str::to_owned).ok_or_else(|| {
            ConfigError::Malformed("architectures must name the model's class".to_owned())
        })
    }

    /// A size that must be there, in `1..=SIZE_MAX`.
    pub(super) fn size(&self, key: &'static str) -> Result<usize, ConfigError> {
        self.optional_size(key)?
            .ok_or_else(|| ConfigError::Malformed(format!("missing field `{key}`")))
    }

    /// A size in `1..=SIZE_MAX`, if it is there.
    pub(super) fn optional_size(&self, key: &'static str) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        match size {
            Some(size) if (1..=SIZE_MAX).contains(&size) => Ok(Some(size)),
            _ => Err(ConfigError::Shape(format!(
                "{key} = {value} is not in 1..={SIZE_MAX}"
            ))),
        }
    }

    /// A finite number.
    pub(super) fn number(&self, key: &'static str) -> Result<Option<f64>, ConfigError> {
        self.typed(key, "a number", Value::as_f64)
    }

    pub(super) fn flag(&self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub(super) fn text(&self, key: &'static str) -> Result<Option<String>, ConfigError> {
        self.typed(key, "a string", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn list(&self, key: &'static str) -> Result<Option<Vec<Value>>, ConfigError> {
        self.typed(key, "a list", |value| value.as_array().cloned())
    }

    pub(super) fn object(
        &self,
        key: &'static str,
    ) -> Result<Option<Map<String, Value>>, ConfigError> {
        self.typed(key, "an object", |value| value.as_object().cloned())
    }

    fn typed<T>(
        &self,
        key: &'static str,
        form: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let typed = |value: &Value| {
            read(value)
                .ok_or_else(|| ConfigError::Malformed(format!("{key} = {value} is not {form}")))
        };
        self.value(key).map(typed).transpose()
    }

    /// The error that refuses what `key` says.
    pub(super) fn unsupported(&self, key: &'static str) -> ConfigError {
        let value = match self.map.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => "(missing)".to_owned(),
        };
        ConfigError::Unsupported {
            key: key.to_owned(),
            value,
        }
    }

    /// Keys with a value that were not read and are not known to change nothing.
    pub(super) fn unknown(&self) -> Vec<String> {
        let read = self.read.borrow();
        let unknown = |(key, value): &(&String, &Value)| {
            !value.is_null() && !read.contains(key.as_str()) && !INERT.contains(&key.as_str())
        };
        let mut keys: Vec<String> = self
            .map
            .iter()
            .filter(unknown)
            .map(|(k, _)| k.clone())
            .collect();
        keys.sort_unstable();
        keys
    }
}
