//! What flags choose of a model: where its weights come from, their type, what it is run for.

use clap::ValueEnum;

/// Where weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LoadFormat {
    /// The model's files: safetensors or GGUF.
    #[default]
    Auto,
    /// Random numbers, for measuring a shape of model without its weights: config.json and tokenizer are enough.
    Dummy,
}

/// Type of weights, activations and KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Dtype {
    /// The type the model was saved in.
    #[default]
    Auto,
    /// 16 bits with the range of 32.
    Bfloat16,
    /// 16 bits with more precision and less range; on a GPU only.
    Float16,
    /// 32 bits.
    Float32,
}

/// What a model is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum RunnerType {
    /// Embeddings, if it is an encoder, has no LM head, or comes with a pooling of
    /// sentence-transformers (modules.json); text otherwise.
    #[default]
    Auto,
    /// Text: chats and completions.
    Generate,
    /// Embeddings.
    Pooling,
}

/// What the matrices of a safetensors model become while it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Quantization {
    /// They stay as they are.
    #[default]
    None,
    /// 8 bits a weight, one scale for 32 of them.
    #[value(name = "q8_0")]
    Q8_0,
    /// 4 bits a weight, scales and offsets for 32 of them; embedding and LM head in q8_0.
    #[value(name = "q4_k")]
    Q4K,
}
