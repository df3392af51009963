//! What the fuzz targets run. The engine's own tests run the same functions over the committed corpus
//! (`inference/tests/fuzz_corpus.rs`), so that a finding stays fixed where there is no fuzzer.

pub mod body;
pub mod safetensors;
pub mod stream;
pub mod template;
pub mod tokenizer;
