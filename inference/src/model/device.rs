//! What the engine computes on: the processors, or a GPU. Asked first of all, so that a device which is not there ends the start at once.

use candela_flags::Device as Asked;

/// A device that models can be loaded on.
pub enum Device {
    /// The processors.
    Cpu,
    /// A GPU, opened.
    #[cfg(feature = "cuda")]
    Cuda(Box<candela_cuda::Gpu>),
}

/// The device asked for cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The engine is built without CUDA.
    #[error(
        "--device={0}: this engine is built for CPUs only; take the GPU image (candela-engine-gpu; `make images-gpu` builds it), or run \
         it with --device=cpu"
    )]
    BuiltForCpus(Asked),
    /// The GPU cannot be used.
    #[cfg(feature = "cuda")]
    #[error("--device={asked}: {error}")]
    Cuda {
        /// The device asked for.
        asked: Asked,
        /// What is missing, and what to do.
        error: Box<candela_cuda::CudaError>,
    },
}

/// Opens the device that is asked for, and logs which it is.
///
/// # Errors
/// [`DeviceError`], when it is not there or cannot be used.
pub fn open(asked: Asked) -> Result<Device, DeviceError> {
    match asked {
        Asked::Cpu => {
            tracing::info!(device = "cpu", "device");
            Ok(Device::Cpu)
        }
        Asked::Auto => open_auto(),
        Asked::Cuda(_) => open_gpu(asked),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_auto() -> Result<Device, DeviceError> {
    tracing::info!(device = "cpu", why = "built for CPUs only", "device");
    Ok(Device::Cpu)
}

#[cfg(not(feature = "cuda"))]
fn open_gpu(asked: Asked) -> Result<Device, DeviceError> {
    Err(DeviceError::BuiltForCpus(asked))
}

/// The first GPU, or the processors where there is none. A GPU that is there and cannot be used is an error: whoever pays for one should
/// hear it.
#[cfg(feature = "cuda")]
fn open_auto() -> Result<Device, DeviceError> {
    use candela_cuda::CudaError;
    match open_gpu(Asked::Auto) {
        Err(DeviceError::Cuda { error, .. })
            if matches!(*error, CudaError::NoDriver { .. } | CudaError::NoDevice) =>
        {
            tracing::info!(device = "cpu", why = %error, "device");
            Ok(Device::Cpu)
        }
        opened => opened,
    }
}

#[cfg(feature = "cuda")]
fn open_gpu(asked: Asked) -> Result<Device, DeviceError> {
    let index = match asked {
        Asked::Cuda(index) => Some(index as usize),
        Asked::Auto | Asked::Cpu => None,
    };
    let error = |error| DeviceError::Cuda {
        asked,
        error: Box::new(error),
    };
    let gpu = candela_cuda::Gpu::open(index).map_err(error)?;
    let (major, minor) = gpu.info.compute_capability;
    let free = gpu.free_bytes().map_err(error)?;
    tracing::info!(
        device = %format_args!("cuda:{}", gpu.info.index),
        name = gpu.info.name,
        uuid = gpu.info.uuid,
        compute_capability = %format_args!("{major}.{minor}"),
        memory = %super::bytes::Bytes(gpu.info.total_bytes),
        free = %super::bytes::Bytes(free),
        "device"
    );
    Ok(Device::Cuda(Box::new(gpu)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_are_always_there() {
        assert!(matches!(open(Asked::Cpu), Ok(Device::Cpu)));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn an_engine_for_cpus_says_which_image_has_cuda() {
        assert!(matches!(open(Asked::Auto), Ok(Device::Cpu)));
        let error = open(Asked::Cuda(1)).err().expect("there is no CUDA in it");
        let error = error.to_string();
        assert!(
            error.contains("--device=cuda:1") && error.contains("candela-engine-gpu"),
            "{error}"
        );
    }
}
