//! The kernels and CUDA's libraries as the engine calls them, through candle and cudarc, on the device of software: arguments arrive as
//! the kernels declare them, a captured graph reads what its memory holds when it is replayed, matrix products are right.
//! With CANDELA_GPU=1 the same runs on the machine's GPU.
#![cfg(feature = "cuda")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    unsafe_code,
    reason = "kernels are launched, which nobody can check here"
)]

use std::{path::Path, process::Command, sync::OnceLock};

use candela_cuda::{
    Gpu, Kernel,
    arguments::{
        AttentionDecode, AttentionPlan, AttentionPrefill, Dequantize, Elementwise, ExpertsMatmul,
        ExpertsRoute, Gated, Gather, Heads, LayerNorm, Logprobs, PREFILL_SMALL, QuantizedMatmul,
        Residual, RmsNorm, Sampling, prefill_shared_bytes,
    },
};
use candle_core::{
    Device, Tensor,
    cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr, sys},
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

fn pointer<T>(gpu: &Gpu, memory: &CudaSlice<T>) -> u64 {
    memory.device_ptr(&gpu.stream()).0
}

#[test]
fn a_graph_reads_what_its_memory_holds_when_it_is_replayed() {
    let gpu = gpu();
    let stream = gpu.stream();
    let matrix: Vec<f32> = (0..12).map(|number| number as f32).collect();
    let matrix = stream.clone_htod(&matrix).unwrap();
    let mut ids = stream.clone_htod(&[0u32, 1]).unwrap();
    let out = stream.alloc_zeros::<f32>(6).unwrap();
    let gather: Kernel<Gather> = gpu
        .kernels
        .kernel("embedding", "gather_f32", 256, 0)
        .unwrap();
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
    // SAFETY: the memory has the sizes that the numbers say, and lives to the end.
    unsafe { gather.launch(&stream, (2, 1, 1), &arguments) }.unwrap();
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

/// Kernels of a file that take an `A`, for each of the types.
fn take<A: DeviceRepr>(gpu: &Gpu, file: &str, names: &[&str], types: &[&str]) {
    for name in names {
        for of in types {
            let name = format!("{name}{of}");
            if let Err(error) = gpu.kernels.kernel::<A>(file, &name, 128, 0) {
                panic!("{name}: {error}");
            }
        }
    }
}

#[test]
fn every_kernel_takes_the_struct_of_its_name() {
    let gpu = gpu();
    let (all, half): (&[&str], &[&str]) = (&["_f32", "_bf16", "_f16"], &["_bf16", "_f16"]);
    take::<Gather>(&gpu, "embedding", &["gather"], all);
    take::<RmsNorm>(&gpu, "norm", &["rms_norm"], all);
    take::<LayerNorm>(&gpu, "norm", &["layer_norm"], all);
    take::<Residual>(&gpu, "norm", &["residual"], all);
    take::<Heads>(&gpu, "heads", &["heads"], all);
    take::<Gated>(&gpu, "elementwise", &["gated"], all);
    let one_by_one = ["activate", "scale", "add_bias", "add", "narrow", "widen"];
    take::<Elementwise>(&gpu, "elementwise", &one_by_one, all);
    take::<Elementwise>(&gpu, "elementwise", &["logits_scale"], &[""]);
    take::<AttentionPlan>(&gpu, "attention_plan", &["attention_plan"], &[""]);
    take::<AttentionPrefill>(&gpu, "attention_plain", &["attention_plain"], all);
    for dim in [64, 80, 96, 112, 128, 192, 256] {
        let name = format!("attention_decode_{dim}");
        take::<AttentionDecode>(&gpu, "attention_decode", &[&name], half);
        for of in half {
            let name = format!("attention_prefill_{dim}{of}");
            let shared = prefill_shared_bytes(dim);
            gpu.kernels
                .kernel::<AttentionPrefill>("attention_prefill", &name, 128, shared)
                .unwrap();
        }
    }
    for of in half {
        let (dim, _, shared) = PREFILL_SMALL;
        let file = "attention_prefill_small";
        let name = format!("{file}_{dim}{of}");
        gpu.kernels
            .kernel::<AttentionPrefill>(file, &name, 128, shared)
            .unwrap();
    }
    take::<AttentionDecode>(&gpu, "attention_decode", &["attention_join"], half);
    let sampling = ["edit_logits", "sample", "restore_logits"];
    take::<Sampling>(&gpu, "sampling", &sampling, &[""]);
    take::<Logprobs>(&gpu, "logprobs", &["token_logprobs"], &[""]);
    let routing = ["experts_route", "experts_count", "experts_place"];
    take::<ExpertsRoute>(&gpu, "experts", &routing, &[""]);
    take::<ExpertsMatmul>(&gpu, "experts_matmul", &["experts_matmul"], half);
    take::<ExpertsMatmul>(&gpu, "experts", &["experts_matmul"], &["_f32"]);
    take::<ExpertsMatmul>(&gpu, "experts", &["experts_combine"], all);
    for kind in ["q8_0", "q4_k", "q6_k"] {
        let named = |what: &str| format!("{what}_{kind}");
        let (product, wide) = (named("quantized_matmul"), named("quantized_matmul_wide"));
        take::<QuantizedMatmul>(&gpu, "quantized", &[&product], all);
        take::<QuantizedMatmul>(&gpu, "quantized", &[&wide], half);
        let (rows, gather) = (named("dequantize"), named("quantized_gather"));
        take::<Dequantize>(&gpu, "quantized", &[&rows, &gather], all);
    }
    let other = gpu.kernels.kernel::<Gated>("norm", "rms_norm_f32", 256, 0);
    assert!(other.is_err(), "a struct of another size");
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
        assert!(
            (seen - expected).abs() < 1e-5,
            "{at}: {seen}, not {expected}"
        );
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
