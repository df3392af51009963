// CUDA C++ for a compiler that knows only C++: included before a kernel's source, it gives the words, types and functions that our
// kernels use a meaning on the processor. What is missing here does not compile.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "block.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) alignas(bytes)

struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

#define threadIdx (software::running.thread->index)
#define blockIdx (software::running.block_index)
#define blockDim (software::running.block_size)
#define gridDim (software::running.grid_size)

inline void __syncthreads() { software::barrier(false); }
inline int __syncthreads_count(int predicate) { return static_cast<int>(software::barrier(predicate != 0)); }
inline int __syncthreads_or(int predicate) { return software::barrier(predicate != 0) != 0; }

namespace software {

inline unsigned lane() { return running.thread->lane; }

struct Meet {
    static void run(Meet* const*, unsigned) {}
};

template <class T> struct Shuffle {
    T value, result;
    unsigned from;
    static void run(Shuffle* const* lanes, unsigned mask) {
        for (unsigned lane = 0; lane < WARP; ++lane) {
            if (!(mask >> lane & 1u)) continue;
            unsigned from = lanes[lane]->from % WARP;
            if (!(mask >> from & 1u)) fail("lane %u reads lane %u, which is not in the mask %08x", lane, from, mask);
            lanes[lane]->result = lanes[from]->value;
        }
    }
};

struct Ballot {
    bool predicate;
    unsigned result;
    static void run(Ballot* const* lanes, unsigned mask) {
        unsigned votes = 0;
        for (unsigned lane = 0; lane < WARP; ++lane)
            if (mask >> lane & 1u && lanes[lane]->predicate) votes |= 1u << lane;
        for (unsigned lane = 0; lane < WARP; ++lane)
            if (mask >> lane & 1u) lanes[lane]->result = votes;
    }
};

template <class T> T shuffle(unsigned mask, T value, unsigned from) {
    Shuffle<T> operation{value, value, from};
    in_warp(mask, operation);
    return operation.result;
}

}  // namespace software

inline void __syncwarp(unsigned mask = ~0u) {
    software::Meet meet;
    software::in_warp(mask, meet);
}
template <class T> T __shfl_sync(unsigned mask, T value, int from) {
    return software::shuffle(mask, value, static_cast<unsigned>(from));
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int with) {
    return software::shuffle(mask, value, software::lane() ^ static_cast<unsigned>(with));
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by) {
    unsigned lane = software::lane();
    return software::shuffle(mask, value, lane < by ? lane : lane - by);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by) {
    unsigned lane = software::lane();
    return software::shuffle(mask, value, lane + by >= software::WARP ? lane : lane + by);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    software::Ballot ballot{predicate != 0, 0};
    software::in_warp(mask, ballot);
    return ballot.result;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

// One thread runs at a time, so that reading and writing is enough.
template <class T> T atomicAdd(T* at, T value) {
    T old = *at;
    *at = old + value;
    return old;
}
template <class T> T atomicMax(T* at, T value) {
    T old = *at;
    if (value > old) *at = value;
    return old;
}
template <class T> T atomicMin(T* at, T value) {
    T old = *at;
    if (value < old) *at = value;
    return old;
}

template <class To, class From> To software_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
inline float __uint_as_float(unsigned bits) { return software_bits<float>(bits); }
inline unsigned __float_as_uint(float number) { return software_bits<unsigned>(number); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __clz(int bits) { return bits == 0 ? 32 : __builtin_clz(static_cast<unsigned>(bits)); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
    uint64_t bytes = static_cast<uint64_t>(high) << 32 | low;
    unsigned out = 0;
    for (unsigned place = 0; place < 4; ++place)
        out |= static_cast<unsigned>(bytes >> (selector >> 4 * place & 7u) * 8 & 0xffu) << 8 * place;
    return out;
}

// The sources are compiled without contraction: each is rounded.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __int_as_float(int bits) { return software_bits<float>(bits); }
using std::max;
using std::min;
inline unsigned min(unsigned a, int b) { return min(a, static_cast<unsigned>(b)); }
