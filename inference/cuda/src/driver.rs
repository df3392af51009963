//! Whether this machine can compute with CUDA: its driver and the libraries. Every reason why not says what to do about it.

use std::error::Error;

use candle_core::cuda_backend::cudarc::driver::{DriverError, result, sys};
use libloading::Library;

/// Version of CUDA that the engine was built with, as the driver counts: 13000 is 13.0.
const BUILT_WITH: i32 = parse(env!("CANDELA_CUDA_VERSION"));

/// The GPU cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// There is no driver.
    #[error(
        "this machine has no NVIDIA driver ({why}): run the engine on a GPU node, in a container through NVIDIA's \
         container toolkit, or with --device=cpu"
    )]
    NoDriver {
        /// What the loader says.
        why: String,
    },
    /// The driver is older than what the engine was built with.
    #[error(
        "the NVIDIA driver supports CUDA up to {}.{}, and this engine needs {}.{}: update the driver (CUDA 13 came with \
         version 580), or run with --device=cpu",
        has / 1000, has % 1000 / 10, BUILT_WITH / 1000, BUILT_WITH % 1000 / 10
    )]
    DriverTooOld {
        /// Version of CUDA that the driver supports, such as 12040.
        has: i32,
    },
    /// The driver has no GPU for this process.
    #[error(
        "the NVIDIA driver shows this process no GPU: give the pod a limit of nvidia.com/gpu, look at CUDA_VISIBLE_DEVICES and \
         NVIDIA_VISIBLE_DEVICES, or run with --device=cpu"
    )]
    NoDevice,
    /// There are fewer GPUs.
    #[error(
        "--device=cuda:{asked} was asked for, and there are {count} GPUs, counted from 0: {names}"
    )]
    NoSuchDevice {
        /// The index asked for.
        asked: usize,
        /// How many there are.
        count: usize,
        /// Their names.
        names: String,
    },
    /// The GPU cannot run the kernels.
    #[error(
        "{name} has compute capability {}.{}, and the kernels are compiled for {}: take a newer GPU, or build the engine with \
         CANDELA_CUDA_ARCHITECTURES",
        capability.0, capability.1, crate::ARCHITECTURES
    )]
    NoKernelImage {
        /// Name of the GPU.
        name: String,
        /// Its compute capability.
        capability: (i32, i32),
    },
    /// A library that comes with the engine's image is not there.
    #[error(
        "{file} cannot be loaded ({why}): install CUDA's libraries, or use the engine's GPU image, which has it"
    )]
    NoLibrary {
        /// Its file.
        file: &'static str,
        /// What the loader says.
        why: String,
    },
    /// The driver refused.
    #[error("{doing} failed: {error}")]
    Driver {
        /// What was being done.
        doing: String,
        /// What it said.
        error: DriverError,
    },
    /// candle refused.
    #[error("{doing} failed: {error}")]
    Candle {
        /// What was being done.
        doing: String,
        /// What it said.
        error: candle_core::Error,
    },
}

impl CudaError {
    pub(crate) fn driver(doing: impl Into<String>) -> impl FnOnce(DriverError) -> Self {
        |error| Self::Driver {
            doing: doing.into(),
            error,
        }
    }
}

/// Starts the driver. After this its functions can be called.
///
/// # Errors
/// [`CudaError`], when there is no driver, none that is new enough, or no GPU.
pub(crate) fn start() -> Result<(), CudaError> {
    load(env!("CANDELA_CUDA")).map_err(|why| CudaError::NoDriver { why })?;
    let version = version()?;
    // A driver runs what was built for any minor version of its own major one.
    if version / 1000 < BUILT_WITH / 1000 {
        return Err(CudaError::DriverTooOld { has: version });
    }
    result::init().map_err(|error| match error.0 {
        sys::CUresult::CUDA_ERROR_NO_DEVICE => CudaError::NoDevice,
        _ => CudaError::driver("starting the NVIDIA driver")(error),
    })
}

/// Looks for the libraries that computing takes.
///
/// # Errors
/// [`CudaError::NoLibrary`], naming it.
pub(crate) fn check_libraries() -> Result<(), CudaError> {
    for file in [env!("CANDELA_CUBLASLT"), env!("CANDELA_CUBLAS")] {
        load(file).map_err(|why| CudaError::NoLibrary { file, why })?;
    }
    Ok(())
}

/// Loads a shared library, for as long as the process lives.
fn load(file: &str) -> Result<(), String> {
    #[expect(unsafe_code, reason = "loading a library runs its constructors")]
    // SAFETY: these are NVIDIA's, under the names that the linker would have taken them by at the program's start.
    let library = unsafe { Library::new(file) };
    library.map(std::mem::forget).map_err(|error| {
        let why = error.source().map(ToString::to_string);
        why.unwrap_or_else(|| error.to_string())
    })
}

fn version() -> Result<i32, CudaError> {
    let mut version = 0;
    #[expect(unsafe_code, reason = "cudarc has no safe way to ask for it")]
    // SAFETY: the driver is loaded, and writes one number.
    let status = unsafe { sys::cuDriverGetVersion(&mut version) };
    status.result().map_err(CudaError::driver(
        "asking the NVIDIA driver for its version",
    ))?;
    Ok(version)
}

const fn parse(digits: &str) -> i32 {
    match i32::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("build.rs gives digits"),
    }
}
