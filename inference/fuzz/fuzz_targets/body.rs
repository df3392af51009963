//! See `src/body.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| candela_fuzz::body::run(data));
