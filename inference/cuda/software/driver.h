// Types and codes of the driver's interface (libcuda), as CUDA 13's `cuda.h` numbers them; only those that are answered here.
#pragma once

#include <cstddef>
#include <cstdint>

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = uintptr_t;
using Handle = void*;

enum : CUresult {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    LAUNCH_OUT_OF_RESOURCES = 701,
    CAPTURE_UNSUPPORTED = 900,
};

enum : int {
    MAX_THREADS_PER_BLOCK = 1,
    SHARED_PER_BLOCK = 8,
    WARP_SIZE = 10,
    REGISTERS_PER_BLOCK = 12,
    CLOCK_RATE = 13,
    MULTIPROCESSORS = 16,
    INTEGRATED = 18,
    CONCURRENT_KERNELS = 31,
    L2_BYTES = 38,
    THREADS_PER_MULTIPROCESSOR = 39,
    UNIFIED_ADDRESSING = 41,
    CAPABILITY_MAJOR = 75,
    CAPABILITY_MINOR = 76,
    SHARED_PER_MULTIPROCESSOR = 81,
    SHARED_PER_BLOCK_OPTIN = 97,
    MEMORY_POOLS = 115,
};

#define EXPORTED extern "C" __attribute__((visibility("default")))
