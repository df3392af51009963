//! Shared parts of the suites that cross crates: a real Kubernetes on this machine ([`bed`]), container images made by hand
//! ([`image`]), and waiting for conditions ([`poll`]). The suites themselves are the test targets of this crate.

pub mod bed;
pub mod image;
pub mod poll;
mod process;
pub mod tier;

pub use process::{run, stdout_of};
