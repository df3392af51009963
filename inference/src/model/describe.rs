//! What a model is and needs, without loading its weights.

use candela_flags::EngineFlags;

use super::{
    config::{DecoderConfig, MlpConfig, QkNorm},
    free_memory::free_bytes,
    load::{ModelError, Opened, dtype_name},
    memory::{MemoryError, MemoryPlan},
    progress::LoadProgress,
    source::ModelFiles,
};

/// A model, described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// As `config.json` names it.
    pub architecture: &'static str,
    /// Numbers in all tensors of the files.
    pub parameters: usize,
    /// What differs between models of one architecture, for people.
    pub shape: String,
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Type it was saved in, if the file says.
    pub saved_dtype: Option<String>,
    /// Type of activations and KV cache, and of weights that are not quantized.
    pub dtype: &'static str,
    /// What the matrices are held in, where that is not `dtype`.
    pub quantization: Option<String>,
    /// Longest sequence the model can be run for, in tokens.
    pub context: usize,
    /// Layers with a sliding window, and its tokens.
    pub window: Option<(usize, usize)>,
    /// Tokens with which it ends an answer.
    pub eos_token_ids: Vec<u32>,
    /// What it takes of memory with these flags on this machine, or why it does not fit.
    pub memory: Result<MemoryPlan, MemoryError>,
    /// Keys of `config.json` without effect here.
    pub unknown_keys: Vec<String>,
}

/// Describes a model, as `flags` would have it loaded.
///
/// # Errors
/// [`ModelError`], naming file, tensor or setting, as loading would.
pub fn describe(files: &ModelFiles, flags: &EngineFlags) -> Result<Description, ModelError> {
    let progress = LoadProgress::default();
    let Opened {
        config,
        dtype,
        weights,
        size,
    } = Opened::new(files, flags, &progress)?;
    let windows: Vec<usize> = config
        .layers
        .iter()
        .filter_map(|layer| layer.window)
        .collect();
    Ok(Description {
        architecture: config.architecture,
        parameters: size.parameters,
        shape: shape(&config),
        vocab_size: config.vocab,
        dtype: dtype_name(dtype),
        quantization: weights.block_types(),
        context: config.context,
        window: windows.first().map(|&window| (windows.len(), window)),
        memory: MemoryPlan::new(&config, size.bytes, dtype, flags, free_bytes()),
        saved_dtype: config.saved_dtype,
        eos_token_ids: config.eos_token_ids,
        unknown_keys: config.unknown_keys,
    })
}

/// As in "28 layers, hidden 1024, heads 16 (8 of KV) of 128, MLP 3072, tied embedding".
fn shape(config: &DecoderConfig) -> String {
    let &DecoderConfig {
        hidden,
        heads,
        kv_heads,
        head_dim,
        ..
    } = config;
    let mut parts = vec![
        format!("{} layers", config.layers.len()),
        format!("hidden {hidden}"),
        format!("heads {heads} ({kv_heads} of KV) of {head_dim}"),
    ];
    let dense = config.layers.iter().find_map(|layer| match layer.mlp {
        MlpConfig::Dense { intermediate } => Some(format!("MLP {intermediate}")),
        MlpConfig::Experts(_) => None,
    });
    let experts = config.layers.iter().find_map(|layer| match &layer.mlp {
        MlpConfig::Experts(experts) => Some(format!(
            "{} experts of {}, {} per token",
            experts.count, experts.intermediate, experts.per_token
        )),
        MlpConfig::Dense { .. } => None,
    });
    parts.extend(dense);
    parts.extend(experts);
    let marks = [
        (config.tied, "tied embedding"),
        (config.qk_norm != QkNorm::None, "norms of queries and keys"),
        (config.attention_softcap.is_some(), "capped attention"),
    ];
    parts.extend(
        marks
            .into_iter()
            .filter(|(on, _)| *on)
            .map(|(_, mark)| mark.to_owned()),
    );
    parts.join(", ")
}
