// The products of a mixture's experts, all in one launch: which rows an expert has is read from device memory. A block makes 128 columns
// for up to 64 rows of one expert; the weight takes the part of the tensor cores' 16 rows and the tokens that of their 8 columns, so
// that an expert with few tokens costs little more than the reading of its weight. A row's sums run over `inner` in order whatever else
// its expert has.
#include "arguments.cuh"
#include "matrix.cuh"

constexpr int WARPS = 4;
constexpr int COLUMNS = 128, ROWS = 64, INNER = 64, STAGES = 3;
constexpr int STRIDE = INNER + 8;
constexpr int STAGE = (COLUMNS + ROWS) * STRIDE;
static_assert(STAGES * STAGE * 2 == EXPERTS_SHARED, "the launch's table has it");

struct Tile {
    uint32_t expert, first, rows, first_column;
};

__device__ inline bool find_tile(const ExpertsMatmul& args, Tile& tile) {
    const uint32_t* tiles = args.by.first_tile;
    if (blockIdx.y >= tiles[args.experts]) return false;
    uint32_t low = 0, high = args.experts - 1;
    while (low < high) {
        uint32_t middle = (low + high + 1) / 2;
        if (tiles[middle] <= blockIdx.y) low = middle;
        else high = middle - 1;
    }
    tile.expert = low;
    tile.first = args.by.first[low] + (blockIdx.y - tiles[low]) * ROWS;
    tile.rows = min(uint32_t(ROWS), args.by.first[low + 1] - tile.first);
    tile.first_column = blockIdx.x * COLUMNS;
    return true;
}

// Begins to copy a part of the weight and of the rows; what there is not becomes zeros.
template <class T> __device__ inline void fetch(const ExpertsMatmul& args, const Tile& tile, uint32_t inner, T* stage) {
    constexpr int PIECES = INNER / 8;
    const T* weight = static_cast<const T*>(args.weight) + size_t(tile.expert) * args.columns * args.inner;
    const T* x = static_cast<const T*>(args.x);
#pragma unroll
    for (int at = threadIdx.x; at < COLUMNS * PIECES; at += WARPS * WARP_LANES) {
        uint32_t column = tile.first_column + at / PIECES, k = inner + at % PIECES * 8;
        bool there = column < args.columns && k < args.inner;
        copy_begin(stage + at / PIECES * STRIDE + at % PIECES * 8, weight + (there ? size_t(column) * args.inner + k : 0), there);
    }
    T* rows = stage + COLUMNS * STRIDE;
    for (int at = threadIdx.x; at < ROWS * PIECES; at += WARPS * WARP_LANES) {
        uint32_t row = at / PIECES, k = inner + at % PIECES * 8;
        bool there = row < tile.rows && k < args.inner;
        size_t place = tile.first + row;
        if (there && !args.by_assignment) place = args.by.tokens[place];
        copy_begin(rows + row * STRIDE + at % PIECES * 8, x + (there ? place * args.inner + k : 0), there);
    }
}

// A warp's 32 columns for the tile's rows: sums of 2 times 16 columns and 8 times 8 rows.
template <class T> __device__ inline void multiply_stage(const T* stage, uint32_t rows, float (&sums)[2][ROWS / 8][4]) {
    int lane = lane_index();
    const T *weight = stage + warp_index() * 32 * STRIDE, *x = stage + COLUMNS * STRIDE;
#pragma unroll
    for (int k = 0; k < INNER; k += 16) {
        uint32_t a[2][4];
#pragma unroll
        for (int m = 0; m < 2; ++m) load_matrices(a[m], weight + (16 * m + lane % 16) * STRIDE + k + lane / 16 * 8);
#pragma unroll
        for (int n = 0; n < ROWS / 8; n += 2) {
            if (uint32_t(8 * n) >= rows) break;
            uint32_t b[4];
            load_matrices(b, x + (8 * n + lane / 16 * 8 + lane % 8) * STRIDE + k + lane / 8 % 2 * 8);
#pragma unroll
            for (int m = 0; m < 2; ++m) {
                multiply<T>(sums[m][n], a[m], b[0], b[1]);
                multiply<T>(sums[m][n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

template <class T> __device__ void write(const ExpertsMatmul& args, const Tile& tile, const float (&sums)[2][ROWS / 8][4]) {
    T* out = static_cast<T*>(args.out);
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < ROWS / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                uint32_t column = tile.first_column + warp_index() * 32 + 16 * m + lane_index() / 4 + i / 2 * 8;
                uint32_t row = 8 * n + lane_index() % 4 * 2 + i % 2;
                if (column < args.columns && row < tile.rows)
                    out[size_t(tile.first + row) * args.columns + column] = narrow<T>(sums[m][n][i]);
            }
}

template <class T> __device__ void matmul(const ExpertsMatmul& args) {
    DYNAMIC_SHARED(T, stages);
    Tile tile;
    if (!find_tile(args, tile)) return;
    float sums[2][ROWS / 8][4] = {};
    uint32_t count = (args.inner + INNER - 1) / INNER;
#pragma unroll
    for (uint32_t part = 0; part < STAGES - 1; ++part) {
        if (part < count) fetch<T>(args, tile, part * INNER, stages + part * STAGE);
        copy_group();
    }
    for (uint32_t part = 0; part < count; ++part) {
        copy_wait<STAGES - 2>();
        // Behind it everyone has done with the stage that is filled next.
        __syncthreads();
        uint32_t next = part + STAGES - 1;
        if (next < count) fetch<T>(args, tile, next * INNER, stages + next % STAGES * STAGE);
        copy_group();
        multiply_stage<T>(stages + part % STAGES * STAGE, tile.rows, sums);
    }
    write<T>(args, tile, sums);
}

KERNEL(experts_matmul_bf16, ExpertsMatmul, 128, 2, matmul<bf16>(args))
KERNEL(experts_matmul_f16, ExpertsMatmul, 128, 2, matmul<f16>(args))
