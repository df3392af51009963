// Attention of sequences with one query each: every query head of a KV head in one product of the tensor cores, keys and values straight
// from the cache into its operands, 16 bytes a load. A warp takes every fourth 16 tokens of a split; what the warps, and then the splits,
// have is added in a fixed order, and splits depend on the sequence's length alone: a sequence gets the same whatever is beside it.
//
// A product's sums do not change when the numbers that meet are numbered otherwise, so that a lane's 16 bytes need not be torn apart:
// of 32 numbers of a key those at 8 · (lane % 4) are a lane's, the query's likewise; of 64 numbers of a value those at 8 · (lane / 4).
#include "attention.cuh"
#include "matrix.cuh"

constexpr int WARPS = 4;
constexpr int TILE_TOKENS = 16;

// A run of a head's numbers that lanes share by 4 · COUNT (keys) or 8 · COUNT (values); `uint32_t[COUNT / 2]` is a lane's part.
template <int COUNT> struct Part {
    uint32_t at[COUNT / 2];
};
template <int COUNT, class T> __device__ inline Part<COUNT> load_part(const T* from) {
    Part<COUNT> part;
    Numbers<uint32_t, COUNT / 2> numbers = load<COUNT / 2>(reinterpret_cast<const uint32_t*>(from));
#pragma unroll
    for (int i = 0; i < COUNT / 2; ++i) part.at[i] = numbers.at[i];
    return part;
}

// How a head of D numbers is taken apart.
template <int D> struct Shape {
    static constexpr int WIDE = D / 32, NARROW = D % 32 / 16;                           // keys: of 32, of 16
    static constexpr int OF_64 = D / 64, OF_32 = D % 64 / 32, OF_16 = D % 32 / 16;      // values
    static constexpr int TILES = D / 8;                                                 // columns of sums, 8 each
};

// Queries or keys of one row: a lane's numbers.
template <int D> struct Row {
    Part<8> wide[Shape<D>::WIDE];
    Part<4> narrow[Shape<D>::NARROW > 0 ? Shape<D>::NARROW : 1];

    template <class T> __device__ void load(const T* row, bool there) {
        int lane = lane_index() % 4;
#pragma unroll
        for (int i = 0; i < Shape<D>::WIDE; ++i) wide[i] = there ? load_part<8>(row + 32 * i + 8 * lane) : Part<8>{};
        if (Shape<D>::NARROW > 0) narrow[0] = there ? load_part<4>(row + 32 * Shape<D>::WIDE + 4 * lane) : Part<4>{};
    }
};

// Products of 16 query rows (`above`: rows 8 to 15) with 8 keys.
template <class T, int D>
__device__ inline void meet(float (&sums)[4], const Row<D>& queries, const Row<D>& above, const Row<D>& keys) {
#pragma unroll
    for (int i = 0; i < Shape<D>::WIDE; ++i)
#pragma unroll
        for (int half = 0; half < 4; half += 2) {
            uint32_t a[4] = {queries.wide[i].at[half], above.wide[i].at[half], queries.wide[i].at[half + 1], above.wide[i].at[half + 1]};
            multiply<T>(sums, a, keys.wide[i].at[half], keys.wide[i].at[half + 1]);
        }
    if (Shape<D>::NARROW > 0) {
        uint32_t a[4] = {queries.narrow[0].at[0], above.narrow[0].at[0], queries.narrow[0].at[1], above.narrow[0].at[1]};
        multiply<T>(sums, a, keys.narrow[0].at[0], keys.narrow[0].at[1]);
    }
}

// Values of 16 tokens: a lane has 4 of them, at pair, pair + 1, pair + 8 and pair + 9, each in parts of COUNT numbers.
template <int COUNT> struct Values {
    Part<COUNT> token[4];

    template <class T> __device__ void load(const T* first, uint32_t stride, uint32_t low, uint32_t high) {
        int column = lane_index() / 4 * COUNT;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            uint32_t token_at = uint32_t(lane_index() % 4 * 2 + i % 2 + i / 2 * 8);
            // What is not seen may be no number, and that times nothing is none either.
            bool seen = token_at >= low && token_at < high;
            token[i] = seen ? load_part<COUNT>(first + token_at * stride + column) : Part<COUNT>{};
        }
    }
};

