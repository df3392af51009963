//! From logits to the next token: parameters and the sampler. Knows no model and no request.

mod constraint;
mod edits;
mod logprobs;
pub mod params;
mod sampler;
mod weights;

pub use constraint::{ConstraintError, TokenConstraint};
pub use edits::{Edit, Past};
pub use logprobs::{TOP_LOGPROBS_MAX, TokenLogprobs};
pub use params::SamplingParams;
pub use sampler::{Chosen, Draw, Drawn, Logits, RowTask, SampleError, Sampler};
