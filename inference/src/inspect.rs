//! `candela-engine inspect`: what a model is and what it needs of memory, for people and for scripts.

use std::fmt;

use serde_json::{Value, json};

use crate::model::{Bytes, Description, Embeddings, MemoryPlan, runner::BLOCK_TOKENS};

/// What is said about a model.
#[derive(Debug, Clone)]
pub struct Report {
    /// As it was asked for.
    pub model: String,
    /// Read from its files.
    pub description: Description,
    /// Tokens that its tokenizer knows.
    pub tokenizer_tokens: usize,
    /// Whether it has a chat template.
    pub chat_template: bool,
}

impl Report {
    /// The report as one JSON object; amounts of memory in bytes.
    pub fn to_json(&self) -> Value {
        let about = &self.description;
        json!({
            "model": self.model,
            "architecture": about.architecture,
            "parameters": about.parameters,
            "shape": about.shape,
            "dtype": about.dtype,
            "saved_dtype": about.saved_dtype,
            "quantization": about.quantization,
            "context": about.context,
            "windowed_layers": about.window.map_or(0, |(layers, _)| layers),
            "window": about.window.map(|(_, tokens)| tokens),
            "vocab_size": about.vocab_size,
            "tokenizer_tokens": self.tokenizer_tokens,
            "chat_template": self.chat_template,
            "embeddings": about.embeddings.as_ref().map(embeddings_json),
            "eos_token_ids": about.eos_token_ids,
            "unknown_keys": about.unknown_keys,
            "memory": match &about.memory {
                Ok(plan) => memory_json(plan),
                Err(error) => json!({ "error": error.to_string() }),
            },
        })
    }
}

fn embeddings_json(embeddings: &Embeddings) -> Value {
    let Embeddings {
        dimensions,
        pooling,
        normalize,
        lowercase,
        matryoshka,
    } = embeddings;
    json!({
        "dimensions": dimensions,
        "pooling": pooling,
        "normalize": normalize,
        "lowercase": lowercase,
        "is_matryoshka": matryoshka.is_some(),
        "matryoshka_dimensions": matryoshka,
    })
}

fn memory_json(plan: &MemoryPlan) -> Value {
    json!({
        "weights_bytes": plan.weights_bytes,
        "activation_bytes_max": plan.activation_bytes,
        "rope_bytes": plan.rope_bytes,
        "kv_bytes_per_token": plan.token_bytes(),
        "kv_bytes_per_sequence": plan.sequence_bytes(),
        "kv_block_tokens": BLOCK_TOKENS,
        "kv_block_bytes": plan.kv_block_bytes,
        "kv_blocks": plan.kv_blocks,
        "max_model_len": plan.max_model_len,
        "limited_by": plan.limited_by.as_str(),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = &self.description;
        let mut line = |name: &str, value: String| writeln!(f, "{name:<15} {value}");
        line("model", self.model.clone())?;
        line("architecture", about.architecture.to_owned())?;
        line("parameters", count(about.parameters))?;
        line("shape", about.shape.clone())?;
        let saved = about
            .saved_dtype
            .as_ref()
            .map(|saved| format!(" (saved as {saved})"));
        line(
            "dtype",
            format!("{}{}", about.dtype, saved.unwrap_or_default()),
        )?;
        if let Some(quantization) = &about.quantization {
            line("quantization", quantization.clone())?;
        }
        line("context", format!("{} tokens", about.context))?;
        if let Some((layers, tokens)) = about.window {
            line("window", format!("{tokens} tokens, in {layers} layers"))?;
        }
        let known = self.tokenizer_tokens;
        line(
            "vocabulary",
            format!(
                "{} tokens ({known} of them in the tokenizer)",
                about.vocab_size
            ),
        )?;
        if let Some(embeddings) = &about.embeddings {
            line("embeddings", embeddings_line(embeddings))?;
        } else {
            let template = if self.chat_template { "yes" } else { "no" };
            line("chat template", template.to_owned())?;
            line("ends with", format!("token ids {:?}", about.eos_token_ids))?;
        }
        if !about.unknown_keys.is_empty() {
            line("without effect", about.unknown_keys.join(", "))?;
        }
        match &about.memory {
            Ok(plan) => memory_lines(plan, &mut line),
            Err(error) => line("memory", format!("does not fit here: {error}")),
        }
    }
}

/// As in "384 dimensions, mean of all tokens, normalized".
fn embeddings_line(embeddings: &Embeddings) -> String {
    let mut parts = vec![
        format!("{} dimensions", embeddings.dimensions),
        embeddings.pooling.clone(),
    ];
    parts.extend(embeddings.normalize.then(|| "normalized".to_owned()));
    parts.extend(embeddings.lowercase.then(|| "of small letters".to_owned()));
    parts.extend(match embeddings.matryoshka.as_deref() {
        None => None,
        Some([]) => Some("may be cut".to_owned()),
        Some(lengths) => Some(format!("may be cut to {lengths:?}")),
    });
    parts.join(", ")
}

fn memory_lines(
    plan: &MemoryPlan,
    line: &mut impl FnMut(&str, String) -> fmt::Result,
) -> fmt::Result {
    line("weights", Bytes(plan.weights_bytes).to_string())?;
    line(
        "activations",
        format!("at most {} a step", Bytes(plan.activation_bytes)),
    )?;
    line(
        "per token",
        format!("{} of KV cache", Bytes(plan.token_bytes())),
    )?;
    let (sequence, tokens) = (Bytes(plan.sequence_bytes()), plan.max_model_len);
    let limit = plan.limited_by.as_str();
    line(
        "per sequence",
        format!("{sequence} of KV cache for {tokens} tokens (limited by {limit})"),
    )?;
    let (cache, blocks) = (Bytes(plan.cache_bytes()), plan.kv_blocks);
    line(
        "KV cache",
        format!("{cache} here: {blocks} blocks of {BLOCK_TOKENS} tokens"),
    )
}

/// As in "1.44 M".
fn count(number: usize) -> String {
    let value = number as f64;
    match number {
        1_000_000_000.. => format!("{:.2} G", value / 1e9),
        1_000_000.. => format!("{:.2} M", value / 1e6),
        1_000.. => format!("{:.1} k", value / 1e3),
        _ => number.to_string(),
    }
}
