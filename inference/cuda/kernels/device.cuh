// What every kernel is made of: how it is exported, shared memory, and sums over warps and blocks in a fixed order.
//
// A kernel has one parameter, a struct of `arguments.cuh`. `KERNEL(name, Arguments, threads, blocks, body)` exports it: `threads` is
// the largest block, `blocks` how many shall fit a multiprocessor.
#pragma once

#include <cstddef>
#include <cstdint>

#include "number.cuh"

#ifdef __CUDACC__

#define KERNEL(name, Arguments, threads, blocks, ...)                                                                    \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ Arguments args) {          \
        __VA_ARGS__;                                                                                                      \
    }
#define SHARED(T, name, count) __shared__ __align__(16) T name[count]
// 2^x, within 2 units in the last place; 0 where that is below the least normal number.
__device__ inline float power_of_2(float x) {
    float out;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
    return out;
}
#define DYNAMIC_SHARED(T, name)                                                                                           \
    extern __shared__ __align__(128) unsigned char dynamic_shared[];                                                      \
    T* name = reinterpret_cast<T*>(dynamic_shared)

#else

#define KERNEL(name, Arguments, threads, blocks, ...)                                                                    \
    static void name(const void* bytes) {                                                                                 \
        const Arguments& args = *static_cast<const Arguments*>(bytes);                                                    \
        __VA_ARGS__;                                                                                                      \
    }                                                                                                                     \
    static const software::Kernel name##_kernel(#name, name, sizeof(Arguments), threads);
#define SHARED(T, name, count)                                                                                            \
    static const char name##_key = 0;                                                                                     \
    T* const name = static_cast<T*>(software::static_shared(&name##_key, sizeof(T) * (count)))
inline float power_of_2(float x) { return std::exp2(x); }
#define DYNAMIC_SHARED(T, name) T* name = static_cast<T*>(software::dynamic_shared())

#endif

// Exports a kernel for each type: `make(suffix, type)`.
#define FOR_EACH_TYPE(make) make(f32, float) make(bf16, bf16) make(f16, f16)

constexpr int WARP_LANES = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

__device__ inline int lane_index() { return threadIdx.x % WARP_LANES; }
__device__ inline int warp_index() { return threadIdx.x / WARP_LANES; }

struct Sum {
    template <class T> __device__ static T of(T a, T b) { return a + b; }
};
struct Greatest {
    template <class T> __device__ static T of(T a, T b) { return a > b ? a : b; }
};

// Over the lanes of a warp; every lane has the result.
template <class Of, class T> __device__ inline T across_warp(T value) {
#pragma unroll
    for (int apart = WARP_LANES / 2; apart > 0; apart /= 2) value = Of::of(value, __shfl_xor_sync(ALL_LANES, value, apart));
    return value;
}

// Over the threads of a block of whole warps; every thread has the result. `parts` is shared memory for one value a warp, which is
// free again when the next barrier is behind.
template <class Of, class T> __device__ inline T across_block(T value, T nothing, T* parts) {
    value = across_warp<Of>(value);
    __syncthreads();
    if (lane_index() == 0) parts[warp_index()] = value;
    __syncthreads();
    int warps = blockDim.x / WARP_LANES;
    return across_warp<Of>(lane_index() < warps ? parts[lane_index()] : nothing);
}