template <class T, int COUNT>
__device__ inline void weigh(float (*sums)[4], const uint32_t (&weights)[4], const Values<COUNT>& values) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        uint32_t halves = i % 2 == 0 ? 0x5410 : 0x7632;
        uint32_t b0 = __byte_perm(values.token[0].at[i / 2], values.token[1].at[i / 2], halves);
        uint32_t b1 = __byte_perm(values.token[2].at[i / 2], values.token[3].at[i / 2], halves);
        multiply<T>(sums[i], weights, b0, b1);
    }
}

// What a warp has of its rows so far: row lane / 4, and that + 8 where there are more than 8.
template <int D, int ROWS> struct Held {
    float sums[Shape<D>::TILES][4];
    float greatest[ROWS / 8], total[ROWS / 8];

    __device__ void clear() {
#pragma unroll
        for (int tile = 0; tile < Shape<D>::TILES; ++tile)
#pragma unroll
            for (int i = 0; i < 4; ++i) sums[tile][i] = 0.0f;
#pragma unroll
        for (int row = 0; row < ROWS / 8; ++row) {
            greatest[row] = NOTHING_YET;
            total[row] = 0.0f;
        }
    }

    __device__ void scale(int row, float factor) {
#pragma unroll
        for (int tile = 0; tile < Shape<D>::TILES; ++tile) {
            sums[tile][2 * row] *= factor;
            sums[tile][2 * row + 1] *= factor;
        }
    }

    // The numbers of a row: `each(number, value)`.
    template <class Each> __device__ void for_row(int row, Each each) const {
        int lane = lane_index() % 4;
#pragma unroll
        for (int tile = 0; tile < Shape<D>::TILES; ++tile)
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                constexpr int WIDE_TILES = Shape<D>::OF_64 * 8, MIDDLE_TILES = Shape<D>::OF_32 * 4;
                int column = 2 * lane + i, number;
                if (tile < WIDE_TILES) number = tile / 8 * 64 + 8 * column + tile % 8;
                else if (tile < WIDE_TILES + MIDDLE_TILES) number = Shape<D>::OF_64 * 64 + 4 * column + (tile - WIDE_TILES);
                else number = D - 16 + 2 * column + (tile - WIDE_TILES - MIDDLE_TILES);
                each(number, sums[tile][2 * row + i]);
            }
    }
};

// Takes the scores of 16 tokens into the softmax: `weights` are those of their values, in the type of the cache.
template <class T, int D, int ROWS>
__device__ inline void absorb(const Scores& how, Held<D, ROWS>& held, float (&scores)[2][4], uint32_t low, uint32_t high,
                              uint32_t (&weights)[4]) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
        if (row >= ROWS / 8) {
            weights[row] = weights[row + 2] = 0;
            continue;
        }
        float greatest = held.greatest[row];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            uint32_t token = i / 2 * 8 + lane_index() % 4 * 2 + i % 2;
            float& score = scores[i / 2][2 * row + i % 2];
            score = token >= low && token < high ? score_of(how, score) : NOTHING_YET;
            greatest = Greatest::of(score, greatest);
        }
        greatest = Greatest::of(greatest, __shfl_xor_sync(ALL_LANES, greatest, 1));
        greatest = Greatest::of(greatest, __shfl_xor_sync(ALL_LANES, greatest, 2));
        float kept = weight_of(held.greatest[row], greatest), total = 0.0f, weight[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            weight[i] = power_of_2(scores[i / 2][2 * row + i % 2] - greatest);
            total += weight[i];
        }
        held.total[row] = held.total[row] * kept + total;
        held.greatest[row] = greatest;
        held.scale(row, kept);
        weights[row] = pack<T>(weight[0], weight[1]);
        weights[row + 2] = pack<T>(weight[2], weight[3]);
    }
}

