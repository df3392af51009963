//! From logits to the next token: parameters and the sampler. Knows no model and no request.

mod constraint;
mod logprobs;
pub mod params;
mod penalties;
mod sampler;

pub use constraint::{ConstraintError, TokenConstraint};
pub use logprobs::TokenLogprobs;
pub use params::SamplingParams;
pub use penalties::Past;
pub use sampler::{Logits, SampleError, Sampler};
