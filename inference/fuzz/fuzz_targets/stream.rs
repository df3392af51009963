//! See `src/stream.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| candela_fuzz::stream::run(data));
