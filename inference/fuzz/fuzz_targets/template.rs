//! See `src/template.rs`.
#![no_main]

// The engine catches panics of the library it hands these files to; only what it does not catch ends
// the run.
libfuzzer_sys::fuzz_target!(
    init: std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))),
    |data: &[u8]| candela_fuzz::template::run(data)
);
