//! The keys of the model's architecture, `llama.…`: reading them, which of them we know, and which
//! would change results and are not honoured.

use serde_json::{Map, Value, json};

use super::{GgufModel, error::Problem, metadata::Metadata};

/// Reads keys of the model's architecture, `llama.…`.
pub(super) struct Keys<'a> {
    pub(super) model: &'a GgufModel,
}

impl Keys<'_> {
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.model.names.family.gguf)
    }

    pub(super) fn metadata(&self) -> &Metadata {
        self.model.metadata()
    }

    pub(super) fn needed_size(&self, name: &str) -> Result<usize, Problem> {
        self.metadata().needed_size(&self.key(name))
    }

    pub(super) fn size(&self, name: &str) -> Result<Option<usize>, Problem> {
        self.metadata().size(&self.key(name))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, Problem> {
        self.metadata().number(&self.key(name))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        self.metadata().text(&self.key(name))
    }

    pub(super) fn has(&self, tensor: &str) -> bool {
        self.model.header.tensors.contains_key(tensor)
    }

    pub(super) fn unsupported(&self, name: &str, value: impl ToString) -> Problem {
        Problem::Unsupported {
            key: self.key(name),
            value: value.to_string(),
        }
    }

    /// The factors of a tensor of them.
    pub(super) fn factors(&self, tensor: &str) -> Result<Option<Vec<f32>>, Problem> {
        let Some(info) = self.model.header.tensors.get(tensor) else {
            return Ok(None);
        };
        let numbers = self.model.data(info).as_chunks::<4>().0;
        if info.kind.block() != Some((1, 4)) || info.shape.len() != 1 {
            return Err(Problem::Type {
                key: tensor.to_owned(),
                wanted: "a list of F32",
            });
        }
        Ok(Some(
            numbers
                .iter()
                .map(|&bytes| f32::from_le_bytes(bytes))
                .collect(),
        ))
    }
}

/// Keys of the architecture that are read, or say what the tensors' shapes say too.
const KNOWN: [&str; 39] = [
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attention.scale",
    "attention.causal",
    "attention.clamp_kqv",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "embedding_scale",
    "residual_scale",
    "logit_scale",
    "expert_count",
    "expert_used_count",
    "expert_shared_count",
    "expert_group_count",
    "expert_feed_forward_length",
    "expert_gating_func",
    "expert_weights_norm",
    "expert_weights_scale",
    "leading_dense_block_count",
    "attention.sliding_window_pattern",
    "rope.dimension_count",
    "rope.dimension_sections",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
];

/// Keys of the architecture that we do not know, under their own names: the configuration's reader
/// names them in a warning.
pub(super) fn unknown(keys: &Keys<'_>) -> Map<String, Value> {
    let prefix = format!("{}.", keys.model.names.family.gguf);
    let own = keys
        .metadata()
        .0
        .keys()
        .filter_map(|key| key.strip_prefix(&prefix));
    let unknown = own.filter(|name| !KNOWN.contains(name));
    unknown
        .map(|name| (keys.key(name), json!("(of the GGUF file)")))
        .collect()
}

/// Settings with values that ask for nothing; any other would change results.
pub(super) fn refuse_unsupported(keys: &Keys<'_>) -> Result<(), Problem> {
    let numbers: [(&str, &[f64]); 6] = [
        ("attention.clamp_kqv", &[0.0]),
        ("expert_shared_count", &[0.0]),
        ("expert_group_count", &[0.0, 1.0]),
        // 1 is the softmax.
        ("expert_gating_func", &[0.0, 1.0]),
        ("expert_weights_scale", &[0.0, 1.0]),
        ("leading_dense_block_count", &[0.0]),
    ];
    for (name, neutral) in numbers {
        if let Some(value) = keys.number(name)?.filter(|value| !neutral.contains(value)) {
            return Err(keys.unsupported(name, value));
        }
    }
    if keys.metadata().bool(&keys.key("attention.causal"))? == Some(false) {
        return Err(keys.unsupported("attention.causal", false));
    }
    let pattern = "attention.sliding_window_pattern";
    if keys.metadata().get(&keys.key(pattern)).is_some() {
        let known = match keys.model.names.family.gguf {
            "gemma2" => 2.0,
            "gemma3" => 6.0,
            _ => 0.0,
        };
        if keys.number(pattern).ok().flatten() != Some(known) {
            return Err(keys.unsupported(pattern, "(another than the family's)"));
        }
    }
    if keys
        .metadata()
        .get(&keys.key("rope.dimension_sections"))
        .is_some()
    {
        return Err(keys.unsupported("rope.dimension_sections", "(a list)"));
    }
    Ok(())
}
