//! Memory of the device, and memory of the host that the device copies from and to without the processor.

use std::sync::Arc;

use candela_cuda::{
    arguments::Pointer,
    cudarc::driver::{CudaStream, result},
};

use super::error::GpuError;
use crate::model::Bytes;

/// What cuBLASLt's fastest algorithms want of an address.
pub(super) const ALIGNMENT: usize = 256;

/// Some of the device's memory.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) address: Pointer,
    bytes: usize,
    stream: Arc<CudaStream>,
}

impl Memory {
    /// `bytes` of it, whatever is in them.
    pub(super) fn new(
        stream: &Arc<CudaStream>,
        bytes: usize,
        what: &str,
    ) -> Result<Self, GpuError> {
        let refused = |_| GpuError::NoMemory {
            bytes: Bytes(bytes),
            what: what.to_owned(),
        };
        #[expect(unsafe_code, reason = "the driver's own call")]
        // SAFETY: it is freed once, by `drop`.
        let address = unsafe { result::malloc_sync(bytes.max(1)) }.map_err(refused)?;
        Ok(Self {
            address,
            bytes,
            stream: Arc::clone(stream),
        })
    }

    /// Holds these numbers.
    pub(super) fn of<T: Copy>(
        stream: &Arc<CudaStream>,
        numbers: &[T],
        what: &str,
    ) -> Result<Self, GpuError> {
        let memory = Self::new(stream, size_of_val(numbers), what)?;
        memory.fill(0, numbers)?;
        Ok(memory)
    }

    /// Copies numbers to it, from byte `at` on. They may be given up when this returns.
    pub(super) fn fill<T: Copy>(&self, at: usize, numbers: &[T]) -> Result<(), GpuError> {
        assert!(
            at + size_of_val(numbers) <= self.bytes,
            "written beyond the memory"
        );
        if numbers.is_empty() {
            return Ok(());
        }
        #[expect(unsafe_code, reason = "the driver's own call")]
        // SAFETY: there is room for them, as was just checked.
        unsafe { result::memcpy_htod_sync(self.address + at as u64, numbers) }
            .map_err(GpuError::driver("copying to the GPU"))
    }
}

/// Copies so many numbers from the device, when the stream has come to it, behind those in `to`.
pub(super) fn copy_from(
    stream: &CudaStream,
    from: Pointer,
    count: usize,
    to: &mut Vec<f32>,
) -> Result<(), GpuError> {
    let before = to.len();
    to.resize(before + count, 0.0);
    #[expect(unsafe_code, reason = "the driver's own call")]
    // SAFETY: the caller gives a place that has them, and they are here when this returns.
    unsafe { result::memcpy_dtoh_async(&mut to[before..], from, stream.cu_stream()) }
        .and_then(|()| stream.synchronize())
        .map_err(GpuError::driver("copying from the GPU"))
}

impl Drop for Memory {
    fn drop(&mut self) {
        // What the device still does may use it; a device that is broken frees nothing, and nobody is left to hear of it.
        let _ = self.stream.synchronize();
        #[expect(unsafe_code, reason = "the driver's own call")]
        // SAFETY: `new` got it, and nothing on the stream uses it any more.
        let _ = unsafe { result::free_sync(self.address) };
    }
}

/// Memory of the host that stays where it is.
#[derive(Debug)]
pub(super) struct Pinned<T> {
    numbers: *mut T,
    count: usize,
}

#[expect(unsafe_code, reason = "it is owned as a Vec owns its numbers")]
// SAFETY: nobody else has the pointer.
unsafe impl<T: Send> Send for Pinned<T> {}

impl<T: Copy + Default> Pinned<T> {
    pub(super) fn new(count: usize, what: &str) -> Result<Self, GpuError> {
        #[expect(unsafe_code, reason = "the driver's own call")]
        // SAFETY: it is freed once, by `drop`.
        let numbers = unsafe { result::malloc_host((count * size_of::<T>()).max(1), 0) };
        let numbers: *mut T = numbers
            .map_err(GpuError::driver(&format!(
                "pinning {} of the host's memory for {what}",
                Bytes(count * size_of::<T>())
            )))?
            .cast();
        for at in 0..count {
            #[expect(unsafe_code, reason = "the memory is not initialized yet")]
            // SAFETY: it lies within what was given, which is aligned to pages.
            unsafe {
                numbers.add(at).write(T::default());
            }
        }
        Ok(Self { numbers, count })
    }

    pub(super) fn numbers(&self) -> &[T] {
        #[expect(unsafe_code, reason = "it is owned as a Vec owns its numbers")]
        // SAFETY: `new` initialized all of them.
        unsafe {
            std::slice::from_raw_parts(self.numbers, self.count)
        }
    }

    pub(super) fn numbers_mut(&mut self) -> &mut [T] {
        #[expect(unsafe_code, reason = "it is owned as a Vec owns its numbers")]
        // SAFETY: `new` initialized all of them, and nobody else has the pointer.
        unsafe {
            std::slice::from_raw_parts_mut(self.numbers, self.count)
        }
    }

    /// Begins to copy the first `count` numbers to the device. They must stay as they are until the stream is done.
    pub(super) fn send(
        &self,
        stream: &CudaStream,
        count: usize,
        to: Pointer,
    ) -> Result<(), GpuError> {
        if count == 0 {
            return Ok(());
        }
        #[expect(unsafe_code, reason = "the driver's own call")]
        // SAFETY: the caller gives a place with room for them, and waits for the stream before it changes them.
        unsafe { result::memcpy_htod_async(to, &self.numbers()[..count], stream.cu_stream()) }
            .map_err(GpuError::driver("copying to the GPU"))
    }

    /// Begins to copy so many numbers from the device; they are here when the stream is done.
    pub(super) fn receive(
        &mut self,
        stream: &CudaStream,
        count: usize,
        from: Pointer,
    ) -> Result<(), GpuError> {
        let to = &mut self.numbers_mut()[..count];
        #[expect(unsafe_code, reason = "the driver's own call")]
        // SAFETY: the caller gives a place that has them, and waits for the stream before it reads them.
        unsafe { result::memcpy_dtoh_async(to, from, stream.cu_stream()) }
            .map_err(GpuError::driver("copying from the GPU"))
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "the driver's own call")]
        // SAFETY: `new` got it. Copies are waited for by whoever began them.
        let _ = unsafe { result::free_host(self.numbers.cast()) };
    }
}
