//! The engine's own kernels: what `build.rs` compiled of `kernels/*.cu`, loaded on a device.

use std::{collections::BTreeMap, sync::Arc};

use candle_core::cuda_backend::{
    CudaDevice,
    cudarc::{
        driver::{CudaFunction, CudaModule, sys::CUresult},
        nvrtc::Ptx,
    },
};

use crate::{CudaError, DeviceInfo};

include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// The kernels on one device.
pub struct Kernels {
    modules: BTreeMap<&'static str, Arc<CudaModule>>,
}

impl Kernels {
    /// Loads every file of kernels. Where the GPU has no machine code in them, the driver compiles it now.
    pub(crate) fn load(device: &CudaDevice, info: &DeviceInfo) -> Result<Self, CudaError> {
        let stream = device.cuda_stream();
        let mut modules = BTreeMap::new();
        for &(name, code) in MODULES {
            let module = stream
                .context()
                .load_module(Ptx::from_binary(code.to_vec()));
            let module = module.map_err(|error| match error.0 {
                CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU => CudaError::NoKernelImage {
                    name: info.name.clone(),
                    capability: info.compute_capability,
                },
                _ => CudaError::driver(format!("loading the kernels of {name}.cu"))(error),
            })?;
            modules.insert(name, module);
        }
        Ok(Self { modules })
    }

    /// A kernel by its file's name without ending and its own. Take it once and keep it: the driver searches by name.
    ///
    /// # Errors
    /// [`CudaError::Driver`], when the file has no such kernel.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn function(&self, file: &str, kernel: &str) -> Result<CudaFunction, CudaError> {
        let module = self.modules.get(file);
        let module = module.unwrap_or_else(|| panic!("kernels/{file}.cu does not exist"));
        module
            .load_function(kernel)
            .map_err(CudaError::driver(format!(
                "finding the kernel {kernel} of {file}.cu"
            )))
    }
}
