//! GPUs: which a machine has, and the engine's own kernels on one of them. Empty without the feature `cuda`.
//!
//! `driver.rs` says whether CUDA can be used here, and why not; `device.rs` finds the GPUs and opens one; `kernels.rs` loads what `build.rs`
//! compiled of `kernels/*.cu`, `launch.rs` launches them with the structs of `arguments.rs`. The program is linked with none of CUDA's libraries (`build/late.rs`): they are found when first
//! called, so ask [`devices`] or [`Gpu::open`] before anything else here or of candle's CUDA backend.
#![cfg(feature = "cuda")]

pub mod arguments;
mod device;
mod driver;
mod kernels;
mod launch;

pub use device::{DeviceInfo, Gpu, devices};
pub use driver::CudaError;
pub use kernels::{ARCHITECTURES, Kernels};
pub use launch::Kernel;

pub use candle_core::cuda_backend::cudarc;