// The 16 tokens from `token` on, which lie in one block.
template <class T, int D, int ROWS>
__device__ inline void take_tile(const AttentionDecode& args, const T* keys, uint32_t low, uint32_t high, const Row<D> (&queries)[2],
                                 Held<D, ROWS>& held) {
    Row<D> of_8[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        uint32_t key = 8 * i + lane_index() / 4;
        of_8[i].load(keys + key * D, key < high);
    }
    const T* values = keys + values_behind(args.kv_heads, D);
    using S = Shape<D>;
    // Of small heads all values are on their way before the first is needed.
    constexpr int AHEAD = D <= 128 ? S::OF_64 : 1;
    Values<8> of_64[AHEAD];
#pragma unroll
    for (int i = 0; i < AHEAD; ++i) of_64[i].load(values + 64 * i, D, low, high);
    float scores[2][4] = {};
#pragma unroll
    for (int i = 0; i < 2; ++i) meet<T, D>(scores[i], queries[0], queries[1], of_8[i]);
    uint32_t weights[4];
    absorb<T>(args.scores, held, scores, low, high, weights);
#pragma unroll
    for (int i = 0; i < S::OF_64; ++i) {
        if (i >= AHEAD) of_64[0].load(values + 64 * i, D, low, high);
        weigh<T, 8>(held.sums + 8 * i, weights, of_64[i < AHEAD ? i : 0]);
    }
    if (S::OF_32 > 0) {
        Values<4> of_32;
        of_32.load(values + 64 * S::OF_64, D, low, high);
        weigh<T, 4>(held.sums + 8 * S::OF_64, weights, of_32);
    }
    if (S::OF_16 > 0) {
        Values<2> of_16;
        of_16.load(values + D - 16, D, low, high);
        weigh<T, 2>(held.sums + S::TILES - 2, weights, of_16);
    }
}

// Adds what the warps have, one after the other, and writes it: as the result, or as the split's part of it.
template <class T, int D, int ROWS>
__device__ void finish(const AttentionDecode& args, Held<D, ROWS>& held, uint32_t item, uint32_t splits, uint32_t row_of_batch,
                       uint32_t first_head, uint32_t rows) {
    SHARED(float, states, WARPS * ROWS * 2);
    SHARED(float, sums, ROWS * D);
    int quad = lane_index() % 4;
#pragma unroll
    for (int i = 0; i < ROWS / 8; ++i) {
        float total = held.total[i];
        total += __shfl_xor_sync(ALL_LANES, total, 1);
        total += __shfl_xor_sync(ALL_LANES, total, 2);
        float* state = states + (warp_index() * ROWS + lane_index() / 4 + 8 * i) * 2;
        if (quad == 0) state[0] = held.greatest[i], state[1] = total;
    }
    __syncthreads();
    for (int warp = 0; warp < WARPS; ++warp) {
        if (warp == warp_index())
#pragma unroll
            for (int i = 0; i < ROWS / 8; ++i) {
                int row = lane_index() / 4 + 8 * i;
                float greatest = NOTHING_YET;
                for (int other = 0; other < WARPS; ++other) greatest = Greatest::of(states[(other * ROWS + row) * 2], greatest);
                float kept = weight_of(held.greatest[i], greatest);
                float* of_row = sums + row * D;
                held.for_row(i, [&](int number, float sum) { of_row[number] = (warp == 0 ? 0.0f : of_row[number]) + sum * kept; });
            }
        __syncthreads();
    }
    for (uint32_t at = threadIdx.x; at < rows * D; at += blockDim.x) {
        uint32_t row = at / D, number = at % D;
        float greatest = NOTHING_YET, total = 0.0f;
        for (int warp = 0; warp < WARPS; ++warp) greatest = Greatest::of(states[(warp * ROWS + row) * 2], greatest);
        for (int warp = 0; warp < WARPS; ++warp) {
            const float* state = states + (warp * ROWS + row) * 2;
            total += state[1] * weight_of(state[0], greatest);
        }
        size_t head = size_t(splits == 1 ? row_of_batch : item) * args.heads + first_head + row;
        if (splits == 1) {
            static_cast<T*>(args.out)[head * D + number] = narrow<T>(sums[at] / total);
        } else {
            args.partial[head * D + number] = sums[at];
            if (number == 0) args.partial_state[head * 2] = greatest, args.partial_state[head * 2 + 1] = total;
        }
    }
    __syncthreads();
}

