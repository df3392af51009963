// Operations number by number: gates, activations, biases, sums, changes of type, and what is done to the logits.
#include "arguments.cuh"
#include "device.cuh"

enum Activation : uint32_t { SILU = 0, GELU = 1, GELU_TANH = 2, RELU = 3 };

__device__ inline float activated(uint32_t activation, float x) {
    switch (activation) {
        case SILU: return x / (1.0f + expf(-x));
        case GELU: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
        case GELU_TANH: return 0.5f * x * (1.0f + tanhf(0.7978846f * (x + 0.044715f * x * x * x)));
        default: return fmaxf(x, 0.0f);
    }
}

template <class T, int N> __device__ void gated_part(const Gated& args) {
    uint32_t at = (blockIdx.y * blockDim.x + threadIdx.x) * N;
    if (at >= args.width) return;
    const T* gate = static_cast<const T*>(args.x) + size_t(blockIdx.x) * 2 * args.width + at;
    Numbers<T, N> gates = load<N>(gate), ups = load<N>(gate + args.width);
#pragma unroll
    for (int i = 0; i < N; ++i)
        gates.at[i] = narrow<T>(rounded<T>(activated(args.activation, widen(gates.at[i]))) * widen(ups.at[i]));
    store(static_cast<T*>(args.out) + size_t(blockIdx.x) * args.width + at, gates);
}

template <class T> __device__ void gated(const Gated& args) {
    bool wide = in_vectors(static_cast<const T*>(args.x), args.width) && in_vectors(static_cast<const T*>(args.out), args.width);
    if (wide) return gated_part<T, IN_VECTOR<T>>(args);
    // The grid has a thread for every vector: each does as many numbers, one by one.
    uint32_t first = blockIdx.y * blockDim.x * IN_VECTOR<T>, end = first + blockDim.x * IN_VECTOR<T>;
    const T* x = static_cast<const T*>(args.x) + size_t(blockIdx.x) * 2 * args.width;
    T* out = static_cast<T*>(args.out) + size_t(blockIdx.x) * args.width;
    for (uint32_t at = first + threadIdx.x; at < end && at < args.width; at += blockDim.x)
        out[at] = narrow<T>(rounded<T>(activated(args.activation, widen(x[at]))) * widen(x[args.width + at]));
}

// Threads of a block take numbers side by side, eight times.
constexpr int ROUNDS = 8;

template <class In, class Out, class Function> __device__ void each(const Elementwise& args, Function function) {
    const In* x = static_cast<const In*>(args.x);
    Out* out = static_cast<Out*>(args.out);
    uint64_t first = uint64_t(blockIdx.x) * blockDim.x * ROUNDS + threadIdx.x;
#pragma unroll
    for (int round = 0; round < ROUNDS; ++round) {
        uint64_t at = first + uint64_t(round) * blockDim.x;
        if (at < args.count) out[at] = narrow<Out>(function(widen(x[at]), at));
    }
}

template <class T> __device__ void activate(const Elementwise& args) {
    each<T, T>(args, [&](float x, uint64_t) { return activated(args.activation, x); });
}

template <class T> __device__ void scale(const Elementwise& args) {
    each<T, T>(args, [&](float x, uint64_t) { return x * args.factor; });
}

template <class T> __device__ void add_bias(const Elementwise& args) {
    const T* bias = static_cast<const T*>(args.y);
    each<T, T>(args, [&](float x, uint64_t at) { return x + widen(bias[at % args.width]); });
}

template <class T> __device__ void add(const Elementwise& args) {
    const T* y = static_cast<const T*>(args.y);
    each<T, T>(args, [&](float x, uint64_t at) { return x + rounded<T>(widen(y[at]) * args.factor); });
}

template <class In, class Out> __device__ void convert(const Elementwise& args) {
    each<In, Out>(args, [](float x, uint64_t) { return x; });
}

__device__ void scale_logits(const Elementwise& args) {
    each<float, float>(args, [&](float x, uint64_t) {
        float scaled = x / args.factor;
        return args.softcap == 0.0f ? scaled : args.softcap * tanhf(scaled / args.softcap);
    });
}

#define ELEMENTWISE(suffix, T)                                                      \
    KERNEL(gated_##suffix, Gated, 256, 4, gated<T>(args))                           \
    KERNEL(activate_##suffix, Elementwise, 256, 4, activate<T>(args))               \
    KERNEL(scale_##suffix, Elementwise, 256, 4, scale<T>(args))                     \
    KERNEL(add_bias_##suffix, Elementwise, 256, 4, add_bias<T>(args))               \
    KERNEL(add_##suffix, Elementwise, 256, 4, add<T>(args))                         \
    KERNEL(narrow_##suffix, Elementwise, 256, 4, convert<float, T>(args))           \
    KERNEL(widen_##suffix, Elementwise, 256, 4, convert<T, float>(args))
FOR_EACH_TYPE(ELEMENTWISE)
KERNEL(logits_scale, Elementwise, 256, 4, scale_logits(args))
