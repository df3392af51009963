//! The model: one config-driven decoder, its weights and its operations. candle lives here.
//!
//! `source.rs` finds the files, `config.rs` reads what the model is, `weights.rs` maps its tensors,
//! `decoder.rs` is the forward pass, `layer.rs` what it reads for a layer, `ops/` its hot operations, `cpu.rs` the [`runner::Runner`] that
//! the engine drives, `memory.rs` the arithmetic of the KV cache.

mod config;
mod cpu;
mod decoder;
mod layer;
mod load;
mod memory;
mod ops;
mod progress;
mod rope;
pub mod runner;
mod source;
mod weights;

pub use config::ConfigError;
pub use load::{LoadedModel, ModelError, load};
pub use memory::MemoryError;
pub use progress::LoadProgress;
pub use source::{ModelFiles, SourceError, open};
pub use weights::WeightsError;
