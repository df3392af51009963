// Attention without tensor cores, for f32, and for heads that the others are not made for: one warp a query head of a token, block after
// block; each lane has a key of the block, and then some numbers of the values.
#include "attention.cuh"

constexpr int HEAD_DIM_MAX = 256;
constexpr int WARPS = 4;

// The sequence of a row of the batch; `count` where it belongs to none.
__device__ inline uint32_t sequence_of(const Sequences& of, uint32_t row) {
    uint32_t low = 0, high = of.count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (of.cu_seqlens_q[middle + 1] <= row) low = middle + 1;
        else high = middle;
    }
    return low;
}

// What a warp has so far; lane i has the numbers i, i + 32, ...
struct State {
    float greatest = NOTHING_YET, total = 0.0f;
    float sums[HEAD_DIM_MAX / WARP_LANES] = {};
};

// Takes a block of 32 keys and values, of which low..high are seen.
template <class T>
__device__ void take_block(const AttentionPrefill& args, const float* query, const T* keys, uint32_t low, uint32_t high, float* weights,
                           State& state) {
    uint32_t lane = lane_index(), dim = args.head_dim;
    bool seen = lane >= low && lane < high;
    float score = NOTHING_YET;
    if (seen) {
        float product = 0.0f;
        for (uint32_t number = 0; number < dim; number += 2) {
            Numbers<T, 2> of_key = load<2>(keys + lane * dim + number);
            product += query[number] * widen(of_key.at[0]);
            product += query[number + 1] * widen(of_key.at[1]);
        }
        score = score_of(args.scores, product);
    }
    float greatest = Greatest::of(across_warp<Greatest>(score), state.greatest);
    // A score that is no number is not the greatest, and makes the sum one that is none.
    float weight = seen ? power_of_2(score - greatest) : 0.0f, kept = weight_of(state.greatest, greatest);
    state.total = state.total * kept + across_warp<Sum>(weight);
    state.greatest = greatest;
    weights[lane] = rounded<T>(weight);
    __syncwarp();
    const T* values = keys + values_behind(args.kv_heads, dim);
    for (uint32_t i = 0; i < HEAD_DIM_MAX / WARP_LANES; ++i) {
        uint32_t number = i * WARP_LANES + lane;
        if (number >= dim) break;
        float sum = state.sums[i] * kept;
        for (uint32_t token = low; token < high; ++token) sum += weights[token] * widen(values[token * dim + number]);
        state.sums[i] = sum;
    }
    __syncwarp();
}

template <class T> __device__ void attend(const AttentionPrefill& args) {
    SHARED(float, queries, WARPS * HEAD_DIM_MAX);
    SHARED(float, all_weights, WARPS * WARP_LANES);
    const Sequences& of = args.sequences;
    uint32_t row = blockIdx.x, head = blockIdx.y * WARPS + warp_index(), dim = args.head_dim;
    if (head >= args.heads) return;
    uint32_t sequence = sequence_of(of, row);
    if (sequence == of.count) return;
    uint32_t first_row = of.cu_seqlens_q[sequence], count = of.cu_seqlens_q[sequence + 1] - first_row, length = of.seqlens_k[sequence];
    if (count == 1 && args.single == 0) return;
    float* query = queries + warp_index() * HEAD_DIM_MAX;
    size_t place = (size_t(row) * args.heads + head) * dim;
    for (uint32_t number = lane_index(); number < dim; number += WARP_LANES)
        query[number] = widen(static_cast<const T*>(args.queries)[place + number]);
    __syncwarp();
    State state;
    uint32_t position = length - count + (row - first_row), from = 0, to = 0;
    if (length > 0) {
        from = first_seen(args.scores.window, position);
        to = args.scores.causal ? position + 1 : length;
    }
    uint32_t kv_head = head / (args.heads / args.kv_heads);
    for (uint32_t begin = from / BLOCK_TOKENS * BLOCK_TOKENS; begin < to; begin += BLOCK_TOKENS) {
        uint32_t block = of.block_tables[size_t(sequence) * of.table_width + begin / BLOCK_TOKENS];
        const T* keys = keys_of<T>(args.cache, block, args.kv_heads, kv_head, dim);
        uint32_t low = from > begin ? from - begin : 0, high = min(BLOCK_TOKENS, to - begin);
        take_block<T>(args, query, keys, low, high, all_weights + warp_index() * WARP_LANES, state);
    }
    for (uint32_t i = 0; i < HEAD_DIM_MAX / WARP_LANES; ++i) {
        uint32_t number = i * WARP_LANES + lane_index();
        if (number >= dim) break;
        static_cast<T*>(args.out)[place + number] = narrow<T>(length == 0 ? 0.0f : state.sums[i] / state.total);
    }
}

#define PLAIN(suffix, T) KERNEL(attention_plain_##suffix, AttentionPrefill, 128, 4, attend<T>(args))
FOR_EACH_TYPE(PLAIN)
