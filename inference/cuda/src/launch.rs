//! A kernel with its arguments' type, and its launch.

use std::{marker::PhantomData, mem::size_of, sync::Arc};

use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaStream, DeviceRepr, DriverError, LaunchConfig, PushKernelArg,
    sys::{self, CUfunction_attribute_enum as Attribute},
};

use crate::{CudaError, Kernels};

/// Dynamic shared memory that a kernel gets without being told of it before.
const SHARED_UNTOLD: u32 = 48 * 1024;

/// A kernel that takes an `A`. Made once and kept: the driver searches by name.
#[derive(Debug, Clone)]
pub struct Kernel<A> {
    function: CudaFunction,
    threads: u32,
    shared_bytes: u32,
    takes: PhantomData<A>,
}

impl Kernels {
    /// The kernel `name` of `kernels/<file>.cu`, to be launched with blocks of `threads` and `shared_bytes` of dynamic shared memory.
    ///
    /// # Errors
    /// [`CudaError::Driver`], when the file has no such kernel, it takes something else than an `A`, or the GPU has not that much shared
    /// memory.
    pub fn kernel<A: DeviceRepr>(
        &self,
        file: &str,
        name: &str,
        threads: u32,
        shared_bytes: u32,
    ) -> Result<Kernel<A>, CudaError> {
        let function = self.function(file, name)?;
        let doing = format!("preparing the kernel {name} of {file}.cu");
        check_size::<A>(&function)
            .and_then(|()| tell_shared(&function, shared_bytes))
            .map_err(CudaError::driver(doing))?;
        Ok(Kernel {
            function,
            threads,
            shared_bytes,
            takes: PhantomData,
        })
    }
}

fn check_size<A>(function: &CudaFunction) -> Result<(), DriverError> {
    let (mut offset, mut size) = (0, 0);
    #[expect(unsafe_code, reason = "cudarc has no safe way to ask for it")]
    // SAFETY: the function is loaded, and the driver writes two numbers.
    unsafe { sys::cuFuncGetParamInfo(function.cu_function(), 0, &mut offset, &mut size) }
        .result()?;
    if size == size_of::<A>() {
        Ok(())
    } else {
        Err(DriverError(sys::CUresult::CUDA_ERROR_INVALID_VALUE))
    }
}

fn tell_shared(function: &CudaFunction, bytes: u32) -> Result<(), DriverError> {
    if bytes <= SHARED_UNTOLD {
        return Ok(());
    }
    function.set_attribute(
        Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
        bytes.cast_signed(),
    )
}

impl<A: DeviceRepr> Kernel<A> {
    /// Puts a launch with `grid` blocks (x, y, z) into the stream.
    ///
    /// # Errors
    /// [`DriverError`], when the driver refuses.
    ///
    /// # Safety
    /// The arguments' pointers are to memory of the device, of the sizes and with the contents that `kernels/arguments.cuh` asks for, which
    /// lives until the stream has come past.
    #[expect(unsafe_code, reason = "nobody can check what a kernel is given")]
    pub unsafe fn launch(
        &self,
        stream: &Arc<CudaStream>,
        grid: (u32, u32, u32),
        arguments: &A,
    ) -> Result<(), DriverError> {
        let shape = LaunchConfig {
            grid_dim: grid,
            block_dim: (self.threads, 1, 1),
            shared_mem_bytes: self.shared_bytes,
        };
        let mut launch = stream.launch_builder(&self.function);
        // SAFETY: the caller says so, and the sizes were compared.
        unsafe { launch.arg(arguments).launch(shape) }.map(drop)
    }
}
