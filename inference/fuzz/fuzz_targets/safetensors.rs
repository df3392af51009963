//! See `src/safetensors.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| candela_fuzz::safetensors::run(data));
