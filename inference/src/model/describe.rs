//! What a model is and needs, without loading its weights.

use candela_flags::EngineFlags;

use super::{
    config::{DecoderConfig, EncoderConfig, MlpConfig, ModelConfig, QkNorm},
    load::{Embeddings, ModelError, Opened, dtype_name},
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
    /// The embeddings that it makes, if it is run for that.
    pub embeddings: Option<Embeddings>,
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
    let opened = Opened::new(files, flags, &progress, false)?;
    let config = &opened.config;
    let (shape, windows) = match config {
        ModelConfig::Decoder(config) => {
            let windows = config.layers.iter().filter_map(|layer| layer.window);
            (shape(config), windows.collect())
        }
        ModelConfig::Encoder(config) => (encoder_shape(config), Vec::new()),
    };
    Ok(Description {
        architecture: config.architecture(),
        parameters: opened.size.parameters,
        shape,
        vocab_size: config.vocab(),
        saved_dtype: config.saved_dtype().map(str::to_owned),
        dtype: dtype_name(opened.dtype),
        quantization: opened.weights.block_types(),
        context: opened.context(),
        window: windows.first().map(|&window| (windows.len(), window)),
        embeddings: opened.embeddings(),
        eos_token_ids: config.eos_token_ids().to_vec(),
        memory: opened.plan(flags),
        unknown_keys: config.unknown_keys().to_vec(),
    })
}

/// As in "6 layers, hidden 384, heads 12 of 32, MLP 1536".
fn encoder_shape(config: &EncoderConfig) -> String {
    let EncoderConfig {
        hidden,
        heads,
        layers,
        intermediate,
        ..
    } = config;
    let head_dim = config.head_dim();
    format!("{layers} layers, hidden {hidden}, heads {heads} of {head_dim}, MLP {intermediate}")
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
