// Matrices in GGML's blocks, in the layout that `arguments.cuh` gives: products with few rows, and rows as numbers. A warp takes 1024 weights
// of a row at a time, 32 a lane in four parts of 8 side by side. The next ones are on their way while these are multiplied.
#include "arguments.cuh"
#include "device.cuh"

constexpr int WARPS = 4, PARTS = 4, PART = 8;
// Of a product: outputs of a warp, and rows of a block.
constexpr int OUTPUTS = 2, ROWS_MAX = 8;
constexpr uint32_t STEP = WARP_LANES * PARTS * PART;

// One row of a matrix.
struct Row {
    const unsigned char* quants;
    const f16* scales;
    uint32_t width;
};

// Byte `at` of a word less `zero`: a float of 2^23 and more has the whole numbers in its last bits.
__device__ inline float byte_of(uint32_t word, int at, int zero) {
    return __uint_as_float(__byte_perm(word, 0x4b000000u, 0x7440u | uint32_t(at))) - (8388608.0f + float(zero));
}

__device__ inline uint32_t word_of(const uint4& words, int at) {
    return at == 0 ? words.x : at == 1 ? words.y : at == 2 ? words.z : words.w;
}

template <class V> __device__ inline V vector_at(const unsigned char* from) { return *reinterpret_cast<const V*>(from); }

// Where a part begins that a lane has of blocks of 256.
__device__ inline uint32_t place_in_256(uint32_t step, int part) {
    return step * STEP + lane_index() / 8 * 256 + part * 64 + lane_index() % 8 * PART;
}

struct Q8_0 {
    static constexpr uint32_t BLOCK = 32, BYTES = 32;
    uint2 quants[PARTS];
    f16 scales[PARTS];

    __device__ static uint32_t place(uint32_t step, int part) { return step * STEP + part * (WARP_LANES * PART) + lane_index() * PART; }
    __device__ void load(const Row& row, uint32_t step) {
#pragma unroll
        for (int part = 0; part < PARTS; ++part) {
            uint32_t at = place(step, part);
            if (at >= row.width) continue;
            quants[part] = vector_at<uint2>(row.quants + at);
            scales[part] = row.scales[at / BLOCK];
        }
    }
    __device__ void numbers(int part, float (&out)[PART]) const {
        float scale = widen(scales[part]);
        uint32_t words[2] = {quants[part].x ^ 0x80808080u, quants[part].y ^ 0x80808080u};
#pragma unroll
        for (int i = 0; i < PART; ++i) out[i] = scale * byte_of(words[i / 4], i % 4, 128);
    }
};

struct Q4K {
    static constexpr uint32_t BLOCK = 256, BYTES = 144;
    uint4 header, quants;

    __device__ static uint32_t place(uint32_t step, int part) { return place_in_256(step, part); }
    __device__ void load(const Row& row, uint32_t step) {
        uint32_t at = place(step, 0);
        if (at >= row.width) return;
        const unsigned char* block = row.quants + size_t(at / BLOCK) * BYTES;
        header = vector_at<uint4>(block);
        quants = vector_at<uint4>(block + 16 + lane_index() % 8 * 16);
    }
    __device__ void numbers(int part, float (&out)[PART]) const {
        // Eight scales and minima of six bits: the first four of each whole, the others in halves and quarters of bytes.
        constexpr uint32_t SIX = 0x3f3f3f3fu, FOUR = 0x0f0f0f0fu, TWO = 0x30303030u;
        uint32_t scales = part < 2 ? header.y & SIX : (header.w & FOUR) | (header.y >> 2 & TWO);
        uint32_t minima = part < 2 ? header.z & SIX : (header.w >> 4 & FOUR) | (header.z >> 2 & TWO);
        int of_part = part % 2 * 2 + lane_index() % 8 / 4;
        float scale = half_of(header.x) * byte_of(scales, of_part, 0);
        float minimum = half_of(header.x >> 16) * byte_of(minima, of_part, 0);
        uint32_t word = word_of(quants, part), low = word & FOUR, high = word >> 4 & FOUR;
#pragma unroll
        for (int i = 0; i < PART; ++i) out[i] = scale * byte_of(i < 4 ? low : high, i % 4, 0) - minimum;
    }
    __device__ static float half_of(uint32_t bits) { return widen(__ushort_as_half(static_cast<unsigned short>(bits & 0xffffu))); }
};

struct Q6K {
    static constexpr uint32_t BLOCK = 256, BYTES = 208;
    uint4 lower, scales;
    uint2 upper;
    f16 scale;

