// What the attention kernels share: where keys and values lie, what a token sees, scores.
#pragma once

#include "arguments.cuh"
#include "device.cuh"

constexpr float LOG2_E = 1.44269504f;
#define NOTHING_YET (-INFINITE)

// The first position that a token sees.
__device__ inline uint32_t first_seen(uint32_t window, uint32_t position) {
    return window > 0 && position + 1 > window ? position + 1 - window : 0;
}

// Where a decoded sequence's splits begin and how long they are, and how many there are.
struct Splits {
    uint32_t begin, tokens, count;
};
__device__ inline Splits splits_of(uint32_t length, uint32_t window, uint32_t split_tokens, uint32_t splits_max) {
    uint32_t begin = length == 0 ? 0 : first_seen(window, length - 1) / BLOCK_TOKENS * BLOCK_TOKENS;
    uint32_t tokens = (length - begin + splits_max - 1) / splits_max;
    tokens = (tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS * BLOCK_TOKENS;
    if (tokens < split_tokens) tokens = split_tokens;
    return {begin, tokens, (length - begin + tokens - 1) / tokens};
}

// Keys of one KV head in a block; its values lie `values_behind` further on.
template <class T>
__device__ inline const T* keys_of(const void* cache, uint32_t block, uint32_t kv_heads, uint32_t kv_head, uint32_t head_dim) {
    return static_cast<const T*>(cache) + (size_t(block) * 2 * kv_heads + kv_head) * BLOCK_TOKENS * head_dim;
}
__device__ inline size_t values_behind(uint32_t kv_heads, uint32_t head_dim) { return size_t(kv_heads) * BLOCK_TOKENS * head_dim; }

// What products of query and key are multiplied by to be powers of two, once `capped` has seen them.
__device__ inline float factor_of(const Scores& scores) { return scores.softcap > 0.0f ? LOG2_E : scores.scale * LOG2_E; }

// The product itself where scores have no cap.
__device__ inline float capped(const Scores& scores, float product) {
    if (scores.softcap == 0.0f) return product;
    float turned = __expf(2.0f * product * scores.scale / scores.softcap);
    return scores.softcap * (1.0f - __fdividef(2.0f, turned + 1.0f));
}

// A score as a power of two.
__device__ inline float score_of(const Scores& scores, float product) { return capped(scores, product) * factor_of(scores); }

// 2^(score − greatest), where nothing has been seen yet as well.
__device__ inline float weight_of(float score, float greatest) {
    return greatest == NOTHING_YET ? 0.0f : power_of_2(score - greatest);
}
