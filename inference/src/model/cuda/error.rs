//! What can go wrong on a GPU.

use candela_cuda::{
    CudaError,
    cudarc::{cublaslt::result::CublasError, driver::DriverError},
};

/// The GPU, or its libraries, refused.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// The driver.
    #[error("{doing}: {error}")]
    Driver {
        /// What was being done.
        doing: String,
        /// What it said.
        error: DriverError,
    },
    /// cuBLASLt.
    #[error("{doing}: {error}")]
    Blas {
        /// What was being done.
        doing: String,
        /// What it said.
        error: CublasError,
    },
    /// The GPU's memory does not hold it.
    #[error(
        "{bytes} of the GPU's memory cannot be had for {what}: lower --gpu-memory-utilization, or free what others hold of it"
    )]
    NoMemory {
        /// How much.
        bytes: crate::model::Bytes,
        /// What for.
        what: String,
    },
    /// There is no such kernel.
    #[error(transparent)]
    Kernels(#[from] CudaError),
}

impl GpuError {
    pub(super) fn driver(doing: &str) -> impl FnOnce(DriverError) -> Self {
        |error| Self::Driver {
            doing: doing.to_owned(),
            error,
        }
    }

    pub(super) fn blas(doing: &str) -> impl FnOnce(CublasError) -> Self {
        |error| Self::Blas {
            doing: doing.to_owned(),
            error,
        }
    }
}
