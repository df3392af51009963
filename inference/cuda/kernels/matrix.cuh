// Tensor cores, and the ways of operands to them: products of 16 x 16 by 16 x 8 numbers of a warp, matrices of 8 x 8 out of shared memory,
// copies into shared memory that run beside the arithmetic. On the software device they have another body (`matrix.h` there).
//
// How a product's operands lie in a warp, with row = lane / 4 and pair = 2 · (lane % 4):
// a[0] (row, pair), a[1] (row + 8, pair), a[2] (row, pair + 8), a[3] (row + 8, pair + 8), two numbers side by side each;
// b0 numbers pair and pair + 1 of column lane / 4, b1 those at pair + 8; sums 0, 1 (row, pair and pair + 1), sums 2, 3 (row + 8).
#pragma once

#include "device.cuh"

// Two numbers in one register, the first in the low half.
template <class T> __device__ inline uint32_t pack(float low, float high) {
    Numbers<T, 2> both;
    both.at[0] = narrow<T>(low);
    both.at[1] = narrow<T>(high);
    return *reinterpret_cast<uint32_t*>(&both);
}

#ifdef __CUDACC__

template <class T> __device__ inline void multiply(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);

template <> __device__ inline void multiply<bf16>(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <> __device__ inline void multiply<f16>(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four matrices of 8 x 8 numbers of 16 bits; lane i gives the address of row i % 8 of matrix i / 8 and gets, of each, the pair at
// row lane / 4 and column pair.
__device__ inline void load_matrices(uint32_t (&out)[4], const void* row) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(address)
                 : "memory");
}

// The same of the matrices turned over.
__device__ inline void load_matrices_transposed(uint32_t (&out)[4], const void* row) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(address)
                 : "memory");
}

// Begins to copy 16 bytes to shared memory, or zeros where `there` is false.
__device__ inline void copy_begin(void* to, const void* from, bool there) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    int bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
}

// Ends a group of copies.
__device__ inline void copy_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until no more than `LATEST` groups of this thread are under way.
template <int LATEST> __device__ inline void copy_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(LATEST) : "memory"); }

#else

#include "matrix.h"

template <class T> void multiply(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    software::MatrixProduct product{sums, a, {b0, b1}, [](uint16_t bits) { return widen(software_bits<T>(bits)); }};
    software::in_warp(ALL_LANES, product);
}

inline void load_matrices(uint32_t (&out)[4], const void* row) {
    software::MatrixLoad load{out, row, false};
    software::in_warp(ALL_LANES, load);
}

inline void load_matrices_transposed(uint32_t (&out)[4], const void* row) {
    software::MatrixLoad load{out, row, true};
    software::in_warp(ALL_LANES, load);
}

inline void copy_begin(void* to, const void* from, bool there) { software::copy_begin(to, from, there ? 16 : 0, 16); }
inline void copy_group() { software::copy_group(); }
template <int LATEST> void copy_wait() { software::copy_wait(LATEST); }

#endif
