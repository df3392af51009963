// What drawing a token is made of. Everything that decides is exact, so that the CPU's sampler can come to the same token: likelihoods are
// made by the same roundings one by one, and are added as whole numbers, whose sums have no order.
//
// A token's weight is exp((logit − greatest) / temperature), between 0 and 1, as a multiple of 2^−38. Tokens are ordered by logit, of
// equals the smaller id first: a place, greater for a token that comes before. What top-k, top-p and min-p leave is what has a place not
// below some bound, which is searched bit by bit; then the tokens that are left lie side by side by id, each as long as its weight, and
// the row's random number points at one of them.
#pragma once

#include "arguments.cuh"
#include "device.cuh"

constexpr int SAMPLING_THREADS = 1024;
// Tokens that are looked at again and again without going back to the row.
constexpr uint32_t LIST_MAX = 4096;
constexpr float WEIGHT_UNIT = 274877906944.0f;

// e^x for x <= 0, by `math::exp` of the CPU without fused operations: multiplied and added one by one, each rounded.
__device__ inline float exact_exp(float x) {
    constexpr float ROUNDER = 12582912.0f, LN_2_HIGH = 0.693359375f, LN_2_LOW = -2.12194440e-4f;
    float clamped = x < -87.33654f ? -87.33654f : x;
    float moved = __fadd_rn(__fmul_rn(clamped, 1.44269504f), ROUNDER);
    float power = __fsub_rn(moved, ROUNDER);
    float rest = __fadd_rn(__fmul_rn(power, -LN_2_HIGH), clamped);
    rest = __fadd_rn(__fmul_rn(power, -LN_2_LOW), rest);
    const float coefficients[] = {8.372654e-3f, 4.1666544e-2f, 0.16666502f, 0.5f, 1.0f, 1.0f};
    float sum = 1.3891997e-3f;
#pragma unroll
    for (float coefficient : coefficients) sum = __fadd_rn(__fmul_rn(sum, rest), coefficient);
    int whole = int(__float_as_uint(moved)) - int(__float_as_uint(ROUNDER)), half = whole >> 1;
    float value = __fmul_rn(__fmul_rn(sum, __uint_as_float(uint32_t(half + 127) << 23)), __uint_as_float(uint32_t(whole - half + 127) << 23));
    return x < -87.33654f ? 0.0f : value;
}

// A row of logits with the tokens that are allowed.
struct Row {
    const float* logits;
    const uint32_t* mask;   // null: all
    uint32_t vocab;
    uint32_t id_bits;       // that hold any id

    __device__ Row(const float* logits, const uint32_t* mask, uint32_t vocab)
        : logits(logits), mask(mask), vocab(vocab), id_bits(vocab > 1 ? 32 - __clz(int(vocab - 1)) : 1) {}

    __device__ float logit(uint32_t token) const {
        bool allowed = mask == nullptr || (mask[token / 32] >> token % 32 & 1u);
        // Nothing with a sign is nothing.
        return allowed ? logits[token] + 0.0f : -INFINITE;
    }
    __device__ uint64_t place(uint32_t token, float logit) const {
        uint32_t bits = __float_as_uint(logit);
        uint32_t ordered = bits >> 31 ? ~bits : bits | 0x80000000u;
        return uint64_t(ordered) << id_bits | (((1u << id_bits) - 1) - token);
    }
    __device__ float logit_at(uint64_t place) const {
        uint32_t ordered = uint32_t(place >> id_bits);
        return __uint_as_float(ordered >> 31 ? ordered & 0x7fffffffu : ~ordered);
    }
    __device__ uint32_t token_at(uint64_t place) const { return ((1u << id_bits) - 1) - uint32_t(place & ((uint64_t(1) << id_bits) - 1)); }

    // `each(place)` of every token from `from` to `to`, on all threads of the block.
    template <class Each> __device__ void for_each(uint32_t from, uint32_t to, Each each) const {
#pragma unroll 8
        for (uint32_t token = from + threadIdx.x; token < to; token += SAMPLING_THREADS) each(place(token, logit(token)));
    }
};

// Tokens of the row that are looked at again: a list in shared memory, or the whole row where they are too many.
struct Tokens {
    Row row;
    uint64_t* list;
    uint32_t count;
    bool in_list;

    template <class Each> __device__ void for_each(Each each) const {
        if (!in_list) return row.for_each(0, row.vocab, each);
        for (uint32_t at = threadIdx.x; at < count; at += SAMPLING_THREADS) each(list[at]);
    }

    // Makes the list of those with a place not below `bound`; all of the row where they are too many for it. `length` is shared.
    __device__ void take_from(uint64_t bound, uint32_t* length) {
        __syncthreads();
        if (threadIdx.x == 0) *length = 0;
        __syncthreads();
        row.for_each(0, row.vocab, [&](uint64_t place) {
            if (place < bound) return;
            uint32_t at = atomicAdd(length, 1u);
            if (at < LIST_MAX) list[at] = place;
        });
        __syncthreads();
        count = *length;
        in_list = count <= LIST_MAX;
    }

    // A bound so that what is not below it measures `goal` at least, and nothing of it can be left out; 0 where all together do not.
    template <class Measure> __device__ uint64_t bound(uint64_t goal, uint64_t* parts, Measure measure) const {
        uint64_t bound = 0;
        for (int bit = 31 + int(row.id_bits); bit >= 0; --bit) {
            // The logit is known; ids decide among equals only.
            if (bit == int(row.id_bits) - 1 && equals_of(bound, parts) <= 1) break;
            uint64_t tried = bound | uint64_t(1) << bit, sum = 0;
            for_each([&](uint64_t place) {
                if (place >= tried) sum += measure(place);
            });
            if (across_block<Sum>(sum, uint64_t(0), parts) >= goal) bound = tried;
        }
        return bound;
    }

    // How many have the logit of a place.
    __device__ uint64_t equals_of(uint64_t place, uint64_t* parts) const {
        uint64_t equals = 0;
        for_each([&](uint64_t other) { equals += other >> row.id_bits == place >> row.id_bits; });
        return across_block<Sum>(equals, uint64_t(0), parts);
    }
};

// A place that at least `count` tokens are not below: so many threads have one each. 0 where that finds nothing.
__device__ inline uint64_t place_of_many(const Row& row, uint32_t count) {
    if (count > SAMPLING_THREADS) return 0;
    uint64_t own = 0, bound = 0;
    row.for_each(0, row.vocab, [&](uint64_t place) { own = Greatest::of(place, own); });
    for (int bit = 31 + int(row.id_bits); bit >= 0; --bit) {
        uint64_t tried = bound | uint64_t(1) << bit;
        if (__syncthreads_count(own >= tried) >= int(count)) bound = tried;
    }
    return bound;
}

// The exact bound of the `count` greatest, and the tokens to find them among.
__device__ inline uint64_t bound_of_greatest(Tokens& tokens, uint32_t count, uint32_t* length, uint64_t* parts) {
    tokens.take_from(place_of_many(tokens.row, count), length);
    return tokens.bound(count, parts, [](uint64_t) { return uint64_t(1); });
}