template <class T, int D, int ROWS> __device__ void decode_item(const AttentionDecode& args, uint32_t item, uint32_t kv_head) {
    const Sequences& of = args.sequences;
    uint32_t sequence = args.plan.items[item], split = item - args.plan.first_item[sequence], length = of.seqlens_k[sequence];
    Splits splits = splits_of(length, args.scores.window, args.split_tokens, args.splits_max);
    uint32_t begin = splits.begin + split * splits.tokens, end = min(length, begin + splits.tokens);
    uint32_t seen_from = first_seen(args.scores.window, length - 1);
    uint32_t row = of.cu_seqlens_q[sequence], group = args.heads / args.kv_heads;
    uint32_t first_head = kv_head * group + blockIdx.z * ROWS, rows = min(uint32_t(ROWS), group - blockIdx.z * ROWS);
    const T* queries = static_cast<const T*>(args.queries) + (size_t(row) * args.heads + first_head) * D;
    Row<D> query_rows[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        uint32_t query = lane_index() / 4 + 8 * i;
        query_rows[i].load(queries + query * D, i < ROWS / 8 && query < rows);
    }
    Held<D, ROWS> held;
    held.clear();
    const uint32_t* table = of.block_tables + size_t(sequence) * of.table_width;
    uint32_t token = begin + warp_index() * TILE_TOKENS;
    uint32_t block = token < end ? table[token / BLOCK_TOKENS] : 0;
    for (; token < end; token += WARPS * TILE_TOKENS) {
        uint32_t next = token + WARPS * TILE_TOKENS;
        uint32_t next_block = next < end ? table[next / BLOCK_TOKENS] : 0;
        const T* keys = keys_of<T>(args.cache, block, args.kv_heads, kv_head, D) + token % BLOCK_TOKENS * D;
        uint32_t low = seen_from > token ? seen_from - token : 0, high = min(uint32_t(TILE_TOKENS), end - token);
        if (low < high) take_tile<T>(args, keys, low, high, query_rows, held);
        block = next_block;
    }
    finish<T, D, ROWS>(args, held, item, splits.count, row, first_head, rows);
}

template <class T, int D, int ROWS> __device__ void decode_rows(const AttentionDecode& args) {
    uint32_t work = args.plan.first_item[args.sequences.count] * args.kv_heads;
    for (uint32_t index = blockIdx.x; index < work; index += gridDim.x)
        decode_item<T, D, ROWS>(args, index / args.kv_heads, index % args.kv_heads);
}

template <class T, int D> __device__ void decode(const AttentionDecode& args) {
    args.heads / args.kv_heads <= 8 ? decode_rows<T, D, 8>(args) : decode_rows<T, D, 16>(args);
}

// Heads of a sequence whose splits lie apart, a warp a head.
template <class T> __device__ void join_splits(const AttentionDecode& args) {
    uint32_t sequence = blockIdx.x, head = blockIdx.y * WARPS + warp_index(), row = args.sequences.cu_seqlens_q[sequence];
    if (args.sequences.cu_seqlens_q[sequence + 1] - row != 1 || head >= args.heads) return;
    uint32_t from = args.plan.first_item[sequence], to = args.plan.first_item[sequence + 1];
    if (to - from == 1) return;
    float greatest = NOTHING_YET, total = 0.0f;
    for (uint32_t item = from; item < to; ++item)
        greatest = Greatest::of(args.partial_state[(size_t(item) * args.heads + head) * 2], greatest);
    for (uint32_t item = from; item < to; ++item) {
        const float* state = args.partial_state + (size_t(item) * args.heads + head) * 2;
        total += state[1] * weight_of(state[0], greatest);
    }
    T* out = static_cast<T*>(args.out) + (size_t(row) * args.heads + head) * args.head_dim;
    for (uint32_t number = lane_index(); number < args.head_dim; number += WARP_LANES) {
        float sum = 0.0f;
        for (uint32_t item = from; item < to; ++item) {
            size_t at = size_t(item) * args.heads + head;
            sum += args.partial[at * args.head_dim + number] * weight_of(args.partial_state[at * 2], greatest);
        }
        out[number] = narrow<T>(from == to ? 0.0f : sum / total);
    }
}

#define DECODE(D)                                                                                   \
    KERNEL(attention_decode_##D##_bf16, AttentionDecode, 128, 2, decode<bf16, D>(args))             \
    KERNEL(attention_decode_##D##_f16, AttentionDecode, 128, 2, decode<f16, D>(args))
DECODE(64) DECODE(80) DECODE(96) DECODE(112) DECODE(128) DECODE(192) DECODE(256)
KERNEL(attention_join_bf16, AttentionDecode, 128, 8, join_splits<bf16>(args))
KERNEL(attention_join_f16, AttentionDecode, 128, 8, join_splits<f16>(args))