    __device__ static uint32_t place(uint32_t step, int part) { return place_in_256(step, part); }
    __device__ void load(const Row& row, uint32_t step) {
        uint32_t at = place(step, 0);
        if (at >= row.width) return;
        const unsigned char* block = row.quants + size_t(at / BLOCK) * BYTES;
        lower = vector_at<uint4>(block + lane_index() % 8 * 16);
        upper = vector_at<uint2>(block + 128 + lane_index() % 8 * 8);
        scales = vector_at<uint4>(block + 192);
        scale = row.scales[at / BLOCK];
    }
    __device__ void numbers(int part, float (&out)[PART]) const {
        constexpr uint32_t FOUR = 0x0f0f0f0fu, TWO = 0x30303030u;
        float own = widen(scale) * byte_of(word_of(scales, part) ^ 0x80808080u, lane_index() % 8 / 2, 128);
        uint32_t word = word_of(lower, part), bits = part < 2 ? upper.x : upper.y;
        uint32_t first = part % 2 == 0 ? bits << 4 : bits, second = part % 2 == 0 ? bits << 2 : bits >> 2;
        uint32_t low = (word & FOUR) | (first & TWO), high = (word >> 4 & FOUR) | (second & TWO);
#pragma unroll
        for (int i = 0; i < PART; ++i) out[i] = own * byte_of(i < 4 ? low : high, i % 4, 32);
    }
};

template <class Kind> __device__ inline Row row_of(const Blocks& matrix, uint32_t row, uint32_t width) {
    size_t first = size_t(row) * (width / Kind::BLOCK);
    return {static_cast<const unsigned char*>(matrix.quants) + first * Kind::BYTES, static_cast<const f16*>(matrix.scales) + first, width};
}

template <class T> __device__ inline void read(const T* from, float (&out)[PART]) {
    constexpr int N = IN_VECTOR<T>;
#pragma unroll
    for (int at = 0; at < PART; at += N) {
        Numbers<T, N> numbers = load<N>(from + at);
#pragma unroll
        for (int i = 0; i < N; ++i) out[at + i] = widen(numbers.at[i]);
    }
}

// The rows' products with what a lane holds of each output.
template <class Kind, class T, int ROWS>
__device__ inline void multiply(const Kind (&held)[OUTPUTS], uint32_t step, const T* x, uint32_t inputs, uint32_t last_row,
                                float (&sums)[ROWS][OUTPUTS]) {
#pragma unroll
    for (int part = 0; part < PARTS; ++part) {
        uint32_t place = Kind::place(step, part);
        if (place >= inputs) continue;
        float weights[OUTPUTS][PART];
#pragma unroll
        for (int output = 0; output < OUTPUTS; ++output) held[output].numbers(part, weights[output]);
#pragma unroll
        for (int row = 0; row < ROWS; ++row) {
            float numbers[PART];
            read(x + min(uint32_t(row), last_row) * inputs + place, numbers);
#pragma unroll
            for (int output = 0; output < OUTPUTS; ++output)
#pragma unroll
                for (int i = 0; i < PART; ++i) sums[row][output] = fmaf(weights[output][i], numbers[i], sums[row][output]);
        }
    }
}

// `ROWS` rows, of which those behind `last_row` are done as that one and not written.
template <class Kind, class T, class Out, int ROWS> __device__ void matmul_rows(const QuantizedMatmul& args, uint32_t last_row) {
    uint32_t first = (blockIdx.x * WARPS + warp_index()) * OUTPUTS, first_row = blockIdx.y * ROWS_MAX;
    if (first >= args.outputs) return;
    const T* x = static_cast<const T*>(args.x) + size_t(first_row) * args.inputs;
    Row weights[OUTPUTS];
    Kind held[OUTPUTS] = {}, next[OUTPUTS] = {};
#pragma unroll
    for (int output = 0; output < OUTPUTS; ++output) {
        weights[output] = row_of<Kind>(args.weight, min(first + output, args.outputs - 1), args.inputs);
        held[output].load(weights[output], 0);
    }
    float sums[ROWS][OUTPUTS] = {};
    for (uint32_t step = 0; step * STEP < args.inputs; ++step) {
#pragma unroll
        for (int output = 0; output < OUTPUTS; ++output) next[output].load(weights[output], step + 1);
        multiply<Kind, T, ROWS>(held, step, x, args.inputs, last_row, sums);
#pragma unroll
        for (int output = 0; output < OUTPUTS; ++output) held[output] = next[output];
    }
    const T* bias = static_cast<const T*>(args.bias);
    Out* out = static_cast<Out*>(args.out) + size_t(first_row) * args.out_stride;
#pragma unroll
    for (int row = 0; row < ROWS; ++row)
#pragma unroll
        for (int output = 0; output < OUTPUTS; ++output) {
            float sum = across_warp<Sum>(sums[row][output]);
            uint32_t column = first + output;
            if (lane_index() != row * OUTPUTS + output || uint32_t(row) > last_row || column >= args.outputs) continue;
            if (bias != nullptr) sum += widen(bias[column]);
            out[size_t(row) * args.out_stride + column] = narrow<Out>(sum);
        }
}

