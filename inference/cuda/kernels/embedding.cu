// Rows of a matrix: the token embedding, and the rows of a batch whose logits are wanted.
#include "arguments.cuh"
#include "device.cuh"

template <class T, int N> __device__ void gather_row(const Gather& args) {
    const T* matrix = static_cast<const T*>(args.matrix);
    uint32_t id = args.ids[blockIdx.x];
    T* out = static_cast<T*>(args.out) + size_t(blockIdx.x) * args.width;
    bool is_known = id < args.matrix_rows;
    const T* row = matrix + (is_known ? size_t(id) * args.width : 0);
    for (uint32_t at = threadIdx.x * N; at < args.width; at += blockDim.x * N) {
        Numbers<T, N> numbers = load<N>(row + at);
#pragma unroll
        for (int i = 0; i < N; ++i) {
            if (args.scale != 1.0f) numbers.at[i] = narrow<T>(widen(numbers.at[i]) * args.scale);
            if (!is_known) numbers.at[i] = narrow<T>(NOT_A_NUMBER);
        }
        store(out + at, numbers);
    }
}

template <class T> __device__ void gather(const Gather& args) {
    if (in_vectors(static_cast<const T*>(args.matrix), args.width) && in_vectors(static_cast<const T*>(args.out), args.width))
        gather_row<T, IN_VECTOR<T>>(args);
    else
        gather_row<T, 1>(args);
}

#define GATHER(suffix, T) KERNEL(gather_##suffix, Gather, 256, 4, gather<T>(args))
FOR_EACH_TYPE(GATHER)
