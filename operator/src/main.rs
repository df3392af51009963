//! The operator: turns InferenceServices into pods that run `candela-engine`.
fn main() {}