template <class Kind, class T, class Out> __device__ void matmul(const QuantizedMatmul& args) {
    uint32_t last_row = min(uint32_t(ROWS_MAX), args.rows - blockIdx.y * ROWS_MAX) - 1;
    if (last_row == 0) return matmul_rows<Kind, T, Out, 1>(args, last_row);
    if (last_row == 1) return matmul_rows<Kind, T, Out, 2>(args, last_row);
    if (last_row <= 3) return matmul_rows<Kind, T, Out, 4>(args, last_row);
    matmul_rows<Kind, T, Out, 8>(args, last_row);
}

template <class T> __device__ inline void write(T* to, const float (&numbers)[PART]) {
    constexpr int N = IN_VECTOR<T>;
#pragma unroll
    for (int at = 0; at < PART; at += N) {
        Numbers<T, N> some;
#pragma unroll
        for (int i = 0; i < N; ++i) some.at[i] = narrow<T>(numbers[at + i]);
        store(to + at, some);
    }
}

// A row of the matrix to the block's row of `out`; `finish` makes of a number what is written.
template <class Kind, class T, class Finish> __device__ inline void write_row(const Dequantize& args, uint32_t row, Finish finish) {
    Row blocks = row_of<Kind>(args.matrix, row, args.width);
    T* out = static_cast<T*>(args.out) + size_t(blockIdx.x) * args.width;
    for (uint32_t step = warp_index(); step * STEP < args.width; step += WARPS) {
        Kind held = {};
        held.load(blocks, step);
#pragma unroll
        for (int part = 0; part < PARTS; ++part) {
            uint32_t place = Kind::place(step, part);
            if (place >= args.width) continue;
            float numbers[PART];
            held.numbers(part, numbers);
#pragma unroll
            for (int i = 0; i < PART; ++i) numbers[i] = finish(numbers[i]);
            write(out + place, numbers);
        }
    }
}

template <class Kind, class T> __device__ void dequantize(const Dequantize& args) {
    write_row<Kind, T>(args, blockIdx.x, [](float x) { return x; });
}

template <class Kind, class T> __device__ void gather(const Dequantize& args) {
    uint32_t id = args.ids[blockIdx.x];
    bool is_known = id < args.matrix_rows;
    write_row<Kind, T>(args, is_known ? id : 0, [&](float x) {
        if (!is_known) return NOT_A_NUMBER;
        return args.scale == 1.0f ? x : rounded<T>(x) * args.scale;
    });
}

#define OF_TYPE(kind, Kind, suffix, T)                                                                                       \
    KERNEL(quantized_matmul_##kind##_##suffix, QuantizedMatmul, 128, 4, matmul<Kind, T, T>(args))                            \
    KERNEL(dequantize_##kind##_##suffix, Dequantize, 128, 8, dequantize<Kind, T>(args))                                      \
    KERNEL(quantized_gather_##kind##_##suffix, Dequantize, 128, 8, gather<Kind, T>(args))
#define WIDE(kind, Kind, suffix, T)                                                                                          \
    KERNEL(quantized_matmul_wide_##kind##_##suffix, QuantizedMatmul, 128, 4, matmul<Kind, T, float>(args))
#define OF_KIND(kind, Kind)                                                                                                  \
    OF_TYPE(kind, Kind, f32, float)                                                                                          \
    OF_TYPE(kind, Kind, bf16, bf16)                                                                                          \
    OF_TYPE(kind, Kind, f16, f16)                                                                                            \
    WIDE(kind, Kind, bf16, bf16)                                                                                             \
    WIDE(kind, Kind, f16, f16)
OF_KIND(q8_0, Q8_0)
OF_KIND(q4_k, Q4K)
OF_KIND(q6_k, Q6K)
