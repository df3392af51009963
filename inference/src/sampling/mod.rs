//! From logits to the next token: parameters and the sampler. Knows no model and no request.

pub mod params;
mod sampler;

pub use params::SamplingParams;
pub use sampler::{Logits, SampleError, Sampler};
