// The next token of each row: edits of single logits, then the draw. See `sampling.cuh`.
#include "sampling.cuh"

enum EditKind : uint32_t { BANNED = 1, SEEN = 2 };

__device__ inline bool is_finite(float x) { return fabsf(x) < INFINITE; }

__device__ float edited(float logit, const Edit& edit, const SamplingRow& row) {
    if (edit.kind & BANNED) logit = -INFINITE;
    logit = __fadd_rn(logit, edit.bias);
    if (!(edit.kind & SEEN) || !is_finite(logit)) return logit;
    logit = logit > 0.0f ? __fdiv_rn(logit, row.repetition_penalty) : __fmul_rn(logit, row.repetition_penalty);
    if (edit.count > 0) {
        logit = __fsub_rn(logit, __fmul_rn(row.frequency_penalty, float(edit.count)));
        logit = __fsub_rn(logit, row.presence_penalty);
    }
    constexpr float MOST = 3.40282347e38f;
    return logit > MOST ? MOST : logit < -MOST ? -MOST : logit;
}

__device__ void edit_row(const Sampling& args) {
    SamplingRow row = args.rows[blockIdx.x];
    float* logits = args.logits + size_t(blockIdx.x) * args.vocab;
    for (uint32_t at = threadIdx.x; at < row.edits; at += blockDim.x) {
        Edit edit = args.edits[row.first_edit + at];
        if (edit.token >= args.vocab) continue;
        args.kept[row.first_edit + at] = logits[edit.token];
        logits[edit.token] = edited(logits[edit.token], edit, row);
    }
}

__device__ void restore_row(const Sampling& args) {
    SamplingRow row = args.rows[blockIdx.x];
    float* logits = args.logits + size_t(blockIdx.x) * args.vocab;
    for (uint32_t at = threadIdx.x; at < row.edits; at += blockDim.x) {
        uint32_t token = args.edits[row.first_edit + at].token;
        if (token < args.vocab) logits[token] = args.kept[row.first_edit + at];
    }
}

// How likely tokens are under the row's temperature.
struct Weights {
    Row row;
    float greatest, temperature, min_p;
    uint64_t bound;

    // 0 for tokens that are left out.
    __device__ uint64_t of(uint64_t place) const {
        if (place < bound) return 0;
        float weight = exact_exp(__fdiv_rn(__fsub_rn(row.logit_at(place), greatest), temperature));
        return weight < min_p ? 0 : uint64_t(__fmul_rn(weight, WEIGHT_UNIT));
    }
};

// The first token whose weight, with those of all smaller ids, exceeds `goal`: of a range of ids that is halved each time.
__device__ uint32_t token_beyond(const Tokens& tokens, const Weights& weights, uint64_t goal, uint64_t* parts) {
    uint32_t from = 0, to = tokens.row.vocab;
    uint64_t before = 0;
    while (to - from > 1) {
        uint32_t middle = from + (to - from) / 2;
        uint64_t sum = 0;
        if (tokens.in_list) {
            tokens.for_each([&](uint64_t place) {
                uint32_t token = tokens.row.token_at(place);
                if (token >= from && token < middle) sum += weights.of(place);
            });
        } else {
            tokens.row.for_each(from, middle, [&](uint64_t place) { sum += weights.of(place); });
        }
        sum = across_block<Sum>(sum, uint64_t(0), parts);
        if (before + sum > goal) {
            to = middle;
        } else {
            before += sum;
            from = middle;
        }
    }
    return from;
}

__device__ uint64_t total_of(const Tokens& tokens, const Weights& weights, uint64_t* parts) {
    uint64_t sum = 0;
    tokens.for_each([&](uint64_t place) { sum += weights.of(place); });
    return across_block<Sum>(sum, uint64_t(0), parts);
}

// Leaves the likeliest tokens whose weights reach `top_p` of all that are left.
__device__ void keep_top_p(Tokens& tokens, Weights& weights, float top_p, uint32_t* length, uint64_t* parts) {
    uint64_t total = total_of(tokens, weights, parts), goal = uint64_t(__dmul_rn(double(top_p), double(total)));
    if (goal == 0) goal = 1;
    if (!tokens.in_list) {
        // What is this unlikely is never kept: all of it together is less than what is left out. The order of weights is that of logits.
        uint64_t unlikely = (total - goal) / (2 * uint64_t(tokens.row.vocab));
        uint64_t least = ~uint64_t(0);
        tokens.row.for_each(0, tokens.row.vocab, [&](uint64_t place) {
            uint64_t weight = weights.of(place);
            if (weight > 0 && weight >= unlikely && place < least) least = place;
        });
        least = ~across_block<Greatest>(~least, uint64_t(0), parts);
        tokens.take_from(least, length);
    }
    weights.bound = tokens.bound(goal, parts, [&](uint64_t place) { return weights.of(place); });
}

__device__ void sample_row(const Sampling& args) {
    SHARED(uint64_t, list, LIST_MAX);
    SHARED(uint64_t, parts, WARP_LANES);
    SHARED(uint32_t, length, 1);
    SamplingRow how = args.rows[blockIdx.x];
    if (how.token != NO_TOKEN) {
        if (threadIdx.x == 0) args.tokens[blockIdx.x] = how.token;
        return;
    }
    uint32_t words = (args.vocab + 31) / 32;
    Row row(args.logits + size_t(blockIdx.x) * args.vocab,
            how.mask == ALL_ALLOWED ? nullptr : args.masks + size_t(how.mask) * words, args.vocab);
    uint64_t first = 0, is_bad = 0;
    row.for_each(0, row.vocab, [&](uint64_t place) {
        float logit = row.logit_at(place);
        if (logit != logit) is_bad = 1;
        first = Greatest::of(place, first);
    });
    first = across_block<Greatest>(first, uint64_t(0), parts);
    is_bad = across_block<Greatest>(is_bad, uint64_t(0), parts);
    float greatest = row.logit_at(first);
    uint32_t token = row.token_at(first);
    if (is_bad || !is_finite(greatest)) {
        token = NO_TOKEN;
    } else if (how.temperature > 0.0f) {
        Tokens tokens{row, list, 0, false};
        Weights weights{row, greatest, how.temperature, how.min_p, 0};
        if (how.top_k > 0 && how.top_k < row.vocab) weights.bound = bound_of_greatest(tokens, how.top_k, length, parts);
        if (how.top_p < 1.0f) keep_top_p(tokens, weights, how.top_p, length, parts);
        uint64_t total = total_of(tokens, weights, parts);
        // uniform / 2^53 of the total, rounded down.
        token = token_beyond(tokens, weights, __umul64hi(how.uniform << 11, total), parts);
    }
    if (threadIdx.x == 0) args.tokens[blockIdx.x] = token;
}

KERNEL(edit_logits, Sampling, 256, 4, edit_row(args))
KERNEL(restore_logits, Sampling, 256, 4, restore_row(args))
KERNEL(sample, Sampling, 1024, 1, sample_row(args))
