// Types of numbers and how they are read: everything is computed in f32 and rounded to the type where the CPU's operations round.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

using bf16 = __nv_bfloat16;
using f16 = __half;

__device__ inline float widen(float x) { return x; }
__device__ inline float widen(bf16 x) { return __bfloat162float(x); }
__device__ inline float widen(f16 x) { return __half2float(x); }

// To the nearest, ties to even.
template <class T> __device__ inline T narrow(float x);
template <> __device__ inline float narrow<float>(float x) { return x; }
template <> __device__ inline bf16 narrow<bf16>(float x) { return __float2bfloat16_rn(x); }
template <> __device__ inline f16 narrow<f16>(float x) { return __float2half_rn(x); }

// The nearest number of the type, in f32.
template <class T> __device__ inline float rounded(float x) { return widen(narrow<T>(x)); }

// Numbers that a thread reads or writes at once.
template <class T, int N> struct alignas(N * sizeof(T)) Numbers {
    T at[N];
};

// As many as 16 bytes hold.
template <class T> constexpr int IN_VECTOR = 16 / sizeof(T);

template <int N, class T> __device__ inline Numbers<T, N> load(const T* from) {
    return *reinterpret_cast<const Numbers<T, N>*>(from);
}
template <class T, int N> __device__ inline void store(T* to, const Numbers<T, N>& numbers) {
    *reinterpret_cast<Numbers<T, N>*>(to) = numbers;
}

#define NOT_A_NUMBER __uint_as_float(0x7fffffffu)
#define INFINITE __uint_as_float(0x7f800000u)

// Whether rows of `width` numbers from `x` on begin at multiples of 16 bytes.
template <class T> __device__ inline bool in_vectors(const T* x, size_t width) {
    return (reinterpret_cast<size_t>(x) | width * sizeof(T)) % 16 == 0;
}
