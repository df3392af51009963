// Element by element: y += scale * x, as residual streams of models with multipliers (Granite) need it. One thread takes one element at a
// time and strides by the whole grid, so any grid is right.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace {

template <typename T>
__device__ void add_scaled(T *y, const T *x, float scale, unsigned long long elements) {
    const unsigned long long stride = static_cast<unsigned long long>(gridDim.x) * blockDim.x;
    for (unsigned long long at = static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x; at < elements; at += stride) {
        y[at] = static_cast<T>(static_cast<float>(y[at]) + scale * static_cast<float>(x[at]));
    }
}

}  // namespace

#define ADD_SCALED(name, T)                                                                              \
    extern "C" __global__ void name(T *y, const T *x, float scale, unsigned long long elements) { \
        add_scaled(y, x, scale, elements);                                                             \
    }

ADD_SCALED(add_scaled_bf16, __nv_bfloat16)
ADD_SCALED(add_scaled_f16, __half)
ADD_SCALED(add_scaled_f32, float)
