//! The kernels and CUDA's libraries as the engine calls them, through candle and cudarc, on the device of software: arguments arrive as
//! the kernels declare them, a captured graph reads what its memory holds when it is replayed, matrix products are right.
//! With CANDELA_GPU=1 the same runs on the machine's GPU.
#![cfg(feature = "cuda")]
#![expect(
    unsafe_code,
    reason = "kernels are launched, which nobody can check here"
)]

use std::{ffi::c_void, path::Path, process::Command, sync::OnceLock};

use candela_cuda::Gpu;
use candle_core::{
    Device, Tensor,
    cuda_backend::cudarc::driver::{
        CudaSlice, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg, sys,
    },
};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// Opens the GPU; where none is asked for, that of software, whose libraries then are those that everyone finds by their names.
fn gpu() -> Gpu {
    static SOFTWARE: OnceLock<()> = OnceLock::new();
    SOFTWARE.get_or_init(|| {
        if std::env::var_os("CANDELA_GPU").is_some() {
            return;
        }
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("software/build.sh");
        let built = Command::new("bash").arg(build).output().unwrap();
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        let folder = String::from_utf8(built.stdout).unwrap();
        for file in ["libcuda.so.1", "libcublasLt.so.13", "libcublas.so.13"] {
            let path = Path::new(folder.trim()).join(file);
            // SAFETY: these are built from this repository, and stay loaded.
            let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
            std::mem::forget(library.unwrap());
        }
    });
    Gpu::open(None).unwrap()
}

/// As `Gather` of `kernels/arguments.cuh`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Gather {
    matrix: *const c_void,
    ids: *const c_void,
    out: *const c_void,
    matrix_rows: u32,
    width: u32,
    scale: f32,
}

// SAFETY: plain numbers, as the kernel declares them.
unsafe impl DeviceRepr for Gather {}

fn pointer<T>(gpu: &Gpu, memory: &CudaSlice<T>) -> *const c_void {
    memory.device_ptr(&gpu.stream()).0 as *const c_void
}

fn launch_gather(gpu: &Gpu, rows: u32, arguments: &Gather) {
    let stream = gpu.stream();
    let function = gpu.kernels.function("embedding", "gather_f32").unwrap();
    let shape = LaunchConfig {
        grid_dim: (rows, 1, 1),
        block_dim: (256, 1, 1),
        shared_mem_bytes: 0,
    };
    // SAFETY: the pointers are to memory of the sizes that the numbers say.
    unsafe { stream.launch_builder(&function).arg(arguments).launch(shape) }.unwrap();
}

#[test]
fn a_graph_reads_what_its_memory_holds_when_it_is_replayed() {
    let gpu = gpu();
    let stream = gpu.stream();
    let matrix: Vec<f32> = (0..12).map(|number| number as f32).collect();
    let matrix = stream.clone_htod(&matrix).unwrap();
    let mut ids = stream.clone_htod(&[0u32, 1]).unwrap();
    let out = stream.alloc_zeros::<f32>(6).unwrap();
    let arguments = Gather {
        matrix: pointer(&gpu, &matrix),
        ids: pointer(&gpu, &ids),
        out: pointer(&gpu, &out),
        matrix_rows: 4,
        width: 3,
        scale: 2.0,
    };
    stream.synchronize().unwrap();
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    stream.begin_capture(mode).unwrap();
    launch_gather(&gpu, 2, &arguments);
    let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let graph = stream.end_capture(flags).unwrap().unwrap();
    for (chosen, expected) in [
        ([3u32, 0], [18.0f32, 20.0, 22.0, 0.0, 2.0, 4.0]),
        ([1, 2], [6.0, 8.0, 10.0, 12.0, 14.0, 16.0]),
    ] {
        stream.memcpy_htod(&chosen, &mut ids).unwrap();
        graph.launch().unwrap();
        assert_eq!(stream.clone_dtoh(&out).unwrap(), expected);
    }
}

#[test]
fn matrix_products_go_through_cublas() {
    let gpu = gpu();
    let device = Device::Cuda(gpu.device.clone());
    let (rows, inner, columns) = (3usize, 5usize, 4usize);
    let numbers = |count: usize, step: f32| -> Vec<f32> {
        (0..count).map(|at| (at as f32 * step).sin()).collect()
    };
    let (x, w) = (numbers(rows * inner, 0.7), numbers(columns * inner, 1.3));
    let on_device = Tensor::from_slice(&x, (rows, inner), &device).unwrap();
    let weight = Tensor::from_slice(&w, (columns, inner), &device).unwrap();
    let product = on_device.matmul(&weight.t().unwrap()).unwrap();
    let seen: Vec<f32> = product.flatten_all().unwrap().to_vec1().unwrap();
    for (at, seen) in seen.iter().enumerate() {
        let (row, column) = (at / columns, at % columns);
        let expected: f32 = (0..inner)
            .map(|k| x[row * inner + k] * w[column * inner + k])
            .sum();
        assert!((seen - expected).abs() < 1e-5, "{at}: {seen}, not {expected}");
    }
}

#[test]
fn memory_that_is_allocated_is_not_free() {
    let gpu = gpu();
    let before = gpu.free_bytes().unwrap();
    let taken = gpu.stream().alloc_zeros::<u8>(1 << 26).unwrap();
    gpu.stream().synchronize().unwrap();
    assert!(gpu.free_bytes().unwrap() < before);
    drop(taken);
}
