//! Micro-benchmarks, each with its roofline beside it: `cargo bench -p candela-engine`, with a part of a name to run some of
//! them. What a machine that does other things meanwhile shows is no claim.

mod engine;
mod kernels;
mod roofline;
mod sampling;
mod steady;
mod text;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    benches,
    engine::step,
    sampling::sampler,
    text::detokenizer,
    text::server_sent_events,
    kernels::linear,
    kernels::attention,
    kernels::rows
);
criterion_main!(benches);
