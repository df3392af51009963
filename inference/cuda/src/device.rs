//! The GPUs of this machine, and one of them opened for the engine.

use std::sync::Arc;

use candle_core::cuda_backend::{
    CudaDevice,
    cudarc::driver::{CudaStream, DriverError, result::device, sys},
};

use crate::{CudaError, Kernels, driver};

/// A GPU, as the driver describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its place among those that this process sees, from 0 (`CUDA_VISIBLE_DEVICES` decides which, and in which order).
    pub index: usize,
    /// Its name, such as `NVIDIA H200`.
    pub name: String,
    /// What identifies it, as `nvidia-smi -L` has it: `GPU-` and 16 bytes in hexadecimal.
    pub uuid: String,
    /// Its compute capability, such as (9, 0).
    pub compute_capability: (i32, i32),
    /// Its memory, in bytes.
    pub total_bytes: usize,
}

/// The GPUs that this process sees, none of them used yet.
///
/// # Errors
/// [`CudaError`], when there is no driver, none that is new enough, or no GPU.
pub fn devices() -> Result<Vec<DeviceInfo>, CudaError> {
    driver::start()?;
    let count = device::get_count().map_err(CudaError::driver("counting the GPUs"))?;
    let devices = (0..count).map(|index| {
        describe(index).map_err(CudaError::driver(format!("asking what GPU {index} is")))
    });
    let devices: Vec<DeviceInfo> = devices.collect::<Result<_, _>>()?;
    if devices.is_empty() {
        return Err(CudaError::NoDevice);
    }
    Ok(devices)
}

fn describe(index: i32) -> Result<DeviceInfo, DriverError> {
    use sys::CUdevice_attribute as Attribute;
    let gpu = device::get(index)?;
    #[expect(unsafe_code, reason = "cudarc marks what takes a device's number")]
    // SAFETY: the driver gave the number.
    let (major, minor, total_bytes) = unsafe {
        (
            device::get_attribute(gpu, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            device::get_attribute(gpu, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            device::total_mem(gpu)?,
        )
    };
    Ok(DeviceInfo {
        index: index.unsigned_abs() as usize,
        name: device::get_name(gpu)?,
        uuid: uuid_text(&device::get_uuid(gpu)?),
        compute_capability: (major, minor),
        total_bytes,
    })
}

fn uuid_text(uuid: &sys::CUuuid) -> String {
    let mut text = "GPU".to_owned();
    for (at, byte) in uuid.bytes.iter().enumerate() {
        if matches!(at, 0 | 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text += &format!("{:02x}", *byte as u8);
    }
    text
}

/// A GPU that the engine computes on: candle's device, with one stream of its own that everything runs on, and the kernels.
pub struct Gpu {
    /// What it is.
    pub info: DeviceInfo,
    /// candle's device. Its stream can be captured into graphs, and no use of its memory is tracked by events.
    pub device: CudaDevice,
    /// The engine's kernels, loaded.
    pub kernels: Kernels,
}

impl Gpu {
    /// Opens the GPU at `index`, the first where none is given.
    ///
    /// # Errors
    /// [`CudaError`], saying what is missing on this machine, or which step failed.
    pub fn open(index: Option<usize>) -> Result<Self, CudaError> {
        let devices = devices()?;
        let asked = index.unwrap_or(0);
        let Some(info) = devices.get(asked).cloned() else {
            let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
            let (count, names) = (devices.len(), names.join(", "));
            return Err(CudaError::NoSuchDevice {
                asked,
                count,
                names,
            });
        };
        driver::check_libraries()?;
        let device = CudaDevice::new_with_stream(asked).map_err(|error| CudaError::Candle {
            doing: format!("opening GPU {asked}, {}", info.name),
            error,
        })?;
        #[expect(
            unsafe_code,
            reason = "events cost time at every launch, and cannot be captured"
        )]
        // SAFETY: everything on this device runs on its one stream, in order.
        unsafe {
            device.disable_event_tracking();
        }
        let kernels = Kernels::load(&device, &info)?;
        Ok(Self {
            info,
            device,
            kernels,
        })
    }

    /// The stream that everything runs on.
    pub fn stream(&self) -> Arc<CudaStream> {
        self.device.cuda_stream()
    }

    /// Memory that is free on it now, in bytes. Other processes take from the same.
    ///
    /// # Errors
    /// [`CudaError::Driver`].
    pub fn free_bytes(&self) -> Result<usize, CudaError> {
        let (free, _) = self
            .stream()
            .context()
            .mem_get_info()
            .map_err(CudaError::driver(
                "asking how much of the GPU's memory is free",
            ))?;
        Ok(free)
    }
}
