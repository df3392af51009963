// Norms over rows, one block a row. A thread keeps the numbers that it read in shared memory, so that a row is read once.
#include "arguments.cuh"
#include "device.cuh"

// Rounds the normed number where the family does.
template <class T> __device__ inline T weighed(float x, float scale, float weight, bool weight_in_f32) {
    float normed = x * scale;
    return narrow<T>((weight_in_f32 ? normed : rounded<T>(normed)) * weight);
}

__device__ inline float inverse_root(float squares, uint32_t width, float eps) {
    return 1.0f / sqrtf(squares / float(width) + eps);
}

template <class T, int N> __device__ inline float squares_of(const Numbers<T, N>& numbers) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < N; ++i) sum += widen(numbers.at[i]) * widen(numbers.at[i]);
    return sum;
}

// Norms the numbers that the block's threads hold and writes them to `out`.
template <class T, int N>
__device__ void write_normed(const T* held, float scale, const float* weight, uint32_t width, bool weight_in_f32, T* out) {
    for (uint32_t at = threadIdx.x * N; at < width; at += blockDim.x * N) {
        Numbers<T, N> numbers = load<N>(held + at);
#pragma unroll
        for (int i = 0; i < N; ++i)
            numbers.at[i] = weighed<T>(widen(numbers.at[i]), scale, weight[at + i], weight_in_f32);
        store(out + at, numbers);
    }
}

template <class T, int N> __device__ void rms_norm_row(const RmsNorm& args) {
    DYNAMIC_SHARED(T, held);
    SHARED(float, parts, WARP_LANES);
    size_t part = size_t(blockIdx.y) * args.width;
    const T* x = static_cast<const T*>(args.x) + size_t(blockIdx.x) * args.x_stride + part;
    T* out = static_cast<T*>(args.out) + size_t(blockIdx.x) * args.out_stride + part;
    float squares = 0.0f;
    for (uint32_t at = threadIdx.x * N; at < args.width; at += blockDim.x * N) {
        Numbers<T, N> numbers = load<N>(x + at);
        squares += squares_of<T, N>(numbers);
        store(held + at, numbers);
    }
    squares = across_block<Sum>(squares, 0.0f, parts);
    write_normed<T, N>(held, inverse_root(squares, args.width, args.eps), args.weight, args.width, args.weight_in_f32, out);
}

template <class T> __device__ void rms_norm(const RmsNorm& args) {
    const T *x = static_cast<const T*>(args.x), *out = static_cast<const T*>(args.out);
    bool wide = in_vectors(x, args.width) && in_vectors(x, args.x_stride) && in_vectors(out, args.out_stride);
    wide ? rms_norm_row<T, IN_VECTOR<T>>(args) : rms_norm_row<T, 1>(args);
}

template <class T, int N> __device__ void layer_norm_row(const LayerNorm& args) {
    DYNAMIC_SHARED(T, held);
    SHARED(float, parts, WARP_LANES);
    const T* x = static_cast<const T*>(args.x) + size_t(blockIdx.x) * args.width;
    T* out = static_cast<T*>(args.out) + size_t(blockIdx.x) * args.width;
    float sum = 0.0f, squares = 0.0f;
    for (uint32_t at = threadIdx.x * N; at < args.width; at += blockDim.x * N) {
        Numbers<T, N> numbers = load<N>(x + at);
#pragma unroll
        for (int i = 0; i < N; ++i) sum += widen(numbers.at[i]);
        store(held + at, numbers);
    }
    float mean = across_block<Sum>(sum, 0.0f, parts) / float(args.width);
    for (uint32_t at = threadIdx.x * N; at < args.width; at += blockDim.x * N)
#pragma unroll
        for (int i = 0; i < N; ++i) {
            float apart = widen(held[at + i]) - mean;
            squares += apart * apart;
        }
    float scale = inverse_root(across_block<Sum>(squares, 0.0f, parts), args.width, args.eps);
    for (uint32_t at = threadIdx.x * N; at < args.width; at += blockDim.x * N) {
        Numbers<T, N> numbers = load<N>(held + at);
#pragma unroll
        for (int i = 0; i < N; ++i)
            numbers.at[i] = narrow<T>((widen(numbers.at[i]) - mean) * scale * args.weight[at + i] + args.bias[at + i]);
        store(out + at, numbers);
    }
}

template <class T> __device__ void layer_norm(const LayerNorm& args) {
    bool wide = in_vectors(static_cast<const T*>(args.x), args.width) && in_vectors(static_cast<const T*>(args.out), args.width);
    wide ? layer_norm_row<T, IN_VECTOR<T>>(args) : layer_norm_row<T, 1>(args);
}

template <class T, int N> __device__ void residual_row(const Residual& args) {
    DYNAMIC_SHARED(T, held);
    SHARED(float, parts, WARP_LANES);
    size_t row = size_t(blockIdx.x) * args.width;
    const T *x = static_cast<const T*>(args.x) + row, *y = static_cast<const T*>(args.y) + row;
    T* sum = static_cast<T*>(args.sum) + row;
    float y_scale = 0.0f;
    if (args.y_weight != nullptr) {
        float squares = 0.0f;
        for (uint32_t at = threadIdx.x * N; at < args.width; at += blockDim.x * N) {
            Numbers<T, N> numbers = load<N>(y + at);
            squares += squares_of<T, N>(numbers);
            store(held + at, numbers);
        }
        y_scale = inverse_root(across_block<Sum>(squares, 0.0f, parts), args.width, args.eps);
        y = held;
    }
    float squares = 0.0f;
    for (uint32_t at = threadIdx.x * N; at < args.width; at += blockDim.x * N) {
        Numbers<T, N> old = load<N>(x + at), numbers = load<N>(y + at);
#pragma unroll
        for (int i = 0; i < N; ++i) {
            T other = numbers.at[i];
            if (args.y_weight != nullptr)
                other = weighed<T>(widen(other), y_scale, args.y_weight[at + i], args.weight_in_f32);
            numbers.at[i] = narrow<T>(widen(old.at[i]) + rounded<T>(widen(other) * args.scale));
        }
        squares += squares_of<T, N>(numbers);
        store(sum + at, numbers);
        store(held + at, numbers);
    }
    if (args.weight == nullptr) return;
    float scale = inverse_root(across_block<Sum>(squares, 0.0f, parts), args.width, args.eps);
    T* out = static_cast<T*>(args.out) + row;
    write_normed<T, N>(held, scale, args.weight, args.width, args.weight_in_f32, out);
}

template <class T> __device__ void residual(const Residual& args) {
    bool wide = true;
    for (const void* rows : {args.x, args.y, static_cast<const void*>(args.sum), static_cast<const void*>(args.out)})
        wide = wide && in_vectors(static_cast<const T*>(rows), args.width);
    wide ? residual_row<T, IN_VECTOR<T>>(args) : residual_row<T, 1>(args);
}

#define NORMS(suffix, T)                                                            \
    KERNEL(rms_norm_##suffix, RmsNorm, 256, 4, rms_norm<T>(args))                   \
    KERNEL(layer_norm_##suffix, LayerNorm, 256, 4, layer_norm<T>(args))             \
    KERNEL(residual_##suffix, Residual, 256, 4, residual<T>(args))
FOR_EACH_TYPE(NORMS)
