// Attention of sequences with several queries, which are the last tokens of what is in the cache (the rest of a prompt, or all of it):
// softmax in one pass over the keys (Milakov & Gimelshein 2018), tile after tile on the tensor cores (Dao 2023).
//
// A block has ROWS queries of one head, each warp 16 · M of them. Keys and values come 64 tokens (32 for wide heads) at a time into shared
// memory, the next tile's while this one is computed. Tiles of keys begin at multiples of their size, whatever the queries are, so that a
// row's arithmetic does not depend on which chunk of its prompt it came in.
#pragma once

#include "attention.cuh"
#include "matrix.cuh"

// Products' rows of 16 that a warp has, for heads up to 128.
#ifndef PREFILL_M
#define PREFILL_M 2
#endif

// Of this file's sizes, which another file may have otherwise.
namespace {

constexpr int WARPS = 4;

// Sizes for heads of D numbers.
template <int D> struct Sizes {
    static constexpr int M = D <= 128 ? PREFILL_M : 1;      // products' rows of 16 that a warp has
    static constexpr int ROWS = 16 * M * WARPS;
    static constexpr int TOKENS = D <= 128 ? 64 : 32;       // of a tile
    static constexpr int STRIDE = D + 8;                    // numbers from row to row: 8 rows lie in different banks
    static constexpr int TILE = TOKENS * STRIDE;
    // Queries, and two tiles of keys and of values.
    static constexpr int SHARED_BYTES = 2 * (ROWS * STRIDE + 4 * TILE);
};

// The queries of a block, and where their keys are.
struct Work {
    uint32_t first_row;     // of the batch
    uint32_t rows;
    uint32_t position;      // of the first
    uint32_t length;
    uint32_t head, kv_head;
    const uint32_t* table;
};

// Finds the block's sequence; false where there are fewer tiles than blocks.
__device__ inline bool find_work(const AttentionPrefill& args, uint32_t tile_rows, Work& work) {
    const Sequences& of = args.sequences;
    uint32_t tiles = args.plan.first_tile[of.count];
    if (blockIdx.x >= tiles) return false;
    // The last tiles of a sequence see most: they begin first.
    uint32_t tile = tiles - 1 - blockIdx.x, low = 0, high = of.count - 1;
    while (low < high) {
        uint32_t middle = (low + high + 1) / 2;
        if (args.plan.first_tile[middle] <= tile) low = middle;
        else high = middle - 1;
    }
    uint32_t begin = of.cu_seqlens_q[low], queries = of.cu_seqlens_q[low + 1] - begin;
    uint32_t first = (tile - args.plan.first_tile[low]) * tile_rows;
    work.first_row = begin + first;
    work.rows = min(tile_rows, queries - first);
    work.length = of.seqlens_k[low];
    work.position = work.length - queries + first;
    work.head = blockIdx.y;
    work.kv_head = work.head / (args.heads / args.kv_heads);
    work.table = of.block_tables + size_t(low) * of.table_width;
    return true;
}

// Begins to copy a tile of keys and of values; tokens behind the sequence become zeros.
template <class T, int D>
__device__ inline void fetch_tile(const AttentionPrefill& args, const Work& work, uint32_t token, T* keys, T* values) {
    constexpr int PIECES = D / 8, COUNT = Sizes<D>::TOKENS * PIECES;
    size_t behind = values_behind(args.kv_heads, D);
#pragma unroll
    for (int at = threadIdx.x; at < COUNT; at += WARPS * WARP_LANES) {
        uint32_t row = at / PIECES, piece = at % PIECES * 8;
        bool there = token + row < work.length;
        uint32_t block = work.table[there ? (token + row) / BLOCK_TOKENS : 0];
        const T* from = keys_of<T>(args.cache, block, args.kv_heads, work.kv_head, D) + row % BLOCK_TOKENS * D + piece;
        copy_begin(keys + row * Sizes<D>::STRIDE + piece, from, there);
        copy_begin(values + row * Sizes<D>::STRIDE + piece, from + behind, there);
    }
    copy_group();
}

// Queries that the block does not have are zeros.
template <class T, int D> __device__ inline void fetch_queries(const AttentionPrefill& args, const Work& work, T* queries) {
    constexpr int PIECES = D / 8;
    const T* from = static_cast<const T*>(args.queries);
    for (int at = threadIdx.x; at < Sizes<D>::ROWS * PIECES; at += WARPS * WARP_LANES) {
        uint32_t row = at / PIECES, piece = at % PIECES * 8;
        bool there = row < work.rows;
        size_t place = ((size_t(work.first_row) + (there ? row : 0)) * args.heads + work.head) * D + piece;
        copy_begin(queries + row * Sizes<D>::STRIDE + piece, from + place, there);
    }
}

// What a lane has of its rows lane / 4 and lane / 4 + 8 of each product.
template <int D> struct Held {
    float sums[Sizes<D>::M][D / 8][4];
    float greatest[Sizes<D>::M][2], total[Sizes<D>::M][2];
};

template <class T, int D>
__device__ inline void scores_of_tile(const T* queries, const T* keys, float (&scores)[Sizes<D>::M][Sizes<D>::TOKENS / 8][4]) {
    constexpr int STRIDE = Sizes<D>::STRIDE, M = Sizes<D>::M;
    int lane = lane_index();
#pragma unroll
    for (int k = 0; k < D; k += 16) {
        uint32_t a[M][4];
#pragma unroll
        for (int m = 0; m < M; ++m)
            load_matrices(a[m], queries + (16 * m + lane % 16) * STRIDE + k + lane / 16 * 8);
#pragma unroll
        for (int n = 0; n < Sizes<D>::TOKENS / 8; n += 2) {
            uint32_t b[4];
            load_matrices(b, keys + (8 * n + lane / 16 * 8 + lane % 8) * STRIDE + k + lane / 8 % 2 * 8);
#pragma unroll
            for (int m = 0; m < M; ++m) {
                multiply<T>(scores[m][n], a[m], b[0], b[1]);
                multiply<T>(scores[m][n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

template <int D> __device__ inline void cap(const Scores& how, float (&scores)[Sizes<D>::M][Sizes<D>::TOKENS / 8][4]) {
    if (how.softcap == 0.0f) return;
#pragma unroll
    for (int m = 0; m < Sizes<D>::M; ++m)
#pragma unroll
        for (int n = 0; n < Sizes<D>::TOKENS / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) scores[m][n][i] = capped(how, scores[m][n][i]);
}

// Makes those scores nothing that a row does not see of the tile from `token` on.
template <int D>
__device__ inline void hide(const Scores& how, const Work& work, uint32_t token, float (&scores)[Sizes<D>::M][Sizes<D>::TOKENS / 8][4]) {
#pragma unroll
    for (int m = 0; m < Sizes<D>::M; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            uint32_t position = work.position + (warp_index() * Sizes<D>::M + m) * 16 + 8 * half + lane_index() / 4;
            int low = int(first_seen(how.window, position)) - int(token);
            int high = int(how.causal ? min(position + 1, work.length) : work.length) - int(token);
#pragma unroll
            for (int n = 0; n < Sizes<D>::TOKENS / 8; ++n)
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    int at = 8 * n + lane_index() % 4 * 2 + i;
                    if (at < low || at >= high) scores[m][n][2 * half + i] = NOTHING_YET;
                }
        }
}

// Whether every row of the warp sees the whole tile.
template <int D> __device__ inline bool sees_all(const Scores& how, const Work& work, uint32_t token) {
    uint32_t first = work.position + warp_index() * 16 * Sizes<D>::M, last = first + 16 * Sizes<D>::M - 1;
    uint32_t end = how.causal ? min(first + 1, work.length) : work.length;
    return token + Sizes<D>::TOKENS <= end && first_seen(how.window, last) <= token;
}

// Takes a row's scores into its softmax and turns them into weights.
template <int D>
__device__ inline void absorb_row(float factor, Held<D>& held, float (&scores)[Sizes<D>::M][Sizes<D>::TOKENS / 8][4], int m, int half) {
    float greatest = held.greatest[m][half];
#pragma unroll
    for (int n = 0; n < Sizes<D>::TOKENS / 8; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) greatest = Greatest::of(scores[m][n][2 * half + i], greatest);
    greatest = Greatest::of(greatest, __shfl_xor_sync(ALL_LANES, greatest, 1));
    greatest = Greatest::of(greatest, __shfl_xor_sync(ALL_LANES, greatest, 2));
    // Rows that have seen nothing yet stay as they are.
    float base = greatest == NOTHING_YET ? 0.0f : greatest * factor, total = 0.0f;
    float kept = power_of_2(held.greatest[m][half] * factor - base);
#pragma unroll
    for (int n = 0; n < Sizes<D>::TOKENS / 8; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            float& score = scores[m][n][2 * half + i];
            score = power_of_2(score * factor - base);
            total += score;
        }
    held.total[m][half] = held.total[m][half] * kept + total;
    held.greatest[m][half] = greatest;
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
        held.sums[m][n][2 * half] *= kept;
        held.sums[m][n][2 * half + 1] *= kept;
    }
}

template <class T, int D>
__device__ inline void weigh_tile(const T* values, const float (&weights)[Sizes<D>::M][Sizes<D>::TOKENS / 8][4], Held<D>& held) {
    constexpr int STRIDE = Sizes<D>::STRIDE, M = Sizes<D>::M;
    int lane = lane_index();
#pragma unroll
    for (int k = 0; k < Sizes<D>::TOKENS / 16; ++k) {
        uint32_t a[M][4];
#pragma unroll
        for (int m = 0; m < M; ++m)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float* pair = weights[m][2 * k + i / 2] + i % 2 * 2;
                a[m][i] = pack<T>(pair[0], pair[1]);
            }
#pragma unroll
        for (int n = 0; n < D / 8; n += 2) {
            uint32_t b[4];
            load_matrices_transposed(b, values + (16 * k + lane % 16) * STRIDE + 8 * n + lane / 16 * 8);
#pragma unroll
            for (int m = 0; m < M; ++m) {
                multiply<T>(held.sums[m][n], a[m], b[0], b[1]);
                multiply<T>(held.sums[m][n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

template <class T, int D> __device__ void write_rows(const AttentionPrefill& args, const Work& work, Held<D>& held) {
    int lane = lane_index();
#pragma unroll
    for (int m = 0; m < Sizes<D>::M; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float total = held.total[m][half];
            total += __shfl_xor_sync(ALL_LANES, total, 1);
            total += __shfl_xor_sync(ALL_LANES, total, 2);
            uint32_t row = warp_index() * 16 * Sizes<D>::M + 16 * m + 8 * half + lane / 4;
            if (row >= work.rows) continue;
            T* out = static_cast<T*>(args.out) + (size_t(work.first_row + row) * args.heads + work.head) * D + lane % 4 * 2;
#pragma unroll
            for (int n = 0; n < D / 8; ++n) {
                const float* pair = held.sums[m][n] + 2 * half;
                *reinterpret_cast<uint32_t*>(out + 8 * n) = pack<T>(pair[0] / total, pair[1] / total);
            }
        }
}

template <class T, int D> __device__ void prefill(const AttentionPrefill& args) {
    using S = Sizes<D>;
    DYNAMIC_SHARED(T, queries);
    T *keys = queries + S::ROWS * S::STRIDE, *values = keys + 2 * S::TILE;
    Work work;
    if (!find_work(args, S::ROWS, work)) return;
    uint32_t end = args.scores.causal ? work.position + work.rows : work.length;
    uint32_t begin = first_seen(args.scores.window, work.position) / S::TOKENS * S::TOKENS;
    fetch_queries<T, D>(args, work, queries);
    fetch_tile<T, D>(args, work, begin, keys, values);
    Held<D> held = {};
#pragma unroll
    for (int m = 0; m < S::M; ++m) held.greatest[m][0] = held.greatest[m][1] = NOTHING_YET;
    uint32_t warp_row = warp_index() * 16 * S::M;
    float factor = factor_of(args.scores);
    for (uint32_t token = begin, tile = 0; token < end; token += S::TOKENS, tile ^= 1) {
        uint32_t next = token + S::TOKENS;
        if (next < end) fetch_tile<T, D>(args, work, next, keys + (tile ^ 1) * S::TILE, values + (tile ^ 1) * S::TILE);
        else copy_group();
        copy_wait<1>();
        __syncthreads();
        float scores[S::M][S::TOKENS / 8][4] = {};
        scores_of_tile<T, D>(queries + warp_row * S::STRIDE, keys + tile * S::TILE, scores);
        cap<D>(args.scores, scores);
        if (!sees_all<D>(args.scores, work, token)) hide<D>(args.scores, work, token, scores);
#pragma unroll
        for (int m = 0; m < S::M; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) absorb_row<D>(factor, held, scores, m, half);
        weigh_tile<T, D>(values + tile * S::TILE, scores, held);
        // The tile is overwritten by the one after the next.
        __syncthreads();
    }
    write_rows<T, D>(args, work, held);
}

}  // namespace

#define PREFILL(NAME, D)                                                                            \
    KERNEL(NAME##_##D##_bf16, AttentionPrefill, 128, 1, prefill<bf16, D>(args))                     \
    KERNEL(NAME##_##D##_f16, AttentionPrefill, 128, 1, prefill<f16, D>(args))
