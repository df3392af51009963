//! Builds what Rust alone cannot: the kernels (`kernels/*.cu`, by nvcc) and the archives that stand in for CUDA's
//! shared libraries. Without the feature `cuda` it does nothing.

#[path = "build/kernels.rs"]
mod kernels;
#[path = "build/late.rs"]
mod late;
#[path = "build/toolkit.rs"]
mod toolkit;

use std::{env, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return ExitCode::SUCCESS;
    }
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            for line in message.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo set no OUT_DIR")?);
    let toolkit = toolkit::Toolkit::find()?;
    late::build(&toolkit, &out)?;
    kernels::build(&toolkit, &out)
}
