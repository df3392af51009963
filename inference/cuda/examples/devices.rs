//! Prints the GPUs that this process sees, or says why there are none: `cargo run -p candela-cuda --features cuda --example devices`.
#![expect(
    clippy::print_stdout,
    reason = "what it prints is what it is called for"
)]

use std::process::ExitCode;

fn main() -> ExitCode {
    match candela_cuda::devices() {
        Ok(devices) => {
            for device in devices {
                let (major, minor) = device.compute_capability;
                println!(
                    "cuda:{} {} {} {major}.{minor} {} bytes",
                    device.index, device.name, device.uuid, device.total_bytes
                );
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
