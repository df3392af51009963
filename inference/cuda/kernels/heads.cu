// Between the product of queries, keys and values and the attention: norm of a head, rotary embedding, and the way into the KV cache.
// One warp does one head of one token.
#include "arguments.cuh"
#include "device.cuh"

constexpr uint32_t HEAD_DIM_MAX = 256;
constexpr uint32_t HEADS_OF_BLOCK = 4;

// Norms the head, each lane the numbers that it holds.
template <class T> __device__ void norm_head(const Heads& args, const float* weight, float* head) {
    float squares = 0.0f;
    for (uint32_t i = lane_index(); i < args.head_dim; i += WARP_LANES) squares += head[i] * head[i];
    float scale = 1.0f / sqrtf(across_warp<Sum>(squares) / float(args.head_dim) + args.eps);
    for (uint32_t i = lane_index(); i < args.head_dim; i += WARP_LANES) {
        float normed = head[i] * scale;
        head[i] = rounded<T>((args.weight_in_f32 ? normed : rounded<T>(normed)) * weight[i]);
    }
    __syncwarp();
}

// Cosine, sine, products and sum are each rounded.
template <class T> __device__ void turn_head(const Heads& args, uint32_t position, float* head) {
    uint32_t pairs = args.rotary_dim / 2;
    const float* angles = args.table + size_t(position) * args.rotary_dim;
    for (uint32_t pair = lane_index(); pair < pairs; pair += WARP_LANES) {
        uint32_t one = args.interleaved ? 2 * pair : pair, other = args.interleaved ? one + 1 : one + pairs;
        float cosine = rounded<T>(angles[pair]), sine = rounded<T>(angles[pairs + pair]);
        float a = head[one], b = head[other];
        head[one] = rounded<T>(rounded<T>(a * cosine) - rounded<T>(b * sine));
        head[other] = rounded<T>(rounded<T>(b * cosine) + rounded<T>(a * sine));
    }
    __syncwarp();
}

// Where the head goes: among the queries, or in the cache; null where it is not kept.
template <class T> __device__ T* place_of(const Heads& args, uint32_t row, uint32_t head) {
    if (head < args.heads) return static_cast<T*>(args.queries) + (size_t(row) * args.heads + head) * args.head_dim;
    uint32_t slot = args.slots[row];
    if (slot >= args.slot_count) return nullptr;
    // Keys and values lie side by side, as in the product.
    size_t in_block = size_t(slot / BLOCK_TOKENS) * 2 * args.kv_heads + (head - args.heads);
    return static_cast<T*>(args.cache) + (in_block * BLOCK_TOKENS + slot % BLOCK_TOKENS) * args.head_dim;
}

template <class T> __device__ void heads(const Heads& args) {
    SHARED(float, all, HEADS_OF_BLOCK * HEAD_DIM_MAX);
    uint32_t row = blockIdx.x, head = blockIdx.y * HEADS_OF_BLOCK + warp_index();
    uint32_t count = args.heads + 2 * args.kv_heads;
    if (head >= count) return;
    T* out = place_of<T>(args, row, head);
    if (out == nullptr) return;
    const T* x = static_cast<const T*>(args.product) + (size_t(row) * count + head) * args.head_dim;
    if (head >= args.heads + args.kv_heads) {
        for (uint32_t i = 2 * lane_index(); i < args.head_dim; i += 2 * WARP_LANES) store(out + i, load<2>(x + i));
        return;
    }
    float* mine = all + warp_index() * HEAD_DIM_MAX;
    for (uint32_t i = 2 * lane_index(); i < args.head_dim; i += 2 * WARP_LANES) {
        Numbers<T, 2> numbers = load<2>(x + i);
        mine[i] = widen(numbers.at[0]);
        mine[i + 1] = widen(numbers.at[1]);
    }
    __syncwarp();
    const float* weight = head < args.heads ? args.q_weight : args.k_weight;
    if (weight != nullptr) norm_head<T>(args, weight, mine);
    if (args.rotary_dim > 0) turn_head<T>(args, args.positions[row], mine);
    for (uint32_t i = 2 * lane_index(); i < args.head_dim; i += 2 * WARP_LANES) {
        Numbers<T, 2> numbers;
        numbers.at[0] = narrow<T>(mine[i]);
        numbers.at[1] = narrow<T>(mine[i + 1]);
        store(out + i, numbers);
    }
}

#define HEADS(suffix, T) KERNEL(heads_##suffix, Heads, 128, 8, heads<T>(args))
FOR_EACH_TYPE(HEADS)
