//! The model: one config-driven decoder, its weights and its operations. candle lives here.
//!
//! `source.rs` finds the files, `config.rs` reads what the model is, `weights.rs` gives its tensors by
//! name (`shards.rs` has those of safetensors files, `gguf/` those of GGUF files),
//! `decoder.rs` is the forward pass, `ops/` its hot operations, `cpu.rs` the [`runner::Runner`] that
//! the engine drives, `memory.rs` the arithmetic of the KV cache.

mod config;
mod cpu;
mod decoder;
mod gguf;
mod load;
mod mapped;
mod memory;
mod ops;
mod progress;
mod quantization;
mod rope;
pub mod runner;
mod saved;
mod shards;
mod source;
mod weights;

pub use config::ConfigError;
pub use gguf::GgufError;
pub use load::{LoadedModel, ModelError, load};
pub use memory::MemoryError;
pub use progress::LoadProgress;
pub use source::{ModelFiles, SourceError, open};
pub use weights::WeightsError;
