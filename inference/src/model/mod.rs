//! The model: one config-driven decoder and one encoder, their weights and operations. candle lives here.
//!
//! `source.rs` finds the files, `config/` reads what the model is, `weights.rs` gives its tensors by
//! name (`shards.rs` has those of safetensors files, `gguf/` those of GGUF files), `decoder.rs` is the
//! forward pass, `layer.rs` the weights of a layer, `encoder.rs` both for encoders, `pooling.rs` how their
//! states become a vector, `ops/` the hot operations, `device.rs` what is computed on, `cpu.rs` the
//! [`runner::Runner`] that
//! the engine drives, `memory.rs` the arithmetic of the KV cache, `measure.rs` single operations to be measured.

mod bytes;
mod config;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod decoder;
mod describe;
mod device;
mod dummy;
mod encoder;
mod free_memory;
mod gguf;
mod layer;
mod load;
mod mapped;
pub mod measure;
mod memory;
mod ops;
mod place;
mod pooling;
mod progress;
mod quantization;
mod rope;
pub mod runner;
mod safetensors_header;
mod saved;
mod shards;
mod source;
mod weights;
mod weights_cache;

pub use bytes::Bytes;
pub use config::ConfigError;
#[cfg(feature = "cuda")]
pub use cuda::GpuError;
pub use describe::{Description, describe};
pub use device::{Device, DeviceError, open as open_device};
pub use gguf::GgufError;
pub use load::{Embeddings, LoadedModel, ModelError, load, use_threads, vocab_size};
pub use memory::{ContextLimit, MemoryError, MemoryPlan};
pub use pooling::PoolingError;
pub use progress::LoadProgress;
pub use safetensors_header::{SAFETENSORS_HEADER_BYTES_MAX, check_safetensors};
pub use source::{MODEL_FILE_BYTES_MAX, ModelFiles, SourceError, open};
pub use weights::WeightsError;
